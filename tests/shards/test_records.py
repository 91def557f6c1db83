"""Cutting and gathering: every k-mer once, blocks never too large."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.shards.records import array_bytes, cut_stretches, gather_records, random_order


@given(
    st.integers(1, 7),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 200)), max_size=6),
)
@settings(max_examples=150)
def test_every_kmer_is_in_exactly_one_part(
    k: int, spare: int, gaps_and_lengths: list[tuple[int, int]]
) -> None:
    block = k + spare
    at, stretches = 0, []
    for gap, more in gaps_and_lengths:
        stretches.append((at + gap, at + gap + k + more))
        at = stretches[-1][1]
    parts = cut_stretches(np.array(stretches, dtype=np.int64).reshape(-1, 2), k, block)
    kmers_of_parts = [first for start, end in parts.tolist() for first in range(start, end - k + 1)]
    kmers = [first for start, end in stretches for first in range(start, end - k + 1)]
    assert kmers_of_parts == kmers
    lengths = parts[:, 1] - parts[:, 0]
    assert (lengths <= block).all()
    assert (lengths >= k).all()


def test_parts_are_even() -> None:
    lengths = np.diff(cut_stretches(np.array([[10, 10 + 16_385]]), 3)).ravel()
    assert lengths.tolist() == [8193, 8194]
    assert cut_stretches(np.array([[7, 7 + 16_384]]), 3).tolist() == [[7, 7 + 16_384]]


@given(st.lists(st.integers(1, 50), max_size=40))
@settings(max_examples=100)
def test_records_take_what_fits(bases: list[int]) -> None:
    begins = gather_records(np.array(bases, dtype=np.int64), block=50).tolist()
    naive, filled = [0], 0
    for number, length in enumerate(bases):
        if filled + length > 50:
            naive.append(number)
            filled = 0
        filled += length
    assert begins == ([*naive, len(bases)] if bases else [0])


def test_the_order_is_a_permutation_of_the_seed_and_stream() -> None:
    orders = [random_order(100, seed, stream).tolist() for seed, stream in ((1, 0), (1, 1), (2, 0))]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    # Golden: shards made by another version of numpy or of this package must be the same.
    assert random_order(8, 2**64 - 1, 2).tolist() == [5, 2, 3, 7, 0, 6, 1, 4]


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_array_bytes_are_a_npy_file(count: int) -> None:
    ids = np.arange(count, dtype=np.uint16)
    content, first = array_bytes(ids)
    assert np.array_equal(np.load(io.BytesIO(content)), ids)
    assert np.array_equal(np.frombuffer(content[first:], "<u2"), ids)
