"""The parts of a micro-batch that context-parallel ranks take: together they are the whole, in order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dnabert_nemo.data.batch import MicroBatch, positions_in

LENGTHS = (7, 12, 3, 10)


@pytest.fixture
def batch() -> MicroBatch:
    """A batch of 32 tokens with 9 masked places, some of which show a hidden base or two."""
    rng = np.random.Generator(np.random.Philox(key=3))
    masked_at = torch.from_numpy(np.sort(rng.choice(32, 9, replace=False)))
    hidden_token = torch.tensor([0, 2, 2, 3, 5, 8])
    return MicroBatch(
        ids=torch.from_numpy(rng.integers(5, 69, 32)),
        positions=positions_in(LENGTHS),
        segment_lengths=LENGTHS,
        masked_at=masked_at,
        labels=torch.arange(9) + 10,
        hidden_token=hidden_token,
        hidden_offset=torch.arange(6) % 3,
        hidden_base=torch.arange(6) % 4,
        num_tokens=30,
        num_samples=3,
    )


@pytest.mark.parametrize("num_parts", [1, 2, 4, 32])
def test_parts_are_the_whole_in_order(batch: MicroBatch, num_parts: int) -> None:
    count = 32 // num_parts
    parts = [batch.part(first, count) for first in range(0, 32, count)]
    for name in ("ids", "positions", "labels", "hidden_offset", "hidden_base"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name)), name
    assert torch.equal(torch.cat([part.masked_at + part.first for part in parts]), batch.masked_at)
    predicted = [part.labels[part.hidden_token] for part in parts]
    assert torch.equal(torch.cat(predicted), batch.labels[batch.hidden_token])
    for part in parts:
        assert (part.segment_lengths, part.num_tokens, part.num_samples) == (LENGTHS, 30, 3)
        assert part.ids.numel() == count
        assert all(0 <= at < count for at in part.masked_at.tolist())
