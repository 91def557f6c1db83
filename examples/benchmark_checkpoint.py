"""Measure how long saving a checkpoint keeps training from going on, in the background and waited for.

python examples/benchmark_checkpoint.py --config-name benchmark_checkpoint output=checkpoints.md
"""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.bench.table import environment, markdown
from dnabert_nemo.command import command
from dnabert_nemo.errors import ConfigError

COMMAND = ["python", *sys.argv]
PACKAGES = ("dnabert_nemo", "torch", "megatron-core")
log = logging.getLogger("dnabert_nemo")


@command("benchmark_checkpoint")
def main(cfg: DictConfig) -> None:
    """Measure, print the table, and write it where that is asked for."""
    config = OmegaConf.to_container(cfg, resolve=True)
    output, scratch_dir = config.pop("output"), config.pop("scratch_dir")
    if scratch_dir is not None and not Path(scratch_dir).is_dir():
        raise ConfigError(f"scratch_dir={scratch_dir} is no folder: make it, or pass another")
    if output is not None and not Path(output).parent.is_dir():
        raise ConfigError(
            f"output={output}: there is no folder {Path(output).parent}: make it, or pass another"
        )
    from dnabert_nemo.bench.checkpoint_rows import checkpoint_rows

    with tempfile.TemporaryDirectory(dir=scratch_dir, prefix="benchmark-checkpoint-") as scratch:
        table = markdown(list(checkpoint_rows(**config, folder=Path(scratch))))
    about = environment(PACKAGES)
    packages = ", ".join(f"{name} {number}" for name, number in about["packages"].items())
    machine = f"{about['processor']}; Python {about['python']}; {packages}"
    ran = f"- command: `{shlex.join(COMMAND)}`\n- processor: {machine}\n"
    log.info(table)
    if output is not None:
        Path(output).write_text(f"# Saving checkpoints\n\nEach figure is a median.\n\n{table}\n{ran}")


if __name__ == "__main__":
    main()
