"""What the loader's rows ask of their config."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnabert_nemo.bench.loader_rows import loader_rows, worker_counts
from dnabert_nemo.errors import ConfigError


def test_worker_counts_are_none_and_the_powers_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, counts in ((1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4]), (8, [0, 1, 2, 4, 8])):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert worker_counts() == counts


def test_a_k_that_the_peer_cannot_mask_is_refused_before_any_work(tmp_path: Path) -> None:
    sizes = {"genome_bases": 1000, "rows": 1, "micro_batch_size": 1, "tokens_per_row": 8192, "steps": 1}
    rest = {"workers": None, "repeats": 1, "seed": 1, "examples": tmp_path, "folder": tmp_path / "absent"}
    with pytest.raises(ConfigError, match=r"loader\.k=7: .* 3, 4, 5, 6: choose one"):
        next(loader_rows(k=7, **sizes, **rest))
