"""The number of parameters a shape announces is the number its module has."""

from __future__ import annotations

import pytest
import torch

from dnabert_nemo.megatron.bert import BertForMaskedLM
from dnabert_nemo.megatron.engine import in_model_precision
from dnabert_nemo.megatron.shape import BertShape, transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes


def test_the_published_sizes() -> None:
    assert BertShape(69, 128).num_parameters() == 86_139_776
    assert BertShape(4101, 4224).num_parameters() == 89_289_600


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"num_layers": 1, "ffn_hidden_size": 40},
        {"num_layers": 3, "hidden_size": 48, "num_attention_heads": 6, "max_position_embeddings": 17},
    ],
)
def test_a_module_has_as_many_parameters_as_its_shape_says(small_shape, changed: dict[str, int]) -> None:
    shape = small_shape(**changed)
    bert = BertForMaskedLM(transformer_config(shape, ParallelSizes(), "fp32"), shape)
    assert sum(parameter.numel() for parameter in bert.parameters()) == shape.num_parameters()


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_weights_have_the_type_of_the_precision(new_bert, precision: str, dtype: torch.dtype) -> None:
    module = in_model_precision(new_bert(precision=precision))
    assert {parameter.dtype for parameter in module.parameters()} == {dtype}
