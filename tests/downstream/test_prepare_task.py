"""From labelled files to a task's data set: what is in it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from dnabert_nemo.command import CONF, composed
from dnabert_nemo.downstream.prepare_task import prepare_if_missing, prepare_task
from dnabert_nemo.downstream.task_dataset import load_task_dataset
from dnabert_nemo.downstream.task_settings import TaskFiles, TaskSettings, task_of
from dnabert_nemo.downstream.task_split import strand_key
from dnabert_nemo.errors import ConfigError, DnabertError, FormatError
from dnabert_nemo.shards.records import file_sha256

Rows = list[tuple[str, str]]


def rows(count: int, seed: int = 1, length: int = 20) -> Rows:
    """Draw sequences, labels 0 and 1 in turn."""
    chance = np.random.default_rng(seed)
    return [("".join(chance.choice(list("ACGT"), length)), str(at % 2)) for at in range(count)]


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str, Rows], Path]:
    def write(name: str, examples: Rows) -> Path:
        lines = ["sequence,label", *(",".join(example) for example in examples)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return tmp_path / name

    return write


@pytest.fixture
def given(table: Callable[[str, Rows], Path]) -> Callable[..., TaskFiles]:
    """Three tables, of which some are changed."""

    def files(**changed: Rows) -> TaskFiles:
        parts = {"train": rows(40), "validation": rows(8, 2), "test": rows(8, 3)} | changed
        return TaskFiles({split: table(f"{split}.csv", part) for split, part in parts.items()}, {})

    return files


def test_given_splits_stay_as_they_are(given: Callable[..., TaskFiles], tmp_path: Path) -> None:
    files = given(validation=[("ACGTACGTAA", "0"), ("acgtt", "1")])
    manifest = prepare_task(files, tmp_path / "out", TaskSettings("t"))
    dataset = load_task_dataset(tmp_path / "out")
    assert dataset.splits["train"].sequences == [sequence for sequence, _ in rows(40)]
    assert dataset.splits["train"].labels.tolist() == [0, 1] * 20
    assert dataset.splits["validation"].sequences == ["ACGTACGTAA", "ACGTT"]
    assert manifest == dataset.manifest
    assert manifest["labels"] == ["0", "1"]
    assert manifest["counts"] == {
        "train": {"0": 20, "1": 20}, "validation": {"0": 1, "1": 1}, "test": {"0": 4, "1": 4},
    }  # fmt: skip
    assert manifest["lengths"]["validation"] == {"min": 5, "median": 10, "max": 10}
    assert set(manifest["splits"].values()) == {"as given"}
    assert manifest["inputs"][0] == {"name": "train.csv", "sha256": file_sha256(tmp_path / "train.csv")}
    assert manifest["files"]["test.csv"] == file_sha256(tmp_path / "out" / "test.csv")


def test_splits_without_a_file_are_drawn(table: Callable[[str, Rows], Path], tmp_path: Path) -> None:
    examples = rows(200)
    examples += [(sequence, label) for sequence, label in examples[:50]]  # again, and on the other strand
    letters = str.maketrans("ACGT", "TGCA")
    examples += [(sequence.translate(letters)[::-1], label) for sequence, label in examples[:50]]
    files = TaskFiles({"train": table("all.csv", examples)}, {})
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        manifest = prepare_task(files, tmp_path / name, TaskSettings("t", seed=seed))
        assert sum(manifest["counts"]["train"].values()) in range(225, 256)
        for kind in ("across", "across_other_strand"):
            assert set(manifest["duplicates"][kind].values()) == {0}
        assert manifest["splits"]["train"] == "what validation and test left"
    parts = [
        load_task_dataset(tmp_path / name).splits["test"].sequences for name in ("one", "again", "other")
    ]
    assert parts[0] == parts[1] != parts[2]
    keys = [
        set(map(strand_key, part.sequences)) for part in load_task_dataset(tmp_path / "one").splits.values()
    ]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]


def test_validation_alone_may_be_drawn(given: Callable[..., TaskFiles], tmp_path: Path) -> None:
    files = given()
    del files.table["validation"]  # type: ignore[attr-defined]
    manifest = prepare_task(files, tmp_path / "out", TaskSettings("t"))
    assert manifest["splits"] == {
        "train": "what validation left", "validation": "drawn by the seed", "test": "as given",
    }  # fmt: skip
    assert sum(manifest["counts"]["validation"].values()) == 4  # a ninth of 40


def test_fasta_by_label_in_the_order_of_the_config(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 3)):
        records = (f"> seq {at}\n{sequence}\n" for at, (sequence, _) in enumerate(rows(20, seed)))
        (tmp_path / f"{name}.fa").write_text("".join(records))
    files = TaskFiles({}, {"late": (tmp_path / "a.fa", tmp_path / "b.fa"), "early": (tmp_path / "c.fa",)})
    manifest = prepare_task(files, tmp_path / "out", TaskSettings("t"))
    assert manifest["labels"] == ["late", "early"]
    assert manifest["counts"]["train"] == {"late": 32, "early": 16}


def test_what_comes_twice_is_counted_and_goes_when_asked(
    given: Callable[..., TaskFiles], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train = rows(40)
    files = given(test=[*rows(8, 3), train[0], (train[1][0], "0")])
    with caplog.at_level("WARNING", logger="dnabert_nemo"):
        manifest = prepare_task(files, tmp_path / "as_it_is", TaskSettings("t"))
    assert manifest["duplicates"]["across"]["train and test"] == 2
    assert manifest["duplicates"]["several_labels"] == 1
    assert "sequences in train and test both: 2; task.remove_duplicates=true leaves them out" in caplog.text
    assert "sequences with several labels: 1" in caplog.text
    removed = prepare_task(files, tmp_path / "once", TaskSettings("t", remove_duplicates=True))
    assert removed["removed"] == {"ambiguous": 0, "several_labels": 2, "repeated": 1}
    assert [sum(count.values()) for count in removed["counts"].values()] == [38, 8, 9]


def test_other_letters_are_refused_or_dropped(given: Callable[..., TaskFiles], tmp_path: Path) -> None:
    files = given(train=[*rows(40), ("ACGNAC", "1")])
    with pytest.raises(FormatError) as caught:
        prepare_task(files, tmp_path / "out", TaskSettings("t"))
    assert str(caught.value) == (
        f"{tmp_path / 'train.csv'}, line 42: the letter 'N' in the sequence is none of A, C, G, T: "
        "pass task.ambiguous=drop to leave such sequences out"
    )
    assert not (tmp_path / "out").exists()
    manifest = prepare_task(files, tmp_path / "out", TaskSettings("t", ambiguous="drop"))
    assert manifest["removed"] == {"ambiguous": 1}
    assert sum(manifest["counts"]["train"].values()) == 40


def test_the_middle_stays_of_what_is_longer(given: Callable[..., TaskFiles], tmp_path: Path) -> None:
    files = given(test=[("NNACGTTN", "0"), ("ACG", "1")])
    manifest = prepare_task(files, tmp_path / "out", TaskSettings("t", crop=4))
    assert load_task_dataset(tmp_path / "out").splits["test"].sequences == ["ACGT", "ACG"]
    assert manifest["cropped"] == 40 + 8 + 1


@pytest.mark.parametrize(
    ("changed", "settings", "says"),
    [
        (
            {"test": [("AC", "0"), ("AG", "2")]},
            {},
            "test.csv, line 3: the label '2' is not in training (0, 1): c",
        ),
        (
            {"train": [("AC", "0"), ("AG", "x")]},
            {"labels": {"0": "no", "1": "yes"}},
            "train.csv, line 3: the label 'x' is not among task.labels (0, 1): correct it, or name it there",
        ),
        (
            {"test": [("AC", "0")]},
            {},
            "test.csv: no example of '1' is left for test: add some, or leave that",
        ),
        (
            {"train": [("AC", "0"), ("AG", "0")]},
            {},
            "train.csv: labels of usable sequences in training: 0: give examples",
        ),
        (
            {"train": [("NN", "0")]},
            {"ambiguous": "drop"},
            "train.csv: labels of usable sequences in training: none: give",
        ),
        ({"test": [("A" * 100_001, "0")]}, {}, "test.csv, line 2: 100,001 bases: pass task.crop=N"),
    ],
)
def test_what_cannot_be_learned_from_is_told(
    changed: dict[str, Rows],
    settings: dict[str, Any],
    says: str,
    given: Callable[..., TaskFiles],
    tmp_path: Path,
) -> None:
    with pytest.raises(DnabertError) as caught:
        prepare_task(given(**changed), tmp_path / "out", TaskSettings("t", **settings))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_class_too_small_to_share_is_told(table: Callable[[str, Rows], Path], tmp_path: Path) -> None:
    files = TaskFiles({"train": table("all.csv", [*rows(40), ("ACGTA", "2")])}, {})
    with pytest.raises(
        ConfigError, match=r"no example of '2' is left for validation: .* task\.fractions\.validation=SHARE"
    ):
        prepare_task(files, tmp_path / "out", TaskSettings("t"))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "task.table and task.fasta name no file: pass task.table.train=FILE"),
        (
            ["task.table.train=a", "task.fasta={x:b}"],
            "task.table and task.fasta both name files: leave one out",
        ),
        (["task.table.test=a"], "task.table.train is null: pass it, beside test"),
        (["task.table.train=a", "task.ambiguous=keep"], "task.ambiguous=keep: choose from refuse, drop"),
        (["task.table.train=a", "task.crop=0"], "task.crop=0: give a whole number of at least 1"),
        (["task.table.train=a", "task.seed=-1"], "task.seed=-1: give a whole number of at least 0"),
        (["task.table.train=a", "task.seed=a"], "task.seed=a: give a whole number of at least 0"),
        (["task.table.train=a", "task.remove_duplicates=yes"], "remove_duplicates=yes: give true or false"),
        (["task.table.train=a", "task.fractions.test=0.5"], "task.fractions={'train': 0.8,"),
        (["task.table.train=a", "task.labels={0: x, 1: x}"], "give each label a name of its own"),
        (
            ["task.table.train=a", "task.published={metric: r2}"],
            "give metric (one of accuracy, macro_f1, mcc)",
        ),
        (["task.table.train=a", "task.folder=null"], "pass data_dir=FOLDER, or set DNABERT_NEMO_DATA"),
    ],
)
def test_configs_that_cannot_work_are_told(overrides: list[str], says: str) -> None:
    cfg = composed("prepare_task", ["task=csv", "task.name=mine", *overrides])
    with pytest.raises(ConfigError) as caught:
        task_of(OmegaConf.to_container(cfg.task, resolve=True))  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_what_is_there_is_taken_if_it_is_the_same(
    given: Callable[..., TaskFiles], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, out = given(), tmp_path / "out"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="prepare it before processes are started"):
        prepare_if_missing(files, TaskSettings("t"), out)
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    prepare_if_missing(files, TaskSettings("t"), out)
    before = (out / "manifest.json").stat().st_mtime_ns
    prepare_if_missing(files, TaskSettings("t"), out)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match=r"was prepared with crop=None, not 5: name another folder"):
        prepare_if_missing(files, TaskSettings("t", crop=5), out)
    files.table["test"].write_text("sequence,label\nACGT,0\n")
    with pytest.raises(ConfigError, match=r"was prepared with inputs="):
        prepare_if_missing(files, TaskSettings("t"), out)
    files.table["test"].unlink()  # what is prepared serves without the files it was made of
    prepare_if_missing(files, TaskSettings("t"), out)


TASKS = sorted(
    path.relative_to(CONF / "task").with_suffix("").as_posix() for path in (CONF / "task").glob("*/*.yaml")
)


@pytest.mark.parametrize("task", TASKS)
def test_tasks_with_a_config_are_prepared_from_their_files(task: str, data_dir: Path, tmp_path: Path) -> None:
    cfg = composed("prepare_task", [f"task={task}", f"data_dir={data_dir}"])
    files, settings = task_of(OmegaConf.to_container(cfg.task, resolve=True))  # type: ignore[arg-type]
    manifest = prepare_task(files, tmp_path / "out", settings)
    counts = {split: list(count.values()) for split, count in manifest["counts"].items()}
    assert all(min(count) > 50 for count in counts.values())
    assert counts["test"] == {
        "enhancer/iEnhancer2L": [148, 148], "gue/mouse_0": [405, 405], "gue/prom_300_tata": [315, 298],
        "gue/prom_core_all": [2952, 2968], "gue/splice_reconstructed": [100, 99, 257],
        "gue/tf_0": [500, 500], "gue/tf_1": [500, 500], "gue/tf_2": [500, 500],
        "splice/human_602bp": [640, 640, 1280],
    }[task]  # fmt: skip
    across = manifest["duplicates"]["across"]
    shared = {"gue/prom_core_all": 42, "gue/prom_300_tata": 6, "gue/tf_1": 1}.get(task, 0)
    assert across["train and test"] == shared
    published = manifest["published"]
    assert published is None or (published["metric"] == "mcc" and "arXiv:2306.15006" in published["source"])
    assert json.loads((tmp_path / "out" / "manifest.json").read_text()) == manifest
