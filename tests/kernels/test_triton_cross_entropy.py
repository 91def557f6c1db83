"""Cross-entropy with its gradient in the logits' place: whom that may surprise, and how they hear of it."""

from __future__ import annotations

from typing import Any

import parity
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.kernels.cross_entropy import masked_cross_entropy, torch_masked_cross_entropy

DEVICE = parity.device()
both = pytest.mark.parametrize("function", [masked_cross_entropy, torch_masked_cross_entropy])


def made_up(num_rows: int, num_columns: int, dtype: torch.dtype = torch.float32) -> tuple[Any, Any, Any]:
    """Draw an input, logits that follow from it, and labels."""
    inner = (3 * parity.normal(num_rows, num_columns, dtype=dtype, device=DEVICE, seed=0)).requires_grad_()
    labels = torch.randint(num_columns, (num_rows,), generator=torch.Generator().manual_seed(1))
    return inner, inner * 1, labels.to(DEVICE)


def test_the_twin_is_the_definition_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "masked_cross_entropy", torch_masked_cross_entropy)
    for shape, variant in (((0, 7), ""), ((130, 69), ""), ((5, 1000), "padded"), ((3, 129), "strided")):
        case = parity.cross_entropy_parity(shape, variant)
        for dtype in parity.DTYPES:
            found = case.measure(dtype, DEVICE)
            assert case.holds(found, dtype), found


@both
def test_the_gradient_takes_the_logits_place(function: Any) -> None:
    inner, logits, labels = made_up(5, 129)
    softmax = logits.detach().softmax(1)
    losses = function(logits, labels, first=0, group=None)
    expected = softmax - F.one_hot(labels, 129)
    torch.testing.assert_close(logits.detach(), expected, rtol=1e-5, atol=1e-7)
    d_inner = torch.autograd.grad(losses.sum(), inner)[0]
    torch.testing.assert_close(d_inner, expected, rtol=1e-5, atol=1e-7)
    assert d_inner.data_ptr() != inner.data_ptr()


@both
def test_without_a_gradient_the_logits_stay(function: Any) -> None:
    _, logits, labels = made_up(5, 129)
    before = logits.detach().clone()
    with torch.no_grad():
        losses = function(logits, labels, first=0, group=None)
    function(logits.detach(), labels, first=0, group=None)
    assert torch.equal(logits, before)
    torch.testing.assert_close(losses, F.cross_entropy(before, labels, reduction="none"))


@both
def test_a_second_backward_pass_is_an_error(function: Any) -> None:
    inner, logits, labels = made_up(5, 129)
    loss = function(logits, labels, first=0, group=None).sum()
    torch.autograd.grad(loss, inner, retain_graph=True)
    with pytest.raises(RuntimeError, match="handed on already"):
        torch.autograd.grad(loss, inner)


@both
def test_another_reader_of_the_logits_hears_that_they_are_gone(function: Any) -> None:
    inner, logits, labels = made_up(5, 129)
    squares = logits.square().sum()
    loss = function(logits, labels, first=0, group=None).sum() + squares
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, inner)


@both
def test_a_gradient_that_somebody_wrote_over_is_an_error(function: Any) -> None:
    inner, logits, labels = made_up(5, 129)
    loss = function(logits, labels, first=0, group=None).sum()
    logits.detach().zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(loss, inner)


@both
def test_columns_that_only_pad_the_vocabulary_take_no_part(function: Any) -> None:
    inner, logits, labels = made_up(4, 129)
    wide = F.pad(logits, (0, 4200), value=float("-inf"))
    losses = function(wide, labels, first=0, group=None)
    torch.testing.assert_close(losses, F.cross_entropy(inner, labels, reduction="none"))
    assert bool((wide[:, 129:] == 0).all())
    losses.sum().backward()
    assert bool(inner.grad.isfinite().all())


@both
def test_the_first_block_of_columns_may_be_padding_and_a_label_there_is_an_infinite_loss(
    function: Any,
) -> None:
    inner, logits, _ = made_up(2, 129)
    wide = F.pad(logits, (4200, 0), value=float("-inf"))
    losses = function(wide, torch.tensor([4200, 7], device=DEVICE), first=0, group=None)
    assert float(losses[0]) == pytest.approx(float(F.cross_entropy(inner[:1], losses.new_zeros(1).long())))
    assert float(losses[1]) == float("inf")
    assert bool((wide[:, :4200] == 0).all())


@both
@pytest.mark.parametrize("label", [-100, 4, 12, 2**40])
def test_a_label_that_no_rank_holds_is_no_number(function: Any, label: int) -> None:
    _, logits, _ = made_up(2, 7)
    losses = function(logits, torch.tensor([label, 5], device=DEVICE), first=5, group=None)
    assert losses.isnan().tolist() == [True, False]


@both
def test_probabilities_below_fp16_survive_until_the_loss_scale_comes(function: Any) -> None:
    inner = torch.tensor([[0.0, -17.0, -18.0, -19.0]], device=DEVICE, dtype=torch.float16, requires_grad=True)
    losses = function(inner * 1, torch.tensor([0], device=DEVICE), first=0, group=None)
    scaled = torch.autograd.grad(losses.sum() * 2.0**16, inner)[0].double()[:, 1:]
    expected = inner.detach().double().softmax(1)[:, 1:]
    assert float(expected[0, -1]) < 6e-9
    torch.testing.assert_close(scaled / 2.0**16, expected, rtol=2.0**-10, atol=0)


@both
def test_what_cannot_hold_a_gradient_is_refused(function: Any) -> None:
    inner, logits, labels = made_up(3, 7)
    for wrong, message in (
        ((inner, labels), "leaf"),
        (((inner[:1] * 1).expand(3, 7), labels), "expanded"),
        ((logits, labels[:2]), "labels of as many rows"),
        ((logits, labels.int()), "int64"),
        ((logits[0], labels), r"\(7,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            function(*wrong, first=0, group=None)


@settings(max_examples=30, deadline=None)
@given(
    num_rows=st.integers(1, 20),
    num_columns=st.integers(1, 40),
    scale=st.sampled_from([0.0, 1.0, 80.0]),
    shift=st.sampled_from([0.0, -1e4, 3e4]),
)
def test_gradients_of_a_row_add_up_to_nothing_whatever_the_logits(
    num_rows: int, num_columns: int, scale: float, shift: float
) -> None:
    _, logits, labels = made_up(num_rows, num_columns)
    logits = logits * scale + shift
    exact = F.cross_entropy(logits.detach().double(), labels, reduction="none")
    losses = masked_cross_entropy(logits, labels, first=0, group=None)
    # of the logits, whose difference is the loss
    assert float((losses - exact).detach().abs().max()) <= 2.0**-20 * (1 + float(exact.abs().max()))
    assert float(logits.detach().sum(1).abs().max()) <= 1e-5
    assert float(logits.detach().abs().max()) <= 1
