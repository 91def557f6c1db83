"""What a config says of optimizer, schedule, precision and failed steps is checked before anything starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.check import check_pretraining

WSD = (
    "model.optim.sched.name=WSD",
    "model.optim.sched.decay_steps=40000",
    "model.optim.sched.decay_style=linear",
)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.optim.name=adamw", "trainer.gradient_clip_val=0"],
        ["model.optim.sched.name=WarmupAnnealing"],
        WSD,
        ["trainer.nonfinite_tolerance=3", "trainer.precision=16-mixed"],
    ],
)
def test_what_works_passes(config, overrides: list[str]) -> None:
    check_pretraining(config(*overrides))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.optim.lr=-1"], r"model\.optim\.lr=-1: give a number of at least 0"),
        (["model.optim.lr=high"], r"model\.optim\.lr=high: give a number"),
        (["model.optim.betas=[0.9,2]"], r"model\.optim\.betas\[1\]=2: "),
        (["model.optim.betas=0.9"], r"model\.optim\.betas=0\.9: give two numbers"),
        (["model.optim.eps=0"], r"model\.optim\.eps=0 must be above 0"),
        (["model.optim.weight_decay=-0.01"], r"model\.optim\.weight_decay=-0\.01: "),
        (["+model.optim.momentum=0.9"], r"model\.optim\.momentum is no key"),
        (["trainer.gradient_clip_val=-1"], r"trainer\.gradient_clip_val=-1: give a number of at least 0"),
        (["+model.optim.sched.hold_steps=4"], r"model\.optim\.sched\.hold_steps is no key of a schedule"),
        (["model.optim.sched.warmup_steps=400001"], r"warmup_steps=400001 is more than trainer\.max_steps=4"),
        ([*WSD, "model.optim.sched.decay_steps=350000"], r"decay_steps=350000 \+ constant_steps=50000 is"),
        (["model.optim.sched.min_lr=1"], r"sched\.min_lr=1 is more than model\.optim\.lr=0\.0002"),
        (["model.native_amp_init_scale=0"], r"model\.native_amp_init_scale=0: give a number of at least 1"),
        (["model.hysteresis=none"], r"model\.hysteresis=none: give a whole number"),
        (["trainer.nonfinite_tolerance=-1"], r"trainer\.nonfinite_tolerance=-1: give a whole number"),
        (["trainer.precision=fp8-mixed"], r"trainer\.precision=fp8-mixed needs Transformer Engine"),
    ],
)
def test_what_cannot_work_is_named(config, monkeypatch, overrides: list[str], says: str) -> None:
    monkeypatch.setattr("dnabert_nemo.training.precision.has_transformer_engine", lambda: False)
    with pytest.raises(ConfigError, match=says) as raised:
        check_pretraining(config(*overrides))
    assert "\n" not in str(raised.value)


def test_checking_imports_no_torch() -> None:
    code = (
        "import sys, dnabert_nemo.training.check\n"
        "assert not {'torch', 'nemo', 'lightning'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
