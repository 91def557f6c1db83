"""Opening a .nemo file for inference: the model is built from what was read and checked alone.

NeMo's own restore opens our files too; here it is not used, since it would open the path a second time.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from omegaconf import OmegaConf

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import nemo_file
from dnabert_nemo.model.base import MegatronModel

Model = TypeVar("Model", bound=MegatronModel)


def restore(path: Path, kind: type[Model]) -> Model:
    """Open a .nemo file as a model of this kind, on a GPU where there is one, ready to predict.

    Raises:
        CheckpointError: the file is damaged, unsafe, not a .nemo file, or holds a model of another kind.
    """
    file = nemo_file.read(path)
    target = file.config["target"]
    if target != f"{kind.__module__}.{kind.__qualname__}":
        raise CheckpointError(
            f"{path}: holds a {target} and a {kind.__name__} is wanted: give the file of one"
        )
    tokenizer = {**file.config["tokenizer"], "vocab_file": None}  # it is the one vocabulary of its k
    model = kind(OmegaConf.create({**file.config, "tokenizer": tokenizer}))
    model.start_from(file, str(path))
    model.build(ParallelSizes(), "fp32")
    return model.to(topology.device()).eval()
