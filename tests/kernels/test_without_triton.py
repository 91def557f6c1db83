"""Where Triton is not installed the modules import and their twins run; a kernel says what it misses."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
sys.modules["triton"] = None  # what an import of it then raises is a ModuleNotFoundError
import torch
from dnabert_nemo.kernels.bias_gelu import bias_gelu, torch_bias_gelu
from dnabert_nemo.kernels.cross_entropy import torch_masked_cross_entropy
from dnabert_nemo.kernels.residual_norm import torch_residual_dropout_norm

x, vector = torch.ones(2, 3), torch.ones(3)
torch_bias_gelu(x, vector)
torch_masked_cross_entropy(x, torch.tensor([0, 1]), first=0, group=None)
torch_residual_dropout_norm(x, vector, x, vector, vector, p=0.1, eps=1e-5)
try:
    bias_gelu(x, vector)
except ModuleNotFoundError as error:
    print(error.name)
"""


def test_the_twins_run_without_triton() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "triton"
