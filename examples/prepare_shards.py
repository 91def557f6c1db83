"""FASTA to k-mer shards for pre-training: the first step, `pretrain.py` reads what it writes.

python examples/prepare_shards.py --config-name prepare_shards input.fasta=[a.fa.gz,b.fa] output_dir=shards
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command, listed
from dnabert_nemo.shards.prepare import ShardSettings, prepare_shards
from dnabert_nemo.shards.splits import SplitSettings


@command("prepare_shards")
def main(cfg: DictConfig) -> None:
    """Check the config, then write the shards."""
    config = OmegaConf.to_container(cfg, resolve=True)
    settings = ShardSettings(
        k=config["tokenizer"]["k"],
        seed=config["seed"],
        min_stretch=config["min_stretch"],
        records_per_shard=config["records_per_shard"],
    )
    split = SplitSettings(
        validation=listed(config["split"]["validation"]),
        test=listed(config["split"]["test"]),
        fractions=config["split"]["fractions"],
    )
    prepare_shards(
        [Path(path) for path in listed(config["input"]["fasta"]) or ()],
        Path(config["output_dir"]),
        settings,
        split,
        num_workers=config["num_workers"],
        overwrite=config["overwrite"],
    )


if __name__ == "__main__":
    main()
