"""Whether a run may go on from a checkpoint: the two must be of one model, or its weights would be mixed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnabert_nemo.errors import CheckpointError

_ALIKE = ("k", "labels", "pooling", "random_encoder")


def check_same_run(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], started_from: Mapping[str, Any] | None
) -> None:
    """Hold a model's config against the one in a checkpoint.

    Tensors tell most of what differs by their shapes; the rows of a vocabulary are padded, and read as far as
    both have them, and a head fits on any encoder.

    Args:
        started_from: what is known of the file that the run's first weights are from, as in `provenance`.

    Raises:
        CheckpointError: they differ in k, classes, pooling, or in what they started from.
    """
    for key, mine, other in zip(_ALIKE, _told(ours), _told(theirs), strict=True):
        if mine is not None and other is not None and mine != other:
            raise CheckpointError(
                f"the checkpoints of this run are of a model with {key}={other}, and now it is {mine}: pass "
                "another exp_manager.name, or what the run was begun with"
            )
    before = theirs.get("provenance", {}).get("started_from")
    if started_from is not None and before is not None and dict(started_from) != before:
        raise CheckpointError(
            "the checkpoints of this run began with the weights of another restore_from_path: pass another "
            "exp_manager.name, or that file"
        )


def _told(config: Mapping[str, Any]) -> tuple[Any, ...]:
    return (config["tokenizer"]["k"], *(config.get(key) for key in _ALIKE[1:]))
