"""Where weights come from: versions, counts of training, hashes of the data; kept in the .nemo file.

It holds no time and no path, so that the same run writes the same bytes wherever and whenever it ends.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

_PACKAGES = ("dnabert_nemo", "torch", "megatron-core", "nemo-toolkit")
_COUNTS = ("consumed_samples", "consumed_tokens")


def versions() -> dict[str, str]:
    """Return the versions of what the weights were computed with."""
    return {name: version(name) for name in _PACKAGES}


def of_run(model: Any, known: dict[str, Any] | None, started_from: dict[str, Any] | None) -> dict[str, Any]:
    """Describe the run that this model is in, or keep what is known of its weights where it is in none.

    Args:
        model: a `MegatronModel`.
        known: what the file said that the model was restored from, if it was.
        started_from: what is known of the file whose weights the run started from, if there was one.
    """
    trainer = getattr(model, "_trainer", None)
    if trainer is None or not trainer.global_step:
        return known or {"versions": versions()}
    made: dict[str, Any] = {
        "versions": versions(),
        "seed": int(model.cfg.get("seed", 0)),
        "steps": int(trainer.global_step),
        **{name: int(getattr(model, name)) for name in _COUNTS if hasattr(model, name)},
        "data": trainer.datamodule.hashes(),
    }
    return made if started_from is None else {**made, "started_from": started_from}
