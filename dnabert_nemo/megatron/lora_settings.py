"""Which adapters of low rank a config asks for; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnabert_nemo.errors import ConfigError

A, B = "lora_a", "lora_b"  # an adapter's parameters
_MOST = 1 << 16


@dataclass(frozen=True)
class LoraSettings:
    """Adapters on attention's two products.

    Args:
        rank: of each.
        alpha: their products are multiplied by alpha / rank.

    Raises:
        ConfigError: a value that cannot work, by its key.
    """

    rank: int
    alpha: float

    def __post_init__(self) -> None:
        if type(self.rank) is not int or not 1 <= self.rank <= _MOST:
            raise ConfigError(
                f"model.lora.rank={self.rank}: give a whole number in 1..{_MOST}, or null for none"
            )
        is_number = isinstance(self.alpha, int | float) and not isinstance(self.alpha, bool)
        if not is_number or not 0 < self.alpha < float("inf"):
            raise ConfigError(f"model.lora.alpha={self.alpha}: give a number above 0")

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> LoraSettings | None:
        """Read `lora` of a model's config; None where there is none, or its rank is null.

        Raises:
            ConfigError: it is no mapping of rank and alpha, or a value cannot work.
        """
        given = model.get("lora")
        if given is None:
            return None
        if not isinstance(given, Mapping) and not hasattr(given, "items"):
            raise ConfigError(f"model.lora={given!a:.40}: give model.lora.rank and model.lora.alpha")
        values = dict(given.items())
        if set(values) != {"rank", "alpha"}:
            raise ConfigError(f"model.lora has {sorted(map(str, values))}: give rank and alpha")
        return None if values["rank"] is None else cls(**values)
