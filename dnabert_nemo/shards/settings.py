"""What decides the bytes of a shard set, besides its input and split; `prepare` and `survey` go by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.vocabulary import MAX_K


@dataclass(frozen=True)
class ShardSettings:
    """The settings of a run of `prepare_shards`, named as in its config.

    Raises:
        ConfigError: a value is out of range.
    """

    k: int
    seed: int
    min_stretch: int  # bases; shorter unbroken stretches are skipped
    records_per_shard: int
    # "cut": any letter but A, C, G, T ends a stretch; "unk": min_stretch of them do, fewer become UNK
    non_acgt: Literal["cut", "unk"] = "cut"

    def __post_init__(self) -> None:
        _check_whole_number("tokenizer.k", self.k, 1, MAX_K)
        _check_whole_number("seed", self.seed, 0, 2**64 - 1)
        _check_whole_number("min_stretch", self.min_stretch, 1)
        _check_whole_number("records_per_shard", self.records_per_shard, 1)
        if self.min_stretch < self.k:
            raise ConfigError(
                f"min_stretch={self.min_stretch} is shorter than one k-mer: "
                f"pass min_stretch={self.k} or more, or a smaller tokenizer.k"
            )
        if self.non_acgt not in ("cut", "unk"):
            raise ConfigError(f"non_acgt={self.non_acgt} is not known: choose cut or unk")


def _check_whole_number(key: str, value: object, low: int, high: int | None = None) -> None:
    if type(value) is not int or value < low or (high is not None and value > high):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ConfigError(f"{key}={value}: give a whole number {limits}")
