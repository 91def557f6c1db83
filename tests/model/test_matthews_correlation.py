"""The correlation that a classifier is judged by in training is scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix, matthews_corrcoef

from dnabert_nemo.model.classification import matthews_correlation


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("seed", range(5))
def test_it_is_scikit_learns(num_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = rng.integers(num_classes, size=60)
    called = np.where(rng.random(60) < 0.5, true, rng.integers(num_classes, size=60))
    table = confusion_matrix(true, called, labels=range(num_classes))
    assert float(matthews_correlation(torch.from_numpy(table))) == pytest.approx(
        matthews_corrcoef(true, called)
    )


@pytest.mark.parametrize("table", [[[5, 0], [3, 0]], [[0, 0], [2, 6]], [[0, 0], [0, 0]], [[4, 0], [0, 0]]])
def test_it_is_zero_where_one_side_is_constant(table: list[list[int]]) -> None:
    assert float(matthews_correlation(torch.tensor(table, dtype=torch.double))) == 0


def test_counts_of_millions_do_not_overflow() -> None:
    table = torch.tensor([[40e6, 10e6], [10e6, 40e6]], dtype=torch.double)
    assert float(matthews_correlation(table)) == pytest.approx(0.6)
