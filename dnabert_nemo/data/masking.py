"""What is hidden of a sample, and what of that counts; `masked_kmers` goes by it."""

from __future__ import annotations

from dataclasses import dataclass

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.masking import MaskRule


@dataclass(frozen=True)
class Masking:
    """What is hidden of a sample, and what of that counts.

    A masked token whose middle base is lower case, a repeat, is to be predicted with the chance
    `soft_masked_weight`: in expectation that is a weight in the loss. 1 treats all alike, 0 skips repeats.
    Samples and inputs do not change with it.

    Raises:
        ConfigError: the weight is not from 0 to 1.
    """

    rule: MaskRule
    soft_masked_weight: float = 1.0

    def __post_init__(self) -> None:
        weight = self.soft_masked_weight
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 <= weight <= 1:
            raise ConfigError(f"model.data.soft_masked_weight={weight}: give a number from 0 to 1")
