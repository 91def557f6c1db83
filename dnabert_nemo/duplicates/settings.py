"""What is asked of deduplication, checked before any file is opened; `deduplicate` goes by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dnabert_nemo.duplicates.signatures import choose_bands
from dnabert_nemo.duplicates.similarity import check_chance
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.fasta import Names
from dnabert_nemo.kmer.canonical import MAX_CANONICAL_K


@dataclass(frozen=True)
class DuplicateSettings:
    """What decides which windows are duplicates, named as in the config of `deduplicate`.

    Raises:
        ConfigError: a value is out of range, or chance alone makes windows of this length too similar.
    """

    window: int | None  # bases; None: each unbroken stretch of a contig or read is one window
    k: int
    max_similarity: float  # Jaccard; windows at or above it are near-duplicates
    recall: float = 0.95  # share of the pairs at max_similarity to be found
    min_stretch: int = 64  # bases; shorter unbroken stretches are in no window
    seed: int = 1

    def __post_init__(self) -> None:
        _check_whole_number("k", self.k, 3, MAX_CANONICAL_K)
        _check_whole_number("min_stretch", self.min_stretch, 1)
        _check_whole_number("seed", self.seed, 0, 2**64 - 1)
        if not 0 < self.max_similarity <= 1:
            raise ConfigError(f"max_similarity={self.max_similarity}: give a number above 0 and at most 1")
        if not 0 < self.recall < 1:
            raise ConfigError(f"recall={self.recall}: give a number between 0 and 1, such as recall=0.95")
        if self.min_stretch < self.k:
            raise ConfigError(
                f"min_stretch={self.min_stretch} is shorter than one k-mer: pass "
                f"min_stretch={self.k} or more, or a smaller k"
            )
        choose_bands(self.max_similarity, self.recall)
        if self.window is not None:
            _check_whole_number("window", self.window, 1)
            if self.window < 2 * self.k:  # a stretch a base longer is cut in halves
                raise ConfigError(
                    f"window={self.window} is under two k-mers: pass window={2 * self.k} or more, or a "
                    "smaller k"
                )
            check_chance(self.window, self.k, self.max_similarity)


def _check_whole_number(key: str, value: object, low: int, high: int | None = None) -> None:
    if type(value) is not int or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{key}={value}: give a whole number {limits}")


@dataclass(frozen=True)
class Inputs:
    """The files to look through."""

    paths: tuple[str, ...]
    labels: tuple[str, ...]  # what each is called in the tables
    names: Names


def checked_inputs(fasta: Sequence[str | Path], names: Names) -> Inputs:
    """Check what is given as input, without opening it.

    Raises:
        ConfigError: no file is given, or one is a pipe.
        FormatError: a file is given twice.
    """
    paths = tuple(map(str, fasta))
    if not paths:
        raise ConfigError("input.fasta=[] names no file: pass input.fasta=[a.fa.gz,b.fa]")
    if names not in ("first_word", "header"):
        raise ConfigError(f"input.names={names} is not known: choose first_word or header")
    for path, times in Counter(paths).items():
        if path == "-" or Path(path).is_fifo():
            raise ConfigError(
                f"input.fasta={path}: the input is read three times, which a pipe cannot be: write it "
                "to a file first"
            )
        if times > 1:
            raise FormatError(path, "this file is given twice: name it once")
    last_parts = [path.rsplit("/", 1)[-1] for path in paths]
    labels = tuple(last_parts) if len(set(last_parts)) == len(paths) else paths
    return Inputs(paths, labels, names)
