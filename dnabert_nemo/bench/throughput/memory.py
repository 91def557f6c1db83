"""The most memory that a piece of work holds at one moment, on a CUDA device or in this process."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import torch

from dnabert_nemo.memory import status_bytes

_PEAK_ONLY = "5"  # of clear_refs: the peak starts anew from what is resident now


class PeakMemory:
    """Bytes at the peak since `reset`, beyond what was held when this was made.

    On a CUDA device those are the bytes of tensors. Of a process they are its resident bytes without files,
    as code is read in when it is first used.
    """

    def __init__(self) -> None:
        self._is_cuda = torch.cuda.is_available()
        gc.collect()
        if self._is_cuda:
            self._before = torch.cuda.memory_allocated()
        else:
            _trim()
            self._before = status_bytes("RssAnon")

    def reset(self) -> None:
        """Forget the peak so far."""
        if self._is_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text(_PEAK_ONLY)

    def peak(self) -> int:
        """Return the bytes."""
        if self._is_cuda:
            return int(torch.cuda.max_memory_allocated()) - self._before
        return status_bytes("VmHWM") - status_bytes("RssFile") - status_bytes("RssShmem") - self._before


def _trim() -> None:
    """Give free pages back, which would be filled first without a trace in the resident bytes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)
