"""A small genome with everything in it that shards must get right, and shard sets made of it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.prepare import ShardSettings, prepare_shards
from dnabert_nemo.shards.splits import SplitSettings

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

    def run(output_dir: Path, **changed: object) -> dict[str, Manifest]:
        settings = {"k": 3, "seed": 1, "min_stretch": 64, "records_per_shard": 2}
        settings |= {key: changed.pop(key) for key in settings if key in changed}
        split = {"validation": ("named",), "test": ("held_back",), "fractions": FRACTIONS}
        split |= {key: changed.pop(key) for key in split if key in changed}
        fasta = changed.pop("fasta", genome)
        return prepare_shards(fasta, output_dir, ShardSettings(**settings), SplitSettings(**split), **changed)

    return run


@pytest.fixture(scope="session")
def shards(prepare: Callable[..., dict[str, Manifest]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished sets, for tests that only read."""
    output_dir = tmp_path_factory.mktemp("shards") / "k3"
    prepare(output_dir)
    return output_dir
