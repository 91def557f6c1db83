"""All rows train on the same samples, packed or padded, masked alike, and our ways of a step agree."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dnabert_nemo.bench.padded import AROUND, padded_batch
from dnabert_nemo.bench.throughput.inference import Embedding, PackedEmbedder, packed
from dnabert_nemo.bench.throughput.loader import LoadedTraining
from dnabert_nemo.bench.throughput.ours import OurTraining, Way, ablation
from dnabert_nemo.bench.throughput.peers import ORIGINAL, SDPA, PeerTraining
from dnabert_nemo.bench.throughput.samples import (
    IGNORED,
    DrawnSteps,
    EqualSteps,
    Setting,
    in_padded_rows,
    made_up_shards,
    mean_attended,
    padded,
    samples_of,
)
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.kmer.vocabulary import CLS, MASK, NUM_SPECIALS, PAD, SEP
from dnabert_nemo.megatron.bert_shape import BertShape

SHAPE = BertShape(
    69,
    128,
    num_layers=2,
    hidden_size=32,
    ffn_hidden_size=64,
    num_attention_heads=2,
    hidden_dropout=0.0,
    attention_dropout=0.0,
)
SETTING = Setting(SHAPE, "fp32", seed=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DrawnSteps:
    shards = made_up_shards(tmp_path_factory.mktemp("made") / "up", k=3, bases=200_000, seed=1)
    return DrawnSteps(shards, 3, 1, rows=2, micro_batch_size=1, tokens_per_row=1024, num_steps=2, samples=6)


def test_every_step_has_the_samples_asked_for(data: DrawnSteps) -> None:
    steps = data.steps()
    assert [sum(batch.num_samples for batch in step) for step in steps] == [6, 6]
    for step in steps:
        samples = samples_of(step)
        assert sum(len(sample.ids) for sample in samples) == sum(batch.num_tokens for batch in step)
        for sample in samples:
            assert (sample.ids[0], sample.ids[-1]) == (CLS, SEP)
            assert (sample.ids[1:-1] >= NUM_SPECIALS).all()
            assert ((sample.inputs == sample.ids) | (sample.labels != IGNORED)).all()


def test_a_number_of_samples_that_never_comes_is_refused(data: DrawnSteps) -> None:
    with pytest.raises(ConfigError, match=r"batch\.samples=4000: 0 of .* give about 7"):
        replace(data, samples=4000).steps()


def test_the_data_ranks_share_a_step(data: DrawnSteps) -> None:
    whole = data.steps()[0]
    for rank in (0, 1):
        [own] = data.steps(rank, 2)[0]
        assert torch.equal(own.ids, whole[rank].ids)


def test_a_padded_row_holds_its_sample_alone_and_predicts_the_same(data: DrawnSteps) -> None:
    for batch in data.steps()[0]:
        rows = in_padded_rows(batch, 512)
        samples = samples_of([batch])
        assert rows.ids.shape == rows.positions.shape == (512 * len(samples),)
        assert sum(rows.segment_lengths) == 512 * len(samples)
        inputs, labels = padded(samples, 512)
        assert torch.equal(rows.ids.reshape(-1, 512), inputs)
        assert torch.equal(rows.labels, labels.flatten()[rows.masked_at])
        assert int((labels != IGNORED).sum()) == len(rows.labels)
        assert [each.ids.tolist() for each in samples_of([rows])] == [each.ids.tolist() for each in samples]


def test_the_peers_see_our_samples(data: DrawnSteps) -> None:
    ours = [sample.ids for batch in data.steps()[0] for sample in samples_of([batch])]
    peer = PeerTraining(SDPA, data, SETTING, 3)
    steps = peer.start(peer.load())
    assert steps.num_micro_batches == 2
    seen = [torch.where(labels == IGNORED, inputs, labels) for inputs, labels in steps._masked[0]]
    for row, ids in zip(torch.cat(seen), ours, strict=True):
        assert torch.equal(row[: len(ids)], ids)
        assert (row[len(ids) :] == PAD).all()
    tokens, loss = steps.step(0)
    assert tokens == sum(map(len, ours))
    assert 3 < float(loss) < 7


def test_the_original_masks_our_samples_in_its_step(data: DrawnSteps) -> None:
    ours = [sample.ids for batch in data.steps()[0] for sample in samples_of([batch])]
    peer = PeerTraining(ORIGINAL, data, SETTING, 3)
    steps = peer.start(peer.load())
    first, again = steps._in_step(0), steps._in_step(0)
    assert not torch.equal(first[0][0], again[0][0])
    seen = torch.cat([torch.where(labels == IGNORED, inputs, labels) for inputs, labels in first])
    for row, ids in zip(seen, ours, strict=True):
        assert torch.equal(row[: len(ids)], ids)
    assert 3 < float(steps.step(0)[1]) < 7


@pytest.mark.parametrize("k", [3, 6])
def test_a_centre_masks_its_neighbours_and_no_more(k: int) -> None:
    torch.manual_seed(1)
    sample = torch.cat([torch.tensor([CLS]), torch.randint(5, 5 + 4**k, (510,)), torch.tensor([SEP])])
    inputs, labels = padded_batch([sample] * 300, k, 0.002)
    masked = (labels != IGNORED).int()
    edges = torch.diff(masked, prepend=torch.zeros(300, 1), append=torch.zeros(300, 1))
    lengths = (edges == -1).nonzero()[:, 1] - (edges == 1).nonzero()[:, 1]
    reach = len(AROUND[k]) + 1
    assert 150 < len(lengths) < 450
    assert (lengths == reach).float().mean() > 0.9  # the others touch another run, or an end
    masked = labels != IGNORED
    shown = inputs[masked]
    assert 0.74 < (shown == MASK).float().mean() < 0.86
    assert 0.06 < (shown == labels[masked]).float().mean() < 0.16


def test_all_our_ways_of_a_step_have_one_loss(data: DrawnSteps) -> None:
    ways = ablation(Kernels(attention="blocks", dropout="bits"))
    assert next(iter(ways)) == "padded"
    assert next(iter(ways.values())) == Way(True, True, False)
    assert list(ways)[-1] == "+ attention: blocks"
    assert list(ways.values())[-1].kernels == Kernels(attention="blocks", dropout="bits")
    losses = []
    for way in ways.values():
        work = OurTraining(data, SETTING, way)
        steps = work.start(work.load())
        taken = [steps.step(number) for number in (0, 1, 2)]
        assert taken[0][0] == taken[2][0] == sum(batch.num_tokens for batch in data.steps()[0])
        losses.append([float(loss) for _, loss in taken])
    for each in losses[1:]:
        assert each == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][2] < losses[0][0]  # the first step again, two steps later


def test_samples_of_one_length_have_no_padding() -> None:
    [[batch]] = EqualSteps(3, 1, length=256, tokens=1024, num_steps=1).steps()
    samples = samples_of([batch])
    assert [len(sample.ids) for sample in samples] == [256] * 4
    assert mean_attended([samples]) == 256
    assert mean_attended([samples_of([batch])[:1], []]) == 256


def test_long_samples_attend_to_more() -> None:
    [one] = EqualSteps(3, 1, length=512, tokens=512, num_steps=1).steps()
    [two] = EqualSteps(3, 1, length=128, tokens=512, num_steps=1).steps()
    assert mean_attended([samples_of(one), samples_of(two)]) == (512 + 128) / 2


def test_packed_embeddings_are_those_of_each_sequence_alone(data: DrawnSteps) -> None:
    samples = Embedding(data, SETTING, 4, 2, Kernels()).load()
    assert len(samples) == 4
    embed = PackedEmbedder(SETTING, Kernels(attention="blocks"))
    with torch.inference_mode():
        together = embed(packed(samples))
        alone = torch.cat([embed(packed([sample])) for sample in samples])
    assert together.shape == (4, 32)
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-2)


def test_training_from_the_loader_tells_how_long_it_waited(data: DrawnSteps) -> None:
    work = LoadedTraining(data, SETTING, Kernels(), workers=0)
    steps = work.start(work.load())
    began = time.perf_counter()
    tokens, loss = steps.step(0)
    assert 0 < steps.waited < time.perf_counter() - began
    assert tokens > 1000
    assert 3 < float(loss) < 7


def test_shards_are_made_where_they_are_asked_for(data: DrawnSteps) -> None:
    assert data.shards.is_dir()
    assert data.shards.name == "train"
    assert isinstance(data.shards, Path)
