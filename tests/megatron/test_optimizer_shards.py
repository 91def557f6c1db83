"""A run of a tensor's elements as boxes of the tensor: each element once, in the order they lie in."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.megatron.optimizer_shards import boxes


@given(st.integers(1, 7), st.integers(1, 7), st.booleans(), st.data())
def test_boxes_hold_the_run_and_nothing_else(
    rows: int, columns: int, is_flat: bool, data: st.DataObject
) -> None:
    shape = (rows * columns,) if is_flat else (rows, columns)
    whole = torch.arange(rows * columns).view(shape)
    start = data.draw(st.integers(0, rows * columns))
    stop = data.draw(st.integers(start, rows * columns))
    seen = []
    for offset, size, first in boxes(shape, start, stop):
        box = whole[tuple(slice(at, at + length) for at, length in zip(offset, size, strict=True))].flatten()
        assert box[0] == first
        seen.extend(box.tolist())
    assert seen == list(range(start, stop))
    assert len(list(boxes(shape, start, stop))) <= 3
