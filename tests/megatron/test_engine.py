"""A step: its gradient is that of the summed loss over the count of the whole step, not a mean of means."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.engine import data_parallel, run_step
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss


def test_a_step_of_uneven_micro_batches_is_one_mean(new_bert, micro_batch) -> None:
    batches = [micro_batch((64, 64), seed, probability) for seed, probability in enumerate((0.02, 0.3, 0.1))]
    counts = [len(batch.labels) for batch in batches]
    assert len(set(counts)) == 3
    plain = new_bert()
    summed = sum(F.cross_entropy(plain(batch), batch.labels, reduction="sum") for batch in batches)
    (summed / sum(counts)).backward()

    bert = new_bert()
    ddp = data_parallel(bert, distributed_optimizer=False)
    sums = run_step(
        ddp, batches, MaskedLMLoss(3), hidden_tokens=128, num_sums=len(MASKED_LM_SUMS), training=True
    )
    assert sums[0].item() == pytest.approx(summed.item(), rel=1e-6)
    assert sums[1].item() == sum(counts)
    for (name, mine), theirs in zip(bert.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.main_grad, theirs.grad, rtol=1e-4, atol=1e-7, msg=name)


def test_evaluation_leaves_no_gradient(new_bert, micro_batch) -> None:
    bert = new_bert()
    ddp = data_parallel(bert, distributed_optimizer=False)
    run_step(ddp, [micro_batch((64,))], MaskedLMLoss(3), hidden_tokens=64, num_sums=5, training=False)
    assert all(parameter.main_grad.abs().max() == 0 for parameter in bert.parameters())


def test_random_states_travel_by_name() -> None:
    topology.seed_ranks(3)
    before = topology.rng_state()
    drawn = torch.rand(4)
    topology.seed_ranks(4)
    assert not torch.equal(torch.rand(4), drawn)
    topology.set_rng_state(before)
    assert torch.equal(torch.rand(4), drawn)
    assert topology.rng_state().keys() == before.keys()
