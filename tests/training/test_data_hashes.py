"""What the data modules say of their data: hashes that a .nemo file keeps."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.data.labelled import LabelledDataModule, LabelledSequences, SampleShape
from dnabert_nemo.training.build import pretraining_data


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_shard_set_is_known_by_its_manifest(toy_shards: Path, config: Callable[..., DictConfig]) -> None:
    train, validation = (sha256(toy_shards / split / "manifest.json") for split in ("train", "validation"))
    assert pretraining_data(config()).hashes() == {"train": [train], "validation": [validation]}
    streamed = pretraining_data(config("model.data.streaming=true", "model.data.num_workers=0"))
    assert streamed.hashes() == {"train": [train], "validation": [validation]}


def test_sequences_are_known_by_their_bases_and_labels() -> None:
    def hashes(sequences: list[str], labels: list[int]) -> list[str]:
        data = LabelledSequences(sequences, labels, k=3, max_positions=32)
        [found] = LabelledDataModule(data, data, SampleShape(1, 1), seed=1).hashes()["train"]
        return found

    given = hashes(["ACGTACGT", "TTTTAA"], [0, 1])
    assert given == hashes(["ACGTACGT", "TTTTAA"], [0, 1])
    others = [
        (["ACGTACGT", "TTTTAA"], [1, 0]),
        (["ACGTACGA", "TTTTAA"], [0, 1]),
        (["ACGTAC", "GTTTTTAA"], [0, 1]),
    ]
    assert len({given, *(hashes(*other) for other in others)}) == 4
