"""A keyed permutation of range(n) without a table, which `sampling` visits the windows of an epoch by."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dnabert_nemo.kmer.words import Words, mixed

NUM_ROUNDS = 6


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
        # 63 bits are added, so that a sum cannot wrap
        for turn, key in enumerate(round_keys[outside].T):
            if turn % 2 == 0:
                left = (left + (mixed(right ^ key) >> np.uint64(1))) % np.uint64(width)
            else:
                right = (right + (mixed(left ^ key) >> np.uint64(1))) % np.uint64(height)
        image[outside] = left * np.uint64(height) + right
        outside = outside[image[outside] >= n]
    return image.astype(np.int64)
