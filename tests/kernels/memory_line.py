"""Memory of attention, forward and backward, against packed tokens: a line, where a dense mask is a parabola.

    python tests/kernels/memory_line.py      # prints the tables; exits 1 where growth is more than linear

Peaks are of tensors on a GPU, on a CPU of resident bytes of a process of its own for each point, beyond
queries, keys and values. Four heads of 64, with segments as DNABERT draws them.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from dnabert_nemo.bench.throughput.memory import PeakMemory
from dnabert_nemo.data.packing import NUM_ENDS
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.kernels.attention import Spans, attend
from dnabert_nemo.kernels.choose import AMPERE

NUM_HEADS, HEAD_SIZE, MAX_POSITIONS = 4, 64, 512
STEEPEST = 1.1  # slope of log bytes over log tokens: 1 is a line, 2 a parabola
MOST_OF_DOUBLING = 2.0**STEEPEST  # of the last one, where what does not grow weighs least
PROCESSES = 3  # that measure a point on a CPU
MOST_BYTES = 4e9  # of a point that is worth its while


class Way(NamedTuple):
    """An attention kernel, and the dropout it is given."""

    kernel: str
    dropout: float

    def __str__(self) -> str:
        return f"{self.kernel}, dropout {self.dropout:g}"


class Taken(NamedTuple):
    """Bytes at the peak of forward and backward, and of the tensors saved for the latter.

    What an operation keeps for itself is in the peak alone.
    """

    peak: int
    kept: int


def device() -> torch.device:
    """Return where attention is measured."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ways() -> list[Way]:
    """Return every kernel of this device, with and without dropout."""
    kernels = ["segments", "blocks"]
    if device().type == "cuda":
        kernels = ["segments", "efficient"] + ["flash"] * (torch.cuda.get_device_capability() >= AMPERE)
    return [Way(kernel, dropout) for kernel in kernels for dropout in (0.0, 0.1)]


def _dtype() -> torch.dtype:
    if device().type == "cpu":
        return torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability() >= AMPERE else torch.float16


def lengths_of_mix(num_tokens: int) -> tuple[int, ...]:
    """Return the first segments of DNABERT's length mix, the last one cut, that make up so many tokens."""
    plan = SamplingPlan(np.array([10**6]), MAX_POSITIONS - NUM_ENDS, 1, "dnabert")
    drawn = plan.samples(0, num_tokens // 64)["length"] + NUM_ENDS
    ends = np.minimum(np.cumsum(drawn), num_tokens)
    found = np.diff(ends, prepend=0)
    assert ends[-1] == num_tokens
    return tuple(found[found > 0].tolist())


def measure(way: Way, lengths: Sequence[int]) -> Taken:
    """Attend over segments of these lengths, forward and backward, and tell what it took.

    On a CPU the least of several processes: to what is needed the allocator adds what it happens to leave
    unused, up to a fifth. Of a process that has held more before, it would take free room that does not show.
    """
    if device().type == "cuda":
        return measure_here(way, lengths)
    found = []
    for _ in range(PROCESSES):
        with multiprocessing.get_context("fork").Pool(1) as process:
            found.append(process.apply(measure_here, (way, lengths)))
    return min(found)


def measure_here(way: Way, lengths: Sequence[int]) -> Taken:
    """Do the same in this process."""
    _attended(way, (100,))  # what is set up once
    return _attended(way, lengths)


def _attended(way: Way, lengths: Sequence[int]) -> Taken:
    num_tokens, where = sum(lengths), device()
    torch.manual_seed(1)
    shape = (num_tokens, NUM_HEADS, HEAD_SIZE)
    query, key, value = (torch.randn(shape, device=where, dtype=_dtype()).requires_grad_() for _ in range(3))
    above, spans = torch.randn_like(query), Spans(tuple(lengths), tuple(lengths), where)
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    memory = PeakMemory()
    memory.reset()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attended = attend(way.kernel, query, key, value, spans, way.dropout)
    torch.autograd.backward(attended, above)
    peak = memory.peak()
    given = {each.untyped_storage().data_ptr() for each in (query, key, value)}
    return Taken(peak, sum(count for pointer, count in storages.items() if pointer not in given))


class Line(NamedTuple):
    """The straight line through logarithms: bytes ~ tokens ^ slope."""

    slope: float
    r2: float  # 1 where all points lie on it
    last: float  # what the last doubling of the tokens has made of the bytes


def line(tokens: Sequence[int], taken: Sequence[int]) -> Line:
    """Lay the line of least squares."""
    x, y = np.log2(np.array(tokens)), np.log2(np.maximum(np.array(taken), 1))
    slope, height = np.polyfit(x, y, 1)
    missed = ((y - slope * x - height) ** 2).sum() / max(((y - y.mean()) ** 2).sum(), 1e-12)
    return Line(float(slope), float(1 - missed), taken[-1] / taken[-2])


def is_at_most_linear(found: Line) -> bool:
    return found.slope <= STEEPEST and found.last <= MOST_OF_DOUBLING


def by_tokens(most: int) -> Iterator[tuple[str, bool]]:
    """Yield the lines of the first table, and whether the growth that each tells of is at most linear."""
    yield "MB at the peak, and kept by autograd, for segments of DNABERT's length mix", True
    tokens = [2048 << doubling for doubling in range(int(math.log2(most / 2048)) + 1)]
    yield (
        f"{'packed tokens':26}"
        + "".join(f"{count:>16,}" for count in tokens)
        + f"{'slope':>8}{'R2':>7}{'last x':>8}",
        True,
    )
    for way in ways():
        found = [measure(way, lengths_of_mix(count)) for count in tokens]
        fit = line(tokens, [each.peak for each in found])
        row = f"{way!s:26}" + "".join(f"{each.peak / 1e6:8.1f}{each.kept / 1e6:8.1f}" for each in found)
        holds = is_at_most_linear(fit)
        yield (
            row + f"{fit.slope:8.2f}{fit.r2:7.3f}{fit.last:8.2f}" + "  MORE THAN LINEAR" * (not holds),
            holds,
        )
    yield (
        f"{'one dense [T, T] mask':26}"
        + "".join(f"{t * t / 1e6:8.1f}{'':8}" for t in tokens)
        + f"{2:8.2f}{1:7.3f}{4:8.2f}",
        True,
    )


def by_length(num_tokens: int) -> Iterator[str]:
    """Yield the lines of the second table."""
    lengths = [512 << doubling for doubling in range(5)]
    yield f"MB at the peak for {num_tokens:,} tokens in segments of one length"
    yield f"{'tokens of a segment':26}" + "".join(f"{length:>10,}" for length in lengths)
    for way in ways():
        row, last = f"{way!s:26}", 0
        for length in lengths:
            if 2 * last > MOST_BYTES:
                row += f"{'-':>10}"
                continue
            last = measure(way, [length] * (num_tokens // length)).peak
            row += f"{last / 1e6:10.1f}"
        yield row
    yield f"-: not tried, more than {MOST_BYTES / 1e9:.0f} GB if it doubles once more"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=32768, help="packed tokens of the largest point")
    parser.add_argument("--mix-only", action="store_true", help="leave out the table of segment lengths")
    given = parser.parse_args()
    torch.set_num_threads(1)
    all_hold = True
    for text, holds in by_tokens(given.most):
        print(text, flush=True)
        all_hold &= holds
    if not given.mix_only:
        print()
        for text in by_length(given.most):
            print(text, flush=True)
    print(f"{torch.cuda.get_device_name() if device().type == 'cuda' else 'CPU'}, {_dtype()}")
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
