"""Genomes, tables of sequences or reads to k-mer shards for pre-training: `pretrain.py` reads what it writes.

python examples/prepare_shards.py --config-name prepare_shards input.fasta=[a.fa.gz,b.fa] output_dir=shards
python examples/prepare_shards.py --config-name prepare_shards corpus=multi_species output_dir=shards
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command, keyed, listed
from dnabert_nemo.shards.corpus_config import corpus_of
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings
from dnabert_nemo.shards.workers import WorkerSettings


@command("prepare_shards")
def main(cfg: DictConfig) -> None:
    """Check the config, then write the shards."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    settings = ShardSettings(
        k=keyed(config, "tokenizer")["k"],
        seed=config["seed"],
        min_stretch=config["min_stretch"],
        records_per_shard=config["records_per_shard"],
        non_acgt=config["non_acgt"],
    )
    asked = keyed(config, "split")
    split = SplitSettings(
        validation=listed(asked["validation"]),
        test=listed(asked["test"]),
        fractions=asked["fractions"],
    )
    workers = WorkerSettings(config["executor"], config["num_workers"], config["ray_address"])
    scratch_dir = None if config["scratch_dir"] is None else Path(config["scratch_dir"])
    output = Output(str(config["output_dir"]), config["overwrite"], scratch_dir)
    output.check()
    corpus = corpus_of(keyed(config, "input"), config["corpus"], config["mixture"])
    prepare_shards(corpus, output, settings, split, workers)


if __name__ == "__main__":
    main()
