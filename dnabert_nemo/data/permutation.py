"""A keyed permutation of range(n) without a table, which `sampling` visits the windows of an epoch by."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

NUM_ROUNDS = 6

Words = npt.NDArray[np.uint64]


def permuted(index: npt.NDArray[np.int64], n: int, round_keys: Words) -> npt.NDArray[np.int64]:
    """Return where a keyed permutation of range(n) sends each index.

    A generalised Feistel network on pairs (left, right), left < width, right < height, whose product is n or
    just above; an image outside range(n) is sent through again until it falls inside (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains", with cycle walking).

    Args:
        index: [c] in range(n).
        round_keys: [c, NUM_ROUNDS]; indices with equal keys share one permutation.
    """
    width = math.isqrt(n - 1) + 1
    height = -(-n // width)
    image = index.astype(np.uint64)
    outside = np.arange(len(index))
    while len(outside):
        left, right = image[outside] // np.uint64(height), image[outside] % np.uint64(height)
        for turn, key in enumerate(round_keys[outside].T):
            if turn % 2 == 0:
                left = (left + _mixed(right ^ key)) % np.uint64(width)
            else:
                right = (right + _mixed(left ^ key)) % np.uint64(height)
        image[outside] = left * np.uint64(height) + right
        outside = outside[image[outside] >= n]
    return image.astype(np.int64)


def _mixed(word: Words) -> Words:
    """Mix 64 bits to 63, so that a sum cannot wrap: the finaliser of SplitMix64 (Steele et al. 2014)."""
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (word ^ (word >> np.uint64(31))) >> np.uint64(1)
