"""FASTA to the regions that are no copies of others: before `prepare_shards.py`, which takes them as include.

python examples/deduplicate.py --config-name deduplicate input.fasta=[a.fa.gz,b.fa] output_dir=deduplicated
"""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command, listed
from dnabert_nemo.duplicates.deduplicate import deduplicate
from dnabert_nemo.duplicates.settings import DuplicateSettings
from dnabert_nemo.shards.workers import WorkerSettings


@command("deduplicate")
def main(cfg: DictConfig) -> None:
    """Check the config, then find the duplicates."""
    config = OmegaConf.to_container(cfg, resolve=True)
    settings = DuplicateSettings(
        window=config["window"],
        k=config["k"],
        max_similarity=config["max_similarity"],
        recall=config["recall"],
        min_stretch=config["min_stretch"],
        seed=config["seed"],
    )
    deduplicate(
        listed(config["input"]["fasta"]) or (),
        config["output_dir"],
        settings,
        names=config["input"]["names"],
        worker_settings=WorkerSettings(num_workers=config["num_workers"]),
        overwrite=config["overwrite"],
    )


if __name__ == "__main__":
    main()
