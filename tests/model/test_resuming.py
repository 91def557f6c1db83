"""A run goes on from checkpoints of its own model alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.model.resuming import check_same_run

BEGUN = {"seed": 1, "steps": 100}
THEIRS: dict[str, Any] = {
    "tokenizer": {"k": 3, "vocab_file": None},
    "labels": ["other", "promoter"],
    "pooling": "mean",
    "random_encoder": False,
    "provenance": {"started_from": BEGUN},
}


def test_the_same_model_goes_on() -> None:
    check_same_run(THEIRS, THEIRS, BEGUN)
    check_same_run(THEIRS, THEIRS, None)  # whose weights all come from the checkpoint
    language_model = {"tokenizer": {"k": 3}}
    check_same_run(language_model, language_model, None)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"tokenizer": {"k": 4}}, "of a model with k=3, and now it is 4: pass another exp_manager.name"),
        ({"labels": ["promoter", "other"]}, r"labels=\['other', 'promoter'\], and now it is \['promoter'"),
        ({"pooling": "cls"}, "pooling=mean, and now it is cls"),
        ({"random_encoder": True}, "random_encoder=False, and now it is True"),
    ],
)
def test_another_model_does_not(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        check_same_run(THEIRS | changed, THEIRS, BEGUN)


def test_nor_one_that_began_with_another_file() -> None:
    with pytest.raises(CheckpointError, match="another restore_from_path"):
        check_same_run(THEIRS, THEIRS, BEGUN | {"steps": 200})


def test_nor_a_head_that_learned_from_features_as_they_are(new_classifier) -> None:
    model = new_classifier(freeze_encoder=True)
    model.optimizer = SimpleNamespace(num_skipped=0)
    with pytest.raises(CheckpointError, match="whose heads learned from other features: pass another"):
        model.on_load_checkpoint({"consumed_samples": 8})
