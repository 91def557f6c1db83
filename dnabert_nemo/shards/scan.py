"""The first pass over a genome: contigs stream by, usable bases go to a scratch file; before `writer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import BASES, unbroken_stretches
from dnabert_nemo.genome.fasta import read_fastas
from dnabert_nemo.shards.manifest import ContigEntry
from dnabert_nemo.shards.records import STRETCH, cut_stretches

_CHUNK = 1 << 20  # bases counted at once: bincount widens each to 8 bytes

# What is counted of a contig; the first field is of its usable bases, by base.
COUNTS = np.dtype(
    [
        ("bases", "<i8", (len(BASES),)),
        ("short_stretches", "<i8"),
        ("short_bases", "<i8"),
        ("not_bases", "<i8"),
    ]
)


@dataclass(frozen=True)
class Scan:
    """What the input holds; stretches and contigs stand in the order of the input."""

    contigs: list[ContigEntry]
    counts: NDArray[np.void]  # COUNTS [num_contigs]
    stretches: NDArray[np.void]  # STRETCH [num_stretches], cut to the size of a record

    @property
    def usable_bases(self) -> NDArray[np.int64]:
        """The bases of each contig that are in stretches long enough: int64 [num_contigs]."""
        total: NDArray[np.int64] = self.counts["bases"].sum(axis=1)
        return total


def scan_genome(fasta: Sequence[Path], scratch: Path, k: int, min_stretch: int) -> Scan:
    """Read all contigs, one in memory at a time, and write the codes of their usable stretches to `scratch`.

    A stretch is usable with at least `min_stretch` bases.

    Raises:
        FormatError: a file cannot be read as FASTA, a contig's name comes twice, or no stretch is usable.
    """
    contigs: list[ContigEntry] = []
    counts: list[NDArray[np.void]] = []
    tables: list[NDArray[np.void]] = []
    longest = 0
    written = 0
    with open(scratch, "wb") as file:
        for contig in read_fastas(fasta):
            found = unbroken_stretches(contig.codes)
            lengths = found[:, 1] - found[:, 0]
            is_usable = lengths >= min_stretch
            usable = found[is_usable]
            longest = max(longest, int(lengths.max(initial=0)))
            count = np.zeros((), COUNTS)
            count["short_stretches"] = np.count_nonzero(~is_usable)
            count["short_bases"] = lengths[~is_usable].sum()
            count["not_bases"] = len(contig.codes) - lengths.sum()
            for start, end in usable.tolist():
                file.write(contig.codes[start:end].data)
                for chunk in range(start, end, _CHUNK):
                    count["bases"] += np.bincount(contig.codes[chunk : min(chunk + _CHUNK, end)], minlength=4)
            tables.append(_table(len(contigs), usable, k, written))
            counts.append(count)
            contigs.append(ContigEntry(contig.name, contig.source.name, len(contig.codes)))
            written += int(lengths[is_usable].sum())
            del contig  # before the next one is read
    if not written:
        others = f" nor in the {len(fasta) - 1} files after it" if len(fasta) > 1 else ""
        problem = f"no stretch of {min_stretch} bases of A, C, G, T in it{others}, the longest has {longest}"
        raise FormatError(fasta[0], f"{problem}: lower min_stretch or give other sequence")
    return Scan(contigs, np.array(counts), np.concatenate(tables))


def _table(contig: int, usable: NDArray[np.int64], k: int, written: int) -> NDArray[np.void]:
    parts = cut_stretches(usable, k)
    # Usable stretches lie end to end in the scratch file: subtract what was left out before each.
    stretch = np.searchsorted(usable[:, 0], parts[:, 0], side="right") - 1
    lengths = usable[:, 1] - usable[:, 0]
    scratch_of_stretch = written + np.cumsum(lengths) - lengths
    table = np.empty(len(parts), STRETCH)
    table["contig"] = contig
    table["start"] = parts[:, 0]
    table["bases"] = parts[:, 1] - parts[:, 0]
    table["scratch"] = scratch_of_stretch[stretch] + parts[:, 0] - usable[stretch, 0]
    return table
