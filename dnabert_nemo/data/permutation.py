"""A keyed permutation of range(n) without a table, which `sampling` visits the windows of an epoch by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dnabert_nemo.kmer.words import Words, mixed

NUM_ROUNDS = 6


def permuted(
    index: npt.NDArray[np.int64], n: npt.NDArray[np.int64], round_keys: Words
) -> npt.NDArray[np.int64]:
    """Return where keyed permutations of range(n) send each index.

    A generalised Feistel network on pairs (left, right), left < width, right < height, whose product is n or
    just above; an image outside range(n) is sent through again until it falls inside (Black and Rogaway 2002,
    "Ciphers with arbitrary finite domains", with cycle walking).

    Args:
        index: [c] in range(n).
        n: [c], each at least 1.
        round_keys: [c, NUM_ROUNDS]; indices with equal n and keys share one permutation.
    """
    width = np.sqrt(n).astype(np.uint64) + np.uint64(1)
    size = n.astype(np.uint64)
    height = (size + width - np.uint64(1)) // width
    image = index.astype(np.uint64)
    outside = np.arange(len(index))
    while len(outside):
        columns, rows = width[outside], height[outside]
        left, right = image[outside] // rows, image[outside] % rows
        # 63 bits are added, so that a sum cannot wrap
        for turn, key in enumerate(round_keys[outside].T):
            if turn % 2 == 0:
                left = (left + (mixed(right ^ key) >> np.uint64(1))) % columns
            else:
                right = (right + (mixed(left ^ key) >> np.uint64(1))) % rows
        image[outside] = left * rows + right
        outside = outside[image[outside] >= size[outside]]
    return image.astype(np.int64)
