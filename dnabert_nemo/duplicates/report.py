"""What deduplication found and by which measure, as report.json and report.md; `deduplicate` ends so."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dnabert_nemo.duplicates.signatures import Bands
from dnabert_nemo.duplicates.similarity import identity, short
from dnabert_nemo.duplicates.windows import WINDOW
from dnabert_nemo.shards.manifest import InputFile

JSON, MARKDOWN = "report.json", "report.md"
MANY_WINDOWS = 380_000_000  # a corpus to reckon with
MEMORY_BYTES = 10  # a window: its group twice over, 4 B each, and two marks
SORT_GIGABYTES = 1.6  # PART_KEYS at 48 B
_NO_BED = "Two files have a contig of one name, so there is no kept.bed: use kept/FILE.bed."


@dataclass(frozen=True)
class BigGroup:
    """One of the largest groups: where its kept window is, and how many it has."""

    file: str
    contig: str
    start: int
    end: int
    num_windows: int


@dataclass(frozen=True)
class DuplicateReport:
    """What went in, what stayed, what it took; `seconds` is not written: equal runs write the same."""

    settings: dict[str, object]
    versions: dict[str, str]
    inputs: tuple[InputFile, ...]
    bands: Bands
    chance_similarity: float  # of two random windows as long as the longest two
    chance_pairs: float  # strangers a window is expected to meet
    num_contigs: int
    num_windows: int
    num_bases: int
    num_short_bases: int  # in stretches under min_stretch: in no window, not kept
    num_not_bases: int
    num_groups: int
    num_exact: int  # windows dropped for the same bases, on either strand
    num_near: int
    num_kept: int
    num_kept_bases: int
    num_compared: int  # pairs whose similarity was worked out
    num_chained: int  # windows dropped that are less alike the kept one than max_similarity, through others
    num_packed: int
    scratch_bytes: int  # at most on disk at once
    has_one_bed: bool
    biggest: tuple[BigGroup, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)  # by stage

    @property
    def scratch_bytes_per_window(self) -> float:
        """Bytes on disk a window, with the bases of the windows that were compared."""
        return self.scratch_bytes / self.num_windows

    @property
    def key_bytes_per_window(self) -> int:
        """Bytes on disk a window before any is compared: its place, its exact key, its band keys."""
        return WINDOW.itemsize + 16 + 8 * self.bands.bands

    def write(self, folder: Path) -> None:
        """Write report.json and report.md."""
        content = asdict(self)
        del content["seconds"]
        (folder / JSON).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        (folder / MARKDOWN).write_text(self.markdown(), encoding="utf-8")

    def markdown(self) -> str:
        """Return the report as text."""
        return "\n\n".join(
            (
                "# Near-duplicate windows",
                self._counts(),
                "## What similar means\n" + self._measure(),
                "## How pairs are found\n" + self._method(),
                "## What it takes\n" + self._cost(),
                *(["## Largest groups\n" + self._largest()] if self.biggest else []),
                "## Run\n" + self._run(),
            )
        )

    def _counts(self) -> str:
        counts = {
            "in": self.num_windows,
            "dropped: the bases of another, on either strand": self.num_exact,
            "dropped: similar": self.num_near,
            "kept": self.num_kept,
        }
        rows = [
            (what, f"{count:,}", f"{100 * count / self.num_windows:.2f} %") for what, count in counts.items()
        ]
        text = _paragraph(
            f"{self.num_groups:,} groups, of each of which one window stays: the longest, the first of the",
            f"longest. Kept are {self.num_kept_bases:,} of {self.num_bases:,} bases. In no window, and not",
            f"kept: {self.num_short_bases:,} bases in stretches under min_stretch and {self.num_not_bases:,}",
            "letters other than A, C, G, T.",
            *(() if self.has_one_bed else (_NO_BED,)),
        )
        return f"{_table(('windows', 'number', 'share'), rows)}\n\n{text}"

    def _measure(self) -> str:
        k, threshold = int(str(self.settings["k"])), float(str(self.settings["max_similarity"]))
        return _paragraph(
            f"Similarity is the Jaccard index of the sets of canonical {k}-mers of two windows: those in",
            "both over those in either, a k-mer and its reverse complement being one. It is worked out from",
            f"the bases; MinHash only finds which pairs to look at. Windows of {threshold} or more are",
            f"near-duplicates: about {100 * identity(threshold, k):.1f} % identical bases, by substitutions",
            "alone (1 + ln(2J / (1 + J)) / k; Mash, Ondov et al. 2016). A copy that lies otherwise in its",
            "windows shares less: shifted by half a window, a third. Two random windows of this length share",
            f"{short(self.chance_similarity)}.",
        )

    def _method(self) -> str:
        threshold = float(str(self.settings["max_similarity"]))
        rows, bands = self.bands.rows, self.bands.bands
        return _paragraph(
            f"{bands} bands of {rows} MinHash values: windows of similarity s meet with probability",
            f"1 - (1 - s^{rows})^{bands}, that is {self.bands.chance_to_meet(threshold):.3f} at {threshold}",
            f"and more above it. A window meets {self.chance_pairs:.2g} random strangers.",
            f"{self.num_compared:,} pairs were compared. Groups are what similar pairs connect, so a window",
            "may be less alike the kept one than it is to others between; of the dropped windows,",
            f"{self.num_chained:,} are under {threshold}. groups.tsv has the similarity of each.",
        )

    def _cost(self) -> str:
        keys = self.key_bytes_per_window
        disk, memory = (bytes_each * MANY_WINDOWS / 1e9 for bytes_each in (keys, MEMORY_BYTES))
        many = f"{MANY_WINDOWS / 1e6:.0f} M"
        return _paragraph(
            f"Disk: the place of a window {WINDOW.itemsize} B, its exact key 16 B, {self.bands.bands} band",
            f"keys of 8 B, so {keys} B a window; a quarter of a byte a base for the {self.num_packed:,}",
            f"windows compared. Here that was {self.scratch_bytes_per_window:,.0f} B a window in all.",
            f"Memory: {MEMORY_BYTES} B a window, 32 B a pair of candidates, {SORT_GIGABYTES} GB at most for",
            f"the part of a band that is being sorted. {MANY_WINDOWS:,} windows take {keys} B x {many} =",
            f"{disk:.0f} GB of disk, and {MEMORY_BYTES} B x {many} + {SORT_GIGABYTES} GB =",
            f"{memory + SORT_GIGABYTES:.1f} GB of memory, and what the candidates take.",
        )

    def _largest(self) -> str:
        rows = [
            (f"{one.num_windows:,}", one.file, one.contig.replace("|", "\\|"), f"{one.start}", f"{one.end}")
            for one in self.biggest
        ]
        return _table(("windows", "file of the kept one", "contig", "start", "end"), rows)

    def _run(self) -> str:
        rows = [(key, str(value)) for key, value in (*self.settings.items(), *self.versions.items())]
        rows += [(file.name, f"sha256 {file.sha256}") for file in self.inputs]
        return _table(("what", "value"), rows) + "\n"


def _paragraph(*parts: str) -> str:
    return textwrap.fill(" ".join(parts), 110, break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
