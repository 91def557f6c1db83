"""Splice sites against a base-by-base count, windows on both strands, and the counts of real genomes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.genome.alphabet import decode, encode, reverse_complement
from dnabert_nemo.genome.annotation import Transcript, check_against_contigs, gene_bodies
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.fasta import read_fasta
from dnabert_nemo.genome.splice_sites import MIN_INTRON, SpliceSite, introns, splice_sites, window


def transcript(exons, strand="+", name="t", contig="1") -> Transcript:
    return Transcript(name, "g", contig, strand, tuple(exons))


def test_donor_and_acceptor_swap_ends_with_the_strand():
    exons = [(0, 10), (20, 30), (50, 60)]
    assert introns(transcript(exons)) == [(10, 20), (30, 50)]
    found = [(site.start, site.kind) for site in splice_sites([transcript(exons)])]
    assert found == [(10, "donor"), (18, "acceptor"), (30, "donor"), (48, "acceptor")]
    found = [(site.start, site.kind) for site in splice_sites([transcript(exons, "-")])]
    assert found == [(10, "acceptor"), (18, "donor"), (30, "acceptor"), (48, "donor")]


def test_shared_sites_count_once_and_order_of_transcripts_does_not_matter():
    isoforms = [
        transcript([(0, 10), (20, 30), (50, 60)], name="t"),
        transcript([(0, 10), (50, 60)], name="u"),
        transcript([(0, 10), (20, 30), (50, 70)], name="v"),
        transcript([(0, 10), (20, 30)], "-", name="w"),
        transcript([(0, 10), (20, 30)], contig="0", name="x"),
    ]
    sites = splice_sites(isoforms)
    assert len(sites) == len(set(sites)) == 4 + 2 + 2
    assert sites == splice_sites(reversed(isoforms))
    assert sites[0] == SpliceSite("0", "+", "donor", 10)


def test_a_gap_without_room_for_both_sites_is_no_intron():
    assert introns(transcript([(0, 10), (10 + MIN_INTRON - 1, 30)])) == []
    assert introns(transcript([(0, 10), (10 + MIN_INTRON, 30)])) == [(10, 14)]
    assert splice_sites([transcript([(0, 10)])]) == []


@given(st.lists(st.integers(0, 200), min_size=2, max_size=12, unique=True).map(sorted), st.sampled_from("+-"))
def test_introns_are_the_bases_of_the_transcript_in_no_exon(edges, strand):
    exons = list(zip(edges[::2], edges[1::2], strict=False))
    in_exon = {base for start, end in exons for base in range(start, end)}
    in_gap = [base for base in range(exons[0][0], exons[-1][1]) if base not in in_exon]
    runs = np.split(np.array(in_gap), np.flatnonzero(np.diff(in_gap) > 1) + 1) if in_gap else []
    wanted = [(int(run[0]), int(run[-1]) + 1) for run in runs if len(run) >= MIN_INTRON]
    assert introns(transcript(exons, strand)) == wanted
    bases = sorted(base for start, end in wanted for base in (start, end - 2))
    assert sorted(site.start for site in splice_sites([transcript(exons, strand)])) == bases


@given(st.text("ACGTN", min_size=2, max_size=60), st.data())
def test_window_has_the_pair_in_its_middle_on_either_strand(sequence, data):
    codes = encode(sequence)
    start = data.draw(st.integers(0, len(sequence) - 2))
    half = data.draw(st.integers(1, 12))
    forward = window(codes, start, "+", 2 * half)
    backward = window(codes, start, "-", 2 * half)
    if start + 1 < half or start + 1 + half > len(sequence):
        assert forward is None and backward is None
        return
    assert forward is not None and backward is not None
    assert len(forward) == len(backward) == 2 * half
    assert decode(forward[half - 1 : half + 1]) == sequence[start : start + 2]
    pair = decode(reverse_complement(encode(sequence[start : start + 2])))
    assert decode(backward[half - 1 : half + 1]) == pair
    assert decode(forward) == sequence[start + 1 - half : start + 1 + half]
    assert reverse_complement(backward).tolist() == forward.tolist()


# contigs' bases, genes, transcripts, unique donors and acceptors, share of unique introns from GT and to AG
REAL = {
    "regions": (8_210_701, 97, 945, 1_224, 1_194, 98.6, 99.9),
    "minig_genes": (3_251_289, 43, 489, 817, 810, 98.5, 99.7),
    "mini_chrX": (2_606_549, 114, 364, 1_091, 1_068, 98.2, 99.7),
}


@pytest.mark.parametrize(("name", "counts"), REAL.items())
def test_real_sites(data_dir, name, counts):
    path = data_dir / f"human/human_GRCh38_{name}.gff3.gz"
    genome = {c.name: c.codes for c in read_fasta(data_dir / f"human/human_GRCh38_{name}.fa.gz")}
    lengths = {contig: len(codes) for contig, codes in genome.items()}
    transcripts = check_against_contigs(read_annotation(path), lengths, path)
    sites = splice_sites(transcripts)
    kinds = [site.kind for site in sites]
    found = (sum(lengths.values()), len(gene_bodies(transcripts)), len(transcripts))
    assert (*found, kinds.count("donor"), kinds.count("acceptor")) == counts[:5]

    pair = {site: decode(window(genome[site.contig], site.start, site.strand, 2)) for site in sites}
    unique_introns = {(t.contig, t.strand, intron) for t in transcripts for intron in introns(t)}
    starts, ends = [], []
    for contig, strand, (start, end) in unique_introns:
        donor, acceptor = (start, end - 2) if strand == "+" else (end - 2, start)
        starts.append(pair[SpliceSite(contig, strand, "donor", donor)] == "GT")
        ends.append(pair[SpliceSite(contig, strand, "acceptor", acceptor)] == "AG")
    assert (100 * np.mean(starts), 100 * np.mean(ends)) == pytest.approx(counts[5:], abs=0.06)


def test_a_genome_without_introns_has_no_sites(data_dir):
    transcripts = read_annotation(data_dir / "ecoli/GCF_000005845.2_ASM584v2_genomic.gff.gz")
    assert transcripts and splice_sites(transcripts) == []
