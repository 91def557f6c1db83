"""What goes wrong in a worker is one clear error; any number of ranks and workers see the same samples."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest

from dnabert_nemo.data.joined import JoinedSets
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.data.steps import PackedSteps
from dnabert_nemo.errors import ConfigError, DnabertError, ShardError
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.shards.corpus import Assembly, Corpus
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings

SHAPE = StepShape(global_batch_size=4, micro_batch_size=1, tokens_per_row=512, max_positions=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two species."""
    tmp = tmp_path_factory.mktemp("two")
    rng = np.random.Generator(np.random.Philox(8))
    for species, lengths in {"cat": [30_000, 9_000], "dog": [12_000, 700]}.items():
        contigs = ["".join("ATCG"[code] for code in rng.integers(0, 4, length)) for length in lengths]
        (tmp / f"{species}.fa").write_text(
            "".join(f">{number}\n{bases}\n" for number, bases in enumerate(contigs))
        )
    prepare_shards(
        Corpus((Assembly("cat", (str(tmp / "cat.fa"),)), Assembly("dog", (str(tmp / "dog.fa"),)))),
        Output(str(tmp / "set")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=1),
        SplitSettings(validation=("cat:1",), test=(), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    return tmp / "set"


class Seen:
    """Takes steps from one rank's loader and writes down which samples each of its rows holds."""

    def __init__(self, folder: Path, rank: int, size: int, num_workers: int, consumed: int = 0) -> None:
        data = PretrainingDataModule(
            DataPaths((str(folder / "train"),), str(folder / "validation")),
            SHAPE,
            Masking(MaskRule(3)),
            seed=3,
            num_workers=num_workers,
        )
        data.setup()
        data.set_data_parallel(rank, size)
        data.set_consumed_samples(consumed)
        self.loader = data.train_dataloader()

    def steps(self, count: int) -> Iterator[tuple[int, list[tuple[int, ...]]]]:
        """Yield the count of consumed samples and this rank's samples of each step, by their true ids."""
        for step in itertools.islice(self.loader, count):
            samples = []
            for batch in step.micro_batches:
                ids = batch.ids.clone()
                ids[batch.masked_at] = batch.labels
                samples += [tuple(each.tolist()) for each in ids.split(batch.segment_lengths) if each[0] == 2]
            yield step.consumed_samples, samples


def test_the_same_samples_in_the_same_order_however_a_run_is_cut_and_shared_out(folder: Path) -> None:
    one_rank = list(Seen(folder, 0, 1, num_workers=0).steps(30))
    two_ranks = [list(Seen(folder, rank, 2, num_workers=2).steps(30)) for rank in range(2)]
    assert [consumed for consumed, _ in one_rank] == [consumed for consumed, _ in two_ranks[0]]
    for (_, whole), (_, first), (_, second) in zip(one_rank, *two_ranks, strict=True):
        assert whole == first + second  # rank by rank, a step's rows are in the order of the step

    # Killed after 11 steps at 2 ranks, resumed at 4, then at 1 with 3 workers.
    consumed = two_ranks[0][10][0]
    four_ranks = [list(Seen(folder, rank, 4, num_workers=1, consumed=consumed).steps(8)) for rank in range(4)]
    middle = [[sample for rank in four_ranks for sample in rank[step][1]] for step in range(8)]
    end = list(Seen(folder, 0, 1, num_workers=3, consumed=four_ranks[0][-1][0]).steps(11))
    pieced = [whole for _, whole in one_rank[:11]] + middle + [whole for _, whole in end]
    assert pieced == [whole for _, whole in one_rank]


def run_and_die(seen: Callable[[], Seen], num_steps: int, results: Connection) -> None:
    """Be one rank of a run that is killed after so many steps."""
    for step in itertools.islice(seen().loader, num_steps):
        assert [len(row) for row in step.sample_numbers] == [each.num_samples for each in step.micro_batches]
        results.send((step.consumed_samples, step.sample_numbers))
    os.kill(os.getpid(), signal.SIGKILL)


def test_every_sample_is_in_one_row_of_one_rank_however_often_a_run_is_killed(folder: Path) -> None:
    fork = multiprocessing.get_context("fork")
    consumed = 0
    for size, num_workers, num_steps in ((2, 2, 7), (1, 3, 5), (4, 0, 6)):
        results = []
        for rank in range(size):
            ours, theirs = fork.Pipe(duplex=False)
            seen = partial(Seen, folder, rank, size, num_workers, consumed)
            fork.Process(target=run_and_die, args=(seen, num_steps, theirs)).start()
            theirs.close()
            results.append(ours)
        for _ in range(num_steps):
            steps = [rank.recv() for rank in results]
            assert all(len(rows) == SHAPE.global_batch_size // size for _, rows in steps)
            numbers = [each for _, rows in steps for row in rows for each in row]
            assert sorted(numbers) == list(range(consumed, steps[0][0]))
            consumed = steps[0][0]
        # what the workers had made ahead is lost, and made again


def test_a_vanished_shard_is_told_in_one_line_by_workers_too(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    for num_workers in (0, 2):
        seen = Seen(copy, 0, 1, num_workers)
        for shard in (copy / "train").glob("shard-*1.tar"):
            shard.rename(shard.with_suffix(".gone"))
        with pytest.raises(ShardError, match=r"shard-00000\d.tar: No such file or directory: run") as caught:
            list(seen.steps(60))
        assert "\n" not in str(caught.value)
        for shard in (copy / "train").glob("*.gone"):
            shard.rename(shard.with_suffix(".tar"))
        del caught, seen
        gc.collect()  # in the middle of starting others torch would wait 5 seconds for each worker


@pytest.mark.parametrize("waits_for_steps", [True, False])
def test_a_killed_worker_is_told_in_one_line_wherever_this_process_is(
    folder: Path, waits_for_steps: bool
) -> None:
    before = Seen(folder, 0, 1, num_workers=1).steps(100_000)  # the number told is that of the latest
    next(before)
    others = psutil.Process().children()
    seen = Seen(folder, 0, 1, num_workers=2).steps(100_000)
    next(seen)
    workers = [worker.pid for worker in psutil.Process().children() if worker not in others]
    with pytest.raises(DnabertError) as caught:
        for worker in workers:  # one would do, but the other would be given 5 seconds to end
            os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if waits_for_steps:
                next(seen)
    message = str(caught.value)
    told = [f"worker (pid {pid}) is killed by signal: Killed: mostly that is for want" for pid in workers]
    assert any(each in message for each in told)
    assert "model.data.num_workers=2 take less" in message
    assert "\n" not in message


def test_checksums_before_the_first_step(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    content = bytearray((copy / "train" / "shard-000001.tar").read_bytes())
    content[2000] ^= 4
    (copy / "train" / "shard-000001.tar").write_bytes(content)
    paths = DataPaths((str(copy / "train"),), str(copy / "validation"))
    PretrainingDataModule(paths, SHAPE, Masking(MaskRule(3)), seed=3).setup()
    with pytest.raises(ShardError, match=r"shard-000001.tar: its bytes are not those"):
        PretrainingDataModule(paths, SHAPE, Masking(MaskRule(3)), seed=3, verify_checksums=True).setup()


def test_several_sets_are_read_as_one(folder: Path) -> None:
    train, validation = ShardSet.open(folder / "train"), ShardSet.open(folder / "validation")
    joined = JoinedSets([train, validation])
    assert joined.stretch_tokens.tolist() == [*train.stretch_tokens, *validation.stretch_tokens]
    assert joined.component_weights.sum() == pytest.approx(1)
    by_size = [len(joined.stretch_tokens), train.num_tokens, validation.num_tokens]
    assert joined.component_weights[2] == pytest.approx(by_size[2] / (by_size[1] + by_size[2]))
    for stretch in range(len(joined.stretch_tokens)):
        of, number = (
            (train, stretch) if stretch < train.num_stretches else (validation, stretch - train.num_stretches)
        )
        assert np.array_equal(joined.read(stretch, 2, 9), of.read(number, 2, 9))
        assert np.array_equal(joined.read_soft_mask(stretch, 2, 9), of.read_soft_mask(number, 2, 9))
    weighted = JoinedSets([train, validation], [1, 3])
    assert weighted.component_weights[:2].sum() == pytest.approx(0.25)
    assert weighted.component_weights[2] == pytest.approx(0.75)
    for weights, says in (((1.0,), "give one for each"), ((1, 0), "give numbers above 0")):
        with pytest.raises(ConfigError, match=says):
            JoinedSets([train, validation], weights)


def test_packing_wastes_little_on_dnaberts_lengths(folder: Path) -> None:
    shards = JoinedSets([ShardSet.open(folder / "train")])
    shape = StepShape(global_batch_size=8, micro_batch_size=1)
    plan = SamplingPlan(shards.stretch_tokens, shape.max_tokens, 3)
    steps = list(itertools.islice(PackedSteps(shards, plan, shape, masking=Masking(MaskRule(3))), 12))
    assert [step.consumed_samples for step in steps] == list(
        itertools.accumulate(step.num_samples for step in steps)
    )
    assert 1 - sum(step.num_tokens for step in steps) / (12 * 8 * 8192) < 0.03
