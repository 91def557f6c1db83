"""Lets megatron-core run without CUDA: only this module knows which CUDA calls need an answer here.

megatron-core asks for `device="cuda"` when it makes small tensors, moves tensors with `.cuda()`, compares
`tensor.type()` with CUDA type names, and keeps the generator states of CUDA. Each of these is answered here
with its CPU counterpart, on which the arithmetic is the same. Nothing here is active where CUDA is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_backend: _CudaCallsOnCpu | None = None


class _CudaCallsOnCpu(TorchFunctionMode):
    """Turns requests for a CUDA device, made through torch functions, into requests for the CPU."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if isinstance(device, int) or (device is not None and "cuda" in str(device)):
            kwargs["device"] = "cpu"
        if func is torch.Tensor.cuda:
            return args[0]
        result = func(*args, **kwargs)
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:  # asked for the name of the type
            return result.replace("torch.", "torch.cuda.", 1)
        return result


class _Done:
    """The handle of a collective that is over."""

    def wait(self, *args: Any) -> bool:
        return True


def _alone(collective: Callable[..., Any]) -> Callable[..., Any]:
    """Let a group of one rank copy by itself what it would send to itself.

    gloo copies in threads of its own, each of which then has an OpenMP team. libgomp lets teams that have
    more threads than there are cores sleep between any two parallel regions (`gomp_throttled_spin_count_var`
    in its sources): from the first such copy on a step on two cores took up to half as long again.
    """

    def call(output: Tensor, given: Tensor, *args: Any, **kwargs: Any) -> Any:
        if kwargs["group"].size() > 1:
            return collective(output, given, *args, **kwargs)
        if output.data_ptr() != given.data_ptr():
            output.copy_(given)
        return _Done()

    return call


@contextmanager
def _fork(tracker: Any, name: str = "model-parallel-rng") -> Iterator[None]:
    """Draw from a named state of Megatron's tracker, whose own fork warns as the CPU's generator moves."""
    outside = torch.get_rng_state()
    torch.set_rng_state(tracker.states_[name])
    try:
        yield
    finally:
        tracker.states_[name] = torch.get_rng_state()
        torch.set_rng_state(outside)


def enter() -> None:
    """Answer megatron-core's CUDA calls on the CPU until the process ends (calling again is free)."""
    global _backend
    if _backend is not None:
        return
    from megatron.core.distributed import param_and_grad_buffer
    from megatron.core.jit import disable_jit_fuser
    from megatron.core.tensor_parallel import random as megatron_random

    # torch.compile of a few elementwise chains: about 17 s for the first step and no gain here
    disable_jit_fuser()

    for name in ("dist_reduce_scatter_func", "dist_all_gather_func"):
        setattr(param_and_grad_buffer, name, _alone(getattr(param_and_grad_buffer, name)))

    torch.cuda.current_device = lambda: torch.device("cpu")
    torch.cuda.synchronize = lambda *args, **kwargs: None
    torch.cuda.set_device = lambda *args: None
    torch.cuda.get_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    torch.cuda.manual_seed = torch.manual_seed
    megatron_random.CudaRNGStatesTracker.fork = _fork
    megatron_random._get_cuda_rng_state = lambda *args, **kwargs: torch.get_rng_state()
    megatron_random._set_cuda_rng_state = lambda state, *args, **kwargs: torch.set_rng_state(state)

    _backend = _CudaCallsOnCpu()
    _backend.__enter__()
