"""Measure the data engine beside its peers: k-mer ids, shards, the loader and the search for duplicates.

python examples/benchmark_data.py --config-name benchmark_data output_dir=benchmark
"""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.bench.data_report import PARTS, data_rows, write_data_report
from dnabert_nemo.command import command
from dnabert_nemo.errors import ConfigError

COMMAND = ["python", *sys.argv]
log = logging.getLogger("dnabert_nemo")


@command("benchmark_data")
def main(cfg: DictConfig) -> None:
    """Measure the parts that are asked for, then write the table."""
    config = OmegaConf.to_container(cfg, resolve=True)
    unknown = [name for name in config["rows"] if name not in PARTS]
    if unknown or not config["rows"]:
        raise ConfigError(f"rows={config['rows']}: choose from {', '.join(PARTS)}")
    if config["scratch_dir"] is not None and not Path(config["scratch_dir"]).is_dir():
        raise ConfigError(f"scratch_dir={config['scratch_dir']} is no folder: make it, or pass another")
    about = {"command": COMMAND, "config": config}
    with (
        write_data_report(config["output_dir"], about, overwrite=config["overwrite"]) as report,
        tempfile.TemporaryDirectory(dir=config["scratch_dir"], prefix="benchmark-data-") as scratch,
    ):
        for name in config["rows"]:
            sizes = {**config[name], "seed": config["seed"]}
            report.add(name, data_rows(name, sizes, Path(__file__).parent, Path(scratch).resolve()))
    log.info((Path(config["output_dir"]) / "benchmark.md").read_text())


if __name__ == "__main__":
    main()
