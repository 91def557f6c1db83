"""Layers that torch.compile makes give what the others do: losses, gradients, one mask for both."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.kernels.choose import Device, Kernels
from dnabert_nemo.megatron import weights
from dnabert_nemo.megatron.attention import segments
from dnabert_nemo.megatron.bert import BertForMaskedLM
from dnabert_nemo.megatron.compiled_layer import CompiledPostNormLayer, CompiledPreNormLayer
from dnabert_nemo.megatron.layer import PostNormLayer, PreNormLayer
from dnabert_nemo.megatron.losses import MaskedLMLoss
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

pytestmark = pytest.mark.skipif("c++" not in Device.here(None).has, reason="no C++ compiler")
EACH_LENGTH = ((20, 5, 64, 9), (31, 32), (64, 7, 64))
RECOMPUTED = {"selective": Recompute("selective"), "uniform": Recompute("full", "uniform", 1)}


@pytest.fixture(autouse=True)
def compiled_anew() -> None:
    """Forget what was compiled for another test's models, of which torch keeps eight."""
    torch.compiler.reset()


@pytest.fixture
def new_model(small_shape, random_biases) -> Callable[..., BertForMaskedLM]:
    """Make a model with the same weights each time, whose layers are all compiled but the last, or none."""

    def make(layer: str, recompute: Recompute | None = None, **changed: Any) -> BertForMaskedLM:
        torch.manual_seed(3)
        shape = small_shape(num_layers=3, **changed)
        config = transformer_config(shape, ParallelSizes(), "fp32", recompute, Kernels(layer=layer))
        model = BertForMaskedLM(config, shape)
        weights.initialize(model, shape, 1)
        return random_biases(model).train()

    return make


def loss_of(model: BertForMaskedLM, batch: MicroBatch, seed: int = 5) -> torch.Tensor:
    """Return the mean loss, with its graph; what is dropped follows from the seed."""
    torch.manual_seed(seed)
    loss, count, _ = MaskedLMLoss(3)(model(batch), batch)
    return loss / count


def gradients(model: BertForMaskedLM, batch: MicroBatch) -> list[torch.Tensor]:
    """Return the loss's gradient by each parameter."""
    model.zero_grad()
    loss_of(model, batch).backward()
    return [parameter.grad for parameter in model.parameters()]


@pytest.mark.parametrize("block_type", ["pre_ln", "post_ln"])
def test_losses_and_gradients_are_those_of_the_layers_as_they_are(
    new_model, micro_batch, block_type: str
) -> None:
    models = [new_model(layer, transformer_block_type=block_type) for layer in ("eager", "compiled")]
    one = {"pre_ln": PreNormLayer, "post_ln": PostNormLayer}[block_type]
    compiled = {"pre_ln": CompiledPreNormLayer, "post_ln": CompiledPostNormLayer}[block_type]
    kinds = [[type(layer) for layer in model.encoder.layers] for model in models]
    assert kinds == [[one] * 3, [compiled, compiled, one]]
    for lengths in EACH_LENGTH:
        batch = micro_batch(lengths)
        losses = [loss_of(model, batch) for model in models]
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
        names = [name for name, _ in models[0].named_parameters()]
        for name, eager, found in zip(names, *(gradients(model, batch) for model in models), strict=True):
            scale = max(float(eager.abs().max()), 1.0)
            torch.testing.assert_close(found, eager, rtol=2e-5, atol=2e-6 * scale, msg=name)


def test_a_gradient_is_that_of_the_mask_of_its_loss(new_model, micro_batch) -> None:
    """In fp64, against the difference that a small step along a random direction makes."""
    batch = micro_batch((20, 5, 64, 9))
    model = new_model("compiled", hidden_dropout=0.3).double()
    parameters = list(model.parameters())

    def squares(seed: int = 5) -> torch.Tensor:  # the loss of the model rounds to fp32
        torch.manual_seed(seed)
        return model(batch)[:, : model.shape.vocab_size].square().mean()

    found = torch.autograd.grad(squares(), parameters)
    assert squares() == squares() != squares(seed=6)
    generator = torch.Generator().manual_seed(1)
    direction = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in parameters]
    slope = sum(float((g * d).sum()) for g, d in zip(found, direction, strict=True))
    step, losses = 1e-6, []
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, d in zip(parameters, direction, strict=True):
                parameter += sign * step * d
            losses.append(float(squares()))
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize("recompute", RECOMPUTED.values(), ids=RECOMPUTED)
def test_what_is_computed_again_drops_the_same(new_model, micro_batch, recompute: Recompute) -> None:
    batch = micro_batch((20, 5, 64, 9))
    kept, again = (
        gradients(new_model("compiled", each, hidden_dropout=0.3), batch) for each in (None, recompute)
    )
    for one, two in zip(kept, again, strict=True):
        torch.testing.assert_close(two, one, rtol=1e-5, atol=1e-7)


def test_dropout_zeroes_its_share_and_scales_the_rest(new_model) -> None:
    p, num_tokens = 0.3, 500
    layer = new_model("compiled", hidden_dropout=p).encoder.layers[0]
    with torch.no_grad():  # attention's projection gives ones, the MLP nothing
        for linear, bias in ((layer.self_attention.linear_proj, 1.0), (layer.mlp.linear_fc2, 0.0)):
            linear.weight.zero_()
            linear.bias.fill_(bias)
        given = torch.zeros(num_tokens, 1, layer.config.hidden_size)
        found, _ = layer(given, packed_seq_params=segments((num_tokens,)))
        assert found.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
        dropped = float((found == 0).double().mean())
        assert abs(dropped - p) <= 4 * math.sqrt(p * (1 - p) / found.numel())
        whole, _ = layer.eval()(given, packed_seq_params=segments((num_tokens,)))
        assert torch.equal(whole, torch.ones_like(whole))
