"""Weights as whole tensors: drawn by seed and name alone, spread over a model and gathered from it."""

from __future__ import annotations

import math

import pytest
import torch

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.megatron import weights

POSITIONS = "embedding.position_embeddings.weight"


def test_first_weights_depend_on_seed_and_name_alone(new_bert) -> None:
    torch.manual_seed(1)
    bert = new_bert(seed=5)
    first = weights.gather(bert)
    state = torch.get_rng_state()
    weights.initialize(bert, bert.shape, 5)
    assert torch.equal(torch.get_rng_state(), state)  # which dropout draws from
    torch.manual_seed(2)
    deeper = weights.gather(new_bert(seed=5, num_layers=3))
    residual = ("linear_proj.weight", "linear_fc2.weight")  # which are scaled by the depth
    for name, weight in first.items():
        scale = math.sqrt(3 / 2) if name.endswith(residual) else 1.0
        torch.testing.assert_close(deeper[name] * scale, weight, rtol=1e-6, atol=0)
    other = weights.gather(new_bert(seed=6))
    same = {name for name, weight in first.items() if weight.dim() == 2 and torch.equal(other[name], weight)}
    assert same == {POSITIONS}  # which are sinusoids


def test_first_positions_are_sinusoids(new_bert) -> None:
    positions = weights.gather(new_bert())[POSITIONS].double()
    place, width = 11, positions.shape[1]
    waves = [place / 10_000 ** (pair / (width // 2 - 1)) for pair in range(width // 2)]
    expected = [f(angle) * 0.02 * math.sqrt(2) for angle in waves for f in (math.sin, math.cos)]
    assert positions[place].tolist() == pytest.approx(expected, abs=1e-6)


def test_first_weights_have_berts_spread(new_bert) -> None:
    drawn = weights.gather(new_bert(hidden_size=64))
    assert drawn["encoder.layers.0.self_attention.linear_qkv.weight"].std().item() == pytest.approx(
        0.02, rel=0.1
    )
    assert drawn["encoder.layers.1.mlp.linear_fc2.weight"].std().item() == pytest.approx(0.01, rel=0.1)
    vectors = {name: tensor for name, tensor in drawn.items() if tensor.dim() == 1}
    assert {float(v) for name, t in vectors.items() if name.endswith("bias") for v in t} == {0.0}
    assert {float(v) for name, t in vectors.items() if name.endswith("weight") for v in t} == {1.0}


def test_layers_and_matrices_are_drawn_apart(new_bert) -> None:
    drawn = [tensor.flatten()[:8] for tensor in weights.gather(new_bert()).values() if tensor.dim() == 2]
    assert len({tuple(values.tolist()) for values in drawn}) == len(drawn)


def test_gathered_names_are_the_modules_and_spread_puts_them_back(new_bert) -> None:
    bert, other = new_bert(seed=1), new_bert(seed=2)
    whole = weights.gather(bert)
    assert whole.keys() == dict(bert.named_parameters()).keys()
    weights.spread(other, whole, source="here")
    assert all(torch.equal(value, whole[name]) for name, value in other.named_parameters())


def test_spread_touches_only_its_prefix(new_bert) -> None:
    bert, other = new_bert(seed=1), new_bert(seed=2)
    with torch.no_grad():
        other.embedding.position_embeddings.weight.zero_()
    before = weights.gather(other)
    weights.spread(other, weights.gather(bert), source="here", prefix="embedding.")
    changed = {name for name, value in weights.gather(other).items() if not torch.equal(value, before[name])}
    assert changed == {"embedding.word_embeddings.weight", POSITIONS}


def test_spread_names_what_is_missing_or_of_another_shape(new_bert) -> None:
    whole = weights.gather(new_bert())
    name = "encoder.layers.1.mlp.linear_fc1.weight"
    with pytest.raises(
        CheckpointError, match=rf"a\.nemo: '{name}' is \[96, 32\] and the model's is \[48, 32\]"
    ):
        weights.spread(new_bert(ffn_hidden_size=48), {**whole, **_same_but(whole, name)}, source="a.nemo")
    del whole[name]
    with pytest.raises(CheckpointError, match=rf"a\.nemo: has no tensor '{name}'"):
        weights.spread(new_bert(), whole, source="a.nemo")


def _same_but(whole: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    """Cut every tensor of the narrower model to size, except the one called `name`."""
    cut = {}
    for key, tensor in whole.items():
        if key != name and "linear_fc" in key:
            cut[key] = (
                tensor[:, :48] if key.endswith("fc2.weight") else tensor[:48] if "fc1" in key else tensor
            )
    return cut
