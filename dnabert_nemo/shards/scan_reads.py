"""The first pass over a sample of reads: those kept and drawn go to a scratch file; `survey` asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import SOFT, encode_soft, unbroken_stretches
from dnabert_nemo.genome.fastq import ReadSample, kept_reads
from dnabert_nemo.genome.read_report import ReadTally
from dnabert_nemo.genome.reservoir import Reservoir, equal_portion
from dnabert_nemo.shards.corpus import Reads
from dnabert_nemo.shards.manifest import ContigEntry, InputFile
from dnabert_nemo.shards.records import BLOCK_BASES, STRETCH, cut_stretches
from dnabert_nemo.shards.scan import ScanPart
from dnabert_nemo.shards.stretches import StretchRule, usable_stretches

# A unit is a read, or a pair of mates: it is kept, drawn and split whole.
UNIT = np.dtype(
    [
        ("slot", "<i8"),  # of the reservoir
        ("letters", "<i8"),
        ("not_bases", "<i8"),
        ("soft_masked", "<i8"),
        ("short_stretches", "<i8"),
        ("short_bases", "<i8"),
        ("longest", "<i8"),
    ]
)
_UNIT_STRETCH = np.dtype([("unit", "<i8"), *(field for field in STRETCH.descr if field[0] != "contig")])
_ROWS_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class ReadJob:
    """All that scanning one sample takes, in any process."""

    sample: ReadSample
    given: Reads
    scratch: Path
    k: int
    rule: StretchRule
    seed: int


@dataclass(frozen=True, eq=False)
class SampleScan:
    """The units of a sample that were drawn, in file order."""

    job: ReadJob
    tally: ReadTally
    units: NDArray[np.void]  # UNIT [num_units]
    stretches: NDArray[np.void]  # STRETCH [num_stretches]
    unit_of: NDArray[np.int64]  # [num_stretches]

    def only(self, chosen: NDArray[np.bool_]) -> SampleScan:
        """Keep these units, bool [num_units]."""
        is_kept = chosen[self.unit_of]
        number = np.cumsum(chosen) - 1
        return replace(
            self,
            units=self.units[chosen],
            stretches=self.stretches[is_kept],
            unit_of=number[self.unit_of[is_kept]],
        )

    def part(self) -> ScanPart:
        """Describe the sample as one contig."""
        units, sample = self.units, self.job.sample
        self.tally.num_sampled = len(units)
        entry = ContigEntry(
            name=sample.name,
            component=sample.name,
            sources=tuple(Path(file).name for file in (*sample.files, *sample.mates)),
            length=int(units["letters"].sum()),
            num_bases=int(
                self.stretches["bases"].sum(dtype=np.int64) - self.stretches["overlap"].sum(dtype=np.int64)
            ),
            num_not_bases=int(units["not_bases"].sum()),
            num_soft_masked=int(units["soft_masked"].sum()),
            num_short_stretches=int(units["short_stretches"].sum()),
            num_short_bases=int(units["short_bases"].sum()),
            num_excluded_bases=0,
        )
        inputs = tuple(InputFile(Path(file).name, sha256) for file, sha256 in self.tally.sha256.items())
        longest = int(units["longest"].max(initial=0))
        return ScanPart(self.job.scratch, "sample", (entry,), self.stretches, inputs, longest)


def scan_reads(job: ReadJob) -> SampleScan:
    """Read one sample and draw from what the filter keeps; what is drawn goes to the scratch file.

    Raises:
        FormatError: a file cannot be read as FASTQ, or mates do not belong together.
    """
    tally = job.sample.tally()
    reservoir = Reservoir(job.given.reads_per_sample, job.seed, job.sample.name)
    file_number = {file: number for number, file in enumerate((*job.sample.files, *job.sample.mates))}
    units, stretches = _Table(UNIT), _Table(_UNIT_STRETCH)
    written = num_units = 0
    with open(job.scratch, "wb") as scratch:
        for unit in kept_reads(job.sample, job.given.filter, tally):
            slot = reservoir.offer()
            if slot is None:
                continue
            counts = [0] * 5
            longest = 0
            for read in unit:
                found, read_counts, read_longest = _stretches_of(read.letters, job)
                counts = [sum(pair) for pair in zip(counts, read_counts, strict=True)]
                longest = max(longest, read_longest)
                name = read.name.encode("ascii", "replace")
                scratch.write(name)
                scratch.write(encode_soft(read.letters).data)
                written += len(name)
                for start, bases, overlap in found:
                    at = written + start
                    stretches.append(num_units, start, bases, overlap, file_number[read.file], len(name), at)
                written += len(read.letters)
            units.append(slot, *counts, longest)
            num_units += 1
    drawn = units.rows()
    rows = stretches.rows()
    table = np.zeros(len(rows), dtype=STRETCH)
    for field in (_UNIT_STRETCH.names or ())[1:]:
        table[field] = rows[field]
    # a slot that was drawn for again has its last unit only
    last = np.zeros(int(drawn["slot"].max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(last, drawn["slot"], np.arange(len(drawn)))
    scan = SampleScan(job, tally, drawn, table, rows["unit"])
    return scan.only(last[drawn["slot"]] == np.arange(len(drawn)))


def _stretches_of(letters: bytes, job: ReadJob) -> tuple[list[tuple[int, int, int]], tuple[int, ...], int]:
    """Return (start, bases, overlap) of each stretch of a read, its counts as in UNIT, its longest one."""
    length = len(letters)
    if length <= BLOCK_BASES and not letters.translate(None, b"ACGT"):  # nearly every read
        if length >= job.rule.min_stretch:
            return [(0, length, 0)], (length, 0, 0, 0, 0), length
        return [], (length, 0, 0, 1, length), length
    codes = encode_soft(letters)
    runs = unbroken_stretches(codes & np.uint8(SOFT - 1))
    chosen = usable_stretches("", runs, job.rule)
    parts = [
        (start, end - start, 0 if start in chosen.usable[:, 0] else job.k - 1)
        for start, end in cut_stretches(chosen.usable, job.k).tolist()
    ]
    counts = (
        length,
        length - int((runs[:, 1] - runs[:, 0]).sum()),
        int(np.count_nonzero(codes & SOFT)),
        chosen.num_short,
        chosen.num_short_bases,
    )
    return parts, counts, chosen.longest


def with_equal_portions(samples: Sequence[SampleScan]) -> list[SampleScan]:
    """Cut the samples of each input that asks for it to as many units as its sample with fewest has.

    Raises:
        ConfigError: a sample of such an input has none.
    """
    held: dict[str, dict[str, int]] = {}
    for sample in samples:
        held.setdefault(sample.job.given.name, {})[sample.job.sample.name] = len(sample.units)
    portions = []
    for sample in samples:
        if sample.job.given.equal_portions:
            rows = equal_portion(held[sample.job.given.name], sample.job.sample.name, sample.job.seed)
            chosen = np.zeros(len(sample.units), dtype=np.bool_)
            chosen[rows] = True
            sample = sample.only(chosen)
        portions.append(sample)
    return portions


class _Table:
    """A table that grows by a row at a time; rows are packed soon, since a tuple is ten times as big."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self.dtype = dtype
        self.fresh: list[tuple[int, ...]] = []
        self.packed = [np.empty(0, dtype=dtype)]

    def append(self, *row: int) -> None:
        self.fresh.append(row)
        if len(self.fresh) == _ROWS_AT_ONCE:
            self._pack()

    def rows(self) -> NDArray[np.void]:
        self._pack()
        return np.concatenate(self.packed)

    def _pack(self) -> None:
        self.packed.append(np.array(self.fresh, dtype=self.dtype))
        self.fresh = []
