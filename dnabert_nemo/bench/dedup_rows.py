"""Rows of the near-duplicate search: windows a second, bytes a window and their slope, on made-up windows."""

from __future__ import annotations

import json
import logging
import math
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dnabert_nemo.bench.made_up import windows, write_windows
from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.timing import Measured, best_of, run_measured
from dnabert_nemo.duplicates.signatures import choose_bands

_PEER = "datasketch: MinHash of k-mers as bytes, MinHashLSH"
_FOR_MEMORY = 50  # windows of the peer: what is traced is slow


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Peer:
    """What the search takes with datasketch."""

    windows_per_core_second: float
    windows_per_second: float
    disk: float  # bytes a window, serialised
    memory: float  # bytes a window


def dedup_rows(
    *,
    sizes: Sequence[Sequence[int]],
    peer_windows: int,
    k: int,
    max_similarity: float,
    recall: float,
    repeats: int,
    seed: int,
    examples: Path,
    folder: Path,
) -> Iterator[Row]:
    """Run `deduplicate.py` on each of `sizes`, (windows, bases of each), and the peer on `peer_windows`."""
    work = folder / "dedup"
    work.mkdir()
    command = [sys.executable, str(examples / "deduplicate.py"), "--config-name", "deduplicate"]
    options = [f"k={k}", f"max_similarity={max_similarity}", f"recall={recall}", "num_workers=1"]
    options += ["overwrite=true", "output_dir=found", "input.fasta=[windows.fa]"]
    start = run_measured([*command, "--cfg", "job", *options], work)
    seconds: list[float] = []
    peaks: list[int] = []
    for num_windows, bases in sizes:
        write_windows(work / "windows.fa", num_windows, bases, seed)
        done = [run_measured([*command, *options, f"window={bases}"], work) for _ in range(repeats)]
        report = json.loads((work / "found" / "report.json").read_text())
        peer = datasketch_peer(peer_windows, bases, k, max_similarity, recall, seed)
        seconds.append(min(each.timing.cpu for each in done) - start.timing.cpu)
        peaks.append(max(each.peak_together for each in done))
        yield from _size_rows(num_windows, bases, done, report, peer)
    (work / "windows.fa").unlink()
    if len(sizes) > 1 and sizes[0][1] == sizes[1][1]:
        yield from _growth_rows(sizes, seconds, peaks, start.timing.cpu)


def _growth_rows(
    sizes: Sequence[Sequence[int]], seconds: Sequence[float], peaks: Sequence[int], start: float
) -> Iterator[Row]:
    (few, bases), (many, _) = sizes[0], sizes[1]
    if min(seconds[:2]) > start:  # less is noise
        yield Row(
            f"dedup, slope from {few:,} to {many:,} windows of {bases:,}",
            math.log(seconds[1] / seconds[0]) / math.log(many / few),
            "",
            "linear",
            1.0,
            lower_is_better=True,
            note=f"log of core seconds over log of windows, less {start:.2g} s to start",
        )
    else:
        log.warning(f"no slope: {few:,} and {many:,} windows take less than starting does, {start:.2g} s")
    yield Row(
        f"dedup, memory that a window adds, {few:,} to {many:,} of {bases:,}",
        (peaks[1] - peaks[0]) / (many - few),
        "B/window",
        lower_is_better=True,
        note="from the two peaks",
    )


def _size_rows(
    num_windows: int, bases: int, done: Sequence[Measured], report: dict[str, Any], peer: Peer | None
) -> Iterator[Row]:
    name = f"dedup, {num_windows:,} windows of {bases:,}"
    absent = "" if peer else "pip install dnabert_nemo[bench]: datasketch is not installed"
    dropped = report["num_windows"] - report["num_kept"]
    wall = min(each.timing.wall for each in done)
    yield Row(
        f"{name}: by the clock",
        num_windows / wall,
        "windows/s",
        _PEER,
        None if peer is None else peer.windows_per_second,
        note=absent or f"the whole command, {wall:.1f} s; {dropped:,} dropped",
    )
    yield Row(
        f"{name}: by the processor",
        num_windows / min(each.timing.cpu for each in done),
        "windows/s a core",
        _PEER,
        None if peer is None else peer.windows_per_core_second,
        note=absent or "the whole command; the peer has no second strand and compares no pairs",
    )
    yield Row(
        f"{name}: disk",
        report["scratch_bytes"] / report["num_windows"],
        "B/window",
        "datasketch: LeanMinHash, serialised",
        None if peer is None else peer.disk,
        lower_is_better=True,
        note=absent or "with the bases of those compared",
    )
    peak = max(each.peak_together for each in done)
    yield Row(
        f"{name}: memory",
        peak / num_windows,
        "B/window",
        "datasketch: signatures and MinHashLSH, as traced",
        None if peer is None else peer.memory,
        lower_is_better=True,
        note=absent or f"peak {peak / 1e6:,.0f} MB, Python and its libraries in it",
    )


def datasketch_peer(
    num_windows: int, bases: int, k: int, max_similarity: float, recall: float, seed: int
) -> Peer | None:
    """Search `num_windows` windows with datasketch, with as many bands as ours; None where it is missing."""
    if find_spec("datasketch") is None:
        return None
    from datasketch import LeanMinHash, MinHash, MinHashLSH

    bands = choose_bands(max_similarity, recall)
    hashes = bands.rows * bands.bands
    letters = [window.tobytes() for window in windows(num_windows, bases, seed)]

    def search(some: Sequence[bytes]) -> tuple[object, list[object]]:
        index = MinHashLSH(threshold=max_similarity, num_perm=hashes, params=(bands.bands, bands.rows))
        signatures = []
        for number, window in enumerate(some):
            signature = MinHash(num_perm=hashes)
            signature.update_batch({window[at : at + k] for at in range(len(window) - k + 1)})
            index.query(signature)
            index.insert(number, signature)
            signatures.append(signature)
        return index, signatures

    timing = best_of(1, lambda: search(letters))
    few = letters[:_FOR_MEMORY]
    search(few[:1])  # what is made once for all is none of a window's
    tracemalloc.start()
    held, signatures = search(few)
    memory, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del held
    disk = LeanMinHash(signatures[0]).bytesize()
    return Peer(num_windows / timing.cpu, num_windows / timing.wall, disk, memory / len(few))
