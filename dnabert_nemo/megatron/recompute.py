"""Which activations are computed again in the backward pass instead of kept: memory against time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnabert_nemo.errors import ConfigError

_GRANULARITY = "model.activations_checkpoint_granularity"
_METHOD = "model.activations_checkpoint_method"
_NUM_LAYERS = "model.activations_checkpoint_num_layers"


@dataclass(frozen=True)
class Recompute:
    """What a layer forgets after its forward pass (Korthikanti et al. 2022, arXiv:2205.05198).

    Args:
        granularity: None keeps everything; `selective` forgets what is inside attention; `full` keeps only
            what goes into layers.
        method: of `full`: `uniform` keeps what goes into every `num_layers`-th layer; `block` does `full` for
            the first `num_layers` layers of a pipeline rank's run and keeps everything of the others.

    Raises:
        ConfigError: the values do not go together.
    """

    granularity: str | None = None
    method: str | None = None
    num_layers: int | None = None

    def __post_init__(self) -> None:
        if self.granularity not in (None, "selective", "full"):
            raise ConfigError(
                f"{_GRANULARITY}={self.granularity} is not known: choose null, selective or full"
            )
        if self.granularity != "full":
            for key, value in ((_METHOD, self.method), (_NUM_LAYERS, self.num_layers)):
                if value is not None:
                    raise ConfigError(f"{key}={value} goes with {_GRANULARITY}=full alone: make it null")
            return
        if self.method not in ("uniform", "block"):
            raise ConfigError(f"{_METHOD}={self.method}: choose uniform or block for {_GRANULARITY}=full")
        if type(self.num_layers) is not int or self.num_layers < 1:
            raise ConfigError(f"{_NUM_LAYERS}={self.num_layers}: give a whole number of at least 1")

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> Recompute:
        """Read it from the section `model` of a config; what it does not name is kept."""
        keys = ("granularity", "method", "num_layers")
        return cls(*(model.get(f"activations_checkpoint_{key}") for key in keys))

    def check(self, layers_of_runs: tuple[int, ...]) -> None:
        """Refuse more layers than a run has, or under `uniform` a number that does not divide it.

        Raises:
            ConfigError: it is so.
        """
        if self.num_layers is None:
            return
        for layers in layers_of_runs:
            if self.num_layers > layers or (self.method == "uniform" and layers % self.num_layers):
                wanted = "a divisor of that" if self.method == "uniform" else "at most that"
                raise ConfigError(
                    f"{_NUM_LAYERS}={self.num_layers}: a pipeline rank's run has {layers} layers: give "
                    f"{wanted}"
                )

    def settings(self) -> dict[str, Any]:
        """Return the arguments of megatron-core's TransformerConfig that ask for this."""
        return {
            "recompute_granularity": self.granularity,
            "recompute_method": self.method,
            "recompute_num_layers": self.num_layers,
        }
