"""What the model eats: packed rows of segments, and an optimizer step of them; `masked_kmers` builds them.

Shapes: T tokens of a micro-batch (its rows end to end), S segments, M masked tokens, J hidden bases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


@dataclass(frozen=True)
class MicroBatch:
    """Some rows of one step, end to end; a row's padded tail is made of segments too.

    Attention never crosses a segment. A hidden base is one that no visible token shows; it is to be predicted
    from the middle token that covers it (`kmer.masking.hidden_bases`).
    """

    ids: Tensor  # int64 [T]: token ids, some of them masked
    positions: Tensor  # int64 [T]: 0, 1, ... in each segment
    segment_lengths: tuple[int, ...]  # [S], sums to T, in order
    masked_at: Tensor  # int64 [M]: where in T a token is to be predicted, ascending
    labels: Tensor  # int64 [M]: its true id
    hidden_token: Tensor  # int64 [J]: which of the M predictions covers the hidden base in its middle
    hidden_offset: Tensor  # int64 [J]: the base's place in that k-mer, 0..k-1
    hidden_base: Tensor  # int64 [J]: its code, 0..3 in A, T, C, G
    num_tokens: int  # without padding, with CLS and SEP
    num_samples: int
    first: int = 0  # of a part: where in T it begins; segment_lengths and the two counts are the whole's

    @property
    def read_at(self) -> Tensor:
        """Where in T the last layer's output is read."""
        return self.masked_at

    @cached_property
    def read_lengths(self) -> tuple[int, ...]:
        """How many of these places each segment has: [S], sums to M. Not for parts."""
        ends = np.cumsum(self.segment_lengths)
        return tuple(np.diff(np.searchsorted(self.masked_at.cpu().numpy(), ends), prepend=0).tolist())

    def part(self, first: int, count: int) -> MicroBatch:
        """Return the tokens `first` to `first + count` alone, with what is to be predicted there."""
        begin, end = torch.searchsorted(self.masked_at, torch.tensor([first, first + count])).tolist()
        here = (self.hidden_token >= begin) & (self.hidden_token < end)
        return replace(
            self,
            ids=self.ids[first : first + count],
            positions=self.positions[first : first + count],
            masked_at=self.masked_at[begin:end] - first,
            labels=self.labels[begin:end],
            hidden_token=self.hidden_token[here] - begin,
            hidden_offset=self.hidden_offset[here],
            hidden_base=self.hidden_base[here],
            first=first,
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MicroBatch:
        """Copy every tensor to a device."""
        return self._each_tensor(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> MicroBatch:
        """Copy every tensor to pinned memory."""
        return self._each_tensor(Tensor.pin_memory)

    def _each_tensor(self, change: Callable[[Tensor], Tensor]) -> MicroBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = replace(
            self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        )
        if self.first == 0:  # counted before it goes to a device, which the host would have to wait for
            changed.__dict__["read_lengths"] = self.read_lengths
        return changed

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker hands its tensors over by value, as bytes in the pipe, and as few of them as will do: ids
        # take 15 bits at most, and positions follow from the lengths. torch's way, shared memory, holds a
        # file descriptor per tensor, and lives in /dev/shm, often 64 MB in a container.
        narrow = tuple(getattr(self, name).numpy().astype(kind) for name, kind in _ON_THE_WIRE.items())
        return _from_wire, (narrow, self.segment_lengths, self.num_tokens, self.num_samples)


_ON_THE_WIRE: dict[str, Any] = {
    "ids": np.uint16,
    "masked_at": np.uint32,
    "labels": np.uint16,
    "hidden_token": np.uint32,
    "hidden_offset": np.uint8,
    "hidden_base": np.uint8,
}


def positions_in(segment_lengths: Sequence[int]) -> Tensor:
    """Return 0, 1, ... in each segment: int64 [T]."""
    lengths = np.asarray(segment_lengths, dtype=np.int64)
    ends = np.cumsum(lengths)
    return torch.from_numpy(np.arange(lengths.sum()) - np.repeat(ends - lengths, lengths))


def _from_wire(
    narrow: tuple[npt.NDArray[Any], ...], segment_lengths: tuple[int, ...], num_tokens: int, num_samples: int
) -> MicroBatch:
    wide = (torch.from_numpy(array.astype(np.int64)) for array in narrow)
    return MicroBatch(
        **dict(zip(_ON_THE_WIRE, wide, strict=True)),
        positions=positions_in(segment_lengths),
        segment_lengths=segment_lengths,
        num_tokens=num_tokens,
        num_samples=num_samples,
    )


@dataclass(frozen=True)
class StepBatch:
    """One data-parallel rank's part of an optimizer step.

    Its counts are the whole step's, the same on every rank; or, with `is_whole` False, what this rank knows:
    the numbers of its own share, and a count of consumed samples that holds as far as this rank goes.
    """

    micro_batches: tuple[MicroBatch, ...]
    consumed_samples: int  # since sample 0, at the end of this step: where the next one starts
    num_tokens: int  # without padding, with CLS and SEP
    num_samples: int
    is_whole: bool = True
    sample_numbers: tuple[tuple[int, ...], ...] = ()  # which samples each of this rank's rows holds, if whole

    def to(self, device: torch.device | str, non_blocking: bool = False) -> StepBatch:
        """Copy every tensor to a device."""
        return replace(
            self, micro_batches=tuple(each.to(device, non_blocking) for each in self.micro_batches)
        )

    def pin_memory(self) -> StepBatch:
        """Copy every tensor to pinned memory."""
        return replace(self, micro_batches=tuple(each.pin_memory() for each in self.micro_batches))
