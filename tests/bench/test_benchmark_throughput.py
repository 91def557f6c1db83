"""examples/benchmark_throughput.py on a tiny model: what it writes, rows that fail, and how it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dnabert_nemo.bench.throughput.group import Entry, measure
from dnabert_nemo.bench.throughput.settings import PLOTS, Turns
from dnabert_nemo.kernels.choose import Device

PADDED = "BertModel, SDPA, padded to the longest"
SCRIPT = Path(__file__).parents[2] / "examples" / "benchmark_throughput.py"
TINY = (
    "output_dir=out",
    "peers=[original,sdpa]",
    "cpu.threads=2",
    "cpu.ks=[3]",
    "cpu.shape.num_layers=2",
    "cpu.shape.hidden_size=32",
    "cpu.shape.ffn_hidden_size=64",
    "cpu.shape.num_attention_heads=2",
    "cpu.genome_bases=200000",
    "cpu.batch.rows=2",
    "cpu.batch.tokens_per_row=1024",
    "cpu.batch.samples=6",
    "cpu.batch.peer_samples=3",
    "cpu.batch.num_steps=2",
    "cpu.turns.rounds=2",
    "cpu.other_turns.rounds=1",
    "cpu.scaling.turns={rounds:1,warmup:0}",
    "cpu.scaling.tokens=1024",
    "cpu.scaling.lengths=[512,1024]",
    "cpu.scaling.peer_longest=512",
    "cpu.scaling.hidden=[64]",
    "cpu.scaling.micro_batches=[1]",
    "cpu.ranks.turns={rounds:1,warmup:0}",
    "cpu.ranks.sizes=[2,4]",
    "cpu.inference.turns={rounds:1,warmup:0}",
    "cpu.inference.sequences=8",
    "cpu.inference.batch=4",
)


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "--config-name", "benchmark_throughput", *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("throughput")
    (folder / "scratch").mkdir()
    done = run(folder, *TINY, "scratch_dir=scratch", "rows=[ablation,peers,scaling,ranks,inference]")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


def test_tables_json_and_plots_are_written_and_nothing_else_is_left(measured: tuple[Path, str]) -> None:
    folder, printed = measured
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == [
        "out",
        *(f"out/{plot}" for plot in sorted(PLOTS)),
        "out/throughput.json",
        "out/throughput.md",
        "scratch",
    ]
    for plot in PLOTS:
        assert (folder / "out" / plot).read_bytes().startswith(b"\x89PNG")
    assert printed.endswith((folder / "out" / "throughput.md").read_text() + "\n")
    assert "round 2 of 2" in printed


def test_all_rows_took_the_same_steps(measured: tuple[Path, str]) -> None:
    written = json.loads((measured[0] / "out" / "throughput.json").read_text())
    groups: dict[str, list[Any]] = written["measured"]["training"]
    ladder, peers, without_dropout = groups.values()
    assert [row["name"] for row in ladder[:2]] == ["padded", "packed"]
    *ladder, compiled, graphs = ladder
    assert ladder[-1]["name"].endswith(" = ours")
    assert compiled["name"] == "layers by torch.compile"
    assert graphs["name"] == "layers by torch.compile, as CUDA graphs"
    assert graphs["not_measured"] == "ConfigError: CUDA graphs need a GPU"
    if "c++" in Device.here(None).has:
        ladder.append(compiled)
    else:
        assert compiled["not_measured"]
    assert [row["name"] for row in peers] == ["ours", "original DNABERT's way", "BertForMaskedLM, SDPA"]
    # whether the last layer and the head compute the masked tokens alone
    computed = {ladder[0]["name"]: (False, False), ladder[1]["name"]: (False, False)}
    computed |= {"+ head at masked tokens alone": (False, True)}
    computed |= {row["name"]: (True, True) for row in ladder[3:]}
    for rows, rounds in ((ladder, 1), (peers, 2), (without_dropout, 1)):
        tokens = [[turn["tokens"] for turn in row["turns"]] for row in rows]
        assert all(each == tokens[0] for each in tokens)
        assert len(tokens[0]) == rounds
        for row in rows:
            assert row["not_measured"] == ""
            assert row["num_micro_batches"] == 2
            is_ours = row["name"] in computed or row["name"].endswith("ours")
            layer, head = computed.get(row["name"], (is_ours, is_ours))
            assert is_masked_share(row["read_share"]) == layer
            assert is_masked_share(row["head_share"]) == head
            assert all(3 < turn["loss"] < 7 and turn["seconds"] > 0 for turn in row["turns"])
            assert 10**5 < row["peak_bytes"] < 10**9
    with_it, without = (rows[0]["turns"][0]["loss"] for rows in (peers, without_dropout))
    assert abs(with_it - without) > 1e-4  # on the same samples and weights, where rounding makes 1e-6


def is_masked_share(share: float) -> bool:
    """Tell the share of masked tokens from all of them."""
    assert 0.1 < share < 0.2 or share == 1
    return share < 1


def test_the_targets_are_judged_and_what_needs_a_gpu_is_not_measured(measured: tuple[Path, str]) -> None:
    written = json.loads((measured[0] / "out" / "throughput.json").read_text())
    rows = {(row["name"], row["peer"]): row for row in written["rows"]}
    sdpa = rows["training, k = 3, dropout 0.1", "BertForMaskedLM, SDPA"]
    assert sdpa["target_ratio"] == 2.5
    assert sdpa["is_met"] == (sdpa["ratio"] >= 2.5)
    assert rows["training, k = 3, dropout 0.1", "original DNABERT's way"]["target_ratio"] == 3.5
    assert rows["training, k = 3, dropout 0", "BertForMaskedLM, SDPA"]["target_ratio"] == 1.9
    embedded = {row["peer"]: row["target_ratio"] for row in written["rows"] if "embeddings" in row["name"]}
    assert embedded == {PADDED: 1.8, f"{PADDED}, sorted by length": None}
    assert rows["peak memory, k = 3, dropout 0.1", "BertForMaskedLM, SDPA"]["lower_is_better"]
    for row in written["rows"]:
        if "GPU" in row["name"] or "H200" in row["name"]:
            assert (row["value"], row["is_met"]) == (None, None)
            assert "here" in row["note"]
    assert rows["training 86M on one H200, bf16, k = 3", ""]["target"] == 694_000
    assert written["hardware"]["gpu"] is None
    assert written["packages"]["transformers"]


def test_sweeps_have_a_row_for_each_point_and_say_what_was_left_out(measured: tuple[Path, str]) -> None:
    written = json.loads((measured[0] / "out" / "throughput.json").read_text())
    groups: dict[str, list[Any]] = written["measured"]["scaling"]
    reasons = {row["name"]: row["not_measured"] for rows in groups.values() for row in rows}
    assert reasons == {
        "length 512: ours": "",
        "length 512: BertForMaskedLM, SDPA": "",
        "length 1,024: ours": "",
        "length 1,024: BertForMaskedLM, SDPA": "peer_longest=512",
        "hidden 64: ours": "",
        "hidden 64: BertForMaskedLM, SDPA": "",
        "micro batch 1: ours": "",
    }
    [linear] = [row for row in written["rows"] if row["name"].startswith("peak memory at constant tokens")]
    assert linear["target_ratio"] == 1.1
    assert linear["peer"] == "samples of 512"


def test_ranks_share_one_step(measured: tuple[Path, str]) -> None:
    written = json.loads((measured[0] / "out" / "throughput.json").read_text())
    [rows] = written["measured"]["ranks"].values()
    found = {row["name"]: row for row in rows}
    assert list(found) == ["1 rank", "DP2", "TP2", "PP2", "DP4", "TP4", "PP4"]
    tokens = {name: row["turns"][0]["tokens"] for name, row in found.items() if row["turns"]}
    assert tokens == dict.fromkeys(("1 rank", "DP2", "TP2", "PP2"), tokens["1 rank"])
    assert found["DP4"]["not_measured"] == "2 cores here"
    by_name = {row["name"]: row for row in written["rows"]}
    speeds = {name: found[name]["tokens_per_second"] for name in tokens}
    assert by_name["efficiency of DP2"]["value"] == pytest.approx(50 * speeds["DP2"] / speeds["1 rank"])
    assert by_name["efficiency of TP4"]["value"] is None


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, str(SCRIPT), *TINY, "scratch_dir=scratch"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        said = next(line for line in process.stdout if b"rows are ready" in line or b"error" in line)
        assert b"rows are ready" in said
        assert list(scratch.iterdir())
        process.terminate()
        rest = process.stdout.read()
    assert process.returncode == 128 + signal.SIGTERM
    assert rest == b""
    assert [path.name for path in tmp_path.rglob("*")] == ["scratch"]


@dataclass(frozen=True)
class Fails:
    """A row that fails in its n-th step, or before the first."""

    at: int
    ends: bool = False  # the process, without a word

    def load(self) -> None:
        if self.at < 0:
            raise MemoryError

    def start(self, _: None) -> Any:
        return _Failing(self)


class _Failing:
    num_micro_batches, mean_attended, read_share, head_share = 1, 1.0, 1.0, 1.0

    def __init__(self, work: Fails) -> None:
        self.work = work

    def step(self, number: int) -> tuple[float, None]:
        if number == self.work.at and self.work.ends:
            sys.exit(7)
        if number == self.work.at:
            raise ValueError("too late\nfor this")
        return 10.0, None


def test_rows_that_fail_say_why_and_the_others_go_on(tmp_path: Path) -> None:
    rows = {"none": Fails(99), "at once": Fails(-1), "late": Fails(2), "ends": Fails(1, ends=True)}
    entries = [Entry(name, work, 1, None) for name, work in rows.items()]
    entries.append(Entry("two ranks", Fails(99), 1, None, num_ranks=2))
    before = dict(os.environ)
    found = {row.name: row for row in measure("rows", entries, Turns(3), tmp_path, is_gpu=False)}
    assert os.environ == before
    assert [turn.tokens for turn in found["none"].turns] == [10, 10, 10]
    assert [turn.tokens for turn in found["two ranks"].turns] == [20, 20, 20]
    reasons = {name: row.reason for name, row in found.items() if not row.turns}
    assert reasons == {
        "at once": "out of memory",
        "late": "ValueError: too late",
        "ends": "its process ended with 7",
    }


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (("rows=[ablation,speed]",), "choose from ablation, peers, scaling"),
        (("preset=tpu",), "preset=tpu: choose from auto, cpu, gpu"),
        (("peers=gpt",), "peers=gpt: choose from original"),
        (("rows=null",), "rows=None: choose from ablation"),
        (("cpu.ks=3",), "cpu.ks=3: give a list of whole numbers"),
        (("cpu.scaling.lengths=[]",), "cpu.scaling.lengths=[]: give a list of whole numbers"),
        (("cpu.batch=null",), "cpu.batch=None: give its keys"),
        (("scratch_dir=/proc",), "scratch_dir=/proc: cannot be written"),
        (("scratch_dir=nowhere",), "scratch_dir=nowhere: cannot be written"),
        (("seed=abc",), "seed=abc: give a whole number of at least 0"),
        (("cpu.batch.peer_samples=5",), "cpu.batch.samples=6 is not a multiple of 5"),
        (("cpu.batch.samples=60",), "batch.samples=60: 0 of 200 steps of 2 rows of 1024 tokens hold so many"),
        (("cpu.turns.rounds=0",), "cpu.turns.rounds=0: give a whole number of at least 1"),
        (("output_dir=there",), "pass overwrite=true"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(overrides: tuple[str, ...], says: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    done = run(tmp_path, *TINY, *overrides)
    assert done.returncode == 2, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]
