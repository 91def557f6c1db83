"""Parallel means equal: every way of sharing the model gives one rank's losses, gradients and weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from layouts import LEARNING_RATE, ONE_RANK, ONE_RANK_BF16, SHARED, Layout

FP32 = [layout for layout in SHARED if layout.precision == "fp32"]
BF16 = [layout for layout in SHARED if layout.precision == "bf16"]


def named(layouts: list[Layout]) -> Any:
    return pytest.mark.parametrize("layout", layouts, ids=lambda layout: layout.name)


@named(FP32)
def test_losses_and_gradient_norms_are_one_ranks(results, layout: Layout) -> None:
    shared, one_rank = results[layout.name], results[ONE_RANK.name]
    assert shared["losses"] == pytest.approx(one_rank["losses"], rel=1e-5)
    assert shared["grad_norms"] == pytest.approx(one_rank["grad_norms"], rel=1e-5)
    assert shared["evaluated"] == pytest.approx(one_rank["evaluated"], rel=1e-5)


@named(FP32)
def test_weights_after_a_step_are_one_ranks(results, layout: Layout) -> None:
    assert results[layout.name]["first_weights"] == results[ONE_RANK.name]["first_weights"]
    shared, one_rank = (
        torch.load(results.folder / f"{each.name}.pt", weights_only=True) for each in (layout, ONE_RANK)
    )
    assert shared.keys() == one_rank.keys()
    for name, weight in one_rank.items():
        torch.testing.assert_close(shared[name], weight, rtol=0, atol=LEARNING_RATE / 10, msg=name)


@named(BF16)
def test_bf16_stays_within_its_rounding(results, layout: Layout) -> None:
    # 8 bits of mantissa round by 2^-9 = 0.2 % in every product; sums over ranks round once more
    shared, one_rank = results[layout.name], results[ONE_RANK_BF16.name]
    assert shared["losses"] == pytest.approx(one_rank["losses"], rel=1e-3)
    assert shared["grad_norms"] == pytest.approx(one_rank["grad_norms"], rel=1e-2)
    assert one_rank["losses"] == pytest.approx(results[ONE_RANK.name]["losses"], rel=1e-3)
    assert one_rank["losses"] != results[ONE_RANK.name]["losses"]


@named(SHARED)
def test_every_rank_knows_the_same_sums(results, layout: Layout) -> None:
    assert results[layout.name]["ranks_agree"]


def test_ranks_that_stream_agree_on_what_is_consumed(results) -> None:
    own, whole = results["streamed"]["own"], results["streamed"]["whole"]
    assert whole[0] == whole[1]
    for (consumed, num_tokens), *ranks in zip(whole[0], *own, strict=True):
        assert consumed == min(rank[0] for rank in ranks)
        assert num_tokens == sum(rank[1] for rank in ranks)
    assert any(one[0] != other[0] for one, other in zip(*own, strict=True))
    assert whole[0][-1][0] > 0


def test_the_model_learns(results) -> None:
    one_rank = results[ONE_RANK.name]
    assert one_rank["first_again"] < one_rank["losses"][0] - 0.01  # the same samples and masks


@pytest.mark.parametrize(
    ("where", "same"),
    [
        ("TP embedding", True),  # whole hidden states: tensor peers drop the same elements
        ("TP encoder", True),
        ("TP attention", False),  # different heads: different draws
        ("SP embedding", False),  # different tokens: different draws
        ("SP encoder", False),
        ("DP embedding", False),  # different samples: different draws
        ("DP encoder", False),
        ("DP attention", False),
    ],
)
def test_dropout_agrees_between_ranks_only_where_their_work_does(results, where: str, same: bool) -> None:
    assert results["dropout"][where] is same
