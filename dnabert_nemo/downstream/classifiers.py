"""What trained classifiers say of sequences: the rows of a report that are models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from dnabert_nemo.downstream.splice_dataset import SpliceDataset, SpliceSplit
from dnabert_nemo.downstream.task_dataset import TaskDataset, TaskSplit, check_lengths
from dnabert_nemo.errors import ConfigError


def files_by_name(paths: Sequence[str], key: str = "restore_from_path") -> dict[str, Path]:
    """Name .nemo files by their stems, in order; `key` is where the config names them.

    Raises:
        ConfigError: two have one name.
    """
    found = {Path(path).stem: Path(path) for path in paths}
    if len(found) < len(paths):
        raise ConfigError(f"{key}={list(paths)}: two have one name, which rows go by: rename a file")
    return found


def model_probabilities(
    dataset: SpliceDataset | TaskDataset,
    part: SpliceSplit | TaskSplit,
    files: Mapping[str, Path],
    micro_batch_size: int,
) -> tuple[dict[str, NDArray[Any]], dict[str, int]]:
    """Return the probabilities [n, C] that each classifier gives `part`, and the seeds of their training.

    Those on one frozen encoder, as heads of several seeds are, share its pass over the sequences.

    Raises:
        CheckpointError: a file is no classifier's .nemo file.
        ConfigError: a classifier has other classes, or the sequences do not fit it.
    """
    if not files:
        return {}, {}
    from dnabert_nemo.model import DnabertClassifier, restore  # here, as it brings NeMo

    found, seeds, encoded = {}, {}, {}
    for name, path in files.items():
        model = restore(path, DnabertClassifier)
        if tuple(model.labels) != dataset.labels:
            raise ConfigError(
                f"restore_from_path={path} calls {', '.join(model.labels)}, and {dataset.path} has "
                f"{', '.join(dataset.labels)}: give a classifier that was trained on this task"
            )
        check_lengths(dataset, k=model.cfg.tokenizer.k, max_positions=model.shape.max_position_embeddings)
        key = model.encoder_key
        if key not in encoded:
            encoded[key] = model.encode(part.sequences, micro_batch_size)
        found[name] = model.classify(encoded[key]).numpy()
        seeds[f"training of {name}"] = model.cfg.seed
    return found, seeds
