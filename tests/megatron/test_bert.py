"""The masked language model on one rank: packing, positions, padding, and an implementation not our own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.megatron.bert import BertForMaskedLM
from dnabert_nemo.megatron.engine import data_parallel, run_step
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, MaskedLMLoss
from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings

VOCABULARY = 69  # of 128 rows


def everywhere(batch: MicroBatch) -> MicroBatch:
    """Ask for the logits of every token."""
    return replace(batch, masked_at=torch.arange(len(batch.ids)))


def segment(batch: MicroBatch, number: int) -> MicroBatch:
    """Take one segment out of a batch."""
    parts = {name: getattr(batch, name).split(batch.segment_lengths)[number] for name in ("ids", "positions")}
    return everywhere(replace(batch, **parts, segment_lengths=(batch.segment_lengths[number],)))


@torch.no_grad()
def logits(bert: BertForMaskedLM, batch: MicroBatch) -> torch.Tensor:
    """Return the logits [M, 69] of the tokens there are."""
    return bert.eval()(batch)[:, :VOCABULARY]


def test_a_segment_gets_the_same_logits_alone_as_in_any_row(new_bert, random_biases, micro_batch) -> None:
    bert, batch = random_biases(new_bert()), everywhere(micro_batch((20, 64, 9)))
    packed = logits(bert, batch).split(batch.segment_lengths)
    for number, part in enumerate(packed):
        torch.testing.assert_close(logits(bert, segment(batch, number)), part, rtol=1e-5, atol=1e-5)


def test_a_token_speaks_to_its_own_segment_only(new_bert, random_biases, micro_batch) -> None:
    bert, batch = random_biases(new_bert()), everywhere(micro_batch((20, 30, 14)))
    changed = replace(batch, ids=batch.ids.clone())
    changed.ids[25] = 6 if batch.ids[25] != 6 else 7
    difference = (logits(bert, batch) - logits(bert, changed)).abs().amax(-1)
    assert difference[:20].max() == 0
    assert difference[50:].max() == 0
    assert difference[20:50].min() > 0


def test_positions_matter(new_bert, micro_batch) -> None:
    bert, batch = new_bert(), everywhere(micro_batch((20,)))
    shifted = replace(batch, positions=batch.positions + 1)
    assert (logits(bert, batch) - logits(bert, shifted)).abs().amax(-1).min() > 1e-4


def test_only_masked_places_come_out_in_their_order(new_bert, micro_batch) -> None:
    bert, batch = new_bert(), micro_batch((40, 24))
    assert 0 < len(batch.masked_at) < 40
    torch.testing.assert_close(logits(bert, batch), logits(bert, everywhere(batch))[batch.masked_at])


def test_vocabulary_padding_is_zero_wins_nothing_and_learns_nothing(new_bert, micro_batch) -> None:
    bert, batch = new_bert(), micro_batch((64, 64), mask_probability=0.3)
    embedding = bert.embedding.word_embeddings.weight
    before = embedding[:VOCABULARY].detach().clone()
    ddp = data_parallel(bert, distributed_optimizer=False)
    optimizer = MegatronAdamW(ddp, OptimizerSettings(lr=1e-2, weight_decay=0.1))
    for _ in range(3):
        optimizer.zero_grad()
        run_step(
            ddp, [batch], MaskedLMLoss(3), hidden_tokens=128, num_sums=len(MASKED_LM_SUMS), training=True
        )
        optimizer.step()
    assert not torch.equal(embedding[:VOCABULARY], before)
    assert embedding[VOCABULARY:].abs().max() == 0
    assert bert.output_layer.bias[VOCABULARY:].abs().max() == 0
    whole = bert(batch)
    assert whole.shape == (len(batch.masked_at), 128)
    assert whole[:, :VOCABULARY].isfinite().all()
    assert whole[:, VOCABULARY:].eq(float("-inf")).all()


def test_gelu_is_erf(new_bert) -> None:
    mlp = new_bert(init_method_std=0.5).encoder.layers[0].mlp
    hidden = torch.randn(50, 1, 32, generator=torch.Generator().manual_seed(2))
    inner, _ = mlp.linear_fc1(hidden)
    found, _ = mlp(hidden)
    erf, _ = mlp.linear_fc2(0.5 * inner * (1 + torch.erf(inner / 2**0.5)))
    tanh, _ = mlp.linear_fc2(torch.nn.functional.gelu(inner, approximate="tanh"))
    torch.testing.assert_close(found, erf, rtol=1e-5, atol=1e-5)
    assert (found - tanh).abs().max() > 1e-4


def test_logits_are_those_of_transformers_megatron_bert(new_bert, random_biases, micro_batch) -> None:
    transformers = pytest.importorskip("transformers")
    bert = random_biases(new_bert(init_method_std=0.1))
    config = transformers.MegatronBertConfig(
        vocab_size=128,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        hidden_act="gelu",
        max_position_embeddings=64,
        layer_norm_eps=bert.config.layernorm_epsilon,
    )
    theirs = transformers.MegatronBertForMaskedLM(config).eval()
    missing, unexpected = theirs.load_state_dict(as_transformers(bert), strict=False)
    assert unexpected == []
    assert set(missing) <= {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}  # tied
    theirs.tie_weights()
    batch = everywhere(micro_batch((64,)))
    with torch.no_grad():
        expected = theirs(batch.ids[None]).logits[0, :, :VOCABULARY]
    assert expected.std() > 0.1
    torch.testing.assert_close(logits(bert, batch), expected, rtol=0, atol=1e-5)


def as_transformers(bert: BertForMaskedLM) -> dict[str, torch.Tensor]:
    """Rename our weights; Megatron keeps query, key and value of one head together: rows [N, 3, D]."""
    ours = {name: value.detach() for name, value in bert.named_parameters()}
    norm, named = ("weight", "bias"), {}
    named["bert.embeddings.word_embeddings.weight"] = ours["embedding.word_embeddings.weight"]
    named["bert.embeddings.position_embeddings.weight"] = ours["embedding.position_embeddings.weight"]
    named["bert.embeddings.token_type_embeddings.weight"] = torch.zeros(2, 32)
    for layer in range(2):
        here, there = f"encoder.layers.{layer}", f"bert.encoder.layer.{layer}"
        for kind in norm:
            qkv = ours[f"{here}.self_attention.linear_qkv.{kind}"].unflatten(0, (4, 3, 8))
            for place, name in enumerate(("query", "key", "value")):
                named[f"{there}.attention.self.{name}.{kind}"] = qkv[:, place].flatten(0, 1)
            for mine, other in (
                ("input_layernorm", "attention.ln"),
                ("self_attention.linear_proj", "attention.output.dense"),
                ("pre_mlp_layernorm", "ln"),
                ("mlp.linear_fc1", "intermediate.dense"),
                ("mlp.linear_fc2", "output.dense"),
            ):
                named[f"{there}.{other}.{kind}"] = ours[f"{here}.{mine}.{kind}"]
    for kind in norm:
        named[f"bert.encoder.ln.{kind}"] = ours[f"encoder.final_layernorm.{kind}"]
        named[f"cls.predictions.transform.dense.{kind}"] = ours[f"lm_head.dense.{kind}"]
        named[f"cls.predictions.transform.LayerNorm.{kind}"] = ours[f"lm_head.layer_norm.{kind}"]
    named["cls.predictions.bias"] = ours["output_layer.bias"]
    return named
