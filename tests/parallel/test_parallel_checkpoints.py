"""A checkpoint or .nemo file written by some ranks goes on, or opens, on any other number of them."""

from __future__ import annotations

import pytest
from layouts import LEARNING_RATE, ONE_RANK, RESHAPED, WRITERS


@pytest.mark.parametrize("num_ranks", [4, 1])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_checkpoint_goes_on_as_its_writer_did(results, writer: str, num_ranks: int) -> None:
    read = results[f"checkpoints on {num_ranks}"]
    assert read[writer] == pytest.approx(results[writer]["losses"][1:], rel=1e-5)


@pytest.mark.parametrize("reader", RESHAPED)
@pytest.mark.parametrize("writer", RESHAPED)
def test_a_checkpoint_of_any_sizes_goes_on_at_any_others(results, writer: str, reader: str) -> None:
    # a bucket of Megatron's distributed optimizer that ends in padding is in two of these: it read them wrong
    assert results["reshaped"][writer][reader] == pytest.approx(
        results[ONE_RANK.name]["losses"][1:], rel=1e-5
    )


def test_nothing_unfinished_is_left(results) -> None:
    assert results["checkpoints on 1"]
    assert not list(results.folder.glob("*.unfinished"))


def test_nemo_of_four_ranks_opens_on_one(results) -> None:
    nemo = results["nemo"]
    assert nemo["class"] == "DnabertModel"
    assert nemo["same_names"]
    assert nemo["same_padding"]
    assert nemo["logits_differ_by"] < 1e-5
    assert nemo["weights_differ_by"] < LEARNING_RATE / 10
