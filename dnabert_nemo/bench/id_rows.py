"""Rows of bases to k-mer ids: ours, a plain NumPy loop, and DNABERT's own way, a tokenizer of text."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.bench.table import Row
from dnabert_nemo.bench.timing import best_of
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS, Vocabulary

SAMPLE = 510  # k-mers of a full sample: 512 positions less CLS and SEP
_TARGET = 200  # Mbase/s
_TARGET_RATIO = 300  # of the tokenizer


def id_rows(*, bases: int, text_bases: int, ks: Sequence[int], repeats: int, seed: int) -> Iterator[Row]:
    """Time `bases` random bases by numbers and `text_bases` of them by text, on one core."""
    codes = np.random.default_rng(seed).integers(4, size=bases, dtype=np.uint8)
    text = decode(codes[:text_bases])
    for k in ks:
        ours = best_of(repeats, partial(kmer_ids, codes, k))
        looped = best_of(repeats, partial(plain_loop, codes, k))
        speed = bases / ours.cpu / 1e6
        clock = f"{bases / ours.wall / 1e6:,.0f} by the clock"
        yield Row(
            f"bases to ids, k = {k}",
            speed,
            "Mbase/s a core",
            "NumPy loop over k in int64",
            bases / looped.cpu / 1e6,
            target=_TARGET,
            note=clock,
        )
        tokenizer = bert_tokenizer(k)
        assert np.array_equal(
            tokenized(text[: 2 * SAMPLE], k, tokenizer), kmer_ids(codes[: SAMPLE + k - 1], k)
        )
        read = best_of(repeats, partial(tokenized, text, k, tokenizer))
        tokens = (len(text) - k + 1) // SAMPLE * SAMPLE
        yield Row(
            f"bases to ids, k = {k}",
            speed,
            "Mbase/s a core",
            "a string of k-mers through transformers' BertTokenizer",
            tokens / read.cpu / 1e6,
            target_ratio=_TARGET_RATIO,
            note=clock,
        )


def plain_loop(codes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
    """Number k-mers as one would write it at first: the ids of `kmer_ids`, in int64."""
    ids = np.zeros(len(codes) - k + 1, dtype=np.int64)
    for place in range(k):
        ids *= 4
        ids += codes[place : place + len(ids)]
    return ids + NUM_SPECIALS


def bert_tokenizer(k: int) -> Any:
    """Make `transformers`' tokenizer of DNABERT's vocabulary.

    Raises:
        ConfigError: transformers is not installed.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core, as ours
    try:
        from transformers import BertTokenizer
    except ImportError:
        raise ConfigError("rows=[ids] needs transformers: pip install dnabert_nemo[bench]") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        Vocabulary(k).write(path)
        return BertTokenizer(vocab=str(path), do_lower_case=False)


def tokenized(text: str, k: int, tokenizer: Any) -> list[int]:
    """Return the ids of all samples of a text of bases, CLS and SEP left out, as DNABERT makes them.

    Samples of 510 k-mers follow one another; what is left at the end is dropped.
    """
    sentences = [
        " ".join([text[at : at + k] for at in range(first, first + SAMPLE)])
        for first in range(0, len(text) - SAMPLE - k + 2, SAMPLE)
    ]
    numbered = tokenizer(sentences, return_attention_mask=False, return_token_type_ids=False)["input_ids"]
    return [number for ids in numbered for number in ids[1:-1]]
