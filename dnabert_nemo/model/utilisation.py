"""Model FLOP/s, and their share of what the device can do (MFU, Chowdhery et al. 2022, appendix B)."""

from __future__ import annotations

# Dense TFLOP/s by device and precision, from the datasheets; with structured sparsity they are twice as many.
# A device's name is looked for in this order: "H100 PCIe" before "H100", which is the SXM module.
_PEAK_TFLOPS: tuple[tuple[str, dict[str, float]], ...] = (
    # https://www.nvidia.com/en-us/data-center/h200/
    ("H200 NVL", {"bf16": 835.5, "fp16": 835.5, "fp8": 1670.5, "fp32": 60}),
    ("H200", {"bf16": 989.5, "fp16": 989.5, "fp8": 1979, "fp32": 67}),
    # https://www.nvidia.com/en-us/data-center/h100/ and its PCIe product brief
    ("H100 NVL", {"bf16": 835.5, "fp16": 835.5, "fp8": 1670.5, "fp32": 60}),
    ("H100 PCIe", {"bf16": 756, "fp16": 756, "fp8": 1513, "fp32": 51}),
    ("H100", {"bf16": 989.5, "fp16": 989.5, "fp8": 1979, "fp32": 67}),
    # https://www.nvidia.com/en-us/data-center/l40s/ and l4/
    ("L40S", {"bf16": 362, "fp16": 362, "fp8": 733, "fp32": 91.6}),
    ("NVIDIA L4", {"bf16": 121, "fp16": 121, "fp8": 242.5, "fp32": 30.3}),
    # https://www.nvidia.com/en-us/data-center/a100/, a10-gpu, a30-gpu, a40; fp32 without TF32
    ("A100", {"bf16": 312, "fp16": 312, "fp32": 19.5}),
    ("A10G", {}),  # Amazon's own, which must not pass for an A10
    ("A10", {"bf16": 125, "fp16": 125, "fp32": 31.2}),
    ("A30", {"bf16": 165, "fp16": 165, "fp32": 10.3}),
    ("A40", {"bf16": 149.7, "fp16": 149.7, "fp32": 37.4}),
    # https://www.nvidia.com/en-us/data-center/v100/ and tesla-t4/
    ("V100-SXM2", {"fp16": 125, "fp32": 15.7}),
    ("V100-PCIE", {"fp16": 112, "fp32": 14}),
    ("T4", {"fp16": 65, "fp32": 8.1}),
)


def peak_flops(device_name: str, precision: str) -> float | None:
    """Return the dense FLOP/s of a device by its datasheet; None for one that is not in the table."""
    for name, peaks in _PEAK_TFLOPS:
        if name in device_name:
            tflops = peaks.get(precision)
            return None if tflops is None else tflops * 1e12
    return None
