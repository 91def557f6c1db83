"""The slope of the search, and what it is timed against."""

from __future__ import annotations

import pytest

from dnabert_nemo.bench.dedup_rows import _growth_rows, datasketch_peer


def test_the_slope_is_of_the_first_two_sizes() -> None:
    slope, memory = _growth_rows([(10, 500), (1000, 500)], [2.0, 2000.0], [5000, 104_000], start=1.0)
    assert slope.value == pytest.approx(1.5)
    assert slope.ratio == slope.value
    assert memory.value == 100


def test_the_peer_holds_its_signatures() -> None:
    pytest.importorskip("datasketch")
    peer = datasketch_peer(4, 500, 15, 0.5, 0.95, seed=1)
    assert peer is not None
    assert peer.windows_per_second > 0
    assert 69 * 4 <= peer.disk < 1000  # 23 bands of 3 values
    assert peer.memory > peer.disk


def test_without_datasketch_there_is_no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dnabert_nemo.bench.dedup_rows.find_spec", lambda name: None)
    assert datasketch_peer(4, 500, 15, 0.5, 0.95, seed=1) is None
