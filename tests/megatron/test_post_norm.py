"""The two layer specs: their tensors by name, recomputation, and the marks for sequence parallelism."""

from __future__ import annotations

import pytest
import torch

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron import topology, weights
from dnabert_nemo.megatron.bert import BertForClassification, BertForMaskedLM
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.norm import LayerNorm
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.megatron.tensor_shapes import classifier_tensors, language_model_tensors, part_of

BLOCK_TYPES = ("pre_ln", "post_ln")


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
def test_the_tensors_are_told_without_a_model(new_bert, small_shape, block_type: str) -> None:
    shape = small_shape(transformer_block_type=block_type)
    expected = {
        name: tuple(tensor.shape)
        for name, tensor in new_bert(transformer_block_type=block_type).named_parameters()
    }
    assert language_model_tensors(shape) == expected
    assert shape.num_parameters() == sum(torch.Size(size).numel() for size in expected.values())
    classifier = BertForClassification(transformer_config(shape, ParallelSizes(), "fp32"), shape, 3)
    assert classifier_tensors(shape, 3) == {name: tuple(p.shape) for name, p in classifier.named_parameters()}
    assert all(part_of(name) for name in expected.keys() | classifier_tensors(shape, 3).keys())


def test_post_ln_normalises_what_goes_on(new_bert, micro_batch) -> None:
    bert = new_bert(transformer_block_type="post_ln").eval()
    batch, seen = micro_batch((20, 44)), []
    watched = [bert.embedding.layernorm, *(layer.post_mlp_layernorm for layer in bert.encoder.layers)]
    for norm in watched:
        norm.register_forward_hook(lambda module, given, made: seen.append(made))
    for layer in bert.encoder.layers:
        layer.register_forward_pre_hook(
            lambda module, args, given: seen.append(given["hidden_states"]), with_kwargs=True
        )
    bert(batch)
    embedded, into_first, out_of_first, into_second, out_of_second = seen
    assert torch.equal(embedded, into_first)
    assert torch.equal(out_of_first, into_second)
    for hidden, tokens in ((embedded, 64), (out_of_first, 64), (out_of_second, len(batch.masked_at))):
        torch.testing.assert_close(hidden.mean(-1), torch.zeros(tokens, 1), atol=1e-5, rtol=0)
        torch.testing.assert_close(hidden.std(-1, unbiased=False), torch.ones(tokens, 1), atol=1e-3, rtol=0)
    assert bert.encoder.final_layernorm is None


@pytest.mark.parametrize("block_type", BLOCK_TYPES)
@pytest.mark.parametrize(
    "recompute",
    [Recompute("selective"), Recompute("full", "uniform", 1), Recompute("full", "block", 1)],
    ids=lambda recompute: "-".join(map(str, filter(None, (recompute.granularity, recompute.method)))),
)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputation_changes_no_gradient(
    small_shape, micro_batch, block_type: str, recompute: Recompute, dropout: float
) -> None:
    dropouts = {"hidden_dropout": dropout, "attention_dropout": dropout}
    shape, batch = small_shape(transformer_block_type=block_type, **dropouts), micro_batch((20, 44))
    gradients = []
    for each in (Recompute(), recompute):
        bert = BertForMaskedLM(transformer_config(shape, ParallelSizes(), "fp32", each), shape)
        weights.initialize(bert, shape, 1)
        topology.seed_ranks(5)  # dropout then takes the same numbers, also when it is done again
        bert(batch)[:, : shape.vocab_size].log_softmax(-1).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in bert.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None and gradient.abs().max() > 0, name
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-6)


def test_every_norm_between_the_layers_is_marked_for_sequence_parallelism(small_shape) -> None:
    for block_type in BLOCK_TYPES:
        shape = small_shape(transformer_block_type=block_type)
        config = transformer_config(shape, ParallelSizes(), "fp32")
        config.sequence_parallel = True
        bert = BertForMaskedLM(config, shape)
        norms = [module for module in bert.modules() if isinstance(module, LayerNorm)]
        assert len(norms) == 2 * shape.num_layers + 1
        assert all(parameter.sequence_parallel for norm in norms for parameter in norm.parameters())


def test_another_block_type_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.transformer_block_type=normformer is not known: choose pre_ln or"
    ):
        BertShape(69, 128, transformer_block_type="normformer")
