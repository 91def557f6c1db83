"""The toy genome: the same bytes for the same seed, and in it what a test or a quickstart counts on."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import NOT_A_BASE, decode, reverse_complement, unbroken_stretches
from dnabert_nemo.genome.annotation import check_against_contigs, gene_bodies
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.fasta import read_fasta
from dnabert_nemo.genome.splice_sites import splice_sites, window
from dnabert_nemo.genome.toy import write_toy_genome

EXAMPLE = Path(__file__).parents[2] / "examples" / "make_toy_genome.py"
LENGTH = 150_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_toy_genome(
        tmp_path_factory.mktemp("toy"), seed=7, num_chromosomes=4, chromosome_length=LENGTH
    )


@pytest.fixture(scope="module")
def genome(files):
    return {contig.name: contig.codes for contig in read_fasta(files[0])}


@pytest.fixture(scope="module")
def transcripts(files, genome):
    lengths = {name: len(codes) for name, codes in genome.items()}
    return check_against_contigs(read_annotation(files[1]), lengths, files[1])


def test_same_seed_same_bytes_and_another_seed_another_genome(tmp_path, files):
    again = write_toy_genome(tmp_path / "a/b", seed=7, num_chromosomes=4, chromosome_length=LENGTH)
    other = write_toy_genome(tmp_path, seed=8, num_chromosomes=4, chromosome_length=LENGTH)
    for first, second, third in zip(files, again, other, strict=True):
        assert first.read_bytes() == second.read_bytes() != third.read_bytes()
        assert sorted(second.parent.iterdir()) == sorted(again)


def test_contigs_have_the_length_asked_for_and_n_at_the_ends_and_inside(genome):
    assert {name: len(codes) for name, codes in genome.items()} == dict.fromkeys("1234", LENGTH)
    for codes in genome.values():
        assert codes[0] == codes[-1] == NOT_A_BASE
        assert len(unbroken_stretches(codes)) == 2


def test_repeats_are_lower_case_and_recur(files):
    sequence = "".join(line for line in files[0].read_text().splitlines() if not line.startswith(">"))
    lower_case = sum(base.islower() for base in sequence)
    assert 0.08 < lower_case / len(sequence) < 0.3
    words = Counter(sequence[at : at + 24] for at in range(len(sequence) - 24))
    recurring = [word for word, count in words.items() if count >= 5 and "N" not in word]
    assert len(recurring) > 100
    assert sum(word.islower() for word in recurring) > 0.95 * len(recurring)


def test_sites_on_both_strands_are_gt_or_gc_and_ag(genome, transcripts):
    for strand in "+-":
        pairs = {"donor": Counter(), "acceptor": Counter()}
        for site in splice_sites(transcripts):
            if site.strand == strand:
                pairs[site.kind][decode(window(genome[site.contig], site.start, strand, 2))] += 1
        assert min(pairs["donor"].total(), pairs["acceptor"].total()) > 250
        assert set(pairs["acceptor"]) == {"AG"}
        assert set(pairs["donor"]) <= {"GT", "GC"}
        assert 0.96 < pairs["donor"]["GT"] / pairs["donor"].total() < 1
    for codes in genome.values():
        assert decode(codes).count("GT") > 0.03 * LENGTH and decode(codes).count("AG") > 0.03 * LENGTH


def test_context_of_the_sites_is_that_of_real_ones(genome, transcripts):
    around = {"donor": [], "acceptor": []}
    for site in splice_sites(transcripts):
        around[site.kind].append(decode(window(genome[site.contig], site.start, site.strand, 40)))
    donors = np.array([list(text) for text in around["donor"]])
    assert "".join(Counter(column).most_common(1)[0][0] for column in donors.T[18:24]) == "GGTAAG"
    tract = "".join(text[4:16] for text in around["acceptor"])
    assert sum(base in "CT" for base in tract) > 0.75 * len(tract)


def test_genes_are_on_both_strands_do_not_overlap_and_share_sites_among_isoforms(transcripts):
    bodies = gene_bodies(transcripts)
    assert len(transcripts) > len(bodies) > 100
    assert {body.strand for body in bodies} == {"+", "-"}
    assert all(left.contig != right.contig or left.end < right.start for left, right in pairwise(bodies))
    num_all = sum(len(splice_sites([transcript])) for transcript in transcripts)
    assert len(splice_sites(transcripts)) < 0.8 * num_all


def test_exons_are_ranked_in_the_direction_of_transcription(files):
    rows = [line.split("\t") for line in files[1].read_text().splitlines() if "\texon\t" in line]
    for before, row in pairwise(rows):
        if not row[8].endswith(";rank=1"):
            assert (int(row[3]) > int(before[4])) == (row[6] == "+")


def test_coding_exons_have_no_stop_in_frame(genome, transcripts):
    with_all_exons = {t.gene_id: t for t in sorted(transcripts, key=lambda t: len(t.exons))}
    for transcript in with_all_exons.values():
        codes = genome[transcript.contig]
        forward = np.concatenate([codes[start:end] for start, end in transcript.exons])
        message = decode(forward if transcript.strand == "+" else reverse_complement(forward))
        assert any(is_open_from(message, start) for start in range(30, 50))


def is_open_from(message: str, start: int) -> bool:
    """Tell whether a reading frame starts at `start` and stays open nearly to the end of the message."""
    codons = [message[at : at + 3] for at in range(start, len(message) - 60, 3)]
    return codons[0] == "ATG" and not {"TAA", "TAG", "TGA"} & set(codons)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed=-1: give a whole number of at least 0"),
        ({"seed": 1, "num_chromosomes": 0}, "num_chromosomes=0: give a whole number of at least 1"),
        (
            {"seed": 1, "chromosome_length": 500},
            "chromosome_length=500: give a whole number of at least 20000",
        ),
    ],
)
def test_arguments_out_of_range_are_told_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(ConfigError, match=message):
        write_toy_genome(tmp_path / "toy", **arguments)
    assert not (tmp_path / "toy").exists()


@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_genome_has_sites(tmp_path, seed):
    fasta, gff3 = write_toy_genome(tmp_path, seed=seed, num_chromosomes=1, chromosome_length=20_000)
    assert [len(contig.codes) for contig in read_fasta(fasta)] == [20_000]
    assert splice_sites(read_annotation(gff3))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments], capture_output=True, text=True, timeout=120
    )


def test_command_writes_the_genome_and_says_what_is_in_it(tmp_path):
    done = run(f"output_dir={tmp_path}/toy", "seed=3", "num_chromosomes=2", "chromosome_length=20000")
    assert done.returncode == 0, done.stderr
    wanted = write_toy_genome(tmp_path / "again", 3, num_chromosomes=2, chromosome_length=20_000)
    assert [(tmp_path / "toy" / path.name).read_bytes() for path in wanted] == [
        p.read_bytes() for p in wanted
    ]
    assert "2 chromosomes of 20,000 bases" in done.stdout
    assert "donor and" in done.stdout


def test_command_ends_with_exit_code_2_and_the_override_to_change(tmp_path):
    (tmp_path / "file").touch()
    for arguments, message in {
        ("seed=1",): "error: no value for output_dir",
        (
            f"output_dir={tmp_path}/toy",
            "num_chromosomes=many",
        ): "error: num_chromosomes=many: give a whole number",
        (
            f"output_dir={tmp_path}/file",
        ): f"error: output_dir={tmp_path}/file cannot be written to: File exists",
    }.items():
        done = run(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
