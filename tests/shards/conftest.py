"""A small genome with everything in it that shards must get right, and shard sets made of it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings
from dnabert_nemo.shards.workers import WorkerSettings

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def _bases(count: int, seed: int) -> str:
    return decode(np.random.Generator(np.random.Philox(seed)).integers(0, 4, count, dtype=np.uint8))


@pytest.fixture(scope="session")
def genome(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two FASTA files: long contigs with N runs and lower case, many short ones, one of N alone."""
    folder = tmp_path_factory.mktemp("genome")
    contigs = {
        "long": _bases(40_000, 1) + "N" * 50 + _bases(20, 2) + "n" + _bases(17_000, 3).lower() + "NRY",
        "exact": _bases(16_384, 4),
        "named 19 in words": "NNN" + _bases(9_000, 5),
        "void": "N" * 100,
        "held_back": _bases(12_345, 6),
    }
    contigs |= {f"read{number}": _bases(150 + number, 100 + number) for number in range(40)}
    text = "".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items())
    middle = text.index(">read0")
    (folder / "a.fa").write_text(text[:middle])
    (folder / "b.fa.gz").write_bytes(gzip.compress(text[middle:].encode(), mtime=0))
    return [folder / "a.fa", folder / "b.fa.gz"]


@pytest.fixture(scope="session")
def prepare(genome: list[Path]) -> Callable[..., dict[str, Manifest]]:
    """Prepare `genome`, split by name, unless told otherwise."""

    def run(output_dir: Path | str, **changed: object) -> dict[str, Manifest]:
        def taken(**defaults: object) -> dict[str, object]:
            return {key: changed.pop(key, value) for key, value in defaults.items()}

        settings = taken(k=3, seed=1, min_stretch=64, records_per_shard=2, non_acgt="cut")
        split = taken(validation=("named",), test=("held_back",), fractions=FRACTIONS)
        output = taken(overwrite=False, scratch_dir=None)
        corpus = changed.pop("corpus", None) or Corpus.of_fasta(*changed.pop("fasta", genome))
        return prepare_shards(
            corpus,
            Output(str(output_dir), **output),
            ShardSettings(**settings),
            SplitSettings(**split),
            WorkerSettings(**changed),
        )

    return run


@pytest.fixture(scope="session")
def shards(prepare: Callable[..., dict[str, Manifest]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished sets, for tests that only read."""
    output_dir = tmp_path_factory.mktemp("shards") / "k3"
    prepare(output_dir)
    return output_dir


@pytest.fixture(scope="session")
def soft_shards(
    prepare: Callable[..., dict[str, Manifest]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Finished sets of a genome in which every A is lower case and no other base is."""
    folder = tmp_path_factory.mktemp("soft")
    bases = [_bases(length, 40 + length).replace("A", "a") for length in (17_000, 90, 333)]
    (folder / "soft.fa").write_text(
        "".join(f">{i}\n{each}\n" for i, each in enumerate(bases)) + ">upper\nCCGT" + "CGT" * 50
    )
    prepare(folder / "shards", fasta=[folder / "soft.fa"], validation=(), test=())
    return folder / "shards"
