"""Adapters: nothing at first, trained alone, alike in a last layer that reads, merged without a trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dnabert_nemo.data.labelled import LabelledSequences
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron import weights
from dnabert_nemo.megatron.bert import BertForClassification
from dnabert_nemo.megatron.lora import merged, train_adapters_alone
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.megatron.tensor_shapes import classifier_tensors

LORA = LoraSettings(rank=4, alpha=8)
BATCH = LabelledSequences(["ACGTACGTAA", "GGGTTTACC"], [0, 1], k=3, max_positions=32, pooling="mean").batch(
    np.array([0, 1]), 2
)


@pytest.fixture
def new_classifier(small_shape):
    """Make a classifier of three classes."""

    def make(lora: LoraSettings | None = LORA, **settings: object) -> BertForClassification:
        shape = small_shape()
        model = BertForClassification(
            transformer_config(shape, ParallelSizes(), "fp32", lora=lora, **settings), shape, 3
        )
        weights.initialize(model, shape, 1)
        return model.eval()

    return make


def with_drawn_halves(model: BertForClassification) -> BertForClassification:
    """Give the halves that start at zero numbers."""
    for name, parameter in model.named_parameters():
        if name.endswith("lora_b"):
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return model


def test_an_adapter_begins_as_nothing(new_classifier) -> None:
    assert torch.equal(new_classifier()(BATCH), new_classifier(None)(BATCH))
    assert not torch.equal(with_drawn_halves(new_classifier())(BATCH), new_classifier(None)(BATCH))


def test_adapters_and_head_train_alone(new_classifier) -> None:
    model = with_drawn_halves(new_classifier())
    train_adapters_alone(model)
    model(BATCH).square().sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {
        name for name, _ in model.named_parameters() if name.startswith("head.") or "lora_" in name
    }
    assert all(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


def test_a_last_layer_that_reads_has_them_too(new_classifier) -> None:
    found = []
    for where_read in (False, True):
        model = with_drawn_halves(new_classifier(last_layer_where_read=where_read))
        logits = model(BATCH)
        logits.square().sum().backward()
        found.append((logits, {name: p.grad for name, p in model.named_parameters() if "lora_" in name}))
    (whole, of_whole), (reading, of_reading) = found
    torch.testing.assert_close(reading, whole, rtol=1e-5, atol=1e-7)
    for name, gradient in of_whole.items():
        torch.testing.assert_close(of_reading[name], gradient, rtol=1e-4, atol=1e-8, msg=name)


def test_merged_weights_do_the_same_without_adapters(new_classifier, small_shape) -> None:
    adapted, plain = with_drawn_halves(new_classifier()), new_classifier(None)
    before = weights.gather(adapted)
    assert {name: tuple(tensor.shape) for name, tensor in before.items()} == classifier_tensors(
        small_shape(), 3, LORA
    )
    config, whole = merged({"lora": {"rank": 4, "alpha": 8}, "seed": 1}, before)
    assert config == {"lora": None, "seed": 1}
    weights.spread(plain, whole, source="merged")
    torch.testing.assert_close(plain(BATCH), adapted(BATCH), rtol=1e-5, atol=1e-7)
    changed = {name for name, tensor in whole.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in whole if name.endswith(("linear_qkv.weight", "linear_proj.weight"))}


def test_without_adapters_nothing_is_merged(new_classifier) -> None:
    whole = weights.gather(new_classifier(None))
    for config in ({}, {"lora": None}, {"lora": {"rank": None, "alpha": 16}}):
        found, same = merged(config, whole)
        assert found == config
        assert same == whole


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rank": 0, "alpha": 16}, r"model\.lora\.rank=0: give a whole number in 1\.\.65536, or null"),
        ({"rank": 2.0, "alpha": 16}, r"model\.lora\.rank=2\.0: give a whole number"),
        ({"rank": 4, "alpha": 0}, r"model\.lora\.alpha=0: give a number above 0"),
        ({"rank": 4, "alpha": "much"}, r"model\.lora\.alpha=much: give a number above 0"),
        ({"rank": 4}, r"model\.lora has \['rank'\]: give rank and alpha"),
        (8, r"model\.lora=8: give model\.lora\.rank and model\.lora\.alpha"),
    ],
)
def test_what_is_no_adapter_is_told(given: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        LoraSettings.of({"lora": given})
