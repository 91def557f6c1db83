"""What became of the reads of each sample: counted while `fastq` reads, written beside the shards."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dnabert_nemo.genome.read_filter import KEPT, REASONS, Reason

_COLUMNS = (
    "sample", "unit", "in", "kept", *REASONS, "sampled", "adapters", "bases_in", "bases_kept",
    "unknown_kept", "mean_quality_in", "mean_quality_kept", "labels",
)  # fmt: skip


@dataclass
class ReadTally:
    """Counts of one sample. A unit is a read, or a pair where the sample has mates; bases count both mates.

    At any time num_in = num_kept + num_dropped.
    """

    sample: str
    is_paired: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    num_in: int = 0  # units read
    num_kept: int = 0  # units that passed the filter
    dropped: dict[Reason, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))  # units
    num_sampled: int = 0  # units of the kept that were drawn for the set; the caller counts them
    num_adapters: int = 0  # reads, not pairs, in which an adapter was found
    num_bases_in: int = 0
    num_bases_kept: int = 0
    num_unknown_kept: int = 0  # letters other than A, C, G and T in what was kept
    phred_in: int = 0  # sum of the Phred scores of all bases read
    phred_kept: int = 0
    sha256: dict[str, str] = field(default_factory=dict)  # of every file read to its end, by its path

    def count(self, verdict: int, num_bases: int, phred: int, num_unknown: int) -> None:
        """Count a unit by the verdict on it, and what trimming left of it: both mates together."""
        self.num_in += 1
        if verdict != KEPT:
            self.dropped[REASONS[verdict]] += 1
            return
        self.num_kept += 1
        self.num_bases_kept += num_bases
        self.phred_kept += phred
        self.num_unknown_kept += num_unknown

    @property
    def num_dropped(self) -> int:
        """Units that the filter dropped, for whatever reason."""
        return sum(self.dropped.values())

    @property
    def mean_quality_in(self) -> float:
        """Mean Phred score of the bases read, 0 where there were none."""
        return self.phred_in / max(self.num_bases_in, 1)

    @property
    def mean_quality_kept(self) -> float:
        """Mean Phred score of the bases kept, 0 where there are none."""
        return self.phred_kept / max(self.num_bases_kept, 1)

    def summary(self) -> str:
        """Say in one line, for the log, what became of the reads."""
        unit = "pairs" if self.is_paired else "reads"
        share = 100 * self.num_kept / max(self.num_in, 1)
        reasons = [f"{count:,} {reason.replace('_', ' ')}" for reason, count in self.dropped.items() if count]
        line = f"sample {self.sample}: {self.num_in:,} {unit}, {self.num_kept:,} kept ({share:.1f} %)"
        line += f"; dropped: {', '.join(reasons)}" if reasons else ""
        line += f"; {self.num_adapters:,} adapters cut off" if self.num_adapters else ""
        line += f"; mean quality {self.mean_quality_in:.1f} -> {self.mean_quality_kept:.1f}"
        return line + f"; {self.num_sampled:,} sampled"


def write_read_report(tallies: Iterable[ReadTally], folder: str | Path) -> Path:
    """Write `samples.tsv` to `folder`, a row a sample in the order given, and return its path."""
    path = Path(folder) / "samples.tsv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, delimiter="\t", lineterminator="\n")
        rows.writerow(_COLUMNS)
        for tally in tallies:
            assert tally.num_in == tally.num_kept + tally.num_dropped
            rows.writerow(_row(tally))
    return path


def _row(tally: ReadTally) -> list[str | int]:
    return [
        tally.sample,
        "pair" if tally.is_paired else "read",
        tally.num_in,
        tally.num_kept,
        *(tally.dropped[reason] for reason in REASONS),
        tally.num_sampled,
        tally.num_adapters,
        tally.num_bases_in,
        tally.num_bases_kept,
        tally.num_unknown_kept,
        f"{tally.mean_quality_in:.3f}",
        f"{tally.mean_quality_kept:.3f}",
        json.dumps(tally.labels, ensure_ascii=False),
    ]
