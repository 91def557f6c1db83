"""Tells a profiler when Megatron's timers and the forward passes of layers begin and end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from megatron.core.transformer.transformer_layer import TransformerLayer
from megatron.core.utils import configure_nvtx_profiling

from dnabert_nemo.megatron import engine

_NAMES = {"forward-compute": "forward", "backward-compute": "backward"}  # what Megatron calls them


class _Timers:
    """Stands where megatron-core looks for its timers: `timers(name).start()` begins a range."""

    def __init__(self, begin: Callable[[str], None], end: Callable[[], None]) -> None:
        self._begin, self._end = begin, end
        self._name = ""

    def __call__(self, name: str, log_level: int | None = None) -> _Timers:
        self._name = _NAMES.get(name, name)
        return self

    def start(self, barrier: bool = False) -> None:
        self._begin(self._name)

    def stop(self, barrier: bool = False) -> None:
        self._end()


def mark(
    model: torch.nn.Module, begin: Callable[[str], None], end: Callable[[], None], *, inside_layers: bool
) -> Callable[[], None]:
    """Begin and end a range around each forward and backward pass, layer and sum over ranks of a model.

    Args:
        model: what a rank holds, as `bert.build` made it.
        begin: takes the name of a range, which is inside the one begun last and ends before it.
        inside_layers: NVTX ranges around the parts of a layer too, and Megatron's own; needs CUDA.

    Returns:
        What takes all of it back.
    """
    timers = _Timers(begin, end)
    configs = [stage.config for stage in engine.stages(model)]
    for config in configs:
        config.timers = timers
    hooks: list[Any] = []
    for layer in (module for module in model.modules() if isinstance(module, TransformerLayer)):
        name = f"layer {layer.layer_number}"
        hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: begin(name)))
        hooks.append(layer.register_forward_hook(lambda *_: end()))
    configure_nvtx_profiling(inside_layers)

    def take_back() -> None:
        for config in configs:
            config.timers = None
        for hook in hooks:
            hook.remove()
        configure_nvtx_profiling(False)

    return take_back
