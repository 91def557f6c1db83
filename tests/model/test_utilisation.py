"""FLOPs of a token by hand, and the peaks of devices by the names CUDA gives them."""

from __future__ import annotations

import pytest

from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.flops import flops_per_token
from dnabert_nemo.model.utilisation import peak_flops


def test_the_86m_shape_takes_570_million_a_token() -> None:
    shape = BertShape(69, 128)
    by_hand = 6 * 12 * 7_077_888 + 12 * 12 * 768 * 512 + 6 * (589_824 + 98_304)
    assert flops_per_token(shape, 512) == by_hand
    assert by_hand == pytest.approx(570e6, rel=1e-3)
    head = 6 * (768 * 768 + 768 * 128)
    assert 0.85 * head / (by_hand - 0.85 * head) == pytest.approx(0.006, abs=5e-4)
    k6 = BertShape(4101, 4224)
    head = 6 * (768 * 768 + 768 * 4224)
    assert 0.85 * head / (flops_per_token(k6, 512) - 0.85 * head) == pytest.approx(0.034, abs=5e-4)


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
