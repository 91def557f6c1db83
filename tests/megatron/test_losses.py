"""What the last stage measures, against naive loops and torch's own cross-entropy."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron.losses import MASKED_LM_SUMS, ClassificationLoss, MaskedLMLoss


def random_logits(num_places: int, seed: int = 1) -> torch.Tensor:
    """Logits [M, 128] as the model makes them: the columns that pad the vocabulary are minus infinity."""
    logits = 3 * torch.randn(num_places, 128, generator=torch.Generator().manual_seed(seed))
    logits[:, 69:] = float("-inf")
    return logits


@pytest.fixture
def batch(micro_batch) -> MicroBatch:
    batch = micro_batch((64, 40, 24), mask_probability=0.15)
    assert len(batch.hidden_base) > 5
    return batch


def naive_base_cross_entropy(logits: torch.Tensor, batch: MicroBatch) -> list[float]:
    """Sum, for each hidden base, the probabilities of the k-mers that show it."""
    tokens = Vocabulary(3).tokens
    found = []
    for place, offset, base in zip(batch.hidden_token, batch.hidden_offset, batch.hidden_base, strict=True):
        kmers = logits[place, 5 : len(tokens)].double().softmax(-1)
        p = sum(float(kmers[i]) for i, kmer in enumerate(tokens[5:]) if "ATCG".index(kmer[offset]) == base)
        found.append(-math.log(p))
    return found


def test_cross_entropy_per_hidden_base_is_the_naive_sum(batch) -> None:
    logits = random_logits(len(batch.labels))
    found = MaskedLMLoss(3).hidden_base_cross_entropy(logits, batch)
    assert found.tolist() == pytest.approx(naive_base_cross_entropy(logits, batch), rel=1e-5)


def test_cross_entropy_per_hidden_base_of_no_knowledge_is_ln_4(batch) -> None:
    logits = torch.zeros(len(batch.labels), 128)
    logits[:, :5] = torch.tensor([9.0, -3, 4, 0, 20])  # what is said of the specials is no word on a base
    found = MaskedLMLoss(3).hidden_base_cross_entropy(logits, batch)
    assert found.tolist() == pytest.approx([math.log(4)] * len(batch.hidden_base), rel=1e-6)


def test_cross_entropy_per_hidden_base_of_the_truth_is_zero(batch) -> None:
    logits = torch.full((len(batch.labels), 128), -50.0).scatter(1, batch.labels[:, None], 50.0)
    assert MaskedLMLoss(3).hidden_base_cross_entropy(logits, batch).abs().max() < 1e-6


def test_masked_lm_loss_is_torchs_cross_entropy(batch) -> None:
    logits = random_logits(len(batch.labels)).requires_grad_()
    reference = logits.detach().clone().requires_grad_()
    loss, count, sums = MaskedLMLoss(3)(logits.clone(), batch)
    expected = F.cross_entropy(reference[:, :69], batch.labels, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(logits.grad[:, :69], reference.grad[:, :69])
    assert logits.grad[:, 69:].abs().max() == 0
    named = dict(zip(MASKED_LM_SUMS, sums.tolist(), strict=True))
    assert count.item() == named["masked_tokens"] == len(batch.labels)
    assert named["loss"] == pytest.approx(expected.item())
    assert named["correct_tokens"] == sum(reference.argmax(-1) == batch.labels)
    assert named["base_cross_entropy"] == pytest.approx(
        sum(naive_base_cross_entropy(reference, batch)), rel=1e-5
    )
    assert named["hidden_bases"] == len(batch.hidden_base)


def test_a_batch_that_hides_nothing_adds_nothing(batch) -> None:
    none = torch.empty(0, dtype=torch.int64)
    names = ("masked_at", "labels", "hidden_token", "hidden_offset", "hidden_base")
    nothing = replace(batch, **dict.fromkeys(names, none))
    loss, count, sums = MaskedLMLoss(3)(torch.empty(0, 128), nothing)
    assert loss.item() == count.item() == 0
    assert sums.tolist() == [0.0] * len(MASKED_LM_SUMS)


def test_classification_counts_who_was_called_what() -> None:
    logits = torch.tensor([[5.0, 0, 0], [0, 5, 0], [0, 5, 0], [9, 0, 1]])
    labels = torch.tensor([0, 1, 2, 2])
    of_classes = ClassificationLoss(3)
    loss, count, sums = of_classes(logits, SimpleNamespace(labels=labels))
    named = dict(zip(of_classes.sum_names, sums.tolist(), strict=True))
    assert loss.item() == pytest.approx(F.cross_entropy(logits, labels, reduction="sum").item())
    assert count.item() == named["samples"] == 4
    cells = {name: value for name, value in named.items() if "->" in name and value}
    assert cells == {"0->0": 1, "1->1": 1, "2->1": 1, "2->0": 1}


def test_weights_of_classes_are_what_a_sample_counts() -> None:
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    labels, weights = torch.tensor([0, 1, 1, 2, 0, 2]), [0.5, 2.0, 0.0]
    loss, count, _ = ClassificationLoss(3, weights)(logits, SimpleNamespace(labels=labels))
    by_hand = sum(
        weights[label] * -row.log_softmax(-1)[label] for row, label in zip(logits, labels, strict=True)
    )
    torch.testing.assert_close(loss, by_hand)
    assert count == 6
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[labels == 2].any()
