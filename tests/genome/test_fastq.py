"""FASTQ in: what is written comes back, pairs stay together, and each kind of bad file has its message."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import threading
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from xopen import xopen

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.fastq import ReadSample, kept_reads
from dnabert_nemo.genome.read_filter import ReadFilter

KEEP_ALL = ReadFilter()


def fastq(*reads: tuple[str, str, str], ending: str = "\n") -> bytes:
    """Write (name, letters, qualities) as FASTQ."""
    return "".join(
        f"@{name}{ending}{letters}{ending}+{ending}{qualities}{ending}" for name, letters, qualities in reads
    ).encode()


def read(sample: ReadSample, read_filter: ReadFilter = KEEP_ALL):
    """Return all units a sample keeps, and its tally."""
    tally = sample.tally()
    return list(kept_reads(sample, read_filter, tally)), tally


@st.composite
def fastq_reads(draw):
    """Draw reads as (name, letters, qualities)."""
    reads = []
    for name in draw(
        st.lists(st.from_regex(r"[A-Za-z0-9_.:#/-]{1,9}( [12]:N:0:AC)?", fullmatch=True), min_size=1)
    ):
        letters = draw(st.text(alphabet="ACGTNacgtRYK", max_size=40))
        qualities = draw(st.text(st.characters(min_codepoint=33, max_codepoint=126),
                                 min_size=len(letters), max_size=len(letters)))  # fmt: skip
        reads.append((name, letters, qualities))
    return reads


def zstd(data: bytes) -> bytes:
    packed = io.BytesIO()
    with xopen(packed, "wb", format="zst", threads=0) as file:
        file.write(data)
    return packed.getvalue()


PACKERS = {"plain": bytes, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zstd": zstd}


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(fastq_reads(), st.sampled_from(sorted(PACKERS)), st.sampled_from(["\n", "\r\n"]))
def test_round_trip_and_sums_whatever_the_packing_and_line_ends(tmp_path, reads, packer, ending):
    path = tmp_path / "reads.fq"
    path.write_bytes(PACKERS[packer](fastq(*reads, ending=ending)))
    units, tally = read(ReadSample("s", (str(path),)))
    wanted = [(name.split()[0], letters.encode(), str(path)) for name, letters, _ in reads if letters]
    assert [tuple(unit[0]) for unit in units] == wanted
    assert tally.num_in == len(reads) and tally.num_kept == len(wanted)
    assert tally.dropped == {"too_short": len(reads) - len(wanted), "low_quality": 0, "too_many_unknown": 0}
    assert tally.num_bases_in == tally.num_bases_kept == sum(len(letters) for _, letters, _ in reads)
    assert tally.phred_in == tally.phred_kept == sum(ord(c) - 33 for *_, quals in reads for c in quals)
    assert tally.num_unknown_kept == sum(c not in "ACGTacgt" for _, letters, _ in reads for c in letters)
    assert tally.sha256 == {str(path): hashlib.sha256(path.read_bytes()).hexdigest()}


GOOD = fastq(("a", "ACGT", "IIII"), ("b", "GGNT", "IIII"))

BAD_FILES = {
    "empty": (b"", None, "empty, no read in it"),
    "empty when unpacked": (gzip.compress(b""), None, "empty, no read in it"),
    "FASTA": (b">a\nACGT\n", 1, "not FASTQ: it begins with '>a'"),
    "a line that never ends": (b"ACGT" * 100_000, 1, r"not FASTQ: it begins with 'ACGTA.*'\.\.\."),
    "binary": (bytes(range(256)), 1, r"not FASTQ: it begins with '\\x00"),
    "blank line first": (b"\n" + GOOD, 1, "not FASTQ: it begins with ''"),
    "cut off after the letters": (GOOD + b"@c\nAC\n", 11, "not FASTQ at read 3: Premature end"),
    "cut off in the qualities": (GOOD[:-3], 8, "FASTQ at read 2: Length of sequence and qualities differ"),
    "a blank line at the end": (GOOD + b"\n", 10, "not FASTQ at read 3.*no blank line"),
    "too many qualities": (fastq(("a", "AC", "II"), ("b", "AC", "III")), 8, "read 2: Length of sequence"),
    "no @": (GOOD + b"c\nAC\n+\nII\n", 9, "not FASTQ at read 3: Line expected to start with '@'"),
    "letters on two lines": (b"@a\nAC\nGT\n+\nIIII\n", 3, r"read 1: Line expected .* '\+'.*four lines"),
    "another name after +": (b"@a\nAC\n+b\nII\n", 3, "Sequence descriptions don't match"),
    "protein": (GOOD + fastq(("p", "MKLV", "IIII")), 10, "read 'p' holds 'L', no nucleotide: use ACGT"),
    "colour space": (fastq(("c", "T0123", "IIIII")), 2, "read 'c' holds '0', no nucleotide"),
    "no name": (GOOD + fastq(("", "AC", "II")), 9, "a read without a name"),
    "a quality that is none": (GOOD + fastq(("c", "AC", "I ")), 12, "read 'c' has the quality ' '"),
    "letters outside ASCII": (GOOD + "@c naïve\nAC\n+\nII\n".encode(), 9, "not FASTQ: .*not plain ASCII"),
    "far outside ASCII": (GOOD * 20_000 + b"@c\nA\xff\n+\nII\n", 160_002, "not FASTQ: .*not plain ASCII"),
    "cut off gzip": (gzip.compress(GOOD * 99)[:-12], None, r"cut off|end too early"),
    "Phred+64": (fastq(("a", "ACGT", "hhgT")) * 100, None, r"Phred\+64.*seqtk seq -VQ64"),
    "long Phred+64": (fastq(("a", "ACGT", "hhgT")) * 2000, None, r"Phred\+64"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "line", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_is_told_with_file_and_line(tmp_path, content, line, message):
    path = tmp_path / "reads.fq"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        read(ReadSample("s", (str(path),)))
    assert caught.value.path == path
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("qualities", ["IIII", "~~~~", "II5I", "hh5h", "KhIz"])
def test_high_qualities_are_not_taken_for_phred_64(tmp_path, qualities):
    (tmp_path / "x.fq").write_bytes(fastq(("a", "ACGT", qualities)) * 1500)
    assert len(read(ReadSample("s", (str(tmp_path / "x.fq"),)))[0]) == 1500


def pair(tmp_path, first: bytes, second: bytes) -> ReadSample:
    for name, content in (("r1.fq", first), ("r2.fq", second)):
        (tmp_path / name).write_bytes(content)
    return ReadSample("s", (str(tmp_path / "r1.fq"),), (str(tmp_path / "r2.fq"),))


@pytest.mark.parametrize("form", ["{}/MATE", "{} MATE:N:0:ACGT", "{}.MATE", "{}"])
def test_mates_are_matched_whatever_the_form_of_their_names(tmp_path, form):
    names = [form.format(f"run:{number}0") for number in range(3)]
    reads = [[(name.replace("MATE", mate), "ACGT", "IIII") for name in names] for mate in "12"]
    units, tally = read(pair(tmp_path, fastq(*reads[0]), fastq(*reads[1])))
    assert [len(unit) for unit in units] == [2, 2, 2]
    assert [mate.file[-5:] for mate in units[0]] == ["r1.fq", "r2.fq"]
    assert tally.is_paired and (tally.num_in, tally.num_bases_in) == (3, 24)
    assert len(tally.sha256) == 2


def test_mates_come_through_pipes(tmp_path):
    reads = ((f"read{number}", "ACGT" * 20, "I" * 80) for number in range(5000))  # more than a pipe holds
    content = fastq(*reads)
    sample = ReadSample("s", (str(tmp_path / "r1"),), (str(tmp_path / "r2"),))
    writers = [
        threading.Thread(target=lambda file=file: Path(file).write_bytes(content), daemon=True)
        for file in (*sample.files, *sample.mates)
    ]
    for file, writer in zip((*sample.files, *sample.mates), writers, strict=True):
        os.mkfifo(file)
        writer.start()
    units, tally = read(sample)
    for writer in writers:
        writer.join()
    assert len(units) == 5000
    assert set(tally.sha256.values()) == {hashlib.sha256(content).hexdigest()}


def test_mates_that_do_not_belong_together_are_told(tmp_path):
    a, b, c = [(name, "ACGT", "IIII") for name in ("a/1", "b/1", "c/1")]
    with pytest.raises(FormatError, match=r"r2\.fq, line 5: read 2 is 'c/1', but in .*r1\.fq it is 'b/1'"):
        read(pair(tmp_path, fastq(a, b, c), fastq(a, c)))
    with pytest.raises(FormatError, match=r"r2\.fq, line 4: ends after 1 reads, but .*r1\.fq goes on"):
        read(pair(tmp_path, fastq(a, b), fastq(a)))
    with pytest.raises(FormatError, match=r"r1\.fq, line 8: ends after 2 reads, but .*r2\.fq goes on"):
        read(pair(tmp_path, fastq(a, b), fastq(a, b, c)))
    with pytest.raises(FormatError, match=r"r2\.fq, line 8: not FASTQ at read 2"):
        read(pair(tmp_path, fastq(a, b), fastq(a, b)[:-2]))
    for broken in ("r1.fq", "r2.fq"):
        sample = pair(tmp_path, fastq(a), fastq(a))
        (tmp_path / broken).unlink()
        with pytest.raises(FormatError, match=rf"{broken}: no such file"):
            read(sample)


def test_a_pair_is_dropped_where_either_mate_fails(tmp_path):
    first = fastq(("a", "ACGT", "IIII"), ("b", "A", "I"), ("c", "ACGT", "####"), ("d", "ACNN", "IIII"))
    second = fastq(*[(name, "ACGTA", "IIIII") for name in "abcd"])
    strict = ReadFilter(min_length=3, min_mean_quality=20, max_unknown_share=0.25)
    for mates in ((first, second), (second, first)):
        units, tally = read(pair(tmp_path, *mates), strict)
        assert [[mate.name for mate in unit] for unit in units] == [["a", "a"]]
        assert tally.dropped == {"too_short": 1, "low_quality": 1, "too_many_unknown": 1}
        assert (tally.num_in, tally.num_kept, tally.num_bases_kept) == (4, 1, 9)


def test_lanes_are_read_one_after_the_other(tmp_path):
    for lane in ("1", "2"):
        (tmp_path / lane).write_bytes(fastq((f"lane{lane}", "ACGT", "IIII")))
    units, tally = read(ReadSample("s", (str(tmp_path / "2"), str(tmp_path / "1"))))
    assert [unit[0].name for unit in units] == ["lane2", "lane1"]
    assert list(tally.sha256) == [str(tmp_path / "2"), str(tmp_path / "1")]


def test_a_sample_needs_files_and_as_many_mates():
    with pytest.raises(ConfigError, match="sample 's' has no file"):
        ReadSample("s", ())
    with pytest.raises(ConfigError, match="sample 's' has 2 files of first reads and 1 of mates"):
        ReadSample("s", ("a", "b"), ("c",))


def parses_or_says_why(tmp_path, content: bytes, other: bytes | None = None) -> None:
    """Read bytes as one file, and as a mate of another; only a FormatError may come of it."""
    strict = ReadFilter(trim_quality=20, min_length=3, adapters=("AGATC",), max_unknown_share=0.2)
    samples = [pair(tmp_path, content, content if other is None else other)]
    samples.append(ReadSample("s", samples[0].files))
    for sample in samples:
        tally = sample.tally()
        try:
            for unit in kept_reads(sample, strict, tally):
                assert all(mate.letters for mate in unit)
        except FormatError:
            pass
        assert tally.num_in == tally.num_kept + tally.num_dropped


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200), st.sampled_from([b"", b"@", b"@a\n", b"@a\nAC\n+\n", gzip.compress(GOOD)[:9]])
)
def test_arbitrary_bytes_parse_or_say_why(tmp_path, content, start):
    parses_or_says_why(tmp_path, start + content)


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(fastq_reads(), st.data(), st.booleans())
def test_damaged_fastq_parses_or_says_why(tmp_path, reads, data, packed):
    whole = gzip.compress(fastq(*reads)) if packed else fastq(*reads)
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=3))
    parses_or_says_why(tmp_path, bytes(damaged), whole)


def test_real_reads(data_dir):
    folder = data_dir / "fastq"
    # both mates of this file stand in no order, so it is one of single reads
    human = ReadSample("NA12878", (str(folder / "NA12878.chr22.tiny.fq.gz"),))
    units, tally = read(human)
    assert (tally.num_in, tally.num_kept, tally.num_unknown_kept) == (3333, 3333, 9748)
    assert Counter(unit[0].name[-2:] for unit in units) == {"/1": 1665, "/2": 1668}

    yeast = ReadSample("Sp", (str(folder / "Sp_log.left.fq.gz"),), (str(folder / "Sp_log.right.fq.gz"),))
    units, tally = read(yeast, ReadFilter(trim_quality=20, min_length=30))
    assert tally.num_in == 37_915 and 0.9 < tally.num_kept / tally.num_in < 1
    assert tally.mean_quality_kept > tally.mean_quality_in > 30
    assert all(first.name[:-1] == second.name[:-1] for first, second in units)

    few = ReadSample("few", (str(folder / "4_seqs_with_Ns.fastq.gz"),))
    letters = [unit[0].letters for unit in read(few)[0]]
    shares = sorted(sequence.count(b"N") / len(sequence) for sequence in letters)
    assert len(letters) == 4 and shares[-1] > 0
    units, tally = read(few, ReadFilter(max_unknown_share=0))
    assert tally.dropped["too_many_unknown"] == sum(share > 0 for share in shares)
    assert all(b"N" not in unit[0].letters for unit in units)
