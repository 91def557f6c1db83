"""examples/benchmark_data.py at tiny sizes: what it writes and prints, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dnabert_nemo.bench.table import Row

SCRIPT = Path(__file__).parents[2] / "examples" / "benchmark_data.py"
FIELDS = {*Row.__dataclass_fields__, "ratio", "is_met"}
TINY = (
    "output_dir=bench",
    "ids.bases=200000",
    "ids.text_bases=20000",
    "ids.repeats=1",
    "prepare.genome_bases=1000000",
    "prepare.text_bases=50000",
    "loader.genome_bases=1000000",
    "loader.rows=1",
    "loader.steps=2",
    "loader.workers=[0,1]",
    "loader.repeats=1",
    "dedup.sizes=[[20,2000],[60,2000],[50,500]]",
    "dedup.peer_windows=5",
)


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "benchmark_data", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    pytest.importorskip("rensa")
    folder = tmp_path_factory.mktemp("benchmark")
    (folder / "scratch").mkdir()
    done = run(folder, *TINY, "scratch_dir=scratch")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_every_part_is_measured_and_nothing_else_is_left(measured: tuple[Path, str]) -> None:
    folder, _ = measured
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "bench",
        "bench/benchmark.json",
        "bench/benchmark.md",
        "scratch",
    ]


def test_the_json_has_a_ratio_to_a_peer_in_each_row(measured: tuple[Path, str]) -> None:
    written = json.loads((measured[0] / "bench" / "benchmark.json").read_text())
    assert written["command"][2:4] == ["--config-name", "benchmark_data"]
    assert written["config"]["ids"]["bases"] == 200_000
    assert set(written["load_average"]) == {"ids", "prepare", "loader", "dedup"}
    assert written["packages"]["numpy"]
    rows = written["rows"]
    assert len(rows) == 4 + 6 + (3 + 1 + 2 * 3) + (3 * 4 + 1)
    for row in rows:
        assert set(row) == FIELDS
        if row["peer_value"] is None:
            assert row["ratio"] is None
        else:
            assert row["ratio"] == row["value"] / row["peer_value"]
        if row["target"] is not None:
            is_reached = (
                row["value"] <= row["target"] if row["lower_is_better"] else row["value"] >= row["target"]
            )
            assert row["is_met"] == is_reached
    [alone] = [row["name"] for row in rows if row["peer_value"] is None]
    assert alone.startswith("dedup, memory that a window adds")


def test_too_few_windows_have_no_slope(measured: tuple[Path, str]) -> None:
    assert "no slope: 20 and 60 windows take less than starting does" in measured[1]


def test_the_disk_and_the_waste_are_what_the_formats_say(measured: tuple[Path, str]) -> None:
    rows = json.loads((measured[0] / "bench" / "benchmark.json").read_text())["rows"]
    text, packed = (row for row in rows if row["name"] == "disk: the shard set")
    assert 3.8 < text["peer_value"] < 4.0  # three letters and a space, less what ends of lines save
    assert packed["peer_value"] == 0.25
    assert 2.1 < text["value"] < 2.4  # two bytes an id, and an eighth for the case
    [waste] = [row for row in rows if row["name"].startswith("padding")]
    assert 0 < waste["value"] < 10
    assert 30 < waste["peer_value"] < 46


def test_the_table_is_printed(measured: tuple[Path, str]) -> None:
    folder, printed = measured
    table = (folder / "bench" / "benchmark.md").read_text()
    assert printed.endswith(table + "\n")
    assert [line for line in table.splitlines() if line.startswith("## ")] == [
        "## ids",
        "## prepare",
        "## loader",
        "## dedup",
        "## Run",
    ]
    assert "processor: " in table


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("output_dir=bench", "rows=[ids,speed]"), "choose from ids, prepare, loader, dedup"),
        (("output_dir=bench", "rows=[]"), "choose from"),
        (("output_dir=there", "rows=[ids]"), "pass overwrite=true"),
        (("output_dir=bench", "scratch_dir=absent", "rows=[ids]"), "absent"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(overrides: tuple[str, ...], says: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    done = run(tmp_path, *overrides)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
