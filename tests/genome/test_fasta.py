"""FASTA in: what is written comes back whatever its form, and each kind of bad file has its message."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.genome.fasta import read_fasta, read_fastas


def bgzip(data: bytes, block_size: int = 50) -> bytes:
    """Pack as bgzip does: many small gzip members with an extra field, and an empty one at the end."""
    packed = b""
    for block in [data[at : at + block_size] for at in range(0, len(data), block_size)] + [b""]:
        deflate = zlib.compressobj(wbits=-15)
        body = deflate.compress(block) + deflate.flush()
        header = struct.pack("<4BI2BH", 31, 139, 8, 4, 0, 0, 255, 6)
        extra = b"BC" + struct.pack("<2H", 2, len(body) + 25)
        packed += header + extra + body + struct.pack("<2I", zlib.crc32(block), len(block))
    return packed


PACKERS = {"plain": lambda data: data, "gzip": gzip.compress, "bgzip": bgzip}


@st.composite
def fasta_files(draw):
    """Draw records (name, sequence) and the bytes of a FASTA file that holds them in some form."""
    names = draw(
        st.lists(st.from_regex(r"[A-Za-z0-9_.|:-]{1,9}", fullmatch=True), min_size=1, max_size=4, unique=True)
    )
    ending = draw(st.sampled_from(["\n", "\r\n"]))
    text, records = io.StringIO(newline=""), []
    for name in names:
        sequence = draw(st.text(alphabet="ACGTNacgtnRYSWKMBDHVry", min_size=1, max_size=120))
        width = draw(st.integers(1, 130))
        description = draw(st.sampled_from(["", " chromosome one", "\tx=1 y", " 1..150725"]))
        text.write(f">{name}{description}{ending}")
        for at in range(0, len(sequence), width):
            text.write(sequence[at : at + width] + ending)
        text.write(draw(st.sampled_from(["", ending])))
        records.append((name, sequence))
    return records, text.getvalue().encode()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fasta_files(), st.sampled_from(sorted(PACKERS)), st.sampled_from(["x.fa", "x.fa.gz", "x"]))
def test_round_trip_whatever_width_ending_case_packing_and_file_name(tmp_path, drawn, packer, file_name):
    records, data = drawn
    path = tmp_path / file_name
    path.write_bytes(PACKERS[packer](data))
    contigs = list(read_fasta(path))
    assert [contig.name for contig in contigs] == [name for name, _ in records]
    for contig, (_, sequence) in zip(contigs, records, strict=True):
        wanted = "".join(base if base in "ACGT" else "N" for base in sequence.upper())
        assert decode(contig.codes) == wanted
        assert contig.source == path


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
