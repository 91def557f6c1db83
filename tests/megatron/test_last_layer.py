"""A last layer that computes only what is read gives what the whole one does, gradients included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.data.labelled import LabelledSequences
from dnabert_nemo.data.pooling import POOLINGS
from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.megatron import topology, weights
from dnabert_nemo.megatron.attention import ReadingAttention
from dnabert_nemo.megatron.bert import BertForClassification, BertForMaskedLM
from dnabert_nemo.megatron.losses import ClassificationLoss, MaskedLMLoss
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.shape import transformer_config
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.training.trial import Trial, made_up_batch

ON_CPU = Kernels(attention="blocks", dropout="bits")
RECOMPUTED = {
    "nothing": Recompute(),
    "selective": Recompute("selective"),
    "uniform": Recompute("full", "uniform", 1),
    "block": Recompute("full", "block", 1),
}
Model = BertForMaskedLM | BertForClassification


def with_an_unread_segment(batch: MicroBatch, number: int) -> MicroBatch:
    """Take the masked places of one segment out."""
    first = sum(batch.segment_lengths[:number])
    kept = (batch.masked_at < first) | (batch.masked_at >= first + batch.segment_lengths[number])
    none = torch.empty(0, dtype=torch.int64)
    hidden = dict.fromkeys(("hidden_token", "hidden_offset", "hidden_base"), none)
    return replace(batch, masked_at=batch.masked_at[kept], labels=batch.labels[kept], **hidden)


def without_labels(batch: MicroBatch) -> MicroBatch:
    """Ask for nothing."""
    none = torch.empty(0, dtype=torch.int64)
    names = ("masked_at", "labels", "hidden_token", "hidden_offset", "hidden_base")
    return replace(batch, **dict.fromkeys(names, none))


@pytest.fixture
def both(small_shape, random_biases) -> Callable[..., list[Model]]:
    """Make the same model twice: with a whole last layer, and with one that computes what is read."""

    def make(
        num_classes: int = 0, recompute: Recompute | None = None, kernels: Kernels = ON_CPU, **changed: Any
    ) -> list[Model]:
        shape, models = small_shape(**changed), []
        for where_read in (False, True):
            config = transformer_config(
                shape, ParallelSizes(), "fp32", recompute, kernels, last_layer_where_read=where_read
            )
            new = BertForClassification if num_classes else BertForMaskedLM
            model = new(config, shape, *([num_classes] if num_classes else []))
            weights.initialize(model, shape, 1)
            models.append(random_biases(model).train())
        reads = [
            [isinstance(layer.self_attention, ReadingAttention) for layer in model.encoder.layers]
            for model in models
        ]
        assert reads == [[False] * shape.num_layers, [False] * (shape.num_layers - 1) + [True]]
        return models

    return make


def assert_equal_gradients(whole: Model, reading: Model) -> None:
    """Hold every gradient of two models against each other, to the rounding of fp32."""
    for (name, one), (other, two) in zip(whole.named_parameters(), reading.named_parameters(), strict=True):
        assert name == other
        assert one.grad is not None and two.grad is not None, name
        scale = float(one.grad.abs().max())
        torch.testing.assert_close(two.grad, one.grad, rtol=2e-5, atol=max(2e-6 * scale, 2e-6), msg=name)


@pytest.mark.parametrize("recompute", RECOMPUTED.values(), ids=RECOMPUTED)
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("block_type", ["pre_ln", "post_ln"])
def test_logits_loss_and_gradients_are_those_of_the_whole_layer(
    both, micro_batch, block_type: str, num_layers: int, recompute: Recompute
) -> None:
    models = both(recompute=recompute, num_layers=num_layers, transformer_block_type=block_type)
    batch = with_an_unread_segment(micro_batch((20, 5, 64, 9)), 1)
    assert batch.read_lengths[1] == 0
    logits, losses = [], []
    for model in models:
        logits.append(model(batch))
        loss, count, _ = MaskedLMLoss(3)(logits[-1], batch)
        losses.append(loss / count)
        losses[-1].backward()
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-6, atol=0)
    assert_equal_gradients(*models)
    assert all(parameter.grad.abs().max() > 0 for parameter in models[1].parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("block_type", ["pre_ln", "post_ln"])
def test_a_classifier_is_too(both, block_type: str, pooling: str) -> None:
    models = both(num_classes=3, transformer_block_type=block_type)
    data = LabelledSequences(
        ["ACGTACGTAA", "GGGTTTACCAGTAC", "TTTTGCA"], [0, 2, 1], k=3, max_positions=32, pooling=pooling
    )
    batch = data.batch(torch.tensor([2, 0, 1]).numpy(), 4)
    assert batch.read_lengths[-1] == 0, "what pads the batch"
    logits = [model(batch) for model in models]
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-5, atol=1e-5)
    for each in logits:
        ClassificationLoss(3)(each, batch)[0].backward()
    assert_equal_gradients(*models)


def test_a_mean_is_that_of_the_states_of_a_sequences_k_mers(both) -> None:
    model = both(num_classes=3)[0].eval()
    given = ["ACGTACGTAA", "GGGTTTACCAGTAC", "TTTTGCA"]
    whole = LabelledSequences(given, [0, 2, 1], k=3, max_positions=32, pooling="mean")
    order = np.array([2, 0, 1])
    means = model.features(whole.batch(order, 4))
    for row, number in zip(means, order, strict=True):
        alone = LabelledSequences([given[number]], [0], k=3, max_positions=32).batch(np.array([0]), 1)
        num_kmers = len(given[number]) - 2
        states = model.features(
            replace(alone, pooled_at=torch.arange(1, 1 + num_kmers), pooled_lengths=(1,) * num_kmers)
        )
        torch.testing.assert_close(row, states.mean(0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("kernels", [Kernels(), ON_CPU], ids=["torch", "auto"])
@pytest.mark.parametrize("recompute", RECOMPUTED.values(), ids=RECOMPUTED)
def test_a_batch_of_which_nothing_is_read_has_gradients_of_zero(
    both, micro_batch, recompute: Recompute, kernels: Kernels, dropout: float
) -> None:
    dropouts = {"hidden_dropout": dropout, "attention_dropout": dropout}
    batch = without_labels(micro_batch((20, 5, 30)))
    for model in both(recompute=recompute, kernels=kernels, **dropouts):
        logits = model(batch)
        loss, count, sums = MaskedLMLoss(3)(logits, batch)
        assert logits.shape == (0, 128)
        assert loss == count == sums.abs().sum() == 0
        loss.backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.eq(0).all(), name


def test_a_step_may_have_a_micro_batch_of_which_nothing_is_read(small_shape, micro_batch) -> None:
    """Its loss and gradient norm are those of the other micro batch alone."""
    batch, found = micro_batch((20, 44)), []
    for micro_batches in ([batch], [without_labels(batch), batch]):
        trial = Trial(small_shape(), k=3, kernels=ON_CPU)
        sums = trial.step(micro_batches)
        found.append((float(sums[0]), float(sums[1]), float(trial.optimizer.last.grad_norm)))
    assert found[1] == pytest.approx(found[0], rel=1e-6)


@pytest.mark.parametrize("recompute", [each for each in RECOMPUTED if each != "nothing"])
def test_recomputation_drops_what_was_dropped(both, micro_batch, recompute: str) -> None:
    """With the dropout of a CPU's own kernels, in blocks and by bits."""
    dropouts = {"hidden_dropout": 0.3, "attention_dropout": 0.3}
    batch, models = micro_batch((20, 44)), []
    for each in ("nothing", recompute):
        model = both(recompute=RECOMPUTED[each], **dropouts)[1]
        topology.seed_ranks(5)
        model(batch)[:, :69].log_softmax(-1).square().sum().backward()
        models.append(model)
    assert_equal_gradients(*models)


@pytest.mark.parametrize(
    ("sizes", "precision", "reads"),
    [
        (ParallelSizes(), "fp32", True),
        (ParallelSizes(2), "bf16", True),
        (ParallelSizes(1, 2), "fp16", True),
        (ParallelSizes(2, 1, True), "bf16", False),
        (ParallelSizes(context=2), "fp32", False),
        (ParallelSizes(2, 1, True, context=2), "fp32", False),
        (ParallelSizes(), "fp8", False),
    ],
)
def test_it_is_off_where_rows_are_not_whole_or_products_are_in_fp8(
    small_shape, sizes: ParallelSizes, precision: str, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "fp8":  # megatron-core asks for Transformer Engine when its config is made
        monkeypatch.setattr(
            "megatron.core.transformer.transformer_config.TransformerConfig.__post_init__", lambda _: None
        )
    config = transformer_config(small_shape(), sizes, precision)
    assert config.last_layer_where_read is reads
    assert not transformer_config(
        small_shape(), sizes, precision, last_layer_where_read=False
    ).last_layer_where_read


def test_only_what_is_read_goes_through_the_last_mlp(both, micro_batch) -> None:
    batch, seen = micro_batch((20, 44)), []
    for model in both():
        for layer in model.encoder.layers:
            layer.mlp.linear_fc1.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
        model(batch)
    assert seen == [64, 64, 64, len(batch.masked_at)]


def test_which_segments_are_read_is_told_from_the_places() -> None:
    batch = made_up_batch((3, 5, 1, 12), k=3, seed=1)
    at = torch.tensor([0, 2, 3, 7, 9, 20])
    assert replace(batch, masked_at=at).read_lengths == (2, 2, 0, 2)
    assert without_labels(batch).read_lengths == (0, 0, 0, 0)
    assert replace(batch, masked_at=torch.arange(21)).read_lengths == batch.segment_lengths
