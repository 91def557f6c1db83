"""Parallel means equal: every way of sharing the model gives one rank's losses, gradients and weights."""

from __future__ import annotations

from math import sqrt
from statistics import mean, stdev, variance
from typing import Any

import pytest
from golden_curve import GOLDEN_CURVE
from layouts import LEARNING_RATE, ONE_RANK, SHARED, Layout
from ranks import distance

FP32 = [layout for layout in SHARED if layout.precision == "fp32"]
BF16 = [layout for layout in SHARED if layout.precision == "bf16"]


def named(layouts: list[Layout]) -> Any:
    return pytest.mark.parametrize("layout", layouts, ids=lambda layout: layout.name)


@named(FP32)
def test_losses_and_gradient_norms_are_one_ranks(results, layout: Layout) -> None:
    shared, one_rank = results[layout.name], results[layout.one_rank.name]
    assert shared["losses"] == pytest.approx(one_rank["losses"], rel=1e-5)
    assert shared["grad_norms"] == pytest.approx(one_rank["grad_norms"], rel=1e-5)
    assert shared["evaluated"] == pytest.approx(one_rank["evaluated"], rel=1e-5)


@named([layout for layout in FP32 if not layout.distributed_optimizer])
def test_the_gradient_is_one_ranks(results, layout: Layout) -> None:
    norm = results[layout.name]["grad_norms"][0]
    assert distance(results.folder, layout, ".gradients") < 1e-5 * norm


@named(FP32)
def test_weights_after_a_step_are_one_ranks(results, layout: Layout) -> None:
    assert results[layout.name]["first_weights"] == results[layout.one_rank.name]["first_weights"]
    assert distance(results.folder, layout, "") < LEARNING_RATE / 10


@named(BF16)
def test_bf16_stays_within_its_rounding(results, layout: Layout) -> None:
    # 8 bits of mantissa round by 2^-9 = 0.2 % in every product; sums over ranks round once more
    shared, one_rank = results[layout.name], results[layout.one_rank.name]
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


@pytest.mark.parametrize("layout", ["TP2", "TP2 + SP", "PP2", "CP2"])
def test_dropout_costs_every_layout_the_same_loss(results, layout: str) -> None:
    shared, reference = results["losses under dropout"][layout], results["losses under dropout"]["DP2"]
    assert len(set(shared)) == len(shared), "dropout changes nothing, or its draws repeat"
    assert stdev(shared) == pytest.approx(stdev(reference), rel=0.7)
    error = sqrt((variance(shared) + variance(reference)) / len(shared))
    assert abs(mean(shared) - mean(reference)) < 4 * error


def test_the_distributed_optimizer_holds_half_on_each_of_two_ranks(results) -> None:
    whole, half = results["optimizer bytes"].values()
    assert half == pytest.approx(whole / 2, rel=0.01)


def test_fifty_steps_lose_what_they_always_did(results) -> None:
    assert results["curve"] == pytest.approx(list(GOLDEN_CURVE), abs=2e-4)
