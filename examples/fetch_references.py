"""A reference genome and its annotation from the public servers: `prepare_shards.py` reads what it leaves.

python examples/fetch_references.py --config-name fetch_references output_dir=references
python examples/fetch_references.py --config-name fetch_references only=[chr20,chr21,annotation]
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.command import command, listed
from dnabert_nemo.genome.download import DownloadSettings
from dnabert_nemo.genome.fetch import fetch_references
from dnabert_nemo.genome.references import references_of


@command("fetch_references")
def main(cfg: DictConfig) -> None:
    """Check the config, then fetch and verify the files."""
    config = OmegaConf.to_container(cfg, resolve=True)
    settings = DownloadSettings(
        num_workers=config["num_workers"],
        max_tries=config["max_tries"],
        timeout=config["timeout"],
        first_wait=config["first_wait"],
    )
    references = references_of(config["references"]["files"], listed(config["only"]))
    fetch_references(references, Path(config["output_dir"]), settings)


if __name__ == "__main__":
    main()
