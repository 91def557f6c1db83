"""Every kind of damage to a finished set is found, with the file and the record it is in."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import ShardError
from dnabert_nemo.shards.checksums import check_records, verify_set, verify_shard
from dnabert_nemo.shards.contents import parse_record
from dnabert_nemo.shards.inspect import inspect_set
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.tar_records import read_parts, stored_records


@pytest.fixture
def train(soft_shards: Path, tmp_path: Path) -> Path:
    """A copy of a set with soft-masked bases, to damage."""
    return Path(shutil.copytree(soft_shards / "train", tmp_path / "train"))


def flip(path: Path, at: int, bits: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= bits
    path.write_bytes(content)


def damage_of(folder: Path) -> str:
    """Return what is said of the one damaged shard of a set."""
    [error] = [error for _, error in verify_set(folder) if error is not None]
    assert "\n" not in str(error)
    return str(error)


def test_sound_sets_are_sound(shards: Path, soft_shards: Path) -> None:
    for folder in (*shards.iterdir(), soft_shards / "train"):
        manifest = Manifest.read(folder)
        assert [error for _, error in verify_set(folder)] == [None] * len(manifest.shards)
        for shard in manifest.shards:  # without their checksums too
            check_records(folder, manifest, shard, np.load(folder / shard.index_name))


def part_of(folder: Path, part: str) -> tuple[Path, str, int, int]:
    """Find the first record of a set that has such a part: its shard, its key, the part's place and size."""
    for shard in Manifest.read(folder).shards:
        for record in stored_records(folder / shard.name):
            if part in record.parts:
                return folder / shard.name, record.key, *record.parts[part]
    raise AssertionError(part)


@pytest.mark.parametrize("part", ["json", "kmers.npy", "softmask.npy"])
@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_byte_is_found_in_its_record(part: str, seed: int, train: Path) -> None:
    path, key, at, size = part_of(train, part)
    draw = np.random.Generator(np.random.Philox(seed)).integers
    flip(path, at + int(draw(size)), 1 << int(draw(8)))
    said = damage_of(train)
    assert said.startswith(str(path))
    # A base that only one id covers, at an end of a stretch, and a letter of a name can be any other.
    assert f"record {key}: {part}" in said or "though each of its records reads well" in said


def test_an_id_in_the_middle_is_named(train: Path) -> None:
    path, key, at, size = part_of(train, "kmers.npy")
    flip(path, at + size - 1000)
    assert f"record {key}: kmers.npy: id " in damage_of(train)
    with pytest.raises(ShardError, match=rf"{path.name}, record {key}: kmers\.npy: id \d+ at token \d+"):
        inspect_set(train)


@pytest.mark.parametrize("field", ["name", "size", "checksum"])
def test_a_damaged_header_is_not_the_end_of_the_tar(field: str, train: Path) -> None:
    path, key, at, _ = part_of(train, "kmers.npy")
    flip(path, at - 512 + {"name": 3, "size": 130, "checksum": 150}[field])
    assert f"{path}, after {key}.json: the tar's header at byte {at - 512} is damaged" in damage_of(train)


def test_padding_and_end_are_checked(train: Path) -> None:
    path, key, at, size = part_of(train, "json")
    flip(path, at + size)
    assert f"after {key}.json: the padding is damaged" in damage_of(train)
    flip(path, at + size)
    flip(path, path.stat().st_size - 1)
    assert "the end of the tar is damaged" in damage_of(train)


@pytest.mark.parametrize(("num_bytes", "says"), [(5000, "cut off here"), (512, "cut off here"), (0, "cut")])
def test_a_cut_tar(num_bytes: int, says: str, train: Path) -> None:
    path = train / "shard-000000.tar"
    os.truncate(path, num_bytes)
    assert damage_of(train).startswith(str(path))
    assert says in damage_of(train)


def test_a_tar_cut_between_two_records(train: Path) -> None:
    path = train / "shard-000000.tar"
    second = list(stored_records(path))[1]
    os.truncate(path, min(at for at, _ in second.parts.values()) - 512)
    assert "the end of the tar is damaged or cut off" in damage_of(train)


@pytest.mark.parametrize("field", ["ids_at", "tokens", "soft_at", "component"])
def test_a_flipped_byte_in_the_index_is_found_in_its_record(field: str, train: Path) -> None:
    shard = Manifest.read(train).shards[0]
    path = train / shard.index_name
    index = np.load(path)
    stretch = len(index) - 1
    index[field][stretch] ^= 1
    np.save(path, index)
    keys = [record.key for record in stored_records(train / shard.name)]
    assert f"{path}, record {keys[-1]}: not where the records of {shard.name} lie" in damage_of(train)


def _edit(folder: Path, change: Callable[[dict], object]) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["shard-000000.tar", "shard-000000.index.npy"])
def test_a_missing_file(name: str, train: Path) -> None:
    (train / name).unlink()
    assert f"{name}: this part of the shard set is missing" in damage_of(train)


MANIFESTS: dict[str, tuple[Callable[[dict], object], str]] = {
    "records": (lambda m: m.update(num_records=99), "num_records is 99, but adds up to"),
    "stretches": (lambda m: m["components"][0].update(num_stretches=7), "num_stretches is"),
    "bases": (lambda m: m["contigs"][0].update(num_bases=7), "num_bases is"),
    "a contig's name": (lambda m: m["contigs"][0].update(name="other"), "contig .* is not in it"),
    "no such component": (lambda m: m["components"][0].update(name="other"), r"stretches of .*, it says"),
    "checksum": (
        lambda m: m["shards"][0].update(sha256="0" * 64),
        "manifest.json has the checksum",
    ),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_of_other_shards(what: str, train: Path) -> None:
    change, says = MANIFESTS[what]
    _edit(train, change)
    with pytest.raises(ShardError, match=says):
        inspect_set(train)


def test_a_set_that_is_none(tmp_path: Path, shards: Path) -> None:
    with pytest.raises(ShardError, match="unfinished or not a shard set"):
        list(verify_set(tmp_path))
    with pytest.raises(ShardError, match="give one of its splits"):
        list(verify_set(shards))


@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_no_change_of_one_id_inside_a_stretch_goes_unseen(data: st.DataObject, soft_shards: Path) -> None:
    folder = soft_shards / "train"
    manifest = Manifest.read(folder)
    path = folder / manifest.shards[0].name
    stored = next(stored_records(path))
    with open(path, "rb") as file:
        parts = read_parts(file, stored)
    record = parse_record(stored.key, parts, manifest)
    stretch = data.draw(st.integers(0, len(record.tokens) - 1))
    token = int(record.offsets[stretch]) + data.draw(st.integers(1, int(record.tokens[stretch]) - 2))
    ids = record.ids.copy()
    ids[token] = data.draw(st.integers(0, 2**16 - 1).filter(lambda other: other != ids[token]))
    begin = len(parts["kmers.npy"]) - ids.nbytes
    with pytest.raises(ValueError, match=r"kmers\.npy: id"):
        parse_record(stored.key, parts | {"kmers.npy": parts["kmers.npy"][:begin] + ids.tobytes()}, manifest)


def test_what_is_sound_is_what_the_reader_reads(soft_shards: Path) -> None:
    folder = soft_shards / "train"
    reader = ShardSet.open(folder)
    stretch = 0
    for shard in reader.manifest.shards:
        verify_shard(folder, reader.manifest, shard)
        with open(folder / shard.name, "rb") as file:
            for stored in stored_records(folder / shard.name):
                record = parse_record(stored.key, read_parts(file, stored), reader.manifest)
                for place, (offset, tokens) in enumerate(zip(record.offsets, record.tokens, strict=True)):
                    ids = reader.read(stretch, 0, int(tokens))
                    assert np.array_equal(ids, record.ids[offset : offset + tokens])
                    for first, count in ((0, int(tokens) + 2), (5, 40), (3, 0)):
                        is_soft = record.soft_mask(place, first, count)
                        assert np.array_equal(is_soft, reader.read_soft_mask(stretch, first, count))
                    stretch += 1
    assert stretch == reader.num_stretches
