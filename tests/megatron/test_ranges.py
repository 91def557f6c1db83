"""The ranges of a step: what begins and ends in it, in its order, and that all of it can be taken back."""

from __future__ import annotations

import pytest
import torch

from dnabert_nemo.megatron.engine import data_parallel, run_step
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss
from dnabert_nemo.megatron.ranges import mark


def told_of_a_step(ddp, batch, told: list[str]) -> list[str]:
    """Run a step on two micro batches; return what was told of it."""
    told.clear()
    run_step(
        ddp,
        [batch, batch],
        MaskedLMLoss(3),
        hidden_tokens=128,
        num_sums=len(MASKED_LM_SUMS),
        training=True,
    )
    return list(told)


@pytest.mark.parametrize("block_type", ["pre_ln", "post_ln"])
def test_passes_and_layers_nest_in_their_order(new_bert, micro_batch, block_type: str) -> None:
    bert = new_bert(transformer_block_type=block_type)
    ddp, batch, told = data_parallel(bert, distributed_optimizer=False), micro_batch((64, 64)), []
    take_back = mark(bert, told.append, lambda: told.append("."), inside_layers=False)
    once = ["forward", "layer 1", ".", "layer 2", ".", ".", "backward", "."]
    found = told_of_a_step(ddp, batch, told)
    assert [name for name in found if name == "."] == ["."] * (len(found) // 2)
    assert found[0] == "forward-backward"
    assert found[1 : 1 + 2 * len(once)] == once * 2
    take_back()
    assert told_of_a_step(ddp, batch, told) == []


def test_inside_layers_megatron_marks_their_parts(
    new_bert, micro_batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", told.append)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: told.append("."))
    bert = new_bert()
    ddp, batch = data_parallel(bert, distributed_optimizer=False), micro_batch((64, 64))
    take_back = mark(bert, lambda _: None, lambda: None, inside_layers=True)
    found = told_of_a_step(ddp, batch, told)
    assert found.count("mlp") == 4  # two layers, two micro batches
    assert found.count(".") * 2 == len(found)
    take_back()
    assert told_of_a_step(ddp, batch, told) == []
