"""Sample sheets in: runsheets as OSDR writes them, lanes, labels, and each mistake with its line."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.sample_sheet import SheetColumns, read_sample_sheet

RUNSHEET = """\
Sample Name,Factor Value[Spaceflight],has_ERCC,paired_end,read1_path,read2_path,Factor Value[Age],Unit,Unit
FLT_1,Space Flight,True,True,f1_R1.fq,f1_R2.fq,9,week,day
"GC ""1"", left",Ground Control,True,True,g1_R1.fq,g1_R2.fq,9,week,day
"""


@pytest.fixture
def folder(tmp_path):
    for name in ("f1_R1.fq", "f1_R2.fq", "g1_R1.fq", "g1_R2.fq", "lane2_R1.fq", "lane2_R2.fq"):
        (tmp_path / name).touch()
    (tmp_path / "link.fq").symlink_to("f1_R1.fq")
    return tmp_path


def sheet(folder, text: str, encoding: str = "utf-8", name: str = "sheet.csv"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_runsheet(folder, encoding, ending):
    samples = read_sample_sheet(sheet(folder, RUNSHEET.replace("\n", ending), encoding))
    assert [sample.name for sample in samples] == ["FLT_1", 'GC "1", left']
    assert samples[0].files == (str(folder / "f1_R1.fq"),)
    assert samples[0].mates == (str(folder / "f1_R2.fq"),)
    assert samples[0].labels == {"Spaceflight": "Space Flight", "Age": "9"}
    assert samples[1].labels["Spaceflight"] == "Ground Control"


def test_columns_labels_and_folder_of_ones_own(folder):
    text = "id,R1,R2,tissue,Factor Value[X]\n\nb,f1_R1.fq,f1_R2.fq,liver,1\n\na,g1_R1.fq,,eye,2\n"
    (folder / "sheets").mkdir()
    columns = SheetColumns("id", "R1", "R2", labels=("tissue",))
    one, two = read_sample_sheet(sheet(folder / "sheets", text), columns, files_dir=folder)
    assert (one.name, one.labels, len(one.mates)) == ("b", {"tissue": "liver"}, 1)
    assert (two.name, two.labels, two.mates) == ("a", {"tissue": "eye"}, ())
    single = SheetColumns("id", "R1", None, labels=("Factor Value[X]",))
    one, two = read_sample_sheet(sheet(folder, text), single)
    assert one.labels == {"X": "1"} and one.mates == two.mates == ()


def test_rows_of_one_sample_are_lanes(folder):
    text = (
        "Sample Name,read1_path,read2_path,Factor Value[F]\n"
        "s,f1_R1.fq,f1_R2.fq,a\nother,g1_R1.fq,g1_R2.fq,b\ns,lane2_R1.fq,lane2_R2.fq,a\n"
    )
    samples = read_sample_sheet(sheet(folder, text))
    assert [sample.name for sample in samples] == ["s", "other"]
    assert samples[0].files == (str(folder / "f1_R1.fq"), str(folder / "lane2_R1.fq"))
    assert samples[0].mates == (str(folder / "f1_R2.fq"), str(folder / "lane2_R2.fq"))


def test_urls_and_absolute_paths_stay_and_single_reads_need_no_mate_column(folder):
    url = "https://example.org/dataset/reads_R1.fastq.gz?version=1"
    text = f"Sample Name,read1_path\na,{url}\nb,{folder / 'f1_R1.fq'}\n"
    one, two = read_sample_sheet(sheet(folder, text), files_dir="/nowhere")
    assert one.files == (url,) and one.mates == () and one.labels == {}
    assert two.files == (str(folder / "f1_R1.fq"),)


HEAD = "Sample Name,read1_path,read2_path,Factor Value[F]\n"
GOOD = HEAD + "s,f1_R1.fq,f1_R2.fq,a\n"
BAD_SHEETS = {
    "empty": ("", None, "empty: give a CSV with column names"),
    "blank": ("\n\n", None, "empty: give a CSV with column names"),
    "only column names": (HEAD, None, "no sample in it"),
    "no sample column": ("name,read1_path\ns,f1_R1.fq\n", None, "no column 'Sample Name' among 'name'"),
    "tabs": (GOOD.replace(",", "\t"), None, r"no column 'Sample Name' among 'Sample Name\\tread1_path"),
    "a column twice": ("Sample Name,read1_path,read1_path\ns,f1_R1.fq,a\n", None, "two columns are named"),
    "a factor twice": (HEAD.strip() + ",Factor Value[F]\n", None, "two columns are named 'Factor"),
    "no name": (GOOD + " ,g1_R1.fq,g1_R2.fq,a\n", 3, "nothing in column 'Sample Name'"),
    "no file": (GOOD + "t,,g1_R2.fq,a\n", 3, "nothing in column 'read1_path'"),
    "no label": (GOOD + "t,g1_R1.fq,g1_R2.fq,\n", 3, r"nothing in column 'Factor Value\[F\]'"),
    "a missing file": (GOOD + "\nt,g1_R1.fq,gone.fq,a\n", 4, "read2_path: no such file .*gone.fq"),
    "a folder": (GOOD + "t,.,g1_R2.fq,a\n", 3, "is a folder"),
    "a file twice": (GOOD + "t,g1_R1.fq,./f1_R1.fq,a\n", 3, r"f1_R1.fq is listed a second .* line 2\)"),
    "a file by another name": (GOOD + "t,link.fq,g1_R2.fq,a\n", 3, r"link.fq is listed a second .* line 2\)"),
    "mates that are the reads": (HEAD + "s,f1_R1.fq,f1_R1.fq,a\n", 2, "listed a second time"),
    "contradictory labels": (GOOD + "s,g1_R1.fq,g1_R2.fq,b\n", 3, "'s' has the F 'b' here and 'a' in line 2"),
    "mates later only": (HEAD + "s,f1_R1.fq,,a\ns,g1_R1.fq,g1_R2.fq,a\n", 3, "'s' has mates .* in some"),
    "mates first only": (GOOD + "s,g1_R1.fq,,a\n", 3, "'s' has mates .* in some"),
    "too many cells": (GOOD + "t,g1_R1.fq,g1_R2.fq,a,b\n", 3, "5 cells, but 4 column names"),
    "too few cells": (GOOD + '"t\nu",g1_R1.fq\n', 3, "2 cells, but 4 column names"),
    "an open quote": (GOOD + 't,g1_R1.fq,"g1_R2.fq,a\n', 3, "not CSV: unexpected end of data"),
    "a quote inside": (GOOD + 't,"g"1_R1.fq,,a\n', 3, "not CSV: "),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "message"), BAD_SHEETS.values(), ids=BAD_SHEETS)
def test_bad_sheet_is_told_with_its_line(folder, text, line, message):
    path = sheet(folder, text)
    with pytest.raises(FormatError, match=message) as caught:
        read_sample_sheet(path)
    assert caught.value.path == path
    assert caught.value.line == line


def test_missing_columns_of_ones_own_missing_sheet_and_other_encodings_are_told(folder):
    for columns in (SheetColumns(read2="R2"), SheetColumns(labels=("tissue",))):
        with pytest.raises(FormatError, match=r"no column '(R2|tissue)' among"):
            read_sample_sheet(sheet(folder, GOOD), columns)
    with pytest.raises(ConfigError, match="labels=tissue: give a list"):
        SheetColumns(labels="tissue")
    with pytest.raises(FormatError, match=r"the label 'X'"):
        text = "Sample Name,read1_path,X,Factor Value[X]\ns,f1_R1.fq,1,2\n"
        read_sample_sheet(sheet(folder, text), SheetColumns(labels=("X", "Factor Value[X]")))
    with pytest.raises(FormatError, match=r"line 2: not UTF-8") as caught:
        read_sample_sheet(sheet(folder, GOOD.replace("s,", "é,"), "latin-1"))
    assert caught.value.line == 2
    with pytest.raises(FormatError, match="no such file"):
        read_sample_sheet(folder / "gone.csv")


@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.one_of(
        st.binary(max_size=150), st.text('s,"\n\r é0f1_R.q', max_size=80).map(lambda t: (HEAD + t).encode())
    )
)
def test_arbitrary_bytes_parse_or_say_why(folder, content):
    (folder / "sheet.csv").write_bytes(content)
    try:
        assert read_sample_sheet(folder / "sheet.csv")
    except FormatError as error:
        assert str(folder / "sheet.csv") in str(error)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.text(min_size=1).filter(lambda t: t == t.strip() and t.isprintable()),
                       st.sampled_from(["a", "b, c", 'd "e"']), min_size=1, max_size=6))  # fmt: skip
def test_what_csv_writes_is_read(folder, label_of):
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(["Sample Name", "read1_path", "Factor Value[F]"])
    for number, (name, label) in enumerate(label_of.items()):
        (folder / f"{number}.fq").touch()
        rows.writerow([name, f"{number}.fq", label])
    samples = read_sample_sheet(sheet(folder, text.getvalue()))
    assert {sample.name: sample.labels["F"] for sample in samples} == label_of
    assert [sample.files for sample in samples] == [(str(folder / f"{n}.fq"),) for n in range(len(label_of))]
