"""A run whose training shards are behind a URL: on two ranks, killed, and gone on with on one."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dnabert_nemo.data.shard_order import ShardOrder
from dnabert_nemo.genome.toy import write_toy_genome
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.remote import RemoteSet
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings

OVERRIDES = (
    "model.num_layers=1",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=2",
    "model.micro_batch_size=1",
    "model.global_batch_size=2",
    "model.data.num_validation_samples=8",
    "trainer.val_check_interval=1000",
    "trainer.log_every_n_steps=1",
    "exp_manager.checkpoint_callback_params.every_n_train_steps=40",
    "model.optim.sched.warmup_steps=2",
    "model.optim.sched.constant_steps=1",
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve shards of one record, and a validation set."""
    folder = tmp_path_factory.mktemp("small")
    fasta, _ = write_toy_genome(folder, seed=1, num_chromosomes=6, chromosome_length=30_000)
    prepare_shards(
        Corpus.of_fasta(fasta),
        Output(str(folder / "shards")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=1),
        SplitSettings(validation=("2",), test=(), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    return folder / "shards"


def logged(folder: Path) -> list[tuple[int, int]]:
    """The step and the count of consumed samples of every line of the log."""
    text = (folder / "runs" / "dnabert_tiny" / "train_log.txt").read_text()
    found = re.findall(r"^step (\d+)/.*consumed_samples ([\d,]+)", text, flags=re.MULTILINE)
    return [(int(step), int(consumed.replace(",", ""))) for step, consumed in found]


def test_it_goes_on_at_the_edge_of_a_shard(
    pretrain: Callable[..., subprocess.Popen[str]], shards: Path, tmp_path: Path
) -> None:
    given = (
        *OVERRIDES,
        f"model.data.train=file://{shards}/train",
        f"model.data.validation={shards}/validation",
    )
    two = pretrain(
        tmp_path, *given, "trainer.devices=2", "model.data.num_workers=2", "trainer.max_steps=4000"
    )
    newest = tmp_path / "runs" / "dnabert_tiny" / "checkpoints" / "step=40.ckpt" / "metadata.json"
    while two.poll() is None and not newest.exists():
        time.sleep(0.05)
    two.send_signal(signal.SIGKILL)
    out, err = two.communicate(timeout=60)
    assert two.returncode == -signal.SIGKILL, f"{out[-2000:]}\n{err[-2000:]}"
    assert "streamed in 12 shards" in out
    before = dict(logged(tmp_path))

    one = pretrain(tmp_path, *given, "model.data.num_workers=1", "trainer.max_steps=50")
    out, err = one.communicate(timeout=300)
    assert one.returncode == 0, f"{out[-2000:]}\n{err[-2000:]}"
    after = logged(tmp_path)
    assert after[0][0] == 41
    manifest = RemoteSet.open(f"file://{shards}/train").manifest
    order = ShardOrder(manifest.shards, max_tokens=30, seed=1234, key=16)
    for _, consumed in (*before.items(), *after):  # always the edge of a shard
        assert order.samples_before(order.position_of(consumed)) == consumed
    assert before[40] > 0
    assert before[40] <= after[0][1] <= after[-1][1]
