"""Compiles every kernel for GPUs that need not be there, as each is launched; prints a line of JSON a kernel.

    python tests/kernels/compiled.py 80 90      # compute capabilities

A process of its own, where Triton is not interpreted: launches are recorded instead of run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "0"

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from dnabert_nemo.kernels import triton_rows
from dnabert_nemo.kernels.bias_gelu import bias_gelu
from dnabert_nemo.kernels.cross_entropy import masked_cross_entropy
from dnabert_nemo.kernels.residual_norm import residual_dropout_norm
from dnabert_nemo.kernels.triton_cross_entropy import write_gradient

POINTERS = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
}
Launch = tuple[JITFunction, dict[str, Any], int]


def launches(dtype: torch.dtype, width: int) -> list[Launch]:
    """Call every kernel, forward and backward; return what would have been launched, with its arguments."""
    recorded: list[Launch] = []

    def record(
        kernel: JITFunction, *args: Any, grid: Any, warmup: bool, num_warps: int, **kwargs: Any
    ) -> None:
        recorded.append((kernel, dict(zip(kernel.arg_names, args, strict=False)) | kwargs, num_warps))

    triton_rows.INTERPRETED = True  # or tensors of a CPU would be refused
    JITFunction.run = record
    x, bias = torch.zeros(64, width, dtype=dtype), torch.zeros(width, dtype=dtype)
    x.requires_grad_()
    for p, outputs in ((0.0, slice(0, 2)), (0.1, slice(0, 2)), (0.1, slice(1, 2))):
        used = residual_dropout_norm(x, bias, x, bias, bias, p=p, eps=1e-5)[outputs]
        torch.autograd.backward(used, [torch.zeros_like(each) for each in used])
    torch.autograd.backward(bias_gelu(x, bias).sum())
    labels = torch.zeros(64, dtype=torch.int64)
    torch.autograd.backward(masked_cross_entropy(x * 1, labels, first=0, group=None).sum())
    masked_cross_entropy(x.detach(), labels, first=0, group=None)
    write_gradient(  # after the all-reduces of ranks that share a vocabulary
        x.detach(), labels, width, torch.zeros(64), torch.ones(64), 1.0
    )
    return recorded


def compile_for(launch: Launch, capability: int) -> dict[str, Any]:
    """Compile a launch to machine code; return its name, shared memory and what it keeps in slow memory."""
    kernel, arguments, num_warps = launch
    constants = {
        name: value
        for parameter in kernel.params
        for name, value in [(parameter.name, arguments[parameter.name])]
        if parameter.is_constexpr or (isinstance(value, int) and value == 1)
    }
    signature = {
        name: "constexpr" if name in constants else _type(arguments[name]) for name in kernel.arg_names
    }
    aligned = {
        (at,): [["tt.divisibility", 16]]
        for at, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
        or (isinstance(arguments[name], int) and name not in constants and arguments[name] % 16 == 0)
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options={"num_warps": num_warps})
    return {
        "kernel": kernel.__module__.split(".")[-1] + "." + kernel.__name__,
        "capability": capability,
        "shared": made.metadata.shared,
        **_resources(made.asm["cubin"]),
    }


def _type(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return POINTERS[value.dtype]
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def _resources(machine_code: bytes) -> dict[str, int]:
    """Read registers and spilled bytes of a thread out of the code, by the tool that Triton brings."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(machine_code)
        file.flush()
        printed = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = re.search(r"REG:(\d+) STACK:(\d+)", printed.stdout)
    assert found is not None, printed.stdout
    return {"registers": int(found[1]), "spilled": int(found[2])}


def compiled(capabilities: list[int]) -> Iterator[dict[str, Any]]:
    """Compile for all of them at the model's own size, and for the last at one that nothing divides."""
    for dtype, width, targets in (
        (torch.bfloat16, 768, capabilities),
        (torch.float32, 129, capabilities[-1:]),
    ):
        for launch in launches(dtype, width):
            for capability in targets:
                yield compile_for(launch, capability) | {"type": str(dtype), "columns": width}


if __name__ == "__main__":
    for line in compiled([int(each) for each in sys.argv[1:]]):
        print(json.dumps(line), flush=True)
