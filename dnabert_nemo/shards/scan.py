"""The first pass: an input is read once, as a stream, its letters go to a scratch file; before `writer`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import NOT_A_BASE, SOFT, encode_soft
from dnabert_nemo.genome.fasta import fasta_pieces
from dnabert_nemo.genome.pieces import Piece
from dnabert_nemo.genome.source import Source
from dnabert_nemo.genome.tables import grouped_pieces
from dnabert_nemo.shards.corpus import Assembly, Table
from dnabert_nemo.shards.manifest import ContigEntry, InputFile, Kind
from dnabert_nemo.shards.records import STRETCH, cut_stretches
from dnabert_nemo.shards.stretches import StretchRule, usable_stretches

NO_STRETCHES = np.empty(0, dtype=STRETCH)


@dataclass(frozen=True, eq=False)
class ScanPart:
    """What one input holds; stretches and contigs stand in the order of the input."""

    scratch: Path  # a letter a byte, as `alphabet.encode_soft` writes it
    kind: Kind
    contigs: tuple[ContigEntry, ...]
    stretches: NDArray[
        np.void
    ]  # STRETCH [num_stretches], cut to the size of a record; `contig` counts in `contigs`
    inputs: tuple[InputFile, ...]
    longest: int  # bases of the longest unbroken stretch, long enough or not


@dataclass(frozen=True, eq=False)
class SequenceJob:
    """All that scanning one file of sequences takes, in any process."""

    given: Assembly | Table
    file: str
    scratch: Path
    k: int
    rule: StretchRule


def scan_sequences(job: SequenceJob) -> ScanPart:
    """Read one FASTA file or table, a few megabases of it in memory at a time.

    Raises:
        FormatError: it cannot be read as what it should be.
    """
    source = Source(job.file)
    if isinstance(job.given, Assembly):
        name = job.given.name
        pieces: Iterable[tuple[str, Piece]] = (
            (name, piece) for piece in fasta_pieces(source, job.given.names)
        )
        kind: Kind = "assembly"
    else:
        pieces = grouped_pieces(source, job.given.columns, default_group=job.given.name)
        kind = "taxon"
    found = _Found(job, source.name)
    with open(job.scratch, "wb") as scratch:
        for component, piece in pieces:
            found.add(component, piece, scratch)
    found.end_contig()
    if not found.contigs:
        raise FormatError(job.file, "no sequence in it: give a file that has some")
    return ScanPart(
        scratch=job.scratch,
        kind=kind,
        contigs=tuple(found.contigs),
        stretches=np.concatenate([NO_STRETCHES, *found.tables]),
        inputs=(InputFile(source.name, source.sha256),),
        longest=found.longest,
    )


@dataclass
class _Contig:
    """A contig that is being read."""

    name: str
    component: str
    scratch: int  # where its letters begin
    length: int = 0
    num_soft_masked: int = 0
    ends_in_base: bool = False
    edges: list[NDArray[np.int64]] = field(default_factory=list)  # where bases begin and end, in turn


class _Found:
    def __init__(self, job: SequenceJob, source: str) -> None:
        self.job, self.source = job, source
        self.contigs: list[ContigEntry] = []
        self.tables: list[NDArray[np.void]] = []
        self.longest = 0
        self.now: _Contig | None = None
        self.written = 0

    def add(self, component: str, piece: Piece, scratch: BinaryIO) -> None:
        if piece.start == 0:
            self.end_contig()
            self.now = _Contig(piece.name, component, self.written)
        contig = self.now
        assert contig is not None
        assert piece.start == contig.length
        letters = encode_soft(piece.letters)
        scratch.write(letters.data)
        self.written += len(letters)
        is_base = np.empty(len(letters) + 1, dtype=np.bool_)
        is_base[0] = contig.ends_in_base
        np.equal(letters & NOT_A_BASE, 0, out=is_base[1:])
        contig.edges.append(contig.length + np.flatnonzero(is_base[1:] != is_base[:-1]))
        contig.ends_in_base = bool(is_base[-1])
        contig.num_soft_masked += int(np.count_nonzero(letters & SOFT))
        contig.length += len(letters)

    def end_contig(self) -> None:
        contig, self.now = self.now, None
        if contig is None:
            return
        if contig.ends_in_base:
            contig.edges.append(np.array([contig.length]))
        runs = np.concatenate(contig.edges).reshape(-1, 2)
        chosen = usable_stretches(contig.name, runs, self.job.rule)
        self.longest = max(self.longest, chosen.longest)
        self.tables.append(_table(len(self.contigs), chosen.usable, self.job.k, contig.scratch))
        self.contigs.append(
            ContigEntry(
                name=contig.name,
                component=contig.component,
                sources=(self.source,),
                length=contig.length,
                num_bases=int((chosen.usable[:, 1] - chosen.usable[:, 0]).sum()),
                num_not_bases=contig.length - int((runs[:, 1] - runs[:, 0]).sum()),
                num_soft_masked=contig.num_soft_masked,
                num_short_stretches=chosen.num_short,
                num_short_bases=chosen.num_short_bases,
                num_excluded_bases=chosen.num_excluded_bases,
            )
        )


def _table(contig: int, usable: NDArray[np.int64], k: int, scratch: int) -> NDArray[np.void]:
    parts = cut_stretches(usable, k)
    table = np.zeros(len(parts), STRETCH)
    table["contig"] = contig
    table["start"] = parts[:, 0]
    table["bases"] = parts[:, 1] - parts[:, 0]
    if len(parts) > len(usable):
        table["overlap"] = np.where(np.isin(parts[:, 0], usable[:, 0]), 0, k - 1)
    table["scratch"] = scratch + parts[:, 0]
    return table
