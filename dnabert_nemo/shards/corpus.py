"""What a shard set is made from: assemblies, tables of sequences and samples of reads; `scan` reads them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.fastq import ReadSample
from dnabert_nemo.genome.read_filter import ReadFilter
from dnabert_nemo.genome.tables import TableColumns
from dnabert_nemo.shards.stretches import Regions

DEFAULT_NAME = "input"  # of an assembly that is all there is


@dataclass(frozen=True, eq=False)
class Assembly:
    """FASTA files of one species or assembly: one component of the set."""

    name: str
    files: tuple[str, ...]
    names: Literal["first_word", "header"] = "first_word"  # what of a header is the contig's name
    include: Regions | None = None
    exclude: Regions | None = None


@dataclass(frozen=True)
class Table:
    """Parquet or CSV files of sequences: one component, or one for each value of `columns.group`."""

    name: str
    files: tuple[str, ...]
    columns: TableColumns


@dataclass(frozen=True)
class Reads:
    """Samples of sequencing reads, each a component of its own; read or pair, it is never split."""

    name: str
    samples: tuple[ReadSample, ...]
    filter: ReadFilter
    reads_per_sample: int | None  # at most; None: all
    equal_portions: bool  # every sample gives as many as the one that has fewest


Input = Assembly | Table | Reads


@dataclass(frozen=True)
class Mixture:
    """How much of training each component gets: by size, evened out by a temperature, or by shares.

    A component of n tokens has a weight proportional to n^(1/temperature): 1 samples every base alike, the
    higher, the more alike the components (Arivazhagan et al. 2019). `proportions` gives the shares by name.

    Raises:
        ConfigError: a value is out of range, or both ways are asked for.
    """

    temperature: float = 1.0
    proportions: dict[str, float] | None = None

    def __post_init__(self) -> None:
        is_number = isinstance(self.temperature, int | float) and not isinstance(self.temperature, bool)
        if not is_number or not self.temperature >= 1:
            raise ConfigError(f"mixture.temperature={self.temperature}: give a number of at least 1")
        if self.proportions is None:
            return
        if not isinstance(self.proportions, dict):
            raise ConfigError(f"mixture.proportions={self.proportions}: give a mapping, {{NAME: SHARE}}")
        if self.temperature != 1:
            raise ConfigError("mixture.temperature and mixture.proportions exclude each other: give one")
        for name, share in self.proportions.items():
            is_number = isinstance(share, int | float) and not isinstance(share, bool)
            if not is_number or not 0 < share < float("inf"):
                raise ConfigError(f"mixture.proportions.{name}={share}: give a number above 0")

    def check(self, names: set[str]) -> None:
        """Hold the proportions against the names of all components of a corpus.

        Raises:
            ConfigError: one has no share, or a share is of none.
        """
        given = names if self.proportions is None else self.proportions.keys()
        for name in sorted(names - given):
            raise ConfigError(f"mixture.proportions has no {name!r}: give all of {', '.join(sorted(names))}")
        for name in sorted(given - names):
            there = ", ".join(sorted(names))
            raise ConfigError(f"mixture.proportions.{name}: no such part of the corpus; there are {there}")

    def weights(self, tokens: dict[str, int]) -> dict[str, float]:
        """Return the weight of each component of one set, from its tokens; they sum to 1.

        Raises:
            ConfigError: a component has no share.
        """
        if self.proportions is None:
            largest = max(tokens.values())
            raw = {name: (count / largest) ** (1 / self.temperature) for name, count in tokens.items()}
        else:
            missing = sorted(tokens.keys() - self.proportions.keys())
            if missing:
                raise ConfigError(
                    f"mixture.proportions has no {missing[0]!r}: give all of {', '.join(sorted(tokens))}"
                )
            raw = {name: self.proportions[name] for name in tokens}
        total = sum(raw.values())
        return {name: weight / total for name, weight in raw.items()}


@dataclass(frozen=True)
class Corpus:
    """The inputs of a set, in order.

    Raises:
        ConfigError: there is none, a name or a file comes twice.
    """

    inputs: tuple[Input, ...]
    mixture: Mixture = field(default_factory=Mixture)

    @staticmethod
    def of_fasta(*files: str | Path) -> Corpus:
        """Make a corpus of one assembly."""
        return Corpus((Assembly(DEFAULT_NAME, tuple(map(str, files))),) if files else ())

    def __post_init__(self) -> None:
        if not self.inputs:
            raise ConfigError("no input: pass input.fasta=[a.fa.gz,b.fa], or a corpus")
        names = Counter(name for each in self.inputs for name in _component_names(each))
        files = Counter(file for each in self.inputs for file in _files(each))
        for what, counts in (("the name", names), ("the file", files)):
            twice = [each for each, count in counts.items() if count > 1]
            if twice:
                raise ConfigError(f"corpus: {what} {twice[0]!r} is given twice: give it once")


def _component_names(given: Input) -> tuple[str, ...]:
    return tuple(sample.name for sample in given.samples) if isinstance(given, Reads) else (given.name,)


def _files(given: Input) -> list[str]:
    if isinstance(given, Reads):
        files = [str(file) for sample in given.samples for file in (*sample.files, *sample.mates)]
    else:
        files = list(given.files)
    return [file if "://" in file or file == "-" else os.path.realpath(file) for file in files]
