"""A run that starts from a .nemo file of another model is told which overrides make it that one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
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


LABELS = ["donor", "acceptor", "negative"]


def data(labels: list[int]) -> Any:
    """Return what a classifier is told of its data."""
    return SimpleNamespace(train=SimpleNamespace(labels=np.array(labels)))


def on_encoder(folder: Path, is_random: str, *overrides: str) -> Any:
    """Return a fine-tuning config on encoder.nemo."""
    given = [f"restore_from_path={folder / 'encoder.nemo'}", f"model.random_encoder={is_random}"]
    return build.with_encoder(composed("splice", [*given, "model.data.dataset_path=x", *overrides]))


def test_a_classifier_takes_the_encoders_weights_or_first_ones_of_its_shape(
    encoder: DnabertModel, tmp_path: Path
) -> None:
    of_file = dict(encoder.bert.named_parameters())
    found = {}
    for is_random in ("false", "true"):
        model = build.classifier(on_encoder(tmp_path, is_random), LABELS, data([0, 1, 2]))
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


LORA = ["model.lora.rank=4", "model.freeze_encoder=false"]
TWO = ["model.tensor_model_parallel_size=2", "trainer.devices=2"]
FULL = [
    f"model.activations_checkpoint_{key}" for key in ("granularity=full", "method=uniform", "num_layers=1")
]
STOPS = "exp_manager.create_early_stopping_callback=true"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.pooling=max"], r"model\.pooling=max is not known: choose one of centre, cls, mean"),
        (["model.lora.rank=4"], r"model\.lora\.rank=4: adapters train, and model\.freeze_encoder=true"),
        ([*LORA, "model.sequence_parallel=true", *TWO], r"not made for model\.sequence_parallel=true"),
        ([*LORA, "model.kernels=inductor"], r"model\.kernels=inductor has no adapters, as model\.lora\.rank"),
        ([*LORA, *FULL], r"model\.activations_checkpoint_granularity=full do not go together"),
        (["model.lora.rank=-1"], r"model\.lora\.rank=-1: give a whole number"),
        (["model.class_weights=even"], r"model\.class_weights=even: give null, balanced, or a list"),
        (["model.class_weights=[1,2,x]"], r"model\.class_weights\[2\]=x: give a number"),
        (["model.class_weights=[1,-2,1]"], r"model\.class_weights\[1\]=-2: give a number of at least 0"),
        ([f"{STOPS[:-4]}2"], r"exp_manager\.create_early_stopping_callback=2: give true or false"),
        (
            [STOPS, "exp_manager.checkpoint_callback_params.monitor=val_loss"],
            r"early_stopping_callback_params\.monitor=val_mcc, and .*monitor=val_loss: give both the same",
        ),
        (
            [STOPS, "exp_manager.early_stopping_callback_params.mode=min"],
            r"early_stopping_callback_params\.mode=min, and .*\.mode=max: give both the same",
        ),
        ([STOPS, "exp_manager.checkpoint_callback_params.save_top_k=0"], r"keeps no best checkpoint"),
    ],
)
def test_what_fine_tuning_cannot_do_is_told(encoder, tmp_path: Path, overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        on_encoder(tmp_path, "false", *overrides)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("null", None), ("balanced", [2.0, 1.0, 2 / 3]), ("[1,0.5,3]", [1.0, 0.5, 3.0])],
)
def test_weights_of_classes_go_with_the_model(
    encoder, tmp_path: Path, asked: str, expected: list[float] | None
) -> None:
    cfg = on_encoder(tmp_path, "false", f"model.class_weights={asked}")
    model = build.classifier(cfg, LABELS, data([0, 1, 1, 2, 2, 2]))
    assert model.cfg.class_weights == (expected and pytest.approx(expected))
    if asked == "balanced":
        means = np.dot(expected, [1, 2, 3]) / 6
        assert means == pytest.approx(1)


def test_a_label_that_nothing_is_trained_on_is_told(encoder, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="no sequence to train on has the label acceptor: leave the label out"
    ):
        build.classifier(on_encoder(tmp_path, "false"), LABELS, data([0, 2, 2]))


def test_as_many_weights_as_labels(encoder, tmp_path: Path) -> None:
    for weights in ("[1,2]", "[0,0,0]"):
        cfg = on_encoder(tmp_path, "false", f"model.class_weights={weights}")
        with pytest.raises(ConfigError, match="give 3, a number for each label, not all of them 0"):
            build.classifier(cfg, LABELS, data([0, 1, 2]))
