"""How far each Triton kernel is from its definition in fp64, forward and backward, over types and shapes.

    python tests/kernels/parity.py      # prints the table; exits 1 where an error is over its tolerance

On a GPU where there is one, else in Triton's interpreter; the tests hold every line to its tolerance.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from dnabert_nemo.kernels import triton_rows
from dnabert_nemo.kernels.bias_gelu import bias_gelu
from dnabert_nemo.kernels.cross_entropy import masked_cross_entropy
from dnabert_nemo.kernels.residual_norm import residual_dropout_norm

EPS = 1e-5
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def tolerance(dtype: torch.dtype) -> float:
    """Return how far a number may be, of the largest of its tensor.

    fp32: 32 times what rounding once may cost, for sums of up to 32,000 terms in another order, exp and erf.
    16 bit: some numbers are rounded twice, by at most 2^-11 in fp16 and 2^-8 in bf16. The interpreter cuts
    bf16 off where a GPU rounds it, which costs twice as much.
    """
    if dtype == torch.bfloat16:
        return 2.0**-6 if triton_rows.INTERPRETED else 2.0**-7
    return 2.0**-10 if dtype == torch.float16 else 2.0**-19


@dataclass(frozen=True)
class Parity:
    """The largest errors over outputs and over gradients: absolute, and of the tensor's largest number."""

    forward: tuple[float, float]
    backward: tuple[float, float]


@dataclass(frozen=True)
class Case:
    """A kernel on a shape."""

    kernel: str
    shape: tuple[int, ...]
    variant: str
    measure: Callable[[torch.dtype, str], Parity]
    forward_is_fp32: bool = False

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"{self.kernel} {' x '.join(map(str, self.shape))}", self.variant)))

    def tolerances(self, dtype: torch.dtype) -> tuple[float, float]:
        """Return those of outputs and of gradients."""
        return tolerance(torch.float32 if self.forward_is_fp32 else dtype), tolerance(dtype)

    def holds(self, parity: Parity, dtype: torch.dtype) -> bool:
        """Say whether what was measured is within the tolerances."""
        forward, backward = self.tolerances(dtype)
        return parity.forward[1] <= forward and parity.backward[1] <= backward


def device() -> str:
    """Return where the kernels run in this process."""
    if torch.cuda.is_available() and not triton_rows.INTERPRETED:
        return "cuda"
    assert triton_rows.INTERPRETED, "no GPU, and Triton was imported before TRITON_INTERPRET=1 was set"
    return "cpu"


def worst(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> tuple[float, float]:
    """Return the largest error of all tensors: absolute, and of each one's largest number."""
    absolute = relative = 0.0
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert one.isfinite().all()
        if one.numel():
            error = float((one.detach().double() - other.detach().double()).abs().max())
            scale = float(other.detach().double().abs().max())
            absolute, relative = max(absolute, error), max(relative, error / max(scale, 1e-3))
    return absolute, relative


def normal(*shape: int, dtype: torch.dtype, device: str, seed: int) -> torch.Tensor:
    """Draw a tensor that is the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator).to(device, dtype)


def strided(x: torch.Tensor) -> torch.Tensor:
    """Lay a tensor out so that neither rows nor columns are next to each other."""
    wide = x.new_empty(*(2 * size for size in x.shape))
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    return view.copy_(x)


def _inputs(
    shapes: Sequence[tuple[int, ...]], dtype: torch.dtype, device: str, variant: str
) -> list[torch.Tensor]:
    made = [normal(*shape, dtype=dtype, device=device, seed=seed) for seed, shape in enumerate(shapes)]
    return [strided(x) if "strided" in variant else x for x in made]


def _gradients(
    outputs: Sequence[torch.Tensor], above: Sequence[torch.Tensor], inputs: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    typed = [each.to(output.dtype) for each, output in zip(above, outputs, strict=True)]
    return torch.autograd.grad(outputs, inputs, typed)


def kept(shape: tuple[int, ...], p: float, device: str, seed: int = 3) -> torch.Tensor:
    """Return the mask that `residual_dropout_norm` draws with this seed of torch's generator."""
    torch.manual_seed(seed)
    columns = torch.ones(shape[-1], device=device)
    ones, zeros = torch.ones(shape, device=device), torch.zeros(shape, device=device)
    return residual_dropout_norm(ones, None, zeros, columns, columns, p=p, eps=EPS)[0] != 0


def residual_norm_parity(shape: tuple[int, ...], p: float, variant: str) -> Case:
    def measure(dtype: torch.dtype, device: str) -> Parity:
        width = shape[-1:]
        shapes = [shape, width, shape, width, width]
        inputs = [x.requires_grad_() for x in _inputs(shapes, dtype, device, variant)]
        above = _inputs([shape, shape], dtype, device, variant)
        mask = kept(shape, p, device)
        torch.manual_seed(3)
        outputs = residual_dropout_norm(*inputs, p=p, eps=EPS)

        x, bias, residual, weight, norm_bias = exact = [x.detach().double().requires_grad_() for x in inputs]
        summed = residual + mask * (x + bias) / (1 - p)
        # normed is that of the rounded sum, whose error a row of small variance would blow up
        stored = summed + (outputs[0].detach() - summed).detach()
        expected = summed, F.layer_norm(stored, width, weight, norm_bias, EPS)
        return Parity(
            worst(outputs, expected),
            worst(_gradients(outputs, above, inputs), _gradients(expected, above, exact)),
        )

    return Case("residual_dropout_norm", shape, f"p {p:g}" + (f", {variant}" * bool(variant)), measure)


def bias_gelu_parity(shape: tuple[int, ...], variant: str) -> Case:
    def measure(dtype: torch.dtype, device: str) -> Parity:
        inputs = [x.requires_grad_() for x in _inputs([shape, shape[-1:]], dtype, device, variant)]
        above = _inputs([shape], dtype, device, variant)
        exact = [x.detach().double().requires_grad_() for x in inputs]
        outputs, expected = [bias_gelu(*inputs)], [F.gelu(exact[0] + exact[1])]
        return Parity(
            worst(outputs, expected),
            worst(_gradients(outputs, above, inputs), _gradients(expected, above, exact)),
        )

    return Case("bias_gelu", shape, variant, measure)


def cross_entropy_parity(shape: tuple[int, int], variant: str) -> Case:
    def measure(dtype: torch.dtype, device: str) -> Parity:
        num_rows, num_columns = shape
        padding = num_columns // 5 if "padded" in variant else 0
        logits = 3 * normal(*shape, dtype=torch.float32, device=device, seed=0)
        logits[:, num_columns - padding :] = float("-inf")
        logits = logits.to(dtype)
        labels = torch.randint(num_columns - padding, (num_rows,), generator=torch.Generator().manual_seed(1))
        labels, above = labels.to(device), normal(num_rows, dtype=torch.float32, device=device, seed=2)
        inner = logits.clone().requires_grad_()
        read = strided(inner) if "strided" in variant else inner * 1
        found = masked_cross_entropy(read, labels, first=0, group=None)
        exact = logits.double().requires_grad_()
        expected = F.cross_entropy(exact, labels, reduction="none")
        return Parity(
            worst([found], [expected]),
            worst(_gradients([found], [above], [inner]), _gradients([expected], [above], [exact])),
        )

    return Case("masked_cross_entropy", shape, variant, measure, forward_is_fp32=True)


NORM_SHAPES = [(0, 129), (1, 1), (3, 7), (130, 129), (3, 1000), (17, 1, 768)]
GELU_SHAPES = [(0, 129), (1, 1), (3, 7), (130, 129), (3, 1000), (17, 1, 3072)]
ENTROPY_SHAPES = [(0, 69), (1, 1), (3, 7), (130, 69), (5, 1000), (2, 32000)]

CASES = [
    *(residual_norm_parity(shape, p, "") for shape in NORM_SHAPES for p in (0.0, 0.1)),
    residual_norm_parity((3, 129), 0.1, "strided"),
    *(bias_gelu_parity(shape, "") for shape in GELU_SHAPES),
    bias_gelu_parity((3, 129), "strided"),
    *(cross_entropy_parity(shape, "") for shape in ENTROPY_SHAPES),
    cross_entropy_parity((3, 1000), "padded"),
    cross_entropy_parity((3, 129), "strided"),
]


def table(cases: Sequence[Case], where: str) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the table, and whether each is within its tolerances."""
    yield f"{'':46}{'':10}{'forward':^32}{'backward':^32}", True
    yield f"{'':46}{'':10}" + f"{'absolute':>11}{'relative':>11}{'at most':>10}" * 2 + "  where", True
    for case in cases:
        for dtype in DTYPES:
            parity = case.measure(dtype, where)
            errors = zip((parity.forward, parity.backward), case.tolerances(dtype), strict=True)
            figures = "".join(f"{error[0]:11.1e}{error[1]:11.1e}{most:10.1e}" for error, most in errors)
            line = f"{case!s:46}{str(dtype).removeprefix('torch.'):10}{figures}"
            line += "  GPU" if where == "cuda" else "  interpreter"
            holds = case.holds(parity, dtype)
            yield line + "  TOO FAR" * (not holds), holds


def main() -> int:
    all_hold = True
    for line, holds in table(CASES, device()):
        print(line, flush=True)
        all_hold &= holds
    print("against fp64; relative: of the tensor's largest number")
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
