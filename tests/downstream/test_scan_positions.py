"""The positions of held-out genes and their truth, by hand and against the annotation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.scan import (
    Locus,
    counts,
    drawn_spans,
    held_out_loci,
    locus_of,
    merged_spans,
    sites_by_strand,
)
from dnabert_nemo.downstream.scan_rows import rule_probabilities, scanned
from dnabert_nemo.downstream.splice_dataset import SpliceDataset, load_splice_dataset
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.alphabet import decode, encode
from dnabert_nemo.genome.annotation import GeneBody, gene_bodies
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.fasta import read_fasta
from dnabert_nemo.genome.splice_sites import splice_sites, window

WIDTH = 10


def loci_of(genome: tuple[Path, Path]) -> list[Locus]:
    fasta, gff3 = genome
    transcripts = read_annotation(gff3)
    codes = {contig.name: contig.codes for contig in read_fasta(fasta)}
    sites = sites_by_strand(splice_sites(transcripts))
    return [
        locus_of(span, codes[span.contig], sites, WIDTH) for span in merged_spans(gene_bodies(transcripts))
    ]


def windows_of(locus: Locus) -> list[str]:
    return [decode(codes) for codes in sliding_window_view(locus.codes, WIDTH)[locus.offsets]]


@pytest.fixture
def sequence() -> str:
    letters = np.random.default_rng(1).choice(list("ACGT"), 200)
    letters[120] = "N"
    return "".join(letters)


def test_truth_is_each_site_once_on_the_strand_of_its_gene(
    sequence: str, write_genome: Callable[..., tuple[Path, Path]]
) -> None:
    """Two isoforms of a gene on each strand, all over one place; introns [20, 40), [50, 60) or [20, 60)."""
    isoforms = [[(10, 20), (40, 50), (60, 90)], [(10, 20), (60, 90)]]
    genome = write_genome({"1": sequence}, [("1", "+", isoforms), ("1", "-", isoforms)])
    forward, reverse = loci_of(genome)
    assert (forward.span.strand, forward.span.begin, forward.span.end) == ("+", 10, 89)
    for locus, donors, acceptors in ((forward, [20, 50], [38, 58]), (reverse, [58, 38], [50, 20])):
        starts = list(range(10, 89))
        if locus is reverse:
            starts.reverse()
        assert len(locus) == len(starts) == 79
        found = [[starts[at] for at in np.flatnonzero(locus.is_site[:, kind])] for kind in range(2)]
        assert found == [donors, acceptors]
        own = [window(encode(sequence), start, locus.span.strand, WIDTH) for start in starts]
        assert windows_of(locus) == [decode(codes) for codes in own if codes is not None]


def test_what_has_no_whole_window_is_counted_and_its_sites_too(
    sequence: str, write_genome: Callable[..., tuple[Path, Path]]
) -> None:
    """Windows of 10 begin 4 bases before their place: [0, 4) and 195 leave the contig, [115, 125) meet N."""
    exons = [(0, 3), (20, 118), (140, 194), (197, 200)]
    for strand in "+-":
        [locus] = loci_of(write_genome({"1": sequence}, [("1", strand, [exons])]))
        assert len(locus) == 199 - 4 - 4 - 10
        assert "N" not in "".join(windows_of(locus))
        left, right = ("donor", "acceptor") if strand == "+" else ("acceptor", "donor")
        assert locus.lost["outside_contig"] == {"positions": 8, left: 1, right: 0}
        assert locus.lost["not_acgt"] == {"positions": 10, left: 1, right: 0}
        assert locus.is_site.sum() == 2
        found = counts([locus, locus])
        assert found["lost"]["not_acgt"] == {"positions": 20, left: 2, right: 0}
        assert (found["genes"], found["positions"], found["donor"] + found["acceptor"]) == (2, 362, 4)


def test_genes_that_overlap_on_a_strand_are_one_and_no_position_is_there_twice(
    sequence: str, write_genome: Callable[..., tuple[Path, Path]]
) -> None:
    genes = [
        ("1", "+", [[(10, 20), (40, 60)]]),
        ("1", "+", [[(10, 20), (40, 50)]]),  # within it
        ("1", "+", [[(59, 70), (80, 90)]]),  # shares its last base
        ("1", "+", [[(90, 100)]]),  # follows at once, and shares none
        ("1", "-", [[(30, 45), (55, 65)]]),
    ]
    loci = loci_of(write_genome({"1": sequence}, genes))
    assert [(locus.span.genes, locus.span.begin, locus.span.end) for locus in loci] == [
        (("gene:1", "gene:0", "gene:2"), 10, 89),
        (("gene:3",), 90, 99),
        (("gene:4",), 30, 64),
    ]
    assert loci[0].is_site.sum(0).tolist() == [2, 2]
    assert loci[1].is_site.sum() == 0


def test_a_gene_beyond_every_window_has_no_position() -> None:
    [span] = merged_spans([GeneBody("a", "1", "+", 0, 3), GeneBody("b", "1", "+", 5, 6)])
    beyond = locus_of(span, encode("ACGTACGT"), {}, WIDTH)
    assert len(beyond) == 0
    [within] = merged_spans([GeneBody("c", "2", "+", 0, 30)])
    loci = [beyond, locus_of(within, encode("ACGTAGCTGA" * 4), {}, WIDTH), beyond]
    assert scanned("rule", rule_probabilities, loci, WIDTH).shape == (len(loci[1]), 2)


def test_genes_are_drawn_by_seed() -> None:
    spans = merged_spans([GeneBody(str(at), "1", "+", 100 * at, 100 * at + 50) for at in range(50)])
    assert drawn_spans(spans, None, 1) == spans
    drawn = [drawn_spans(spans, 10, seed) for seed in (1, 1, 2)]
    assert len(drawn[0]) == len(set(drawn[0])) == 10
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0] == sorted(drawn[0], key=lambda span: span.begin)
    for genes in (0, 51, 2.0):
        with pytest.raises(ConfigError, match=f"genes={genes}: there are 50 .*: give a number from 1 to 50"):
            drawn_spans(spans, genes, 1)


@pytest.fixture(scope="module")
def dataset(splice_dir: Path) -> SpliceDataset:
    return load_splice_dataset(splice_dir)


def test_the_sites_of_the_test_contigs_are_all_there(dataset: SpliceDataset, toy: tuple[Path, Path]) -> None:
    loci = held_out_loci(dataset, [Genome((toy[0],), (toy[1],))], genes=None, seed=1)
    assert {locus.span.contig for locus in loci} == {"5"}
    of = counts(loci)
    every = [site for site in splice_sites(read_annotation(toy[1])) if site.contig == "5"]
    for label in ("donor", "acceptor"):
        annotated = [site for site in every if site.kind == label]
        assert of[label] + sum(lost[label] for lost in of["lost"].values()) == len(annotated)
        assert of[label] > 0.9 * len(annotated)
    test = dataset.splits["test"]
    there = {
        decode(codes)
        for locus in loci
        for codes in sliding_window_view(locus.codes, dataset.window)[locus.offsets[locus.is_site.any(1)]]
    }
    sites = {each for each, label in zip(test.sequences, test.labels, strict=True) if label < 2}
    assert sites <= there


def test_windows_held_out_at_random_are_refused(
    toy: tuple[Path, Path], prepare: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "card", protocol="card", validation=None, test=None)
    with pytest.raises(ConfigError, match=r"protocol=card holds windows out at random.*protocol=hard"):
        held_out_loci(
            load_splice_dataset(tmp_path / "card"), [Genome((toy[0],), (toy[1],))], genes=None, seed=1
        )


def test_other_files_are_told(dataset: SpliceDataset, toy: tuple[Path, Path], tmp_path: Path) -> None:
    other = tmp_path / "other.fa"
    other.write_bytes(toy[0].read_bytes() + b"\n")
    with pytest.raises(FormatError, match=r"other.fa: not one of the files .*\(toy.fa, toy.gff3\)"):
        held_out_loci(dataset, [Genome((other,), (toy[1],))], genes=None, seed=1)
    with pytest.raises(FormatError, match=r"absent.gff3: no such file: check the path in input.annotation"):
        held_out_loci(dataset, [Genome((toy[0],), (tmp_path / "absent.gff3",))], genes=None, seed=1)
    with pytest.raises(ConfigError, match=r"lack toy.gff3"):
        held_out_loci(dataset, [Genome((toy[0],), (toy[0],))], genes=None, seed=1)


def test_without_a_test_contig_there_is_no_gene(
    toy: tuple[Path, Path], prepare: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "out", test=())
    with pytest.raises(ConfigError, match=r"no gene on its test contigs \(none\): prepare it with"):
        held_out_loci(
            load_splice_dataset(tmp_path / "out"), [Genome((toy[0],), (toy[1],))], genes=None, seed=1
        )
