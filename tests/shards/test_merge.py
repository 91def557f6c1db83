"""Merged sets hold what their inputs hold, once each, in an order that the seed draws."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.shards.head import head_lines
from dnabert_nemo.shards.inspect import inspect_set
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.merge import merge_sets
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.reader import ShardSet


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stretches(folder: Path) -> Counter[tuple[tuple[str, str], str]]:
    """All stretches of a set with their bases, apart from key and component."""
    lines = list(head_lines(folder, num_records=10**6))
    headers = [
        " ".join(part for part in line.split() if "=" not in part or "source=" in part) for line in lines[::2]
    ]
    return Counter(zip(headers, lines[1::2], strict=True))


@pytest.fixture(scope="module")
def merged(shards: Path, soft_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("merged") / "both"
    merge_sets([shards, soft_shards], Output(str(output)), prefixes=["whole", "soft"])
    return output


def test_all_records_are_there_once_and_the_inputs_unchanged(
    shards: Path, soft_shards: Path, tmp_path: Path
) -> None:
    before = checksums(shards), checksums(soft_shards)
    merge_sets([shards / "train", soft_shards / "train"], Output(str(tmp_path / "m")), prefixes=["", "soft"])
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["train"]
    assert stretches(tmp_path / "m" / "train") == stretches(shards / "train") + stretches(
        soft_shards / "train"
    )
    assert (checksums(shards), checksums(soft_shards)) == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_merged_set_is_sound_and_adds_up(merged: Path, shards: Path, soft_shards: Path) -> None:
    found = inspect_set(merged / "train")  # every checksum, the index against the records, no key twice
    assert found.duplicate_keys == {}
    inputs = [Manifest.read(folder / "train") for folder in (shards, soft_shards)]
    for name in ("num_records", "num_stretches", "num_bases", "num_tokens", "num_soft_masked"):
        assert getattr(found.manifest, name) == sum(getattr(one, name) for one in inputs)
    assert {one.name.split(".")[0] for one in found.manifest.components} == {"whole", "soft"}
    assert sorted(path.name for path in merged.iterdir()) == sorted(path.name for path in shards.iterdir())
    assert stretches(merged / "test") == stretches(shards / "test")


def test_records_of_the_inputs_lie_among_each_other(merged: Path) -> None:
    component = ShardSet.open(merged / "train").stretch_component
    assert np.count_nonzero(np.diff(component.astype(int))) > 1


def test_the_same_inputs_give_the_same_bytes_and_the_seed_another_order(
    merged: Path, shards: Path, soft_shards: Path, tmp_path: Path
) -> None:
    for name, seed in (("again", None), ("other", 99)):
        output = Output(str(tmp_path / name))
        merge_sets([shards, soft_shards], output, prefixes=["whole", "soft"], seed=seed)
    assert checksums(tmp_path / "again") == checksums(merged)
    assert checksums(tmp_path / "other") != checksums(merged)
    assert stretches(tmp_path / "other" / "train") == stretches(merged / "train")


def weights(manifest: Manifest) -> dict[str, float]:
    totals: Counter[str] = Counter()
    for component in manifest.components:
        totals[component.name.split(".")[0]] += component.weight
    return totals


def test_weights_are_by_tokens_or_by_shares(
    merged: Path, shards: Path, soft_shards: Path, tmp_path: Path
) -> None:
    tokens = [Manifest.read(folder / "train").num_tokens for folder in (shards, soft_shards)]
    by_tokens = weights(Manifest.read(merged / "train"))
    assert by_tokens["whole"] == pytest.approx(tokens[0] / sum(tokens))
    assert sum(by_tokens.values()) == pytest.approx(1)
    inputs, output = [shards / "train", soft_shards / "train"], Output(str(tmp_path / "m"))
    merge_sets(inputs, output, prefixes=["whole", "soft"], shares=[3, 1])
    assert weights(Manifest.read(tmp_path / "m" / "train"))["whole"] == pytest.approx(0.75)


def test_what_does_not_go_together_is_refused(
    shards: Path, soft_shards: Path, prepare: Callable[..., object], tmp_path: Path
) -> None:
    output = Output(str(tmp_path / "m"))
    with pytest.raises(ConfigError, match="tell them apart with --prefixes"):
        merge_sets([shards, shards], output)
    prepare(tmp_path / "k4", k=4)
    with pytest.raises(ConfigError, match=r"has k=4, .* k=3: merge sets of one k"):
        merge_sets([shards, tmp_path / "k4"], output, prefixes=["a", "b"])
    for given in ({"prefixes": ["a"]}, {"shares": [1, 2, 3]}):
        with pytest.raises(ConfigError, match="for 2 inputs: give one for each"):
            merge_sets([shards, soft_shards], output, **given)
    with pytest.raises(ConfigError, match="give numbers above 0"):
        merge_sets([shards, soft_shards], output, shares=[1, 0])
    with pytest.raises(ShardError, match="unfinished or not a shard set"):
        merge_sets([shards, tmp_path], output)
    (tmp_path / "m").mkdir()
    with pytest.raises(ConfigError, match="m exists"):
        merge_sets([shards], output)


def test_a_damaged_input_gives_no_output(shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shards / "train", tmp_path / "train"))
    path = folder / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[3000] ^= 4
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"shard-000001\.tar, record \d{8}: kmers\.npy"):
        merge_sets([folder], Output(str(tmp_path / "m")))
    assert [path.name for path in tmp_path.iterdir()] == ["train"]
