"""The data module over real shard sets: what it opens, what its loaders yield, and what it refuses."""

from __future__ import annotations

import dataclasses
import itertools
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.Generator(np.random.Philox(3))
    fasta = folder / "genome.fa"
    with open(fasta, "w") as file:
        for name, num_bases in (("1", 40_000), ("2", 9_000), ("3", 5_000)):
            bases = "".join("ATCG"[code] for code in rng.choice(4, num_bases, p=[0.4, 0.3, 0.2, 0.1]))
            file.write(f">{name}\n{bases[:3000]}{'N' * 50}{bases[3000:]}\n")
    prepare_shards(
        Corpus.of_fasta(fasta),
        Output(str(folder / "set")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=2),
        SplitSettings(validation=("2",), test=("3",), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    return folder / "set"


@pytest.fixture
def module(shards):
    """Make a data module over the sets with some arguments changed."""

    def make(**changes) -> PretrainingDataModule:
        def taken(**defaults):
            return {key: changes.pop(key, value) for key, value in defaults.items()}

        paths = taken(
            train=(str(shards / "train"),),
            validation=str(shards / "validation"),
            test=str(shards / "test"),
            train_weights=None,
        )
        shape = taken(global_batch_size=4, micro_batch_size=2, tokens_per_row=256, max_positions=128)
        rule = MaskRule(**taken(k=3, name="dnabert", probability=None))
        arguments = {"seed": 1, "num_workers": 0} | changes
        return PretrainingDataModule(DataPaths(**paths), StepShape(**shape), Masking(rule), **arguments)

    return make


def opened(module: PretrainingDataModule, rank: int = 0, size: int = 1) -> PretrainingDataModule:
    module.set_data_parallel(rank, size)
    module.setup("fit")
    return module


def tensors(step) -> list[list[int]]:
    return [
        getattr(batch, field.name).tolist()
        for batch in step.micro_batches
        for field in dataclasses.fields(batch)
        if isinstance(getattr(batch, field.name), torch.Tensor)
    ]


def test_training_has_no_end_and_resumes(module) -> None:
    data = opened(module())
    steps = list(itertools.islice(data.train_dataloader(), 60))
    assert steps[-1].consumed_samples == sum(step.num_samples for step in steps)
    assert steps[-1].consumed_samples > 1.5 * 40_000 / 126  # well into the second epoch
    data.set_consumed_samples(steps[40].consumed_samples)
    resumed = list(itertools.islice(data.train_dataloader(), 3))
    assert list(map(tensors, resumed)) == list(map(tensors, steps[41:44]))


def test_validation_is_one_pass_of_full_samples_and_always_the_same(module) -> None:
    data = opened(module())
    steps = list(data.val_dataloader())
    num_windows = math.ceil((3000 - 2) / 126) + math.ceil((6000 - 2) / 126)
    assert steps[-1].consumed_samples == num_windows
    lengths = {length for step in steps for batch in step.micro_batches for length in batch.segment_lengths}
    assert lengths == {128}  # the padding too: two whole segments a row

    data.set_consumed_samples(17)
    next(iter(data.train_dataloader()))
    assert list(map(tensors, data.val_dataloader())) == list(map(tensors, steps))
    few = list(opened(module(num_validation_samples=10)).val_dataloader())
    assert sum(step.num_samples for step in few) == 10
    assert tensors(few[0]) == tensors(steps[0])
    assert sum(step.num_samples for step in opened(module()).test_dataloader()) == 24 + 16


def test_validation_has_as_many_steps_on_every_rank(module) -> None:
    by_rank = [list(opened(module(), rank, 2).val_dataloader()) for rank in range(2)]
    assert len(by_rank[0]) == len(by_rank[1]) == len(list(opened(module()).val_dataloader()))
    for one, other in zip(*by_rank, strict=True):
        assert one.num_tokens == other.num_tokens
        assert one.num_tokens == sum(
            batch.num_tokens for step in (one, other) for batch in step.micro_batches
        )


def test_workers_yield_what_this_process_would_each_time_they_are_asked(module) -> None:
    expected = [tensors(step) for step in opened(module()).val_dataloader()]
    state = torch.get_rng_state()
    loader = opened(module(num_workers=2)).val_dataloader()
    assert [tensors(step) for step in loader] == expected
    assert [tensors(step) for step in loader] == expected  # the workers persist
    assert torch.equal(torch.get_rng_state(), state)


def test_settings_reach_the_steps(module) -> None:
    steps = [
        next(iter(opened(module(**changes)).train_dataloader()))
        for changes in (
            {},
            {"seed": 2},
            {"probability": 0.2},
            {"reverse_complement": True},
            {"name": "bases"},
            {"length_mix": "full"},
        )
    ]
    assert len({str(tensors(step)) for step in steps}) == len(steps)
    shares = [
        sum(len(batch.labels) for batch in step.micro_batches)
        / sum(batch.num_tokens for batch in step.micro_batches)
        for step in steps
    ]
    assert 0.08 < shares[0] < 0.2 < 0.35 < shares[2]


def test_baseline_and_description(module) -> None:
    data = opened(module())
    entropy = -sum(share * math.log(share) for share in (0.4, 0.3, 0.2, 0.1))
    assert abs(data.composition_entropy - entropy) < 0.02
    text = data.describe()
    assert "validation 9,000 bases, 72 windows of up to 126 3-mers" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, 4, "model.global_batch_size=4 is not a multiple of model.micro_batch_size=2 x 4"),
        ({"tokens_per_row": 100}, 1, "model.data.tokens_per_row=100"),
        ({"length_mix": "even"}, 1, "model.data.length_mix=even is not known: choose dnabert or full"),
        ({"seed": -1}, 1, "model.seed=-1"),
    ],
)
def test_bad_settings_are_refused_before_any_file_is_opened(module, changes, size, message) -> None:
    data = module(train=("nowhere",), **changes)
    for refuse in (lambda: data.check(size), lambda: data.set_data_parallel(0, size)):
        with pytest.raises(ConfigError) as error:
            refuse()
        assert str(error.value).startswith(message)


def test_wrong_shards_are_refused_at_setup(module, shards) -> None:
    with pytest.raises(ShardError, match="k=3, the model has k=6"):
        module(k=6).setup()
    with pytest.raises(ShardError, match="nowhere"):
        module(validation="nowhere").setup()
    without_test = opened(module(test=None))
    with pytest.raises(ConfigError, match=r"model\.data\.test"):
        without_test.test_dataloader()


def test_a_worker_does_not_outlive_a_killed_parent(shards) -> None:
    program = f"""
import time
import psutil
from dnabert_nemo.data.module import PretrainingDataModule

from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.kmer.masking import MaskRule

data = PretrainingDataModule(
    DataPaths(({str(shards / "train")!r},), {str(shards / "validation")!r}),
    StepShape(1, 1, 16384), Masking(MaskRule(3)), seed=1, num_workers=1,
)
data.setup()
data.set_data_parallel(0, 1)
steps = iter(data.train_dataloader())
next(steps)
print(psutil.Process().children()[0].pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    time.sleep(1)  # its queue is full by now, which is what held it
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs([worker], timeout=30)
    for process in alive:
        process.kill()
    assert alive == []
