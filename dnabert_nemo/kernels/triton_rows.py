"""How the Triton kernels lay rows [T, C] out over programs, and where they can run at all."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton.runtime.jit import JITFunction

from dnabert_nemo.errors import ConfigError

# Triton's own functions became interpreted ones, or not, when it was first imported
INTERPRETED = not isinstance(tl.sum, JITFunction)
STORED = (torch.float32, torch.bfloat16, torch.float16)
_ELEMENTS_PER_THREAD, _THREADS_PER_WARP, _MAX_WARPS = 16, 32, 16


def check(*tensors: torch.Tensor | None) -> None:
    """Refuse what the kernels cannot work on.

    Raises:
        ConfigError: the tensors are not on a GPU and Triton does not interpret its kernels.
        TypeError: one is of another type than fp32, bf16 and fp16.
        ValueError: they are on several devices.
    """
    given = [tensor for tensor in tensors if tensor is not None]
    if not INTERPRETED and given[0].device.type != "cuda":
        raise ConfigError(
            f"model.kernels: Triton's kernels run on a GPU, and these tensors are on {given[0].device}; "
            "model.kernels=torch runs anywhere (TRITON_INTERPRET=1, set from the start, interprets them)"
        )
    for tensor in given:
        if tensor.dtype not in STORED:
            raise TypeError(f"Triton's kernels take fp32, bf16 and fp16, not {tensor.dtype}")
        if tensor.device != given[0].device:
            raise ValueError(f"tensors on {given[0].device} and on {tensor.device}")


def tile(num_columns: int, widest: int, elements: int = 2048) -> tuple[int, int, int]:
    """Return (rows, columns, warps) of a tile of about so many elements, both sides powers of two."""
    columns = max(4, min(triton.next_power_of_2(num_columns), widest))
    rows = max(1, elements // columns)
    warps = rows * columns // (_ELEMENTS_PER_THREAD * _THREADS_PER_WARP)
    return rows, columns, max(1, min(warps, _MAX_WARPS))


def resident_programs(device: torch.device) -> int:
    """Return how many programs keep a device busy when each takes many rows; the same on every call."""
    if device.type != "cuda":
        return 2  # interpreted one after another; two, so that sums over programs are sums
    return 4 * torch.cuda.get_device_properties(device).multi_processor_count
