"""Labelled sequences as others publish them: what is read, and each way in which a file can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dnabert_nemo.downstream.ready_sets import read_fasta_class, read_table
from dnabert_nemo.errors import FormatError
from dnabert_nemo.shards.records import file_sha256


def write(path: Path, text: str) -> Path:
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "sequence,label\nACGT,1\nTTT,0\n"),
        ("a.csv.gz", "sequence,label\r\nACGT,1\r\n\r\nTTT,0\r\n"),
        ("a.tsv", "label\tsequence\tfrom\n1\tACGT\tx,y\n0\tTTT\t\n"),
        ("a.csv", '\ufeff"sequence", label\n"ACGT",1\nTTT, 0'),
        ("a.tsv", "sequence\tlabel\nAC CG GT\t1\nTT TT\t0\n"),
    ],
)
def test_tables_of_every_kind_are_read(name: str, text: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, text)
    examples, sha256 = read_table(path)
    assert [(example.sequence, example.label) for example in examples] == [("ACGT", "1"), ("TTT", "0")]
    assert sha256 == file_sha256(path)


def test_a_sequence_may_be_longer_than_what_tables_hold(tmp_path: Path) -> None:
    long = "ACGT" * 50_000
    assert read_table(write(tmp_path / "a.csv", f"sequence,label\n{long},1\n"))[0][0].sequence == long


def test_a_row_knows_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'sequence,label,note\n\nACGT,1,"two\nlines"\nTTT,0,\n')
    first, second = read_table(path)[0]
    assert (first.place, second.place) == (3, 5)
    assert str(second.error("bad: mend it")) == f"{path}, line 5: bad: mend it"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "0 columns named 'sequence'"),
        (
            "seq,label\nA,1\n",
            1,
            "0 columns named 'sequence' among 'seq, label': name the columns sequence and",
        ),
        ("sequence,label,label\nA,1,1\n", 1, "2 columns named 'label'"),
        ("sequence,label\n", None, "no row in it"),
        ("sequence,label\nA,1\nA\n", 3, "1 cells, but 2 column names: correct the row"),
        ("sequence,label\nA,1,2\n", 2, "3 cells, but 2 column names"),
        ("sequence,label\n,1\n", 2, "nothing in column 'sequence': fill it, or leave the row out"),
        ("sequence,label\nA, \n", 2, "nothing in column 'label'"),
        (
            "sequence,label\nACG CGT GGG,1\n",
            2,
            "'CGT GGG' are no k-mers one base apart: write the sequence as",
        ),
        ("sequence,label\nACG CG,1\n", 2, "'ACG CG' are no k-mers one base apart"),
        ('sequence,label\n"A"C,1\n', 2, "not a table"),
        ('sequence,label\nA,1\n"AC,1\n', 3, "not a table"),
        (b"sequence,label\n\xff,1\n", 1, "not UTF-8 text: save the table in UTF-8"),
    ],
)
def test_what_is_no_table_is_told_with_its_line(
    text: str | bytes, line: int | None, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError) as caught:
        read_table(path)
    assert caught.value.line == line
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    path = write(tmp_path / "a.csv.gz", "sequence,label\n" + "ACGT,1\n" * 999)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FormatError):
        read_table(path)


def test_fasta_of_one_label(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fa.gz", "> seq 1\nACG\nt\n> seq 2\nGGNN\n")
    examples, sha256 = read_fasta_class(path, "donor")
    assert [(example.sequence, example.label) for example in examples] == [
        ("ACGt", "donor"),
        ("GGNN", "donor"),
    ]
    assert sha256 == file_sha256(path)
    assert str(examples[1].error("bad")) == f"{path}: record 'seq 2': bad"


def test_fasta_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"a\.fa, line 1: "):
        read_fasta_class(write(tmp_path / "a.fa", "ACGT\n"), "a")


def test_dnaberts_own_table_is_read(data_dir: Path) -> None:
    examples, _ = read_table(data_dir / "dnabert" / "prom_core_k6_dev.tsv")
    assert {len(example.sequence) for example in examples} == {101}
    assert examples[0].sequence.startswith("GTGGGGAGGG")
    assert {example.label for example in examples} == {"0", "1"}
