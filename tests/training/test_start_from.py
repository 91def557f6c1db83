"""A run that starts from a .nemo file of another model is told which overrides make it that one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dnabert_nemo.command import composed
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertModel
from dnabert_nemo.model.model_config import CLASSIFIER, LANGUAGE_MODEL
from dnabert_nemo.training import build
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


SHAPE = {"num_layers": 1, "hidden_size": 32, "ffn_hidden_size": 64, "num_attention_heads": 2}


@pytest.fixture
def encoder(tmp_path: Path) -> DnabertModel:
    """A language model, saved as encoder.nemo."""
    shape = {"tokenizer": {"k": 3, "vocab_file": None}, "max_position_embeddings": 64, **SHAPE}
    made = DnabertModel(OmegaConf.create({"seed": 5, **shape}))
    made.build(ParallelSizes(), "fp32")
    made.save_to(str(tmp_path / "encoder.nemo"))
    return made


def on_encoder(folder: Path, is_random: str) -> Any:
    """Return a fine-tuning config on encoder.nemo."""
    given = [f"restore_from_path={folder / 'encoder.nemo'}", f"model.random_encoder={is_random}"]
    return build.with_encoder(composed("splice", [*given, "model.data.dataset_path=x"]))


def test_a_classifier_takes_the_encoders_weights_or_first_ones_of_its_shape(
    encoder: DnabertModel, tmp_path: Path
) -> None:
    of_file = dict(encoder.bert.named_parameters())
    found = {}
    for is_random in ("false", "true"):
        model = build.classifier(on_encoder(tmp_path, is_random), ["donor", "acceptor", "negative"])
        model.build(ParallelSizes(), "fp32")
        found[is_random] = dict(model.bert.named_parameters())
    taken = [name for name in found["false"] if name.startswith(("embedding.", "encoder."))]
    drawn = [name for name in taken if "word_embeddings" in name or name.endswith(".linear_fc1.weight")]
    assert len(taken) > 12
    assert len(drawn) == 2
    assert all(torch.equal(found["false"][name], of_file[name]) for name in taken)
    assert not any(torch.equal(found["true"][name], of_file[name]) for name in drawn)


def test_it_is_one_or_the_other(encoder: DnabertModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.random_encoder=maybe: give true or false"):
        on_encoder(tmp_path, "maybe")
