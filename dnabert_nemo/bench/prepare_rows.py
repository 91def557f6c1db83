"""Rows of FASTA.gz to finished shards: speed, memory and disk of the whole command, on a made-up genome."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dnabert_nemo.bench.id_rows import SAMPLE
from dnabert_nemo.bench.made_up import write_genome
from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.timing import Measured, best_of, run_measured
from dnabert_nemo.data.sampling import MIN_TOKENS
from dnabert_nemo.shards.manifest import Manifest

_TARGET = 15  # Mbase/s a core
_TARGET_MEMORY = 1.0  # GB
_TWO_BIT = 0.25  # bytes a base
_A_CONTIG_AT_A_TIME = "import sys, dnaio; sum(1 for _ in dnaio.open(sys.argv[1]))"


@dataclass(frozen=True)
class Prepared:
    """A made-up genome and what preparing it took."""

    fasta: Path
    contigs: list[int]  # bases of each
    shards: Path
    runs: list[Measured]

    @property
    def usable_bases(self) -> int:
        """Bases that are in the shards."""
        return sum(Manifest.read(split).num_bases for split in self.shards.iterdir())


def prepare(examples: Path, folder: Path, bases: int, k: int, seed: int, repeats: int = 1) -> Prepared:
    """Write a genome and run `prepare_shards.py` on it, with one worker."""
    folder.mkdir(parents=True)
    fasta, shards = folder / "genome.fa.gz", folder / "shards"
    contigs = write_genome(fasta, bases, seed)
    command = [sys.executable, str(examples / "prepare_shards.py"), "--config-name", "prepare_shards"]
    command += [f"input.fasta=[{fasta.name}]", f"output_dir={shards.name}", f"tokenizer.k={k}"]
    command += ["num_workers=1", "overwrite=true"]
    return Prepared(fasta, contigs, shards, [run_measured(command, folder) for _ in range(repeats)])


def prepare_rows(
    *, genome_bases: int, text_bases: int, k: int, repeats: int, seed: int, examples: Path, folder: Path
) -> Iterator[Row]:
    """Prepare a genome of `genome_bases`, and write the text of its first `text_bases`."""
    done = prepare(examples, folder / "prepare", genome_bases, k, seed, repeats)
    text = folder / "prepare" / "text"
    written = [0]

    def write_text() -> None:
        written[0] = write_kmer_text(done.fasta, text, k, text_bases, seed)

    peer = best_of(repeats, write_text)
    about = f"{genome_bases / 1e6:,.4g} Mb in {len(done.contigs):,} contigs, num_workers=1"
    for clock, least in (("clock", "wall"), ("processor", "cpu")):
        seconds = min(getattr(each.timing, least) for each in done.runs)
        yield Row(
            f"FASTA.gz to shards, k = {k}, by the {clock}",
            genome_bases / seconds / 1e6,
            "Mbase/s" if clock == "clock" else "Mbase/s a core",
            "DNABERT's k-mer text: Python slices joined by spaces",
            written[0] / getattr(peer, least) / 1e6,
            target=_TARGET,
            note=f"{about}; {seconds:.1f} s; the peer on {written[0] / 1e6:.3g} Mb",
        )
    reader = run_measured([sys.executable, "-c", _A_CONTIG_AT_A_TIME, str(done.fasta)], folder)
    whole = (
        ("of its largest process", max(each.peak_process for each in done.runs), reader.peak_process),
        ("of all processes together", max(each.peak_together for each in done.runs), reader.peak_together),
    )
    for which, peak, contig in whole:
        yield Row(
            f"resident memory {which}",
            peak / 1e9,
            "GB",
            "dnaio, which reads a contig at a time and keeps none",
            contig / 1e9,
            target=_TARGET_MEMORY,
            lower_is_better=True,
            note=f"longest contig {max(done.contigs) / 1e6:,.4g} Mb",
        )
    on_disk = sum(file.stat().st_size for file in done.shards.rglob("*") if file.is_file())
    peers = (
        (f"DNABERT's k-mer text, k = {k}", text.stat().st_size / written[0], "measured on its bases"),
        ("2-bit", _TWO_BIT, "no ids, no case, no N"),
    )
    for name, size, note in peers:
        yield Row(
            "disk: the shard set",
            on_disk / done.usable_bases,
            "B/base",
            name,
            size,
            lower_is_better=True,
            note=note,
        )


def write_kmer_text(fasta: Path, path: Path, k: int, bases: int, seed: int) -> int:
    """Write the first `bases` of a FASTA.gz as DNABERT's pre-training text; return how many bases there were.

    Pieces end to end, half of them of 510 k-mers and half of 5 to 510, a line each, as slices of a string.
    """
    rng = np.random.default_rng(seed)
    letters: list[str] = []
    num_letters = 0
    with gzip.open(fasta, "rt") as lines:
        for line in lines:
            if not line.startswith(">"):
                letters.append(line.rstrip())
                num_letters += len(letters[-1])
            if num_letters >= bases:
                break
    sequence = "".join(letters)[:bases]
    with open(path, "w") as text:
        first = 0
        while first < len(sequence):
            length = SAMPLE if rng.random() < 0.5 else int(rng.integers(MIN_TOKENS, SAMPLE + 1))
            piece = sequence[first : first + length + k - 1]
            text.write(" ".join([piece[at : at + k] for at in range(len(piece) - k + 1)]) + "\n")
            first += len(piece)
    return len(sequence)
