"""The toy genome, the splice data set made of it, and a writer of small genomes by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.prepare import SpliceSettings, prepare_splice
from dnabert_nemo.genome.toy import write_toy_genome
from dnabert_nemo.shards.splits import SplitSettings

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
Exons = Sequence[tuple[int, int]]  # [start, end), 0-based, on the forward strand
Gene = tuple[str, str, Sequence[Exons]]  # contig, strand, transcripts


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """FASTA and GFF3 of the toy genome: five chromosomes of 60 kb."""
    return write_toy_genome(tmp_path_factory.mktemp("toy"), seed=1)


@pytest.fixture(scope="session")
def prepare() -> Callable[..., dict[str, Any]]:
    """Prepare a data set of one FASTA and one GFF3, or of genomes; contigs 4 and 5 are held out unless told
    otherwise.
    """

    def run(genome: tuple[Path, Path] | Sequence[Genome], output_dir: Path, **changed: Any) -> dict[str, Any]:
        settings = {
            key: changed.pop(key) for key in ("protocol", "window", "per_class", "seed") if key in changed
        }
        split = {"validation": ("4",), "test": ("5",), "fractions": FRACTIONS}
        split |= {key: changed.pop(key) for key in split if key in changed}
        genomes = genome if isinstance(genome[0], Genome) else [Genome((genome[0],), (genome[1],))]
        return prepare_splice(
            genomes, output_dir, SpliceSettings(**settings), SplitSettings(**split), **changed
        )

    return run


@pytest.fixture(scope="session")
def splice_dir(
    toy: tuple[Path, Path], prepare: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of the toy genome's data set, for tests that only read."""
    output_dir = tmp_path_factory.mktemp("splice") / "toy"
    prepare(toy, output_dir)
    return output_dir


@pytest.fixture
def write_genome(tmp_path: Path) -> Callable[[dict[str, str], Sequence[Gene]], tuple[Path, Path]]:
    """Write contigs and genes given by hand as FASTA and GFF3."""

    def write(contigs: dict[str, str], genes: Sequence[Gene]) -> tuple[Path, Path]:
        fasta, gff3 = tmp_path / "hand.fa", tmp_path / "hand.gff3"
        fasta.write_text("".join(f">{name}\n{sequence}\n" for name, sequence in contigs.items()))
        rows = ["##gff-version 3"]
        for number, (contig, strand, transcripts) in enumerate(genes):
            for isoform, exons in enumerate(transcripts):
                name = f"{number}.{isoform}"
                rows.append(
                    f"{contig}\t.\tmRNA\t1\t2\t.\t{strand}\t.\tID=transcript:{name};Parent=gene:{number}"
                )
                rows += [
                    f"{contig}\t.\texon\t{start + 1}\t{end}\t.\t{strand}\t.\tParent=transcript:{name}"
                    for start, end in exons
                ]
        gff3.write_text("\n".join(rows) + "\n")
        return fasta, gff3

    return write
