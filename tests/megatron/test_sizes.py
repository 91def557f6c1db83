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
    "rows_per_step": 16,
    "micro_batch_size": 1,
}


@pytest.mark.parametrize(
    "sizes",
    [
        ParallelSizes(),
        ParallelSizes(2, 1),
        ParallelSizes(1, 4),
        ParallelSizes(2, 2, True),
        ParallelSizes(4, 2, True),
        ParallelSizes(1, 2, virtual=3),
        ParallelSizes(1, 4, layout=(2, 4, 4, 2)),
        ParallelSizes(1, 2, virtual=2, layout=(2, 4, 4, 2)),
        ParallelSizes(2, 1, True, context=4),
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
        (ParallelSizes(virtual=0), {}, "model.virtual_pipeline_model_parallel_size=0 must be 1 or more"),
        (ParallelSizes(context=0), {}, "model.context_parallel_size=0 must be 1 or more"),
        (
            ParallelSizes(virtual=2),
            {},
            "virtual_.*=2 .* needs model.pipeline_model_parallel_size of 2 or more",
        ),
        (
            ParallelSizes(1, 2, virtual=4),
            {},
            "pipeline_model_parallel_size=2 x .*virtual_.*=4 does not divide .*=12: .*_layout",
        ),
        (
            ParallelSizes(1, 4, virtual=3),
            {"rows_per_step": 12},
            "virtual_pipeline_model_parallel_size=3 .* groups of 4, .* and there are 6 .*global_batch_size",
        ),
        (
            ParallelSizes(layout=(12,)),
            {},
            r"pipeline_model_parallel_layout=\[12\] needs .*_size of 2 or more",
        ),
        (ParallelSizes(1, 2, layout=(4, 4, 4)), {}, r"layout=\[4, 4, 4\] has 3 parts: give 2"),
        (ParallelSizes(1, 2, layout=(12, 0)), {}, r"layout=\[12, 0\]: every part is a whole number"),
        (
            ParallelSizes(1, 2, layout=(6, 5)),
            {},
            r"layout=\[6, 5\] adds up to 11: make it model.num_layers=12",
        ),
        (
            ParallelSizes(context=3),
            {"num_ranks": 3},
            "context_parallel_size=3 does not divide the 8192 tokens",
        ),
        (
            ParallelSizes(2, 1, context=3),
            {"tokens_per_micro_batch": 6144},
            "context_parallel_size=3 needs a multiple of 6 ranks and there are 8",
        ),
        (
            ParallelSizes(2, 1, True, context=2),
            {"tokens_per_micro_batch": 4098},
            "tensor_model_parallel_size=2 x model.context_parallel_size=2 does not divide the 4098 tokens",
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
    assert ParallelSizes(2, 2, context=2).data(16) == 2


def test_runs_of_layers_are_dealt_to_the_ranks_in_turn() -> None:
    assert ParallelSizes(1, 2).layers_of_runs(12) == (6, 6)
    assert ParallelSizes(1, 2, virtual=3).layers_of_rank(12, 1) == (2, 2, 2)
    uneven = ParallelSizes(1, 2, virtual=2, layout=(2, 4, 5, 1))
    assert uneven.layers_of_rank(12, 0) == (2, 5)
    assert uneven.layers_of_rank(12, 1) == (4, 1)


def test_sizes_are_read_from_a_config_with_ones_for_what_it_does_not_name() -> None:
    assert ParallelSizes.of({}) == ParallelSizes()
    named = {"pipeline_model_parallel_size": 2, "pipeline_model_parallel_layout": [3, 1]}
    assert ParallelSizes.of(named | {"virtual_pipeline_model_parallel_size": None}) == ParallelSizes(
        pipeline=2, layout=(3, 1)
    )


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"tensor_model_parallel_size": "two"}, "model.tensor_model_parallel_size=two: give a whole number"),
        ({"context_parallel_size": 1.5}, "model.context_parallel_size=1.5: give a whole number"),
        ({"pipeline_model_parallel_layout": "3,1"}, r"layout=3,1: give .* as a list, such as \[3,4,4,1\]"),
        ({"sequence_parallel": "yes"}, "model.sequence_parallel=yes: give true or false"),
    ],
)
def test_sizes_of_another_type_are_named(model: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ParallelSizes.of(model)


def test_they_are_told_in_words() -> None:
    assert ParallelSizes(2, 2).describe(8) == "2 tensor x 2 pipeline x 1 context x 2 data"
    with_sequence = ParallelSizes(2, 1, True, context=2)
    assert with_sequence.describe(4) == "2 tensor x 1 pipeline x 2 context x 1 data, sequence parallel"
