"""The precision of a run: what was asked for, or what the device is made for, and why."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from dnabert_nemo.errors import ConfigError

# Lightning's names for trainer.precision, and what the model's own weights are then.
PRECISIONS = {
    "32": "fp32",
    "32-true": "fp32",
    "bf16": "bf16",
    "bf16-mixed": "bf16",
    "16": "fp16",
    "16-mixed": "fp16",
    "fp8-mixed": "fp8",
}
VOLTA, TURING, AMPERE, ADA, HOPPER = (7, 0), (7, 5), (8, 0), (8, 9), (9, 0)  # CUDA's compute capabilities
TOKENS_OF_FP8 = 16  # Transformer Engine's products in fp8 want a multiple of this

Capability = tuple[int, int]


@dataclass(frozen=True)
class Precision:
    """fp32, bf16, fp16 or fp8, and what made it so; fp32 main weights and gradients lie under each."""

    name: str
    reason: str

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})"


def choose(asked: str, capability: Capability | None, *, has_transformer_engine: bool = False) -> Precision:
    """Choose the precision for a CUDA device of that capability, or for a CPU (None).

    fp16 needs the tensor cores of Volta, bf16 those of Ampere and fp8 those of Ada or Hopper
    (https://docs.nvidia.com/cuda/cuda-c-programming-guide/, arithmetic by compute capability).

    Raises:
        ConfigError: trainer.precision is not known, or the device or an installation lacks what it takes.
    """
    if asked == "auto":
        return _made_for(capability)
    if asked not in PRECISIONS:
        raise ConfigError(
            f"trainer.precision={asked} is not known: choose auto or one of {', '.join(PRECISIONS)}"
        )
    if PRECISIONS[asked] == "fp8":
        _check_fp8(asked, capability, has_transformer_engine)
    return Precision(PRECISIONS[asked], f"trainer.precision={asked}")


def has_transformer_engine() -> bool:
    """Whether Transformer Engine is installed; it is not imported."""
    return importlib.util.find_spec("transformer_engine") is not None


def check_fp8(asked: str, *, tokens_per_micro_batch: int, tensor_size: int) -> None:
    """Raise ConfigError where an fp8 run lacks Transformer Engine, or its tokens do not fill fp8's products.

    Args:
        tensor_size: tensor-parallel ranks, among which sequence parallelism shares the tokens.
    """
    if PRECISIONS.get(asked) != "fp8":
        return
    if not has_transformer_engine():
        raise ConfigError(_no_transformer_engine(asked))
    if tokens_per_micro_batch % (TOKENS_OF_FP8 * tensor_size):
        raise ConfigError(
            f"trainer.precision={asked} takes tokens by {TOKENS_OF_FP8 * tensor_size}, and a micro batch has "
            f"{tokens_per_micro_batch} (model.micro_batch_size x model.data.tokens_per_row): change them"
        )


def _made_for(capability: Capability | None) -> Precision:
    if capability is None:
        return Precision("fp32", "a CPU")
    version = ".".join(map(str, capability))
    if capability >= AMPERE:
        return Precision("bf16", f"compute capability {version}: Ampere or later")
    if capability >= VOLTA:
        return Precision("fp16", f"compute capability {version}: Volta or Turing, no bf16 before Ampere")
    return Precision("fp32", f"compute capability {version}: no 16-bit tensor cores before Volta")


def _check_fp8(asked: str, capability: Capability | None, has_transformer_engine: bool) -> None:
    if capability is None or capability < ADA:
        here = "a CPU" if capability is None else f"compute capability {'.'.join(map(str, capability))}"
        raise ConfigError(
            f"trainer.precision={asked} needs the fp8 tensor cores of Ada, Hopper or later, and this is "
            f"{here}: choose bf16-mixed, or auto"
        )
    if not has_transformer_engine:
        raise ConfigError(_no_transformer_engine(asked))


def _no_transformer_engine(asked: str) -> str:
    return (
        f"trainer.precision={asked} needs Transformer Engine, which is not installed: use the Dockerfile's "
        "image, which has it, or pip install 'transformer-engine[pytorch]', or choose bf16-mixed"
    )
