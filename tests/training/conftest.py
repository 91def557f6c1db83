"""Toy shard sets, configs composed as a command composes them, and commands started as a user starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import commands
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from dnabert_nemo.command import CONF
from dnabert_nemo.genome.toy import write_toy_genome
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings

SCRIPT = CONF.parent / "examples" / "pretrain.py"
LAUNCHERS = ("SLURM", "TORCHELASTIC", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_")


@pytest.fixture(scope="session")
def toy_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of finished sets of a toy genome, k = 3."""
    folder = tmp_path_factory.mktemp("toy")
    fasta, _ = write_toy_genome(folder, seed=1, num_chromosomes=3, chromosome_length=20_000)
    prepare_shards(
        Corpus.of_fasta(fasta),
        Output(str(folder / "shards")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=64),
        SplitSettings(validation=("2",), test=("3",), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    return folder / "shards"


@pytest.fixture(scope="session")
def data_overrides(toy_shards: Path) -> list[str]:
    """What names the toy shard sets on a command line."""
    return [f"model.data.{split}={toy_shards / split}" for split in ("train", "validation")]


@pytest.fixture
def config(data_overrides: list[str]) -> Callable[..., DictConfig]:
    """Compose dnabert_86m on the toy shards, with some overrides."""

    def make(*overrides: str) -> DictConfig:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("dnabert_86m", [*data_overrides, *overrides])

    return make


@pytest.fixture(scope="session")
def pretrain() -> Callable[..., commands.Process | subprocess.Popen[str]]:
    """Start examples/pretrain.py in a folder, one thread a process, outside any launcher.

    With a launcher, or `fresh`, interpreters are started for it, which import all libraries.
    """

    def start(
        folder: Path, *overrides: str, launcher: Sequence[str] = (), fresh: bool = False
    ) -> commands.Process | subprocess.Popen[str]:
        environment = {name: v for name, v in os.environ.items() if not name.startswith(LAUNCHERS)}
        arguments = [*launcher, str(SCRIPT), "--config-name", "dnabert_tiny", *overrides]
        if not launcher and not fresh:
            return commands.start(arguments, cwd=folder, env=environment)
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start
