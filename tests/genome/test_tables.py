"""Sequences in tables: Parquet and CSV give the same pieces, and say in which row they are no good."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import os
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packers import PACKERS

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.pieces import PIECE_LETTERS
from dnabert_nemo.genome.source import Source
from dnabert_nemo.genome.tables import TableColumns, grouped_pieces, table_pieces

REFSEQ = (
    "id,sequence,name,description,features,seq_length\r\n"
    'NC_1.1,ACGTNNacgt,one,"a ""wild"" one, of\r\ntwo lines","[{""type"": ""gene""}]",10\r\n'
    "\r\n"
    "NC_2.1,RYacg,two,,[],5\r\n"
)


def read(path: Path | str, columns: TableColumns | None = None, group: str = "virus") -> dict:
    """Return (group, name) -> letters, and check that pieces follow each other."""
    found: dict[tuple[str, str], bytes] = {}
    for name, piece in grouped_pieces(Source(path), columns or TableColumns(), group):
        assert 0 < len(piece.letters) <= PIECE_LETTERS
        assert piece.start == len(found.get((name, piece.name), b""))
        found[name, piece.name] = found.get((name, piece.name), b"") + piece.letters
    return found


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("packing", sorted(PACKERS))
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_csv_however_packed(packing: str, bom: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(PACKERS[packing](bom + REFSEQ.encode()))
    assert read(tmp_path / "x") == {("virus", "NC_1.1"): b"ACGTNNacgt", ("virus", "NC_2.1"): b"RYacg"}


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_binary()),
    ],
    ids=str,
)
def test_parquet_of_every_type_of_text(kind: pa.DataType, tmp_path: Path) -> None:
    sequences = pa.array(["ACGT", "nn", "ACGT"]).cast(pa.binary()).cast(getattr(kind, "value_type", kind))
    sequences = sequences.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else sequences
    table = {"sequence": sequences, "id": [7, 8, 9], "seq_length": pa.array([4, 2, 4], pa.int16())}
    path = parquet(tmp_path / "x.csv", **table)  # told by content, not by name
    source = Source(path)
    pieces = list(table_pieces(source, TableColumns()))
    assert [(piece.name, piece.letters) for piece in pieces] == [("7", b"ACGT"), ("8", b"nn"), ("9", b"ACGT")]
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_groups_may_alternate_and_repeat_each_others_names(kind: str, tmp_path: Path) -> None:
    columns = {"acc": ["a", "b", "a"], "taxon": ["x", "x", "y"], "dna": ["AA", "CC", "GG"]}
    path = parquet(tmp_path / "t", **columns)
    if kind == "csv":
        path.write_text("\n".join(",".join(row) for row in [columns, *zip(*columns.values(), strict=True)]))
    found = read(path, TableColumns(sequence="dna", id="acc", length=None, group="taxon"))
    assert found == {("x", "a"): b"AA", ("x", "b"): b"CC", ("y", "a"): b"GG"}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_long_sequences_come_in_pieces(kind: str, tmp_path: Path) -> None:
    sequences = ["ACGTn" * 1_700_000, "acg" * 30_000]  # two and a bit pieces; a long run that is one piece
    path = parquet(tmp_path / "t", id=["one", "two"], sequence=sequences)
    if kind == "csv":
        path.write_text(f'id,sequence\none,"{sequences[0]}"\ntwo,{sequences[1]}\n')
    source = Source(path)
    pieces = list(table_pieces(source, TableColumns()))
    assert [(piece.name, piece.start) for piece in pieces] == [
        ("one", 0),
        ("one", PIECE_LETTERS),
        ("one", 2 * PIECE_LETTERS),
        ("two", 0),
    ]
    assert b"".join(piece.letters for piece in pieces).decode() == "".join(sequences)
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("before", ["", "?", "A,"])
def test_a_wrong_letter_in_a_long_sequence(before: str, tmp_path: Path) -> None:
    letters = before + "A" * 70_000 + "\N{SNOWMAN}" + "C" * 70_000
    (tmp_path / "x.csv").write_text(f'id,sequence\nok,A\n1,"{letters}"\n')
    with pytest.raises(FormatError, match=r"line 3: sequence of '1' holds .* at (1|2|70001), no nucleotide"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "empty: give a Parquet file, or a CSV"),
        ("\n\n", None, "empty"),
        ("id,sequence\n\n", None, "no row in it"),
        ("id,seq\na,A\n", None, "no column 'sequence' among 'id', 'seq': rename it"),
        ("id,id,sequence\na,b,A\n", None, "two columns are named 'id'"),
        ("id,sequence\n\na,A\na,C\n", 4, "id 'a' is in group 'virus' twice, first in line 3"),
        ("id,sequence\n ,A\n", 2, "nothing in column 'id'"),
        ("id,sequence\na,\n", 2, "nothing in column 'sequence'"),
        ("id,sequence\na,A,A\n", 2, "3 cells, but 2 column names"),
        ("id,sequence\na\n", 2, "1 cells, but 2 column names"),
        ('id,sequence,x\na,A,"\n\n"\nb,AXC,\n', 5, "sequence of 'b' holds 'X' at 2, no nucleotide"),
        ('id,sequence\na,"A"C\n', 2, "not CSV .*: save the table as CSV again"),
        ('id,sequence\na,"A\n', 2, "not CSV .*: save the table as CSV again"),
        ("id,sequence\ra,A\r", 1, "with LF or CR LF at the ends of lines"),
        ("id,sequence\na,\0000\0\n", 2, "a zero byte"),
        ("id,sequence\nb,A\na\xff,A\n", 3, "not UTF-8 text"),
        ("id,sequence,seq_length\na,ACG,4\n", 2, "seq_length is 4 but sequence has 3 letters"),
        ("id,sequence,seq_length\na,ACG,3.0\n", 2, "'3.0' in column 'seq_length' is not a whole number"),
        ("id,sequence,seq_length\na,ACG,\n", 2, "nothing in column 'seq_length'"),
        (">id\n" + "A" * (1 << 20), None, "no column 'sequence' among '>id'"),
        ("A" * (1 << 20), 1, "names no columns"),
    ],
)
def test_csv_that_is_no_good(text: str, line: int | None, says: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="latin-1", newline="")
    with pytest.raises(FormatError, match=says) as caught:
        read(tmp_path / "x.csv")
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"id": ["a", "b"], "sequence": ["A", None]}, "row 2: nothing in column 'sequence'"),
        ({"id": ["a"], "sequence": [""]}, "row 1: nothing in column 'sequence'"),
        ({"id": ["a", None], "sequence": ["A", "A"]}, "row 2: nothing in column 'id'"),
        (
            {"id": ["a", "a"], "sequence": ["A", "A"]},
            "row 2: id 'a' is in group 'virus' twice, first in row 1",
        ),
        ({"id": ["a"], "sequence": ["A C"]}, "row 1: sequence of 'a' holds ' ' at 2, no nucleotide"),
        ({"id": ["a"], "sequence": ["A"], "seq_length": [2]}, "row 1: seq_length is 2 but sequence has 1"),
        ({"id": ["a"], "sequence": [1]}, "column 'sequence' holds int64, where text should be"),
        ({"id": [1.5], "sequence": ["A"]}, "column 'id' holds double, where text or whole numbers should be"),
        ({"id": [b"\xff"], "sequence": ["A"]}, "row 1: an id or group is not UTF-8"),
        ({"name": ["a"], "sequence": ["A"]}, "no column 'id' among 'name', 'sequence'"),
        ({"id": pa.array([], pa.string()), "sequence": pa.array([], pa.string())}, "no row in it"),
    ],
)
def test_parquet_that_is_no_good(columns: dict, says: str, tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(FormatError, match=says) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_parquet_that_cannot_be_read_at_any_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "x.parquet", id=["a"], sequence=["A"])
    content = path.read_bytes()
    (tmp_path / "x.parquet.gz").write_bytes(gzip.compress(content))
    with pytest.raises(FormatError, match="packed once more: unpack it first"):
        read(tmp_path / "x.parquet.gz")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(content,))
    writer.start()
    with pytest.raises(FormatError, match="a pipe does not allow: give the path"):
        read(tmp_path / "pipe")
    writer.join()
    path.write_bytes(content[:-9])
    with pytest.raises(FormatError, match=r"the Parquet data are damaged .*: copy the file again"):
        read(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install dnabert_nemo\[tables\]"):
        read(path)


def test_parquet_by_url(tmp_path: Path) -> None:
    import fsspec

    path = parquet(tmp_path / "x.parquet", id=["a"], sequence=["ACN"])
    fsspec.filesystem("memory").pipe("/t/x.parquet", path.read_bytes())
    source = Source("memory://t/x.parquet")
    assert [piece.letters for piece in table_pieces(source, TableColumns())] == [b"ACN"]
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("given", "key"), [({"sequence": None}, "sequence"), ({"group": 3}, "group")])
def test_columns_are_names(given: dict, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}=.*: give the name of a column"):
        TableColumns(**given)


IDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=8)
SEQUENCES = st.text("ACGTURYSWKMBDHVNacgtn", min_size=1, max_size=30)


@given(st.lists(st.tuples(IDS.filter(str.strip), SEQUENCES, st.text("ab,\"\n\r '", max_size=9)), min_size=1))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_is_written_is_read(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    rows = list({name: (name, sequence, note) for name, sequence, note in rows}.values())
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerows([("id", "sequence", "note"), *rows])
    (tmp_path / "x.csv").write_text(table.getvalue(), encoding="utf-8", newline="")
    names, sequences, notes = zip(*rows, strict=True)
    expected = {("virus", name): sequence.encode() for name, sequence, _ in rows}
    assert read(tmp_path / "x.csv") == expected
    pq.write_table(
        pa.table({"id": names, "sequence": sequences, "note": notes}), tmp_path / "x", row_group_size=2
    )
    assert read(tmp_path / "x") == expected


@given(
    st.binary(max_size=80)
    | st.text('ACGTid,"\n\r\0x\xff', max_size=60).map(lambda text: f"id,sequence\n{text}".encode("latin-1"))
    | st.text(max_size=60).map(str.encode)
)
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_bytes_are_a_table_or_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    try:
        assert read(tmp_path / "x")
    except FormatError:
        return


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damaged_parquet_is_a_table_or_an_error(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    path = parquet(tmp_path / "x", id=["a", "b"], sequence=["ACGT", "NN"], seq_length=[4, 2])
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        assert read(path)
    except FormatError:
        return


@pytest.mark.parametrize("stated", [-3, 0, 1, 3])
def test_a_number_of_rows_that_the_row_groups_deny(stated: int, tmp_path: Path) -> None:
    """The footer's count alone, a zigzag byte, is changed: a table must not lose rows in silence."""
    path = parquet(tmp_path / "x", id=["a", "b"], sequence=["ACGT", "NN"], seq_length=[4, 2])
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    zigzag = {2: 4, -3: 5, 0: 0, 1: 2, 3: 6}
    count = b"\x16" + bytes([zigzag[2]]) + b"\x19\x1c"  # num_rows, then the list of one row group
    assert content.count(count, footer) == 1
    changed = b"\x16" + bytes([zigzag[stated]]) + b"\x19\x1c"
    path.write_bytes(content[:footer] + content[footer:].replace(count, changed))
    with pytest.raises(FormatError, match=rf"it states {stated} rows and row groups of 2"):
        read(path)
