"""Learning rates held against those worked out by hand, and what a schedule cannot be."""

from __future__ import annotations

import math

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.schedules import ScheduleSettings


def rates(settings: ScheduleSettings, lr: float, max_steps: int) -> list[float]:
    return [settings.rate(step, lr=lr, max_steps=max_steps) for step in range(max_steps + 1)]


@pytest.mark.parametrize(
    ("settings", "by_hand"),
    [
        # NeMo's form with a tail: 0, 1/2, 1 of 4; a cosine over 4 steps; 1 twice
        (
            {"name": "CosineAnnealing", "warmup_steps": 2, "constant_steps": 2, "min_lr": 1.0},
            [0, 2, 4, 1 + 1.5 * (1 + math.sqrt(0.5)), 2.5, 1 + 1.5 * (1 - math.sqrt(0.5)), 1, 1, 1],
        ),
        ({"name": "CosineAnnealing"}, [2 + 2 * math.cos(math.pi * step / 8) for step in range(9)]),
        ({"name": "WarmupAnnealing", "warmup_steps": 3}, [1, 2, 3, 4, 3.2, 2.4, 1.6, 0.8, 0]),
        (
            {"name": "WarmupAnnealing", "warmup_steps": 1, "constant_steps": 3, "min_lr": 1.0},
            [2, 4, 3.25, 2.5, 1.75, 1, 1, 1, 1],
        ),
        (
            {"name": "WSD", "warmup_steps": 3, "decay_steps": 2, "decay_style": "linear", "min_lr": 2.0},
            [1, 2, 3, 4, 4, 4, 4, 3, 2],
        ),
        (
            {"name": "WSD", "warmup_steps": 1, "decay_steps": 4, "decay_style": "cosine"},
            [2, 4, 4, 4, 4, 2 + math.sqrt(2), 2, 2 - math.sqrt(2), 0],
        ),
        (
            {
                "name": "WSD",
                "decay_steps": 4,
                "decay_style": "minus_sqrt",
                "min_lr": 1.0,
                "constant_steps": 2,
            },
            [4, 4, 4, 2.5, 4 - 3 * math.sqrt(0.5), 4 - 3 * math.sqrt(0.75), 1, 1, 1],
        ),
    ],
)
def test_rates_are_those_worked_out_by_hand(settings: dict, by_hand: list[float]) -> None:
    assert rates(ScheduleSettings(**settings), 4.0, 8) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"name": "Linear"}, r"sched\.name=Linear is not known: choose one of CosineAnnealing, WSD, War"),
        ({"warmup_steps": -1}, r"sched\.warmup_steps=-1: give a whole number of at least 0"),
        ({"warmup_steps": 2.5}, r"sched\.warmup_steps=2\.5: give a whole number"),
        ({"constant_steps": True}, r"sched\.constant_steps=True: give a whole number"),
        ({"min_lr": -1e-5}, r"sched\.min_lr=-1e-05: give a number of at least 0"),
        ({"min_lr": "low"}, r"sched\.min_lr=low: give a number"),
        ({"decay_steps": 10}, r"sched\.decay_steps=10 is WSD's"),
        ({"name": "WSD"}, r"sched\.decay_steps=None: give a whole number of at least 1"),
        (
            {"name": "WSD", "decay_steps": 9, "decay_style": "sqrt"},
            r"sched\.decay_style=sqrt is not known: choose one of linear, cosine, minus_sqrt",
        ),
        ({"hold_steps": 10}, r"model\.optim\.sched\.hold_steps is no key of a schedule"),
        ({"warmup_steps": 101}, r"sched\.warmup_steps=101 is more than trainer\.max_steps=100"),
        (
            {"warmup_steps": 60, "constant_steps": 41},
            r"warmup_steps=60 \+ constant_steps=41 is more than trainer\.max_steps=100",
        ),
        (
            {"name": "WSD", "warmup_steps": 60, "decay_steps": 41, "decay_style": "linear"},
            r"warmup_steps=60 \+ decay_steps=41 \+ constant_steps=0 is more than trainer\.max_steps=100",
        ),
        ({"min_lr": 0.1}, r"sched\.min_lr=0\.1 is more than model\.optim\.lr=0\.01"),
    ],
)
def test_what_cannot_work_is_named(changed: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ScheduleSettings.of(changed).check(lr=0.01, max_steps=100)
