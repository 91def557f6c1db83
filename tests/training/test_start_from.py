"""A run that starts from a .nemo file of another model is told which overrides make it that one."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.model.model_config import CLASSIFIER, LANGUAGE_MODEL
from dnabert_nemo.training.build import _check_alike

FILE = {"target": LANGUAGE_MODEL, "tokenizer": {"k": 3}, "num_layers": 4, "hidden_size": 64}


def start(**changed: Any) -> None:
    cfg = OmegaConf.create({"restore_from_path": "first.nemo", "model": FILE})
    _check_alike(cfg, FILE | changed)


def test_the_same_shape_may_differ_in_dropout() -> None:
    start()
    start(hidden_dropout=0.3)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"target": CLASSIFIER}, "a .*DnabertClassifier: give the .nemo file of a pre-training run"),
        (
            {"num_layers": 6, "transformer_block_type": "post_ln"},
            "another model: pass model.num_layers=6 model.transformer_block_type=post_ln$",
        ),
        ({"tokenizer": {"k": 5}}, "another model: pass model.tokenizer.k=5$"),
    ],
)
def test_another_model_is_told_with_what_to_pass(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=f"^restore_from_path=first.nemo:? holds {says}"):
        start(**changed)
