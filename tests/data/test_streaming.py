"""Steps from shards read front to back: what comes, what a resumed run sees, and what damage does."""

from __future__ import annotations

import itertools
import os
import pickle
import shutil
import sys
from collections import Counter
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from dnabert_nemo.data.batch import StepBatch
from dnabert_nemo.data.loader import StepLoader
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.data.streaming import StreamedLoader, StreamedSteps
from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.kmer.ids import base_table
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.kmer.vocabulary import CLS, SEP
from dnabert_nemo.shards.corpus import Assembly, Corpus, Mixture
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.remote import RemoteSet
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings

SHAPE = StepShape(global_batch_size=4, micro_batch_size=1, tokens_per_row=2048, max_positions=512)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training set of 17 shards, two of them smaller, with short contigs, N and lower case."""
    tmp = tmp_path_factory.mktemp("streamed")
    rng = np.random.Generator(np.random.Philox(7))
    lengths = [150_000, 60_000, 9_000, *(200 + 11 * n for n in range(60))]
    with open(tmp / "genome.fa", "w") as file:
        for number, length in enumerate(lengths):
            bases = "".join(np.array(list("ACGTacgt"))[rng.integers(8, size=length)])
            file.write(f">{number}\n{bases[:100]}{'N' * 9}{bases[100:]}\n")
    prepare_shards(
        Corpus.of_fasta(tmp / "genome.fa"),
        Output(str(tmp / "set")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=1),
        SplitSettings(validation=(), test=(), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    return tmp / "set" / "train"


def steps_of(where: Path | str, **changes) -> StreamedSteps:
    arguments = {"masking": Masking(MaskRule(3)), "seed": 1, "shuffle_buffer": 50}
    return StreamedSteps(RemoteSet.open(str(where), 3), changes.pop("shape", SHAPE), **(arguments | changes))


def samples_of(step: StepBatch) -> list[tuple[int, ...]]:
    """Cut a step into its samples, each by its masked ids and its true labels: nearly unique."""
    found = []
    for batch in step.micro_batches:
        ids = batch.ids.clone()
        ids[batch.masked_at] = batch.labels
        for sample in torch.split(ids, list(batch.segment_lengths)):
            if sample[0] == CLS:
                assert sample[-1] == SEP
                found.append(tuple(sample.tolist()))
    return found


def expected(steps: StreamedSteps, positions: range) -> Counter[tuple[int, ...]]:
    """Draw all samples of some positions, each shard by itself."""
    drawn = itertools.chain.from_iterable(map(steps.samples_at, positions))
    return Counter((CLS, *each.ids.tolist(), SEP) for each in drawn)


def loader_of(steps: StreamedSteps, num_workers: int = 0) -> StreamedLoader:
    return StreamedLoader(StepLoader(steps, num_workers, prefetch_factor=2), steps)


def run(where: Path | str, num_ranks: int, num_workers: int, consumed: int, count: int, **changes):
    """Take so many steps on every rank; return all samples, and what all ranks have finished."""
    seen: Counter[tuple[int, ...]] = Counter()
    finished = []
    for rank in range(num_ranks):
        steps = steps_of(
            where,
            data_parallel_rank=rank,
            data_parallel_size=num_ranks,
            consumed_samples=consumed,
            **changes,
        )
        taken = list(itertools.islice(loader_of(steps, num_workers), count))
        seen.update(itertools.chain.from_iterable(map(samples_of, taken)))
        finished.append(taken[-1].consumed_samples)
    return seen, min(finished)


def test_a_shard_gives_its_samples_as_they_are_in_the_set(folder: Path) -> None:
    steps = steps_of(folder, shuffle_buffer=10)
    reader = ShardSet.open(folder)
    whole = [reader.read(stretch, 0, int(n)).tobytes() for stretch, n in enumerate(reader.stretch_tokens)]
    drawn = list(steps.samples_at(3))
    assert all(any(each.ids.tobytes() in stretch for stretch in whole) for each in drawn)
    assert {each.position for each in drawn} == {3}
    again = [each.ids.tolist() for each in steps.samples_at(3)]
    assert [each.ids.tolist() for each in drawn] == again
    other = [each.ids.tolist() for each in steps.samples_at(3 + len(steps.order.num_samples))]
    assert sorted(other) != sorted(again)  # the next epoch draws anew


def test_samples_are_shuffled_and_none_is_lost_on_the_way(folder: Path) -> None:
    few, many = (
        [each.ids.tolist() for each in steps_of(folder, shuffle_buffer=size).samples_at(0)]
        for size in (1, 999)
    )
    assert few != many
    assert sorted(few) == sorted(many)


def test_one_rank_reads_every_shard_of_an_epoch(folder: Path) -> None:
    steps = steps_of(folder)
    num_shards = len(steps.order.num_samples)
    taken = list(
        itertools.takewhile(
            lambda step: step.consumed_samples < steps.order.samples_before(num_shards), steps
        )
    )
    seen = Counter(itertools.chain.from_iterable(map(samples_of, taken)))
    first = expected(steps, range(num_shards - 1))
    assert first <= seen
    assert sum(map(len, map(samples_of, taken))) == sum(step.num_samples for step in taken)
    # the count that the manifest gives is that of the samples, but for the chance of a record's rest
    assert abs(expected(steps, range(num_shards)).total() / steps.order.num_samples_of_epoch - 1) < 0.1


def test_rows_are_full_and_counts_are_those_of_the_share(folder: Path) -> None:
    steps = steps_of(folder, data_parallel_rank=1, data_parallel_size=2)
    for step in itertools.islice(steps, 5):
        assert len(step.micro_batches) == 2
        assert not step.is_whole
        assert step.num_tokens == sum(batch.num_tokens for batch in step.micro_batches)
        assert step.num_samples == sum(batch.num_samples for batch in step.micro_batches)
        assert step.num_tokens > 0.85 * 2 * 2048


RUNS = [(1, 0), (1, 2), (2, 2), (3, 1)]


@pytest.mark.parametrize(("num_ranks", "num_workers"), RUNS)
@pytest.mark.parametrize("count", [1, 5, 9])
def test_after_a_kill_nothing_is_skipped_and_little_comes_again(
    num_ranks: int, num_workers: int, count: int, folder: Path
) -> None:
    """Kill a run, resume it with other ranks and workers, and hold both against all there is to see."""
    shape = StepShape(6, 1, 1024, 512)
    seen, consumed = run(folder, num_ranks, num_workers, 0, count, shape=shape)
    steps = steps_of(folder, shape=shape)
    position = steps.order.position_of(consumed)
    assert steps.order.samples_before(position) == consumed  # the edge of a shard
    assert expected(steps, range(position)) <= seen  # what counts as finished was seen

    num_streams = num_ranks * max(num_workers, 1)
    again = seen - expected(steps, range(position))
    from_one_shard = int(steps.order.num_samples.max()) + 1
    assert again.total() <= 2 * num_streams * from_one_shard

    other_ranks, other_workers = RUNS[(RUNS.index((num_ranks, num_workers)) + 1) % len(RUNS)]
    later, finished = run(folder, other_ranks, other_workers, consumed, 24, shape=shape)
    end = steps.order.position_of(finished)
    assert end > position
    assert expected(steps, range(position, end)) <= later


def test_in_the_long_run_workers_stay_together(folder: Path) -> None:
    """Four epochs in, with shards of one record: what would come again is two shards of each at most."""
    shape = StepShape(2, 1, 2048, 512)
    streams = [
        iter(steps_of(folder, shape=shape, data_parallel_rank=rank, data_parallel_size=2)) for rank in (0, 1)
    ]
    order = steps_of(folder, shape=shape).order
    counts = [0, 0]
    while min(counts) < 4 * order.num_samples_of_epoch:
        counts = [next(stream).consumed_samples for stream in streams]
        assert max(counts) - min(counts) <= 2 * 2 * order.num_samples.max()


def test_workers_of_a_process_and_of_none_stream_alike(folder: Path) -> None:
    expected_steps = list(itertools.islice(steps_of(folder), 4))
    taken = list(itertools.islice(loader_of(steps_of(folder), 1), 4))
    assert list(map(samples_of, taken)) == list(map(samples_of, expected_steps))
    resumed = steps_of(folder, consumed_samples=expected_steps[-1].consumed_samples)
    assert pickle.loads(pickle.dumps(resumed)).first_position == resumed.first_position > 0


def test_every_file_system_streams_the_same(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/bucket/train", recursive=True)
    expected_steps = [samples_of(step) for step in itertools.islice(steps_of(folder), 3)]
    for where in (f"file://{folder}", "memory://bucket/train", f"pipe:cat {folder}/{{name}}"):
        assert [samples_of(step) for step in itertools.islice(steps_of(where), 3)] == expected_steps
    memory.rm("/bucket", recursive=True)


def test_reverse_strands_and_length_mix_are_passed_on(folder: Path) -> None:
    plain, changed = (
        list(steps_of(folder, **changes).samples_at(0))
        for changes in ({}, {"reverse_complement": True, "length_mix": "full"})
    )
    assert not any(each.sample["reverse"][0] for each in plain)
    assert 0.2 < np.mean([each.sample["reverse"][0] for each in changed]) < 0.8
    assert np.mean([len(each.ids) for each in changed]) > np.mean([len(each.ids) for each in plain])


def test_soft_masked_bases_come_along(folder: Path) -> None:
    """Of a set whose bases are lower case by half, about half of the predictions are left."""
    counts = []
    for weight in (1.0, 0.0):
        steps = steps_of(folder, masking=Masking(MaskRule(3), weight))
        taken = list(itertools.islice(steps, 6))
        counts.append(sum(len(batch.labels) for step in taken for batch in step.micro_batches))
    assert 0.4 < counts[1] / counts[0] < 0.6


def test_components_are_streamed_by_weight(tmp_path: Path) -> None:
    """Two assemblies of one size, one of all A and C, to be read three times as often as one of G and T."""
    for name, letters in (("ac", "AC"), ("gt", "GT")):
        codes = np.random.Generator(np.random.Philox(3)).integers(2, size=60_000)
        (tmp_path / f"{name}.fa").write_text(f">{name}\n{''.join(letters[code] for code in codes)}\n")
    assemblies = tuple(Assembly(name, (str(tmp_path / f"{name}.fa"),)) for name in ("ac", "gt"))
    prepare_shards(
        Corpus(assemblies, Mixture(proportions={"ac": 3, "gt": 1})),
        Output(str(tmp_path / "set")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=2),
        SplitSettings(validation=(), test=(), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    steps = steps_of(tmp_path / "set" / "train")
    num_shards = len(steps.order.num_samples)
    drawn = [each.ids for p in range(20 * num_shards) for each in steps.samples_at(p)]
    of_ac = sum(base_table(3)[ids].max() in (0, 2) and base_table(3)[ids].min() == 0 for ids in drawn)
    assert abs(of_ac / len(drawn) - 0.75) < 0.01
    assert abs(len(drawn) / (20 * steps.order.num_samples_of_epoch) - 1) < 0.02


def test_more_workers_than_shards_are_refused(folder: Path) -> None:
    steps = steps_of(folder, data_parallel_size=9)
    with pytest.raises(ConfigError, match="there are 17 shards to stream"):
        loader_of(steps, 2)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "train"))


def damage_of(where: Path | str, num_workers: int = 0) -> str:
    with pytest.raises(ShardError) as error:
        for _ in itertools.islice(loader_of(steps_of(where), num_workers), 200):
            pass
    said = str(error.value)
    del error  # which would hold this frame, and so the workers
    assert "\n" not in said
    return said


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_vanished_shard_ends_the_run(num_workers: int, copy: Path) -> None:
    (copy / "shard-000004.tar").unlink()
    said = damage_of(copy, num_workers)
    assert "shard-000004.tar, at its beginning" in said
    assert "No such file" in said
    assert said.endswith("run prepare_shards again")


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_flipped_byte_names_its_record(num_workers: int, copy: Path) -> None:
    flip(copy / "shard-000002.tar", 9000)
    assert "shard-000002.tar, record 00000002: kmers.npy: id " in damage_of(copy, num_workers)


def test_a_flipped_byte_that_no_record_shows_is_found_at_the_end(copy: Path) -> None:
    flip(copy / "shard-000003.tar", 400)  # of a header's empty part
    said = damage_of(copy)
    assert "shard-000003.tar" in said
    assert "header" in said or "checksum" in said or "records" in said
    flip(copy / "shard-000003.tar", 400)
    flip(copy / "shard-000003.tar", (copy / "shard-000003.tar").stat().st_size - 1)
    assert "shard-000003.tar, at its end: its bytes are not those manifest.json" in damage_of(copy)


@pytest.mark.parametrize("field", [b'"tokens":', b'"assembly":"'])
def test_a_flipped_json_names_its_record(field: bytes, copy: Path) -> None:
    path = copy / "shard-000005.tar"
    flip(path, path.read_bytes().index(field) + len(field))
    assert "shard-000005.tar, record 00000005: json" in damage_of(copy)


@pytest.mark.parametrize("num_bytes", [0, 700, 20_000])
def test_a_cut_tar_ends_the_run(num_bytes: int, copy: Path) -> None:
    os.truncate(copy / "shard-000001.tar", num_bytes)
    assert "shard-000001.tar" in damage_of(copy)
    assert "shard-000001.tar" in damage_of(f"pipe:cat {copy}/{{name}}")


def test_a_command_that_fails_ends_the_run(folder: Path) -> None:
    program = f"import sys; sys.stdout.buffer.write(open('{folder}/' + sys.argv[1], 'rb').read())"
    fails = f"{program}; sys.exit(3 * sys.argv[1].endswith('6.tar'))"
    assert "exit code 3" in damage_of(f'pipe:{sys.executable} -c "{fails}" {{name}}')


def module_of(folder: Path, **changes) -> PretrainingDataModule:
    paths = {"train": f"file://{folder}", "validation": str(folder), "test": None, "streaming": False}
    paths |= {key: changes.pop(key) for key in paths if key in changes}
    paths["train"] = (str(paths["train"]),)
    arguments = {"seed": 1, "shuffle_buffer": 50, "num_workers": 0} | changes
    module = PretrainingDataModule(
        DataPaths(**paths), StepShape(4, 1, 2048), Masking(MaskRule(3)), **arguments
    )
    module.setup()
    module.set_data_parallel(0, 1)
    return module


def test_the_data_module_streams_what_is_behind_a_url(folder: Path) -> None:
    expected_steps = list(itertools.islice(steps_of(folder), 6))
    for changes in ({}, {"train": folder, "streaming": True}):
        module = module_of(folder, **changes)
        taken = list(itertools.islice(module.train_dataloader(), 6))
        assert list(map(samples_of, taken)) == list(map(samples_of, expected_steps))
        assert "streamed in 17 shards" in module.describe()
    module.set_consumed_samples(taken[-1].consumed_samples)
    resumed = next(iter(module.train_dataloader()))
    assert resumed.consumed_samples >= taken[-1].consumed_samples > 0
    assert next(iter(module.val_dataloader())).is_whole


def test_the_data_module_refuses_what_cannot_be(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.data\.test=s3://.* cannot be streamed"):
        module_of(folder, test="s3://bucket/shards/test")
    with pytest.raises(ConfigError, match="there are 17 shards to stream"):
        module_of(folder, num_workers=18).train_dataloader()
