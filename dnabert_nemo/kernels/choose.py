"""Which kernels a run uses: what `model.kernels` asks for, or what the device is made for, and why.

Imports no torch: what is installed is looked for, not loaded.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from importlib.util import find_spec
from shutil import which

from dnabert_nemo.errors import ConfigError

ASKED = ("auto", "te", "apex", "triton", "inductor", "graphs", "torch")
COMPILED = {"inductor": "compiled", "graphs": "graphs"}  # layers that torch.compile makes
AMPERE = (8, 0)  # CUDA's compute capability
_NEEDS = {"te": "transformer_engine", "apex": "apex", "triton": "triton"}
_REMEDY = "use an NGC image, which has it, or model.kernels=auto, which does without"


@dataclass(frozen=True)
class Kernels:
    """The kernel of each piece of a layer and of the loss.

    Args:
        attention: segments (torch's, one segment at a time), blocks (of a CPU, with a dropout of our own),
            flash (torch's, by cumulative lengths), efficient (torch's memory-efficient one, likewise), te.
        norm: triton: bias, dropout, residual and LayerNorm in one; torch, apex or te: LayerNorm alone.
        gelu: bias and GELU: torch, triton.
        cross_entropy: torch (megatron-core's), triton (its gradient takes the logits' place).
        dropout: where none of these has it: torch, bits (of a CPU).
        layer: eager: these, one after the other; compiled: what torch.compile makes of a layer but its
            attention, and graphs: the same as CUDA graphs. The last layer, where it computes what is read
            alone, is eager.
    """

    attention: str = "segments"
    norm: str = "torch"
    gelu: str = "torch"
    cross_entropy: str = "torch"
    dropout: str = "torch"
    layer: str = "eager"


@dataclass(frozen=True)
class Device:
    """What the choice depends on.

    Args:
        capability: CUDA's compute capability; None for a CPU.
        has: of transformer_engine, apex, triton and c++ (the compiler), those installed.
    """

    capability: tuple[int, int] | None
    has: frozenset[str] = frozenset()

    @classmethod
    def here(cls, capability: tuple[int, int] | None) -> Device:
        """Look for the packages; the apex of PyPI is another one, without NVIDIA's layers."""
        found = {name for name in ("transformer_engine", "triton") if find_spec(name)}
        if find_spec("apex") and find_spec("apex.normalization"):
            found.add("apex")
        if which(os.environ.get("CXX", "g++")):
            found.add("c++")
        return cls(capability, frozenset(found))

    @property
    def interprets_triton(self) -> bool:
        """Whether Triton's kernels run on the CPU, number by number, as in its tests."""
        return os.environ.get("TRITON_INTERPRET") == "1"

    @property
    def compiles_triton(self) -> bool:
        """Whether Triton is there and generates code for the device: Ampere and later."""
        return "triton" in self.has and self.capability is not None and self.capability >= AMPERE

    def __str__(self) -> str:
        return "a CPU" if self.capability is None else "capability {}.{}".format(*self.capability)


@dataclass(frozen=True)
class Choice:
    """The kernels of a run, and why each."""

    kernels: Kernels
    reasons: dict[str, str]

    def __str__(self) -> str:
        names = [field.name for field in fields(Kernels)]
        return "; ".join(f"{name} {getattr(self.kernels, name)} ({self.reasons[name]})" for name in names)


def choose(asked: str, device: Device, *, precision: str) -> Choice:
    """Choose the kernels of a run.

    Args:
        asked: `model.kernels`, one of ASKED.
        precision: fp32, bf16, fp16 or fp8.

    Raises:
        ConfigError: `asked` is not known, or asks for what is not installed or needs another device.
    """
    _check(asked, device)
    attention = _attention(asked, device, precision)
    fused = _fused(asked, device)
    this = (asked, f"model.kernels={asked}")
    norm = this if asked in ("te", "apex") else fused
    dropout = ("torch", "drawn by the GPU" if device.capability else f"model.kernels={asked}")
    if device.capability is None and asked != "torch":
        dropout = ("bits", "a CPU, whose own draws a number for each element")
    pieces = {
        "attention": attention,
        "norm": norm,
        "gelu": fused,
        "cross_entropy": fused,
        "dropout": dropout,
        "layer": (COMPILED[asked], this[1]) if asked in COMPILED else ("eager", f"model.kernels={asked}"),
    }
    return Choice(
        Kernels(**{piece: kernel for piece, (kernel, _) in pieces.items()}),
        {piece: reason for piece, (_, reason) in pieces.items()},
    )


def _check(asked: str, device: Device) -> None:
    if asked not in ASKED:
        raise ConfigError(f"model.kernels={asked} is not known: choose one of {', '.join(ASKED)}")
    if asked in COMPILED:
        _check_inductor(asked, device)
    if asked not in _NEEDS:
        return
    if _NEEDS[asked] not in device.has:
        raise ConfigError(f"model.kernels={asked}: {_NEEDS[asked]} is not installed: {_REMEDY}")
    if asked == "triton" and (device.compiles_triton or device.interprets_triton):
        return
    if asked == "triton" or device.capability is None:
        needed = "a GPU of capability 8.0 (Ampere) or later" if asked == "triton" else "a GPU"
        raise ConfigError(
            f"model.kernels={asked} needs {needed}, and this is {device}: use model.kernels=auto"
        )


def _check_inductor(asked: str, device: Device) -> None:
    """Inductor writes C++ for a CPU, and Triton for a GPU."""
    if device.capability is None and asked == "graphs":
        raise ConfigError(
            f"model.kernels=graphs are CUDA graphs, and this is {device}: use model.kernels=auto"
        )
    if device.capability is None and "c++" not in device.has:
        raise ConfigError(
            "model.kernels=inductor: there is no C++ compiler here: install g++, or name yours in CXX"
        )
    if device.capability is not None and not device.compiles_triton:
        raise ConfigError(
            f"model.kernels={asked} needs Triton and a GPU of capability 8.0 (Ampere) or later, and this is "
            f"{device}{'' if 'triton' in device.has else ' without Triton'}: use model.kernels=auto"
        )


def _attention(asked: str, device: Device, precision: str) -> tuple[str, str]:
    if device.capability is None:
        if asked == "torch":
            return "segments", "model.kernels=torch"
        return "blocks", "a CPU: dropout in blocks, and without dropout torch's by segment"
    if device.capability < AMPERE or precision == "fp32":
        # nor has Transformer Engine any for packed rows: its unfused attention takes padded ones alone
        return "efficient", f"{device}, {precision}: flash attention takes 16 bit on Ampere and later"
    if asked == "te":
        return "te", "model.kernels=te"
    return "flash", f"{device}, {precision}"


def _fused(asked: str, device: Device) -> tuple[str, str]:
    """Tell whether a piece that Triton fuses runs fused."""
    if asked == "torch":
        return "torch", "model.kernels=torch"
    if asked == "triton":
        return "triton", "model.kernels=triton"
    if device.compiles_triton:
        return "triton", str(device)
    missing = device.capability is not None and device.capability >= AMPERE
    return (
        "torch",
        "Triton is not installed" if missing else f"{device}: Triton's code is for Ampere and later",
    )
