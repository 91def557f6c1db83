"""Measure the speed and memory of pre-training beside its peers, on a CPU or on GPUs.

python examples/benchmark_throughput.py --config-name benchmark_throughput output_dir=throughput
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.bench.throughput.settings import FILES, MARKDOWN, Here, parts, settings
from dnabert_nemo.command import command
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.folder import publish

COMMAND = ["python", *sys.argv]
log = logging.getLogger("dnabert_nemo")


@command("benchmark_throughput")
def main(cfg: DictConfig) -> None:
    """Measure the parts that are asked for, then write tables and plots."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # on import, in each process of each row
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    asked = parts(config["rows"])
    chosen = settings(config, Here.found())
    with (
        _scratch(config["scratch_dir"]) as scratch,
        publish(config["output_dir"], FILES, overwrite=config["overwrite"]) as folder,
    ):
        # Here, as these bring megatron-core, and all that is wrong has been told of by now.
        from dnabert_nemo.bench.throughput.parts import measured_parts
        from dnabert_nemo.bench.throughput.report import ThroughputReport

        report = ThroughputReport(chosen, {"command": COMMAND, "config": config})
        for section in measured_parts(chosen, asked, Path(__file__).parent, Path(scratch).resolve()):
            report.add(section)
        report.write(folder)
    log.info((Path(config["output_dir"]) / MARKDOWN).read_text())


def _scratch(parent: str | None) -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(dir=parent, prefix="benchmark-throughput-")
    except OSError as error:
        remedy = "make that folder, or pass another"
        raise ConfigError(f"scratch_dir={parent}: cannot be written ({error.strerror}): {remedy}") from None


if __name__ == "__main__":
    main()
