"""Rates put into an optimizer: NeMo's own at every step, and the same ones in a run that is gone on with."""

from __future__ import annotations

import warnings

import pytest
import torch
from nemo.core.optim import lr_scheduler

from dnabert_nemo.megatron.schedules import ScheduleSettings
from dnabert_nemo.model.rate_schedule import RateSchedule


@pytest.mark.parametrize("warmup", [0, 1, 7])
@pytest.mark.parametrize(
    ("name", "constant"), [("CosineAnnealing", 0), ("CosineAnnealing", 5), ("WarmupAnnealing", 0)]
)
def test_the_schedules_with_nemos_names_have_its_rates(name: str, warmup: int, constant: int) -> None:
    lr, max_steps = 3e-4, 40
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    tail = {"constant_steps": constant} if constant else {}  # WarmupAnnealing knows none
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nemo = getattr(lr_scheduler, name)(
            optimizer, max_steps=max_steps, warmup_steps=warmup, min_lr=3e-5, **tail
        )
        theirs = []
        for _ in range(max_steps + 1):
            theirs.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            nemo.step()
    settings = ScheduleSettings(name, warmup, constant, 3e-5)
    ours = [settings.rate(step, lr=lr, max_steps=max_steps) for step in range(max_steps + 1)]
    assert ours == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize("settings", [{}, {"name": "WSD", "decay_steps": 4, "decay_style": "cosine"}])
def test_a_run_gone_on_with_has_the_same_rates(settings: dict) -> None:
    def new() -> tuple[torch.optim.Optimizer, RateSchedule]:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1e-3)
        return optimizer, RateSchedule(
            optimizer, ScheduleSettings(warmup_steps=3, **settings), lr=1e-3, max_steps=12
        )

    def steps(optimizer: torch.optim.Optimizer, schedule: RateSchedule, count: int) -> list[float]:
        seen = []
        for _ in range(count):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return seen

    whole = steps(*new(), 12)
    optimizer, schedule = new()
    first = steps(optimizer, schedule, 5)
    again, resumed = new()
    resumed.load_state_dict(schedule.state_dict())
    assert first + steps(again, resumed, 7) == whole


def test_a_run_that_is_lengthened_takes_the_longer_schedule() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    short = RateSchedule(optimizer, ScheduleSettings("WarmupAnnealing"), lr=1.0, max_steps=4)
    for _ in range(4):
        optimizer.step()
        short.step()
    assert optimizer.param_groups[0]["lr"] == 0
    longer = RateSchedule(optimizer, ScheduleSettings("WarmupAnnealing"), lr=1.0, max_steps=8)
    longer.load_state_dict(short.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.5
