"""A group of one rank copies by itself, and a larger one is left to the collective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from dnabert_nemo.megatron.cpu import _alone


@dataclass
class Group:
    ranks: int

    def size(self) -> int:
        return self.ranks


def test_one_rank_copies_and_more_ask_the_collective() -> None:
    asked: list[Any] = []
    call = _alone(lambda *args, **kwargs: asked.append((args, kwargs)) or "handle")
    given, output = torch.arange(4.0), torch.zeros(4)
    assert call(output, given, group=Group(1), async_op=True).wait()
    assert torch.equal(output, given)
    assert call(given[:], given, group=Group(1)).wait()
    assert asked == []
    assert call(output, given, group=Group(2), async_op=True) == "handle"
    assert len(asked) == 1
    assert asked[0][1] == {"group": Group(2), "async_op": True}
