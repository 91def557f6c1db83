"""What a rank holds of a sharded optimizer, as pieces of whole tensors: saving needs no gathering.

Megatron's distributed optimizer gives each data-parallel rank a run of the elements of a parameter, wherever
its buffer was cut. Megatron itself gathers them all to write them; a run is also a few boxes of the tensor,
which its checkpoint format takes from each rank. They are read as what Megatron calls `fully_reshardable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensor
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

Box = tuple[
    tuple[int, ...], tuple[int, ...], int
]  # offset and shape in the tensor, and its first element's place

_NAMES = ("param", "exp_avg", "exp_avg_sq")


def sharded_state(optimizer: DistributedOptimizer, model: dict[str, Any]) -> dict[str, Any]:
    """Describe what this rank writes; `model` is what its stage, or each by number, describes."""
    of_parameter = {each.data: each for each in nested_values(model) if isinstance(each, ShardedTensor)}
    pieces: list[ShardedTensor] = []
    for ranges_of_buffer in optimizer.gbuf_ranges:
        for buckets in ranges_of_buffer.values():
            for bucket in buckets:
                for parameter, ranges in bucket["param_map"].items():
                    held = optimizer._get_main_param_and_optimizer_states(parameter)
                    run = ranges["param"]
                    for name in _NAMES:
                        key = f"optimizer.state.{name}.{of_parameter[parameter].key}"
                        whole = replace(of_parameter[parameter], key=key, data=None)
                        pieces.extend(_pieces(whole, held[name].detach(), run.start))
    return {
        **optimizer.state_dict(),
        "param_state": dict(enumerate(pieces)),
        "param_state_sharding_type": "fully_reshardable",
    }


def _pieces(whole: ShardedTensor, run: torch.Tensor, start: int) -> Iterator[ShardedTensor]:
    """Cut a run of elements, from `start` on in this rank's part of a tensor, into boxes of the tensor."""
    for offset, shape, first in boxes(whole.local_shape, start, start + run.numel()):
        box = run[first - start :][: torch.Size(shape).numel()].view(shape)
        yield replace(
            whole,
            data=box,
            dtype=run.dtype,
            local_shape=shape,
            global_offset=tuple(a + b for a, b in zip(whole.global_offset, offset, strict=True)),
            axis_fragmentations=None,  # the boxes are of several shapes
            # of data-parallel ranks, who come last, each holds another run; of other peers the first writes
            replica_id=(*whole.replica_id[:-1], 0),
        )


def boxes(shape: tuple[int, ...], start: int, stop: int) -> Iterator[Box]:
    """Cut the elements [start, stop) of a tensor of one or two dims, in the order they lie in, into boxes."""
    if start == stop:
        return
    if len(shape) == 1:
        yield (start,), (stop - start,), start
        return
    _, columns = shape
    at = start
    while at < stop:
        row, column = divmod(at, columns)
        rows = (stop - at) // columns if column == 0 else 0
        size = rows * columns if rows else min(columns - column, stop - at)
        yield (row, column), (max(rows, 1), columns if rows else size), at
        at += size
