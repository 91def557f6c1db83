"""Parallel sizes that cannot work are told from the config alone, by the name of the override."""

from __future__ import annotations

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.sizes import ParallelSizes

MODEL = {
    "num_ranks": 8,
    "num_layers": 12,
    "num_attention_heads": 12,
    "ffn_hidden_size": 3072,
    "padded_vocab_size": 128,
    "tokens_per_micro_batch": 8192,
}


@pytest.mark.parametrize(
    "sizes",
    [
        ParallelSizes(),
        ParallelSizes(2, 1),
        ParallelSizes(1, 4),
        ParallelSizes(2, 2, True),
        ParallelSizes(4, 2, True),
    ],
)
def test_what_divides_is_accepted(sizes: ParallelSizes) -> None:
    sizes.check(**MODEL)


@pytest.mark.parametrize(
    ("sizes", "model", "says"),
    [
        (ParallelSizes(0), {}, "model.tensor_model_parallel_size=0 must be 1 or more"),
        (ParallelSizes(1, -1), {}, "model.pipeline_model_parallel_size=-1 must be 1 or more"),
        (
            ParallelSizes(8),
            {},
            "model.tensor_model_parallel_size=8 does not divide model.num_attention_heads=12",
        ),
        (
            ParallelSizes(4),
            {"ffn_hidden_size": 3070},
            "model.tensor_model_parallel_size=4 does not divide model.ffn_hidden_size=3070",
        ),
        (
            ParallelSizes(3),
            {"num_ranks": 3},
            "model.tensor_model_parallel_size=3 does not divide the padded vocabulary of 128 tokens",
        ),
        (ParallelSizes(1, 8), {}, "model.pipeline_model_parallel_size=8 does not divide model.num_layers=12"),
        (
            ParallelSizes(2, 3),
            {},
            "model.tensor_model_parallel_size=2 x model.pipeline_model_parallel_size=3 needs a multiple of 6 "
            "ranks and there are 8",
        ),
        (ParallelSizes(2), {"num_ranks": 1}, "needs a multiple of 2 ranks and there are 1"),
        (ParallelSizes(1, 1, True), {}, "model.sequence_parallel=true .* model.tensor_model_parallel_size"),
        (
            ParallelSizes(2, 1, True),
            {"tokens_per_micro_batch": 4095},
            "model.tensor_model_parallel_size=2 does not divide the 4095 tokens .*model.data.tokens_per_row",
        ),
    ],
)
def test_what_does_not_is_named(sizes: ParallelSizes, model: dict[str, int], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        sizes.check(**(MODEL | model))
    assert "\n" not in str(raised.value)


def test_what_is_left_of_the_ranks_is_data_parallel() -> None:
    assert ParallelSizes(2, 2).data(8) == 2
    assert ParallelSizes().data(3) == 3
