"""A Megatron of one rank on the CPU, small models in it, and micro-batches of random sequence to feed
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.data.masked_kmers import masked_micro_batch
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import NUM_ENDS, StepShape
from dnabert_nemo.data.sampling import SAMPLE
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.masking import MaskRule
from dnabert_nemo.megatron import topology, weights
from dnabert_nemo.megatron.bert import BertForMaskedLM
from dnabert_nemo.megatron.shape import BertShape, transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes

K, MAX_POSITIONS = 3, 64


@pytest.fixture(autouse=True)
def one_rank() -> None:
    """Start the groups of this process alone, seeded anew for each test."""
    topology.start(ParallelSizes(), 1)


@pytest.fixture
def small_shape() -> Callable[..., BertShape]:
    """Make a shape of 2 layers x 32 over 3-mers, without dropout, unless told otherwise."""

    def make(**changed: float) -> BertShape:
        sizes = {"num_layers": 2, "hidden_size": 32, "ffn_hidden_size": 96, "num_attention_heads": 4}
        dropout = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
        return BertShape(69, 128, **(sizes | {"max_position_embeddings": MAX_POSITIONS} | dropout | changed))

    return make


@pytest.fixture
def new_bert(small_shape: Callable[..., BertShape]) -> Callable[..., BertForMaskedLM]:
    """Make a masked language model of a small shape with its first weights."""

    def make(seed: int = 1, precision: str = "fp32", **changed: float) -> BertForMaskedLM:
        shape = small_shape(**changed)
        bert = BertForMaskedLM(transformer_config(shape, ParallelSizes(), precision), shape)
        weights.initialize(bert, shape, seed)
        return bert

    return make


@pytest.fixture
def random_biases() -> Callable[[BertForMaskedLM], BertForMaskedLM]:
    """Move biases and LayerNorm weights off their first values, 0 and 1, which would hide a mistake with
    them.
    """

    def move(bert: BertForMaskedLM) -> BertForMaskedLM:
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in bert.parameters():
                if parameter.dim() == 1:
                    parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
        return bert

    return move


class _RandomSequence:
    """Reads like a `ShardSet` whose every stretch is a random sequence of its own."""

    def read(self, stretch: int, first: int, count: int) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(key=stretch))
        return kmer_ids(rng.integers(4, size=first + count + K - 1).astype(np.uint8), K)[first:]


@pytest.fixture
def micro_batch() -> Callable[..., MicroBatch]:
    """Make a masked micro-batch whose segments have these lengths, CLS and SEP included."""

    def make(lengths: Sequence[int], seed: int = 0, mask_probability: float = 0.1) -> MicroBatch:
        samples = np.zeros(len(lengths), dtype=SAMPLE)
        samples["stretch"] = np.arange(len(lengths)) + 1000 * seed
        samples["length"] = np.array(lengths) - NUM_ENDS
        samples["mask_key"] = np.arange(len(lengths)) + 1000 * seed
        shape = StepShape(1, 1, sum(lengths), MAX_POSITIONS)
        masking = Masking(MaskRule(K, probability=mask_probability))
        return masked_micro_batch([samples], _RandomSequence(), masking, shape)

    return make
