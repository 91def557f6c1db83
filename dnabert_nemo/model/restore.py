"""Opening a .nemo file for inference: NeMo's own restore, after a check of what the file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from nemo.core import ModelPT

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.model import nemo_file
from dnabert_nemo.model.base import MegatronModel

Model = TypeVar("Model", bound=MegatronModel)


def restore(path: Path, kind: type[Model]) -> Model:
    """Open a .nemo file as a model of this kind, on a GPU where there is one, ready to predict.

    Raises:
        CheckpointError: the file is damaged, not a .nemo file, or holds a model of another kind.
    """
    target = nemo_file.read(path).config.get("target")
    if target != f"{kind.__module__}.{kind.__qualname__}":
        raise CheckpointError(
            f"{path}: holds a {target} and a {kind.__name__} is wanted: give the file of one"
        )
    model = ModelPT.restore_from(str(path))
    assert isinstance(model, kind)
    return model.eval()
