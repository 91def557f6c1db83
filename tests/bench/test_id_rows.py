"""What k-mer ids are timed against makes the same ids."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dnabert_nemo.bench.id_rows import SAMPLE, bert_tokenizer, id_rows, plain_loop, tokenized
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.kmer.ids import kmer_ids


@pytest.mark.parametrize("k", [1, 3, 6])
def test_all_three_ways_make_the_same_ids(k: int) -> None:
    codes = np.random.default_rng(1).integers(4, size=3 * SAMPLE + k - 1, dtype=np.uint8)
    ids = kmer_ids(codes, k)
    assert plain_loop(codes, k).tolist() == ids.tolist()
    assert tokenized(decode(codes), k, bert_tokenizer(k)) == ids.tolist()


def test_a_row_for_each_k_and_peer() -> None:
    rows = list(id_rows(bases=20_000, text_bases=5_000, ks=[3], repeats=1, seed=1))
    assert [row.peer.split()[0] for row in rows] == ["NumPy", "a"]
    assert all(row.value > 0 and row.peer_value for row in rows)
    assert [(row.target, row.target_ratio) for row in rows] == [(200, None), (None, 300)]


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install dnabert_nemo\[bench\]"):
        bert_tokenizer(3)
