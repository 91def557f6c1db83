"""FLOPs of a token by hand, and the peaks of devices by the names CUDA gives them."""

from __future__ import annotations

import pytest

from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.flops import flops_per_token
from dnabert_nemo.model.utilisation import peak_flops


def test_the_86m_shape_takes_570_million_a_token_where_all_is_computed() -> None:
    by_hand = 6 * 12 * 7_077_888 + 12 * 12 * 768 * 512 + 6 * (589_824 + 98_304)
    assert flops_per_token(BertShape(69, 128), 512) == by_hand
    assert by_hand == pytest.approx(570e6, rel=1e-3)


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_what_nobody_reads_is_not_counted(share: float) -> None:
    """6 FLOPs a weight and token: 11 layers whole; of the last keys and values whole, all else and the head
    for the share that is read; attention's two products 12 h s, of its queries.
    """
    eleven = 11 * (6 * (4 * 589_824 + 2 * 768 * 3072) + 12 * 768 * 400)
    keys_and_values = 6 * 2 * 589_824
    of_those_read = 6 * (2 * 589_824 + 2 * 768 * 3072) + 12 * 768 * 400 + 6 * (589_824 + 768 * 4224)
    by_hand = eleven + keys_and_values + share * of_those_read
    assert flops_per_token(BertShape(4101, 4224), 400, share) == pytest.approx(by_hand, rel=1e-12)
    without_head = by_hand - share * 6 * (589_824 + 768 * 4224)
    assert flops_per_token(BertShape(4101, 4224), 400, share, 0.0) == pytest.approx(without_head, rel=1e-12)


def test_what_the_last_layer_saves() -> None:
    """Most of one layer in six or twelve, where one token in seven is read."""
    for shape, saved in ((BertShape(69, 128, 6, 256, 1024, 4), 0.123), (BertShape(69, 128), 0.060)):
        whole, read = (flops_per_token(shape, 400, share) for share in (1.0, 0.15))
        head = 6 * 0.85 * (shape.hidden_size**2 + shape.hidden_size * 128)  # which masked places save anyway
        assert 1 - read / (whole - head) == pytest.approx(saved, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H200", "bf16", 989.5),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.5),
        ("NVIDIA H100 80GB HBM3", "fp8", 1979),
        ("NVIDIA H100 PCIe", "bf16", 756),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312),
        ("NVIDIA A100-PCIE-40GB", "fp32", 19.5),
        ("NVIDIA A10", "bf16", 125),
        ("Tesla V100-SXM2-32GB", "fp16", 125),
        ("Tesla V100-SXM2-32GB", "bf16", None),
        ("NVIDIA L40S", "bf16", 362),
        ("NVIDIA L4", "fp16", 121),
        ("NVIDIA A10G", "bf16", None),
        ("NVIDIA GeForce RTX 4090", "bf16", None),
    ],
)
def test_a_device_has_the_peak_of_its_datasheet(name: str, precision: str, tflops: float | None) -> None:
    assert peak_flops(name, precision) == (None if tflops is None else pytest.approx(tflops * 1e12))
