"""The genomes of a splice data set, one or several, as a config names them; `splice_survey` reads them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnabert_nemo.command import listed
from dnabert_nemo.errors import ConfigError

KINDS = ("fasta", "annotation")


@dataclass(frozen=True)
class Genome:
    """The files of one genome.

    Args:
        name: stands before the names of its contigs, human:19; "" where it is all there is.

    Raises:
        ConfigError: there is no file of a kind, or the name would not tell where a contig's begins.
    """

    fasta: tuple[Path, ...]
    annotation: tuple[Path, ...]
    name: str = ""

    def __post_init__(self) -> None:
        for kind, paths in zip(KINDS, (self.fasta, self.annotation), strict=True):
            if not paths:
                raise ConfigError(f"{self.key(kind)}=[] names no file: pass {self.key(kind)}=[FILE]")
        if ":" in self.name:
            raise ConfigError(f"genomes.{self.name}: contigs are named NAME:CONTIG: leave out the colon")

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them, sequences first."""
        return (*self.fasta, *self.annotation)

    def key(self, kind: str) -> str:
        """Return where a config has its files of one of KINDS."""
        return f"genomes.{self.name}.{kind}" if self.name else f"input.{kind}"

    def contig(self, name: str) -> str:
        """Return the name that one of its contigs has in a data set."""
        return f"{self.name}:{name}" if self.name else name


def genomes_of(input_keys: Mapping[str, Any], several: Any) -> tuple[Genome, ...]:
    """Take the genome of the section `input` of a config, or those of `genomes`: plain dicts, or None.

    Raises:
        ConfigError: both or neither name files, a key is not known, or as `check_genomes`.
    """
    given = [f"input.{kind}" for kind in KINDS if input_keys[kind] is not None]
    if several and given:
        raise ConfigError(f"{given[0]} and genomes exclude each other: name the files in one of them")
    if not several:
        if not given:
            either = "input.fasta=[FILE] and input.annotation=[FILE]"
            raise ConfigError(f"no genome: pass {either}, or genomes for several (docs/splice.md)")
        return (_genome("", input_keys),)
    if not isinstance(several, Mapping):
        raise ConfigError(
            f"genomes={several}: give a mapping, {{NAME: {{fasta: [FILE], annotation: [FILE]}}}}"
        )
    found = []
    for name, section in several.items():
        if not isinstance(section, Mapping) or not str(name):
            raise ConfigError(
                f"genomes.{name}={section}: give a mapping, {{fasta: [FILE], annotation: [FILE]}}"
            )
        if unknown := sorted(map(str, section.keys() - set(KINDS))):
            raise ConfigError(f"genomes.{name}.{unknown[0]} is no key there: the keys are {', '.join(KINDS)}")
        found.append(_genome(str(name), section))
    check_genomes(found)
    return tuple(found)


def check_genomes(genomes: Sequence[Genome]) -> None:
    """See that genomes can be told apart.

    Raises:
        ConfigError: there is none, two have one name or none, or a file is of two.
    """
    if not genomes:
        raise ConfigError("no genome: pass input.fasta=[FILE] and input.annotation=[FILE]")
    if len(genomes) > 1 and not all(genome.name for genome in genomes):
        raise ConfigError("of several genomes each must have a name: give genomes.NAME for all of them")
    names = Counter(genome.name for genome in genomes)
    files = Counter(file for genome in genomes for file in set(map(os.path.realpath, genome.files)))
    for what, counts in (("the name", names), ("the file", files)):
        if twice := [each for each, count in counts.items() if count > 1]:
            raise ConfigError(f"genomes: {what} {twice[0]!r} is given twice: give it to one of them")


def _genome(name: str, section: Mapping[str, Any]) -> Genome:
    fasta, annotation = (tuple(map(Path, listed(section.get(kind)) or ())) for kind in KINDS)
    return Genome(fasta, annotation, name)
