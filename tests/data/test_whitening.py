"""Whitened features against their definition, and a head put back on features as they are."""

from __future__ import annotations

import pytest
import torch

from dnabert_nemo.data.whitening import Whitening, on_plain_features


def drawn(count: int, seed: int = 1) -> torch.Tensor:
    """Draw features [n, 6] whose variances differ by millions, along directions that are no axes."""
    chance = torch.Generator().manual_seed(seed)
    scales = torch.tensor([300.0, 30.0, 3.0, 3.0, 1.0, 0.3])
    mixed = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(9)))[0]
    return torch.randn(count, 6, generator=chance) * scales @ mixed + 5


def test_whitened_features_have_no_mean_and_all_directions_alike() -> None:
    features = drawn(5000).double()
    white = Whitening.of(features).apply(features).double()
    assert white.mean(0).abs().max() < 1e-3
    before, after = (torch.linalg.eigvalsh(each.T.cov(correction=0)) for each in (features, white))
    assert before[-1] / before[0] > 5e5
    assert torch.allclose(after, before / (before + 1e-4 * before.mean()), rtol=1e-3)


def test_a_folded_layer_does_to_features_what_it_did_to_whitened_ones() -> None:
    train, other = drawn(200), drawn(20, seed=2)
    whitening = Whitening.of(train)
    layer = torch.nn.Linear(6, 4)
    expected = layer(whitening.apply(other))
    weight, bias = layer.weight.detach(), layer.bias.detach()
    names = {"head.0.weight": weight, "head.0.bias": bias, "head.2.bias": torch.ones(2)}
    plain = on_plain_features(names, whitening.state(), "head.0")
    found = other @ plain["head.0.weight"].T + plain["head.0.bias"]
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(plain["head.0.weight"], layer.weight, atol=1e-2)
    assert plain["head.2.bias"] is names["head.2.bias"]
    assert on_plain_features(names, None, "head.0") == names
    assert on_plain_features({}, whitening.state(), "head.0") == {}, "as ranks other than the first have none"


@pytest.mark.parametrize("features", [torch.full((7, 3), 2.5), torch.ones(1, 3), torch.zeros(4, 3)])
def test_features_that_do_not_vary_become_nothing(features: torch.Tensor) -> None:
    assert torch.equal(Whitening.of(features).apply(features), torch.zeros_like(features))
