"""Rates since the last report, without pauses, and the time that training waits for its loader."""

from __future__ import annotations

import time

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from dnabert_nemo.memory import status_bytes
from dnabert_nemo.model.step_rates import DataWait, StepRates, peak_memory_gib


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Let time pass by assignment."""

    class Clock:
        now = 100.0

    monkeypatch.setattr("dnabert_nemo.model.step_rates.time.perf_counter", lambda: Clock.now)
    return Clock


def test_pauses_are_left_out_and_a_report_starts_anew(clock) -> None:
    rates = StepRates()
    clock.now += 2
    rates.add(tokens=10, samples=1)
    rates.pause()
    clock.now += 50
    rates.resume()
    clock.now += 3
    rates.add(tokens=5, samples=2)
    assert rates.take() == ({"tokens": 15, "samples": 3}, 5.0)
    clock.now += 4
    rates.add(tokens=8)
    assert rates.take() == ({"tokens": 8}, 4.0)


class SlowData(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(0.05)
        return torch.ones(1)


class Quick(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(batch).sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_the_time_a_loader_takes_is_noticed_by_lightnings_loop(tmp_path) -> None:
    wait = DataWait()
    trainer = Trainer(
        max_epochs=1,
        profiler=wait,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Quick(), DataLoader(SlowData()))
    # Lightning takes the first batches ahead, outside its loop
    assert 0.1 <= wait.take() < 5
    assert wait.take() == 0


def test_memory_is_this_processs() -> None:
    """It grows by what is held beyond what was held at the most: a quarter of a GiB."""
    before = peak_memory_gib()
    freed = int(before * 2**30) - status_bytes("VmRSS")
    held = torch.ones((freed + 2**28) // 4)
    assert held.sum() > 0
    assert before + 0.1 < peak_memory_gib() < before + 0.6
