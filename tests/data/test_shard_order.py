"""The numbering of shards: each shard once an epoch, each position to one stream, none far ahead."""

from __future__ import annotations

from itertools import takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.data.shard_order import ShardOrder, check_streams
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.manifest import ShardFile

TOKENS = st.lists(st.integers(1, 5000), min_size=1, max_size=20)


def order_of(tokens: list[int], seed: int = 1, key: int = 16) -> ShardOrder:
    files = [ShardFile(f"shard-{n:06d}.tar", 1, "", "", 1, 1, each) for n, each in enumerate(tokens)]
    return ShardOrder(tuple(files), 510, seed, key)


@given(tokens=TOKENS, seed=st.integers(0, 2**64 - 1), epoch=st.integers(0, 10**6))
def test_an_epoch_has_every_shard_once(tokens: list[int], seed: int, epoch: int) -> None:
    order = order_of(tokens, seed)
    n = len(tokens)
    found = [order.at(position) for position in range(epoch * n, (epoch + 1) * n)]
    assert sorted(found) == [(epoch, shard) for shard in range(n)]


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(order_of([9] * 30, seed, key).at(p)[1] for p in range(epoch * 30, epoch * 30 + 30))
        for seed, key, epoch in ((1, 16, 0), (1, 16, 1), (2, 16, 0), (1, 17, 0))
    }
    assert len(orders) == 4
    assert [order_of([9] * 5).at(p)[1] for p in range(5)] == [order_of([9] * 5).at(p)[1] for p in range(5)]


@given(tokens=TOKENS, position=st.integers(0, 200))
def test_a_count_of_samples_leads_back_to_its_position(tokens: list[int], position: int) -> None:
    order = order_of(tokens)
    before, after = order.samples_before(position), order.samples_before(position + 1)
    _, shard = order.at(position)
    assert after - before == -(-tokens[shard] // 510)
    for consumed in {before, (before + after - 1) // 2, after - 1}:
        assert order.position_of(consumed) == position
    assert order.position_of(after) == position + 1


@given(tokens=TOKENS, first=st.integers(0, 50), num_streams=st.integers(1, 7))
@settings(deadline=None)
def test_every_position_has_one_stream(tokens: list[int], first: int, num_streams: int) -> None:
    order = order_of(tokens)
    taken = [
        list(takewhile(lambda position: position < first + 60, order.positions(first, stream, num_streams)))
        for stream in range(num_streams)
    ]
    assert sorted(position for of_one in taken for position in of_one) == list(range(first, first + 60))
    assert all(of_one == sorted(of_one) for of_one in taken)


@given(tokens=TOKENS, num_streams=st.integers(1, 7), last=st.integers(1, 300))
@settings(deadline=None)
def test_no_stream_gets_more_than_a_shard_ahead(tokens: list[int], num_streams: int, last: int) -> None:
    order = order_of(tokens)
    given_samples = [
        sum(
            int(order.num_samples[order.at(position)[1]])
            for position in takewhile(lambda position: position < last, order.positions(0, s, num_streams))
        )
        for s in range(num_streams)
    ]
    assert max(given_samples) - min(given_samples) <= order.num_samples.max()


def test_shards_of_one_size_go_round() -> None:
    order = order_of([510 * 4] * 6)
    for stream in range(4):
        positions = order.positions(8, stream, 4)
        assert [next(positions) for _ in range(5)] == [8 + stream + 4 * turn for turn in range(5)]


def test_more_workers_than_shards_are_refused() -> None:
    check_streams(5, 5, 0)
    check_streams(5, 2, 2)
    with pytest.raises(
        ConfigError, match=r"model\.data\.num_workers=3 on each of 2 .* there are 5 shards"
    ) as error:
        check_streams(5, 2, 3)
    assert "smaller records_per_shard" in str(error.value)
