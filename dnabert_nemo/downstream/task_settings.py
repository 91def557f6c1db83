"""What a task's config says: its files, its classes, and what is done with them; before `prepare_task`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnabert_nemo.command import keyed, listed
from dnabert_nemo.downstream.metrics import CLASS_METRICS
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.splits import SPLITS

FRACTIONS = dict(zip(SPLITS, (0.8, 0.1, 0.1), strict=True))
AMBIGUOUS = ("refuse", "drop")
_PUBLISHED = {"metric", "source", "rows"}


@dataclass(frozen=True)
class TaskFiles:
    """Where labelled sequences are: tables by split, or FASTA files by label."""

    table: Mapping[str, Path]
    fasta: Mapping[str, tuple[Path, ...]]

    @property
    def training(self) -> tuple[Path, ...]:
        """The files of training, from which splits without a file are drawn."""
        if self.table:
            return (self.table["train"],)
        return tuple(path for paths in self.fasta.values() for path in paths)


@dataclass(frozen=True)
class TaskSettings:
    """What decides a task's data set, besides the files it is made of.

    Raises:
        ConfigError: a value is out of range.
    """

    name: str
    labels: Mapping[str, str] | None = None  # names by the labels of the files, in the order of classes
    ambiguous: str = "refuse"  # what is done with a sequence that has other letters than A, C, G, T
    crop: int | None = None  # bases of the middle that stay of a longer sequence
    remove_duplicates: bool = False
    fractions: Mapping[str, float] = field(default_factory=FRACTIONS.copy)  # for splits without a file
    seed: int = 1
    published: Mapping[str, Any] | None = None  # metric, source, and rows: figures by the names of models

    def __post_init__(self) -> None:
        if self.ambiguous not in AMBIGUOUS:
            raise ConfigError(f"task.ambiguous={self.ambiguous}: choose from {', '.join(AMBIGUOUS)}")
        if not isinstance(self.remove_duplicates, bool):
            raise ConfigError(f"task.remove_duplicates={self.remove_duplicates}: give true or false")
        for key, value, low in (("crop", self.crop, 1), ("seed", self.seed, 0)):
            is_none = key == "crop" and value is None
            if not is_none and (type(value) is not int or not low <= value < 2**32):
                raise ConfigError(f"task.{key}={value}: give a whole number of at least {low}")
        shares = self.fractions
        if (
            not isinstance(shares, Mapping)
            or shares.keys() != set(SPLITS)
            or not all(isinstance(share, int | float) and 0 < share < 1 for share in shares.values())
            or abs(sum(shares.values()) - 1) > 1e-6
        ):
            raise ConfigError(
                f"task.fractions={shares}: give each of {', '.join(SPLITS)} a number above 0, 1 in all"
            )
        if self.labels is not None and len(set(self.labels.values())) < len(self.labels):
            raise ConfigError(f"task.labels={dict(self.labels)}: give each label a name of its own")
        told = self.published
        if told is not None and (
            not isinstance(told, Mapping)
            or told.keys() != _PUBLISHED
            or told["metric"] not in CLASS_METRICS
            or not isinstance(told["rows"], Mapping)
            or not all(isinstance(value, int | float) for value in told["rows"].values())
        ):
            raise ConfigError(
                f"task.published={told}: give metric (one of {', '.join(CLASS_METRICS)}), source and rows, "
                "{NAME: NUMBER}"
            )


def task_of(config: Mapping[str, Any]) -> tuple[TaskFiles, TaskSettings]:
    """Read the `task` part of a config, as `conf/task/csv.yaml` has it.

    Raises:
        ConfigError: no file is named, or files of both kinds; their folder is not known; a value is out of
            range.
    """
    table, fasta, names = (keyed(config, key, "task.") for key in ("table", "fasta", "labels"))
    table = {split: path for split, path in table.items() if path is not None}
    fasta = {str(label): listed(paths) or () for label, paths in fasta.items()}
    if bool(table) == bool(fasta):
        problem = "both name files: leave one out" if table else "name no file: pass task.table.train=FILE"
        raise ConfigError(f"task.table and task.fasta {problem}")
    if table and "train" not in table:
        raise ConfigError(f"task.table.train is null: pass it, beside {' and '.join(table)}")
    if config["folder"] is None:
        raise ConfigError(
            f"data_dir is null, where the files of task {config['name']} are: pass data_dir=FOLDER, or set "
            "DNABERT_NEMO_DATA"
        )
    folder = Path(config["folder"])
    return (
        TaskFiles(
            {split: folder / path for split, path in table.items()},
            {label: tuple(folder / path for path in paths) for label, paths in fasta.items()},
        ),
        TaskSettings(
            labels=None if not names else {str(label): str(name) for label, name in names.items()},
            **{
                key: config[key]
                for key in (
                    "ambiguous",
                    "crop",
                    "fractions",
                    "name",
                    "published",
                    "remove_duplicates",
                    "seed",
                )
            },
        ),
    )
