"""FASTA in: what is written comes back whatever its form, and each kind of bad file has its message."""

from __future__ import annotations

import gzip
import re
import tracemalloc
from itertools import groupby

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packers import PACKERS, bgzip

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.genome.fasta import fasta_pieces, read_fasta, read_fastas
from dnabert_nemo.genome.source import Source

NAMES = st.from_regex(r"[A-Za-z0-9_.|:>-]{1,9}", fullmatch=True)


@st.composite
def fasta_files(draw):
    """Draw (header, sequence) of records and the bytes of a FASTA file that holds them in some form."""
    endings = draw(st.sampled_from([["\n"], ["\r\n"], ["\r"], ["\n", "\r\n", "\r"]]))
    between = st.sampled_from(["", "", "", "\n", "# >no header\n", ";ACGT\n", " \t\n", "#\n\n"])
    lines = draw(between).split("\n")[:-1]
    records = []
    for name in draw(st.lists(NAMES, min_size=1, max_size=4, unique=True)):
        description = draw(st.sampled_from(["", " chromosome one", "\tx=1 y", " 1..150725", " c.1A>G; #1"]))
        lines.append(">" + draw(st.sampled_from(["", " "])) + name + description)
        sequence = draw(st.text(alphabet="ACGTNacgtnRYSWKMBDHVry", min_size=1, max_size=120))
        width = draw(st.integers(1, 130))
        for at in range(0, len(sequence), width):
            lines += draw(between).split("\n")[:-1]
            lines.append(sequence[at : at + width] + draw(st.sampled_from(["", "", " "])))
        lines += draw(between).split("\n")[:-1]
        records.append((name + description, sequence))
    text = "".join(line + draw(st.sampled_from(endings)) for line in lines)
    if draw(st.booleans()):
        text = re.sub("(\r\n|\n|\r)$", "", text)
    return records, text.encode()


def joined(pieces) -> list[tuple[str, str]]:
    """Join pieces to (name, letters) of each contig; they must follow each other without a gap."""
    contigs: list[tuple[str, str]] = []
    for piece in pieces:
        if piece.start == 0:
            contigs.append((piece.name, ""))
        name, letters = contigs.pop()
        assert (piece.name, piece.start) == (name, len(letters))
        contigs.append((name, letters + piece.letters.decode()))
    return contigs


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    fasta_files(),
    st.sampled_from(sorted(PACKERS)),
    st.sampled_from(["x.fa", "x.fa.gz", "x"]),
    st.integers(1, 300),
    st.booleans(),
)
def test_pieces_hold_what_was_written(tmp_path, drawn, packer, file_name, piece_letters, by_header):
    records, data = drawn
    (tmp_path / file_name).write_bytes(PACKERS[packer](data))
    names = "header" if by_header else "first_word"
    pieces = list(fasta_pieces(Source(tmp_path / file_name), names, piece_letters))
    assert joined(pieces) == [
        (header if by_header else header.split()[0], sequence) for header, sequence in records
    ]
    assert all(0 < len(piece.letters) <= piece_letters for piece in pieces)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(fasta_files(), st.sampled_from(sorted(PACKERS)))
def test_contigs_are_the_codes_of_what_was_written(tmp_path, drawn, packer):
    records, data = drawn
    path = tmp_path / "x.fa"
    path.write_bytes(PACKERS[packer](data))
    contigs = list(read_fasta(path))
    assert [contig.name for contig in contigs] == [header.split()[0] for header, _ in records]
    for contig, (_, sequence) in zip(contigs, records, strict=True):
        wanted = "".join(base if base in "ACGT" else "N" for base in sequence.upper())
        assert decode(contig.codes) == wanted
        assert contig.source == path
        assert not contig.codes.flags.writeable


def outcome(path, piece_letters: int):
    """Return the contigs of a file, or the line and the kind of its error."""
    try:
        return joined(fasta_pieces(Source(path), piece_letters=piece_letters))
    except FormatError as error:
        return error.line, re.sub(r"not FASTA: '.*' is|stands .*", "", error.problem)


@settings(max_examples=1_000, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.binary(max_size=200)
    | st.text(alphabet=">>>ab \nACGTN\n\r#;-\0\xe9E", max_size=60).map(lambda text: text.encode("latin-1"))
    | st.text(alphabet=">>ab\nACGTN\n\r#", max_size=60).map(lambda text: f">{text}".encode()),
    st.integers(1, 9),
)
def test_any_bytes_are_contigs_or_an_error_whatever_the_size_of_pieces(tmp_path, content, piece_letters):
    (tmp_path / "x").write_bytes(content)
    assert outcome(tmp_path / "x", piece_letters) == outcome(tmp_path / "x", 1 << 20)


def test_a_long_contig_is_never_whole_in_memory(tmp_path):
    num_letters, piece_letters = 1 << 24, 1 << 18
    (tmp_path / "x.fa.gz").write_bytes(gzip.compress(b">a\n" + b"ACGT" * (num_letters // 4), 1))
    tracemalloc.start()
    try:
        pieces = fasta_pieces(Source(tmp_path / "x.fa.gz"), piece_letters=piece_letters)
        assert sum(len(piece.letters) for piece in pieces) == num_letters
        assert tracemalloc.get_traced_memory()[1] < 12 * piece_letters
    finally:
        tracemalloc.stop()


def test_thousands_of_contigs_are_read(tmp_path):
    (tmp_path / "x.fa").write_text("".join(f">c{number} x\nACGTA\nACG\n" for number in range(20_000)))
    pieces = list(fasta_pieces(Source(tmp_path / "x.fa"), piece_letters=1 << 16))
    assert [name for name, _ in groupby(piece.name for piece in pieces)] == [f"c{n}" for n in range(20_000)]
    assert sum(len(piece.letters) for piece in pieces) == 8 * 20_000


def test_headers_that_differ_after_the_first_word_are_told_how_to_be_read(tmp_path):
    (tmp_path / "x.fa").write_text(">a x\nAC\n>a y\nGT\n")
    with pytest.raises(FormatError, match=r"line 3: .* twice, first in line 1: .*'names: header' for this"):
        list(fasta_pieces(Source(tmp_path / "x.fa")))
    assert joined(fasta_pieces(Source(tmp_path / "x.fa"), "header")) == [("a x", "AC"), ("a y", "GT")]


def test_old_mac_line_ends_and_comments_are_read(tmp_path):
    (tmp_path / "mac.fa").write_bytes(b"# a comment\r>a\rAC\rGT\r>b\rTT\r")
    assert [(c.name, decode(c.codes)) for c in read_fasta(tmp_path / "mac.fa")] == [
        ("a", "ACGT"),
        ("b", "TT"),
    ]


TRUNCATED = gzip.compress(b">a\n" + bytes(b"ACGT"[i * i % 7 % 4] for i in range(20_000)))[:-30]

BAD_FILES = {
    "empty": (b"", None, "empty, no FASTA record"),
    "empty when unpacked": (gzip.compress(b""), None, "empty, no FASTA record"),
    "empty when unpacked from bgzip": (bgzip(b""), None, "empty, no FASTA record"),
    "blank lines": (b"\n\n\n", None, "empty, no FASTA record"),
    "FASTQ": (b"@read1\nACGT\n+\nIIII\n", 1, "not FASTA.*'>NAME' header, but here stands '@read1'"),
    "text": (b"\nonce upon\na time\n", 2, "not FASTA.*here stands 'once upon'"),
    "GFF3": (
        b"##gff-version 3\n1\tx\tgene\t1\t9\t.\t+\t.\tID=g\n",
        2,
        r"not FASTA.*here stands '1\\tx\\tgene",
    ),
    "sequence only": (gzip.compress(b"ACGT" * 30), 1, r"not FASTA.*here stands 'ACGT.*'\.\.\."),
    "binary": (bytes(range(256)), 1, r"not FASTA.*here stands '\\x00\\x01"),
    "binary after a header": (
        b">a\nAC\n\xff\xfe\x00\n",
        3,
        r"not FASTA: '\\xff\\xfe\\x00' is not plain ASCII",
    ),
    "a letter outside ASCII": (">a\nAC\n>b naïve\nAC\n".encode(), 3, "not FASTA.*is not plain ASCII"),
    "a first header without sequence": (b">a\n>b\nAC\n", 1, "contig 'a' has a header but no sequence"),
    "a last header without sequence": (b">a x\nAC\n\n>b y\n\n", 4, "contig 'b' has a header but no sequence"),
    "only a header": (b">a", 1, "contig 'a' has a header but no sequence"),
    "a header without a name": (b">a\nAC\n>\nAC\n", 3, "a header without a name"),
    "a name twice": (b">a x\nAC\n>b\nGG\n>a y\nAC\n", 5, "contig 'a' is in this file twice"),
    "digits": (b">a\nACGT\n>b\nAC\n1 ACGT\n", 5, "contig 'b' holds '1', no nucleotide"),
    "a header inside a line": (b">a\nACGT\nACGT>b\nACGT\n", 3, "contig 'a' holds '>', no nucleotide"),
    "protein": (b">p\nMKLV\n", 2, "contig 'p' holds 'L', no nucleotide"),
    "an alignment": (b">a\n# not this\nAC--GT\n", 3, "contig 'a' holds '-', no nucleotide"),
    "NUL in a header": (b">a\0\nAC\n", 1, r"not FASTA: '>a\\x00' is not plain ASCII text"),
    "NUL in a sequence": (b">a\nAC\n\nA\0C\n", 4, r"contig 'a' holds '\\x00', no nucleotide"),
    "a stop codon": (b">p\r\nACG\r\nAC*\r\n", 3, r"contig 'p' holds '\*', no nucleotide"),
    "a header without end": (
        b">a\nAC\n>" + b"A" * (5 << 20),
        3,
        "a header or comment of more than 1,048,576",
    ),
    "a byte-order mark": (b"\xef\xbb\xbf>a\nAC\n", 1, r"not FASTA.*here stands '\\xef"),
    "truncated gzip": (TRUNCATED, None, "gzip data end too early: .* cut off"),
    "truncated bgzip": (bgzip(b">a\n" + b"ACGT" * 50)[:-60], None, "gzip data end too early: .* cut off"),
    "gzip cut off in its header": (gzip.compress(b">a\nAC\n")[:5], None, "gzip data end too early"),
    "gzip with a wrong checksum": (
        gzip.compress(b">a\nAC\n")[:-8] + b"wrongsum",
        None,
        "gzip data are damaged",
    ),
    "gzip with damaged data": (gzip.compress(b">a\nAC\n")[:10] + b"\xff" * 20, None, "gzip data are damaged"),
}


@pytest.mark.parametrize(("content", "line", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file_is_told_with_file_and_line(tmp_path, content, line, message):
    path = tmp_path / "genome.fa"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=message) as caught:
        list(read_fasta(path))
    assert caught.value.path == path
    assert caught.value.line == line
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder_are_told(tmp_path):
    with pytest.raises(FormatError, match=r"nowhere\.fa: no such file"):
        list(read_fasta(tmp_path / "nowhere.fa"))
    with pytest.raises(FormatError, match="cannot be read: Is a directory"):
        list(read_fasta(tmp_path))


def test_contigs_before_the_bad_one_are_read(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nAC\n>b\n>c\nGG\n")
    contigs = read_fasta(tmp_path / "x.fa")
    assert next(contigs).name == "a"
    with pytest.raises(FormatError, match="contig 'b'"):
        next(contigs)


def test_several_files_are_read_in_order(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nAC\n>b\nGG\n")
    (tmp_path / "y.fa.gz").write_bytes(gzip.compress(b">c\nTT\n"))
    contigs = list(read_fastas([tmp_path / "y.fa.gz", tmp_path / "x.fa"]))
    assert [contig.name for contig in contigs] == ["c", "a", "b"]
    assert contigs[0].source == tmp_path / "y.fa.gz"


def test_a_name_in_two_files_names_both(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nAC\n")
    (tmp_path / "y.fa").write_text(">b\nAC\n>a\nAC\n")
    with pytest.raises(FormatError, match=r"y\.fa, line 3: contig 'a' is also in .*x\.fa"):
        list(read_fastas([tmp_path / "x.fa", tmp_path / "y.fa"]))
    with pytest.raises(FormatError, match=r"x\.fa: this file is given twice"):
        list(read_fastas([tmp_path / "x.fa", tmp_path / "x.fa"]))


def test_real_genomes(data_dir):
    human = {c.name: c for c in read_fasta(data_dir / "human/human_GRCh38_regions.fa.gz")}
    lengths = {"1": 1_000_000, "2": 2_333_275, "3": 1_000_000, "19": 2_000_000, "7_ENm001": 1_877_426}
    assert {name: len(contig.codes) for name, contig in human.items()} == lengths
    fly = list(read_fasta(data_dir / "mini_genomes/D.melanogaster.fa.gz"))
    assert sum(int((contig.codes == 4).sum()) for contig in fly) == 17_972
    worm = list(read_fasta(data_dir / "mini_genomes/C.elegans.fa.gz"))
    assert all(contig.name.isalnum() for contig in worm)  # headers read `I 1..150725`
