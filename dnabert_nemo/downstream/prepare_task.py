"""Labelled sequences to the data set of a task: examples/prepare_task.py and finetune.py call it.

`ready_sets` reads the files, `task_split` draws the splits that have none.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream import task_dataset
from dnabert_nemo.downstream.ready_sets import Example, read_fasta_class, read_table
from dnabert_nemo.downstream.task_dataset import MANIFEST, TaskSplit, read_manifest, write_split
from dnabert_nemo.downstream.task_settings import TaskFiles, TaskSettings
from dnabert_nemo.downstream.task_split import count_duplicates, draw_splits, strand_key, to_remove
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.shards.folder import publish
from dnabert_nemo.shards.records import file_sha256
from dnabert_nemo.shards.splits import SPLITS
from dnabert_nemo.training.launch import launch

_LONGEST = 100_000  # bases; what is longer is no sequence to classify but a chromosome given by mistake

_log = logging.getLogger(__name__)
_other_letter = re.compile("[^ACGT]").search


def prepare_task(
    files: TaskFiles, output_dir: Path, settings: TaskSettings, *, overwrite: bool = False
) -> dict[str, Any]:
    """Write train.csv, validation.csv, test.csv and manifest.json, all at once; returns the manifest.

    The same files and settings give the same bytes. Holds all sequences in memory.

    Raises:
        ConfigError: `output_dir` exists.
        FormatError: a file is missing or damaged; a sequence has other letters, where these are refused, or
            is beyond any model; a label is not among the settings' or not in training; a split lacks a class.
    """
    with publish(output_dir, task_dataset.FILES, overwrite=overwrite) as folder:
        examples, splits, inputs = _read(files)
        kept, sequences, num_cropped = _cleaned(examples, settings)
        removed = {"ambiguous": len(examples) - len(kept)}
        examples, splits = [examples[at] for at in kept], splits[kept]
        names, labels = _classes(examples, splits, files, settings)
        keys = list(map(strand_key, sequences))
        drawn = _missing_splits(files)
        if drawn:
            is_free = splits == SPLITS.index("train")
            free = np.flatnonzero(is_free).tolist()
            shares = {split: settings.fractions[split] for split in ("train", *drawn)}
            splits[is_free] = draw_splits([keys[at] for at in free], labels[is_free], shares, settings.seed)
        duplicates = count_duplicates(sequences, keys, labels, splits)
        stays = np.ones(len(sequences), dtype=bool)
        if settings.remove_duplicates:
            for reason, goes in to_remove(sequences, keys, labels, splits).items():
                removed[reason] = int(goes.sum())
                stays &= ~goes
        parts = {}
        for place, split in enumerate(SPLITS):
            members = np.flatnonzero(stays & (splits == place))
            parts[split] = TaskSplit([sequences[at] for at in members.tolist()], labels[members])
            _check_classes(split, parts[split], names, files)
            write_split(folder / f"{split}.csv", parts[split], names)
        manifest = {
            "kind": task_dataset.KIND,
            "format_version": task_dataset.FORMAT_VERSION,
            **asdict(settings),
            "names": settings.labels,
            "labels": names,
            "splits": _made(drawn),
            "counts": {split: _by_label(part.labels, names) for split, part in parts.items()},
            "lengths": {split: _lengths(part.sequences) for split, part in parts.items()},
            "duplicates": duplicates,
            "removed": removed,
            "cropped": num_cropped,
            "inputs": inputs,
            "files": {f"{split}.csv": file_sha256(folder / f"{split}.csv") for split in SPLITS},
        }
        content = json.dumps(manifest, indent=1) + "\n"
        (folder / MANIFEST).write_text(content, encoding="utf-8", newline="\n")
    _log_manifest(manifest)
    return manifest


def prepare_if_missing(files: TaskFiles, settings: TaskSettings, output_dir: Path) -> None:
    """Prepare a task's data set where there is none yet.

    Raises:
        ConfigError: another task's is there, or one made with other settings; or several processes, none of
            which may prepare for the others, find none.
        FormatError: as `prepare_task`, or `output_dir` is no data set.
    """
    if output_dir.exists():
        there, asked = read_manifest(output_dir), json.loads(json.dumps(asdict(settings)))
        asked["names"] = asked.pop("labels")
        paths = [*files.training, *(path for split, path in files.table.items() if split != "train")]
        if all(path.is_file() for path in paths):  # what was made of files that are gone may still be used
            asked["inputs"] = [{"name": path.name, "sha256": file_sha256(path)} for path in paths]
        other = next((key for key, value in asked.items() if there.get(key) != value), None)
        if other is not None:
            raise ConfigError(
                f"model.data.dataset_path={output_dir} was prepared with {other}={there.get(other)}, not "
                f"{asked[other]}: name another folder, or prepare it again (prepare_task, overwrite=true)"
            )
    elif launch(1, 1).num_ranks > 1:
        raise ConfigError(
            f"model.data.dataset_path={output_dir} is not there: prepare it before processes are started, "
            f"python examples/prepare_task.py task=NAME output_dir={output_dir}"
        )
    else:
        prepare_task(files, output_dir, settings)


def _read(files: TaskFiles) -> tuple[list[Example], NDArray[np.int64], list[dict[str, str]]]:
    """Read all examples, the place in SPLITS of each as its file has it, and the files' names and hashes."""
    examples: list[Example] = []
    splits: list[int] = []
    inputs = []
    read = [(SPLITS.index(split), path, None) for split, path in files.table.items()]
    read += [(SPLITS.index("train"), path, label) for label, paths in files.fasta.items() for path in paths]
    for split, path, label in read:
        found, sha256 = read_table(path) if label is None else read_fasta_class(path, label)
        examples += found
        splits += [split] * len(found)
        inputs.append({"name": path.name, "sha256": sha256})
    return examples, np.array(splits, dtype=np.int64), inputs


def _cleaned(examples: Sequence[Example], settings: TaskSettings) -> tuple[list[int], list[str], int]:
    """Return the places of what can be read, its sequences as they are read, and how many were cropped."""
    kept: list[int] = []
    sequences: list[str] = []
    num_cropped = 0
    for at, example in enumerate(examples):
        sequence = _cropped(example.sequence.upper(), settings.crop)
        if len(sequence) > _LONGEST:
            raise example.error(f"{len(sequence):,} bases: pass task.crop=N to keep the N in the middle")
        other = _other_letter(sequence)
        if other is None:
            kept.append(at)
            sequences.append(sequence)
            num_cropped += len(sequence) < len(example.sequence)
        elif settings.ambiguous == "refuse":
            problem = f"the letter {other[0]!r} in the sequence is none of A, C, G, T"
            raise example.error(f"{problem}: pass task.ambiguous=drop to leave such sequences out")
    return kept, sequences, num_cropped


def _cropped(sequence: str, width: int | None) -> str:
    """Return the `width` bases in the middle, or a sequence that is no longer as it is."""
    if width is None or len(sequence) <= width:
        return sequence
    first = (len(sequence) - width) // 2
    return sequence[first : first + width]


def _classes(
    examples: Sequence[Example], splits: NDArray[np.int64], files: TaskFiles, settings: TaskSettings
) -> tuple[list[str], NDArray[np.int64]]:
    """Return the names of the classes in order, and the class index of each example, int64 [n]."""
    in_training = {
        example.label for example, split in zip(examples, splits.tolist(), strict=True) if not split
    }
    if settings.labels is not None:
        of_file = dict(settings.labels)
    else:
        own = list(files.fasta) or sorted(in_training, key=_by_number)
        of_file = {label: label for label in own}
    if len(of_file) < 2:
        found = f"labels of usable sequences in training: {', '.join(of_file) or 'none'}"
        raise FormatError(files.training[0], f"{found}: give examples of two or more")
    place = {label: at for at, label in enumerate(of_file)}
    for example in examples:
        if example.label not in place:
            where = "in training" if settings.labels is None else "among task.labels"
            remedy = (
                "correct it, or add examples" if settings.labels is None else "correct it, or name it there"
            )
            problem = f"the label {example.label!r} is not {where} ({', '.join(place)})"
            raise example.error(f"{problem}: {remedy}")
    return list(of_file.values()), np.array([place[example.label] for example in examples], dtype=np.int64)


def _by_number(label: str) -> tuple[int, str]:
    return (int(label) if label.isascii() and label.isdecimal() else -1, label)


def _missing_splits(files: TaskFiles) -> list[str]:
    return [split for split in SPLITS[1:] if split not in files.table]


def _made(drawn: Sequence[str]) -> dict[str, str]:
    """Tell how each split was made."""
    given = {split: "as given" for split in SPLITS if split not in drawn}
    left = {"train": f"what {' and '.join(drawn)} left"} if drawn else {}
    return given | left | dict.fromkeys(drawn, "drawn by the seed")


def _check_classes(split: str, part: TaskSplit, names: Sequence[str], files: TaskFiles) -> None:
    counts = np.bincount(part.labels, minlength=len(names))
    if counts.all():
        return
    missing = names[int(np.flatnonzero(counts == 0)[0])]
    if split in files.table:
        problem = (
            f"no example of {missing!r} is left for {split}: add some, or leave that class out everywhere"
        )
        raise FormatError(files.table[split], problem)
    raise ConfigError(
        f"no example of {missing!r} is left for {split}: add examples, or give {split} more, "
        f"task.fractions.{split}=SHARE"
    )


def _by_label(labels: NDArray[np.int64], names: Sequence[str]) -> dict[str, int]:
    return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))


def _lengths(sequences: Sequence[str]) -> dict[str, int]:
    lengths = sorted(map(len, sequences))
    return {"min": lengths[0], "median": lengths[len(lengths) // 2], "max": lengths[-1]}


def _log_manifest(manifest: Mapping[str, Any]) -> None:
    for split, count in manifest["counts"].items():
        lengths = manifest["lengths"][split]
        named = ", ".join(f"{number:,} {label}" for label, number in count.items())
        _log.info(
            "%s, %s: %s; %d to %d bases",
            split,
            manifest["splits"][split],
            named,
            lengths["min"],
            lengths["max"],
        )
    counts = {reason.replace("_", " "): number for reason, number in manifest["removed"].items()}
    for reason, number in (counts | {"cropped": manifest["cropped"]}).items():
        if number:
            _log.info("%s: %s", reason, f"{number:,}")
    if not manifest["remove_duplicates"]:
        _warn_of_duplicates(manifest["duplicates"])


def _warn_of_duplicates(duplicates: Mapping[str, Any]) -> None:
    found = {f"in {pair} both": number for pair, number in duplicates["across"].items()}
    others = duplicates["across_other_strand"].items()
    found |= {f"in {pair} both, on the other strand": number for pair, number in others}
    found["with several labels"] = duplicates["several_labels"]
    for what, number in found.items():
        if number:
            remedy = "task.remove_duplicates=true leaves them out"
            _log.warning("sequences %s: %s; %s", what, f"{number:,}", remedy)
