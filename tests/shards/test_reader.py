"""Reading anywhere, from other processes too, and sets that cannot be read."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import ShardError
from dnabert_nemo.kmer.ids import bases_of
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.tar_records import read_parts, stored_records


@given(seed=st.integers(0, 2**32))
@settings(max_examples=60)
def test_any_window_is_a_piece_of_its_stretch(seed: int, shards: Path) -> None:
    reader = ShardSet.open(shards / "train", k=3)
    draw = np.random.Generator(np.random.Philox(seed)).integers
    stretch = int(draw(reader.num_stretches))
    tokens = int(reader.stretch_tokens[stretch])
    first = int(draw(tokens))
    count = int(draw(1, tokens - first + 1))
    ids = reader.read(stretch, first, count)
    assert ids.dtype == np.uint16
    assert np.array_equal(ids, reader.read(stretch, 0, tokens)[first : first + count])
    assert len(bases_of(ids, 3)) == count + 2  # they are k-mers that follow one another


def test_soft_mask_of_any_window(soft_shards: Path) -> None:
    reader = ShardSet.open(soft_shards / "train", k=3)
    rng = np.random.Generator(np.random.Philox(2))
    for stretch in range(reader.num_stretches):
        bases = int(reader.stretch_tokens[stretch]) + 2
        whole = reader.read_soft_mask(stretch, 0, bases)
        codes = bases_of(reader.read(stretch, 0, bases - 2), 3)
        # in the fixture a run of A is lower case and nothing else is
        assert np.array_equal(whole, codes == 0)
        for first in rng.integers(0, bases, 20).tolist():
            count = int(rng.integers(0, bases - first + 1))
            assert np.array_equal(reader.read_soft_mask(stretch, first, count), whole[first : first + count])
    lower_case = (soft_shards.parent / "soft.fa").read_text().count("a")
    assert reader.manifest.num_soft_masked == lower_case > 1000
    with pytest.raises(IndexError):
        reader.read_soft_mask(0, 0, int(reader.stretch_tokens[0]) + 3)


def test_checksums_on_request(train: Path) -> None:
    ShardSet.open(train, verify=True)
    content = bytearray((train / "shard-000001.tar").read_bytes())
    content[3000] ^= 1
    (train / "shard-000001.tar").write_bytes(content)
    ShardSet.open(train)
    with pytest.raises(ShardError, match=r"shard-000001.tar: its bytes are not those .* shards inspect"):
        ShardSet.open(train, verify=True)


def test_counts(shards: Path) -> None:
    reader = ShardSet.open(str(shards / "train"))
    assert reader.stretch_tokens.dtype == np.int64
    assert reader.num_stretches == len(reader.stretch_tokens) == reader.manifest.num_stretches
    assert reader.num_tokens == reader.stretch_tokens.sum() == reader.manifest.num_tokens


def test_out_of_range(shards: Path) -> None:
    reader = ShardSet.open(shards / "validation")
    tokens = int(reader.stretch_tokens[0])
    assert len(reader.read(0, tokens, 0)) == 0
    for stretch, first, count in (
        (0, 0, tokens + 1),
        (0, -1, 1),
        (0, 3, -1),
        (-1, 0, 1),
        (reader.num_stretches, 0, 1),
    ):
        with pytest.raises(IndexError):
            reader.read(stretch, first, count)


def _answer(reader: ShardSet, queue: multiprocessing.Queue) -> None:
    queue.put(reader.read(reader.num_stretches - 1, 0, 20).tolist())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_reads_in_another_process(method: str, shards: Path) -> None:
    reader = ShardSet.open(shards / "train")
    expected = reader.read(reader.num_stretches - 1, 0, 20).tolist()  # opens a shard before it travels
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_answer, args=(reader, queue))
    process.start()
    assert queue.get(timeout=60) == expected
    process.join()
    assert reader.read(reader.num_stretches - 1, 0, 20).tolist() == expected


def test_a_pickle_is_small_and_files_are_closed(shards: Path) -> None:
    reader = ShardSet.open(shards / "train")
    before = len(os.listdir("/proc/self/fd"))
    for stretch in range(reader.num_stretches):
        reader.read(stretch, 0, 1)
    assert len(os.listdir("/proc/self/fd")) == before + len(reader.manifest.shards)
    content = pickle.dumps(reader)
    assert len(content) < 20_000
    assert np.array_equal(pickle.loads(content).read(0, 0, 9), reader.read(0, 0, 9))
    del reader
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.fixture
def train(shards: Path, tmp_path: Path) -> Path:
    """A copy of the training set to damage."""
    return Path(shutil.copytree(shards / "train", tmp_path / "train"))


def _edit(manifest: Path, **changed: object) -> None:
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changed))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda set_: (set_ / "manifest.json").unlink(), "unfinished or not a shard set"),
    "half a manifest": (lambda set_: (set_ / "manifest.json").write_text('{"split": "tr'), "not a manifest"),
    "a list": (lambda set_: (set_ / "manifest.json").write_text("[]"), "not a manifest"),
    "a key too many": (lambda set_: _edit(set_ / "manifest.json", colour="red"), "not a manifest"),
    "a later format": (lambda set_: _edit(set_ / "manifest.json", format_version=9), "shard format 9"),
    "another vocabulary": (
        lambda set_: _edit(set_ / "manifest.json", vocabulary_sha256="0" * 64),
        "another k-mer vocabulary",
    ),
    "another count": (lambda set_: _edit(set_ / "manifest.json", num_tokens=7), "manifest.json says 7"),
    "a shard missing": (lambda set_: (set_ / "shard-000001.tar").unlink(), "shard-000001.tar: .* is missing"),
    "a shard cut": (
        lambda set_: os.truncate(set_ / "shard-000001.tar", 5000),
        "shard-000001.tar: 5000 bytes",
    ),
    "an index missing": (lambda set_: (set_ / "shard-000000.index.npy").unlink(), "index.npy: .* is missing"),
    "an index cut": (
        lambda set_: os.truncate(set_ / "shard-000000.index.npy", 100),
        "index.npy: not an index",
    ),
    "another index": (
        lambda set_: np.save(set_ / "shard-000000.index.npy", np.zeros((1, 2), np.int64)),
        "not the index of 2 stretches",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_set_is_told_with_the_remedy(damage: str, train: Path) -> None:
    do, says = DAMAGE[damage]
    do(train)
    with pytest.raises(ShardError, match=says) as caught:
        ShardSet.open(train)
    assert "run prepare_shards again" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_k(shards: Path) -> None:
    with pytest.raises(
        ShardError, match=r"k=3, the model has k=6: pass model.tokenizer.k=3, or .* tokenizer.k=6"
    ):
        ShardSet.open(shards / "train", k=6)


def test_the_folder_of_all_splits(shards: Path) -> None:
    with pytest.raises(
        ShardError, match=r"give one of its splits, .*/k3/test or .*/k3/train or .*/k3/validation"
    ):
        ShardSet.open(shards)


def test_a_stretch_is_named_by_its_record(shards: Path) -> None:
    reader = ShardSet.open(shards / "train")
    named = 0
    first = 0
    for shard in reader.manifest.shards:
        for record in stored_records(shards / "train" / shard.name):
            with open(shards / "train" / shard.name, "rb") as file:
                rows = json.loads(read_parts(file, record)["json"])["stretches"]
            for stretch in range(first, first + len(rows)):
                assert reader.where(stretch) == f"{shards / 'train' / shard.name}, record {record.key}"
                named += 1
            first += len(rows)
    assert named == reader.num_stretches


def test_a_shard_that_goes_away_after_opening(train: Path) -> None:
    reader = ShardSet.open(train)
    os.truncate(train / "shard-000000.tar", 1000)
    with pytest.raises(ShardError, match=r"shard-000000.tar, stretch 0.*: ends too early"):
        reader.read(0, 0, 500)
    (train / "shard-000001.tar").unlink()
    with pytest.raises(ShardError, match=r"shard-000001.tar: No such file"):
        reader.read(reader.manifest.shards[0].num_stretches, 0, 5)
