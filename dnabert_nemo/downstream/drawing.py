"""The draws of a bootstrap, with which samples themselves are counted again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_DRAWS_AT_ONCE = 1_000_000  # of samples: some tens of megabytes


def drawn_samples(rng: np.random.Generator, num_samples: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Yield how often each of n samples is drawn with replacement, [draws, n], some draws at a time."""
    at_once = max(1, _DRAWS_AT_ONCE // num_samples)
    for first in range(0, resamples, at_once):
        size = min(at_once, resamples - first)
        draws = [
            np.bincount(rng.integers(0, num_samples, num_samples), minlength=num_samples) for _ in range(size)
        ]
        yield np.array(draws)
