"""Dropout by random bits: how many elements it drops, what it makes of the others, and when it draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from dnabert_nemo.kernels.dropout import bits, dropout, kept
from dnabert_nemo.kernels.dropout import seed as draw_seed

SHARES = (1e-5, 0.003, 0.1, 0.5, 0.9, 0.99999)


def share_of(p: float) -> float:
    """Return the share that is dropped: p in steps of 2^-16."""
    return round(p * 2**16) / 2**16


@pytest.mark.parametrize("p", SHARES)
def test_the_share_dropped_is_the_one_it_is_scaled_for(p: float) -> None:
    share, count = share_of(p), 4_000_000
    keep, factor = kept(torch.Size((count,)), p, bits(5), torch.float64)
    dropped = count - int(keep.sum())
    assert abs(dropped - count * share) <= 4 * math.sqrt(count * share * (1 - share))
    assert factor == pytest.approx(1 / (1 - share), rel=1e-12)


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_each_quarter_of_a_word_decides_for_itself(p: float) -> None:
    """Four elements share 64 bits: each of the four places drops its share, and no two of them together."""
    count, share = 1_000_000, share_of(p)
    keep, _ = kept(torch.Size((count, 4)), p, bits(6))
    dropped = 1 - keep.double()
    four_sigma = 4 * math.sqrt(share * (1 - share) / count)
    assert (dropped.mean(0) - share).abs().max() <= four_sigma
    both = dropped.T @ dropped / count
    off_diagonal = both[~torch.eye(4, dtype=torch.bool)]
    pair = share * share
    assert (off_diagonal - pair).abs().max() <= 4 * math.sqrt(pair * (1 - pair) / count)
    one_on = (dropped.flatten()[:-1] * dropped.flatten()[1:]).mean()  # neighbours, words' ends included
    assert abs(one_on - pair) <= 8 * math.sqrt(pair * (1 - pair) / (4 * count))  # sums that overlap


def test_the_expected_value_is_the_input() -> None:
    torch.manual_seed(7)
    x = torch.tensor([1.0, -2.0, 3.5, 0.25, 7.0])
    num_draws, p = 200_000, 0.1
    mean = dropout(x.expand(num_draws, 5), p).double().mean(0)
    share = share_of(p)
    sigma = x.double().abs() * math.sqrt(share / (1 - share) / num_draws)
    assert ((mean - x).abs() <= 4 * sigma).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1,), (3,), (5, 7), (2, 3, 1, 11), (64, 1, 32)])
def test_output_and_gradient_are_scaled_where_kept_and_zero_elsewhere(dtype, shape) -> None:
    generator = torch.Generator().manual_seed(1)
    x = (torch.rand(shape, generator=generator) + 1).to(dtype).requires_grad_()
    above = (torch.rand(shape, generator=generator) + 1).to(dtype)
    torch.manual_seed(2)
    found = dropout(x, 0.3)
    found.backward(above)
    torch.manual_seed(2)
    keep, factor = kept(x.shape, 0.3, bits(draw_seed()))
    assert set(keep.unique().tolist()) <= {0.0, 1.0}
    assert found.dtype == x.grad.dtype == dtype
    assert torch.equal(found, torch.where(keep == 1, x * factor, torch.zeros_like(x)))
    assert torch.equal(x.grad, torch.where(keep == 1, above * factor, torch.zeros_like(above)))


def test_the_gradient_is_that_of_differences() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def replayed(tensor: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(4)
        return dropout(tensor, 0.5)

    assert torch.autograd.gradcheck(replayed, (x,))


def test_a_transposed_tensor_is_dropped_place_by_place() -> None:
    x = torch.arange(1.0, 13.0).view(3, 4).T
    torch.manual_seed(3)
    found = dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(found, dropout(x.contiguous(), 0.5))


def test_no_dropout_is_the_tensor_itself_and_draws_nothing() -> None:
    x, before = torch.randn(9, requires_grad=True), torch.get_rng_state()
    assert dropout(x, 0.0) is x
    assert torch.equal(torch.get_rng_state(), before)
    dropout(x, 0.1)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("p", [1.0, 1 - 2.0**-18])
def test_everything_dropped_is_zero_with_no_gradient(p: float) -> None:
    x = torch.randn(6, requires_grad=True)
    found = dropout(x, p)
    found.sum().backward()
    assert torch.equal(found, torch.zeros(6))
    assert torch.equal(x.grad, torch.zeros(6))


def test_the_generator_decides_and_nothing_else() -> None:
    x = torch.ones(4097)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append((dropout(x, 0.5), dropout(x, 0.5)))
    assert torch.equal(draws[0][0], draws[1][0])
    assert torch.equal(draws[0][1], draws[1][1])
    assert not torch.equal(draws[0][0], draws[0][1])
    assert not torch.equal(draws[0][0], draws[2][0])


def test_nothing_is_dropped_of_nothing() -> None:
    x = torch.ones(0, 1, 32, requires_grad=True)
    dropout(x, 0.1).sum().backward()
    assert x.grad.shape == x.shape


def test_nothing_but_a_seed_is_kept() -> None:
    node: Any = dropout(torch.ones(1000, requires_grad=True), 0.1).grad_fn
    assert node.saved_tensors == ()
    assert vars(node).keys() == {"p", "seed"}
    assert isinstance(node.seed, int)
