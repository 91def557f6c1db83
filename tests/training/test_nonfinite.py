"""Steps that are not finite: as many in a row as are tolerated pass, the next ends the run by its name."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from dnabert_nemo.errors import TrainingError
from dnabert_nemo.megatron.optimizer import Outcome
from dnabert_nemo.training.nonfinite import NonFiniteSteps


def take(callback: NonFiniteSteps, outcomes: str, **optimizer: object) -> int:
    """Take steps of ten samples that end so: s stepped, o overflow, n non-finite; return how many passed."""
    names = {"s": "stepped", "o": "overflow", "n": "non-finite"}
    module = SimpleNamespace(consumed_samples=100)
    figures = {"grad_norm": float("inf"), "loss_scale": None, "reported_every": 1} | optimizer
    taken: list[Outcome] = []

    def take_outcomes() -> list[Outcome]:
        found = taken.copy()
        taken.clear()
        return found

    module.optimizer = SimpleNamespace(take_outcomes=take_outcomes, loss_scale=figures["loss_scale"])
    for step, outcome in enumerate(outcomes, 1):
        trainer = SimpleNamespace(global_step=step)
        module.is_reported = step % figures["reported_every"] == 0
        callback.on_train_batch_start(trainer, module)
        module.consumed_samples += 10
        taken.append(Outcome(names[outcome], float("nan"), figures["grad_norm"]))
        callback.on_train_batch_end(trainer, module)
    if figures["reported_every"] > len(outcomes):
        callback.on_save_checkpoint(trainer, module, {})
    return len(outcomes)


@pytest.mark.parametrize(("reported_every", "steps"), [(5, "ssnss"), (9, "ssn")])
def test_on_a_gpu_they_are_seen_when_figures_are_reported_or_saved(
    monkeypatch, reported_every, steps
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(TrainingError, match=r"step 3 is not finite: .* samples 120 to 129"):
        take(NonFiniteSteps(0), steps, reported_every=reported_every)
    assert take(NonFiniteSteps(0), steps[:2], reported_every=reported_every) == 2


def test_the_first_ends_a_run_that_tolerates_none() -> None:
    with pytest.raises(TrainingError) as raised:
        take(NonFiniteSteps(0), "ssn")
    says = str(raised.value)
    assert says.startswith(
        "step 3 is not finite: loss nan, gradient norm inf, samples 120 to 129; the weights are "
        "those before it"
    )
    assert "trainer.nonfinite_tolerance=0" in says
    assert "\n" not in says


def test_only_those_in_a_row_count(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="dnabert_nemo"):
        assert take(NonFiniteSteps(2), "nnsnnsnn") == 8
    assert len([each for each in caplog.messages if "samples" in each]) == 6
    with pytest.raises(TrainingError, match="step 4 is not finite"):
        take(NonFiniteSteps(2), "snnn")


def test_an_overflow_that_the_scale_answers_is_none() -> None:
    assert take(NonFiniteSteps(0), "oooso", loss_scale=2.0, grad_norm=None) == 5


def test_a_scale_that_has_collapsed_is_told() -> None:
    with pytest.raises(TrainingError, match=r"gradient norm infinite or nan, loss scale 1, .*precision=32"):
        take(NonFiniteSteps(0), "oon", loss_scale=1.0, grad_norm=None)
