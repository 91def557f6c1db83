"""Features on disk: found again by all that they depend on, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.model import feature_cache

ENCODER = {"a.weight": torch.arange(6.0).view(2, 3), "b.bias": torch.zeros(3)}


def test_what_was_written_is_read(tmp_path: Path) -> None:
    features, path = torch.randn(5, 4), tmp_path / "new" / "x.safetensors"
    feature_cache.write(path, features)
    found = feature_cache.read(path, (5, 4))
    assert found is not None and torch.equal(found, features)
    assert [each.name for each in path.parent.iterdir()] == ["x.safetensors"]


def test_a_file_that_is_not_there_damaged_or_of_another_shape_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert feature_cache.read(path, (5, 4)) is None
    feature_cache.write(path, torch.randn(5, 4))
    assert feature_cache.read(path, (5, 5)) is None
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-3]):
        path.write_bytes(damaged)
        assert feature_cache.read(path, (5, 4)) is None


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"model\.data\.features_dir=.*: give another, or null"):
        feature_cache.write(tmp_path / "file" / "x.safetensors", torch.randn(2, 2))


def test_the_key_is_of_all_that_features_depend_on() -> None:
    first = feature_cache.key(ENCODER, "data", "mean")
    assert first == feature_cache.key(dict(reversed(ENCODER.items())), "data", "mean")
    others = [
        feature_cache.key(ENCODER, "data", "cls"),
        feature_cache.key(ENCODER, "dat", "amean"),
        feature_cache.key({**ENCODER, "b.bias": torch.full((3,), 1e-9)}, "data", "mean"),
        feature_cache.key({**ENCODER, "a.weight": ENCODER["a.weight"].view(3, 2)}, "data", "mean"),
        feature_cache.key({name: tensor.bfloat16() for name, tensor in ENCODER.items()}, "data", "mean"),
    ]
    assert len({first, *others}) == 6
