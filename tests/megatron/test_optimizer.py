"""Megatron's AdamW held against torch's: clipping over all weights, and no decay of biases and norms."""

from __future__ import annotations

import pytest
import torch

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.engine import data_parallel, run_step
from dnabert_nemo.megatron.losses import MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (
            {"name": "adam"},
            "model.optim.name=adam is not known: choose one of fused_adam, distributed_fused_adam",
        ),
        ({"lr": 0.0}, r"model.optim.lr=0.0 must be above 0"),
    ],
)
def test_settings_are_checked(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        OptimizerSettings(**changed)


@pytest.mark.parametrize("name", ["fused_adam", "distributed_fused_adam"])
def test_three_steps_are_torchs(new_bert, micro_batch, name: str) -> None:
    settings = OptimizerSettings(
        name=name, lr=1e-2, weight_decay=0.1, betas=(0.9, 0.98), eps=1e-4, clip_grad=0.5
    )
    batches = [micro_batch((64, 64), seed, 0.2) for seed in range(3)]

    plain = new_bert()
    decayed = [parameter for parameter in plain.parameters() if parameter.dim() == 2]
    others = [parameter for parameter in plain.parameters() if parameter.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98), eps=1e-4)

    bert = new_bert()
    ddp = data_parallel(bert, distributed_optimizer=settings.distributed)
    optimizer = MegatronAdamW(ddp, settings)
    for batch in batches:
        reference.zero_grad()
        loss, count, _ = MaskedLMLoss(3)(plain(batch), batch)
        (loss / count).backward()
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        reference.step()

        optimizer.zero_grad()
        run_step(ddp, [batch], MaskedLMLoss(3), hidden_tokens=128, num_sums=5, training=True)
        optimizer.step()
        assert optimizer.grad_norm == pytest.approx(norm.item(), rel=1e-4)
        assert norm > 0.5  # clipping did something
    for (name, mine), theirs in zip(bert.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5, msg=name)


def test_a_schedule_sets_megatrons_rate(new_bert) -> None:
    ddp = data_parallel(new_bert(), distributed_optimizer=False)
    optimizer = MegatronAdamW(ddp, OptimizerSettings(lr=1e-3))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.step()
    schedule.step()
    assert {group["lr"] for group in optimizer.megatron.param_groups} == {5e-4}
