"""A trained model from wherever it is: a checkpoint of any layout of ranks, or a .nemo file."""

from __future__ import annotations

import logging
from pathlib import Path

from dnabert_nemo.data.whitening import on_plain_features
from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron import checkpoint, checkpoint_weights
from dnabert_nemo.megatron.lora import merged
from dnabert_nemo.model import nemo_file
from dnabert_nemo.model.classification import HEAD, WHITENING
from dnabert_nemo.model.nemo_file import NemoFile

log = logging.getLogger("dnabert_nemo")


def read_model(path: Path) -> NemoFile:
    """Read the config and the weights of a .nemo file or a checkpoint, in this process alone.

    Of a folder of checkpoints it is the newest.

    What a checkpoint gives is what the run itself would have written as its .nemo file at that step.

    Raises:
        CheckpointError: it is neither, is damaged, or holds anything but plain data.
    """
    if not path.is_dir():
        return nemo_file.read(path)
    if path.suffix == ".ckpt":
        return _of_checkpoint(path)
    newest = checkpoint.newest(path)
    if newest is None:
        raise CheckpointError(
            f"{path}: holds no checkpoint: give a *.ckpt, a folder of them, or a .nemo file"
        )
    log.info("%s is the newest in %s", newest.name, path)
    return _of_checkpoint(newest)


def _of_checkpoint(path: Path) -> NemoFile:
    progress = checkpoint_weights.read_progress(path)
    config = progress.get("model_config")
    if not isinstance(config, dict):
        raise CheckpointError(
            f"{path}: has no model config, as checkpoints of earlier versions: resume its run for a step, "
            "and export the checkpoint that this writes"
        )
    tensors = nemo_file.check_config(config, f"{path}: its model config")
    bare = {name.removeprefix("bert."): shape for name, shape in tensors.items()}
    weights = checkpoint_weights.read_weights(path, bare)
    try:
        weights = on_plain_features(weights, progress.get(WHITENING), HEAD)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: what it keeps of features fits no head: export another") from error
    config, weights = merged(config, weights)
    return NemoFile(
        config,
        Vocabulary(config["tokenizer"]["k"]),
        {f"bert.{name}": tensor for name, tensor in weights.items()},
    )
