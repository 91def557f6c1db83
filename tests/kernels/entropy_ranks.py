"""Runs the cross-entropy on vocabularies that 2 and 4 ranks share; the tests start it by torchrun.

Each rank keeps its columns of the same logits, and holds losses and gradient against the whole in fp64.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import parity
import torch
import torch.distributed as dist
import torch.nn.functional as F

from dnabert_nemo.kernels.cross_entropy import masked_cross_entropy, torch_masked_cross_entropy

NUM_ROWS, NUM_COLUMNS, NUM_PADDING = 9, 132, 40  # of 4 ranks, the last holds nothing but padding


def main(folder: Path) -> None:
    """Write what each rank found to `folder`."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    world = dist.get_world_size()
    groups = {world: dist.group.WORLD}
    for pair in [list(range(first, first + 2)) for first in range(0, world, 2)]:
        made = dist.new_group(pair)  # every rank takes part in making every group
        if dist.get_rank() in pair:
            groups[2] = made
    found = {
        f"{function.__name__} on {num_ranks}, {str(dtype).removeprefix('torch.')}": result
        for num_ranks, group in groups.items()
        for function in (masked_cross_entropy, torch_masked_cross_entropy)
        for dtype, result in results(function, group)
    }
    (folder / f"rank-{dist.get_rank()}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def results(function: Callable[..., Any], group: Any) -> Iterator[tuple[torch.dtype, dict[str, Any]]]:
    """Yield a rank's relative errors for each type, and what became of the borderline cases."""
    device = parity.device()
    num_ranks, rank = dist.get_world_size(group), dist.get_rank(group)
    width = NUM_COLUMNS // num_ranks
    mine = slice(rank * width, (rank + 1) * width)
    labels = torch.arange(NUM_ROWS, device=device) * 11  # on every rank but the last of 4, first columns too
    above = parity.normal(NUM_ROWS, dtype=torch.float32, device=device, seed=2)
    for dtype in parity.DTYPES:
        whole = 3 * parity.normal(NUM_ROWS, NUM_COLUMNS, dtype=dtype, device=device, seed=0)
        whole[:, NUM_COLUMNS - NUM_PADDING :] = float("-inf")
        exact = whole.double().requires_grad_()
        expected = F.cross_entropy(exact, labels, reduction="none")
        expected_gradient = torch.autograd.grad(expected, exact, above.double())[0]

        inner = whole[:, mine].clone().requires_grad_()
        losses = function(inner * 1, labels, first=mine.start, group=group)
        gradient = torch.autograd.grad(losses, inner, above)[0]
        with torch.no_grad():
            evaluated = function(inner, labels, first=mine.start, group=group)
            unknown = function(inner, labels + NUM_COLUMNS, first=mine.start, group=group)
        none = function(inner[:0] * 1, labels[:0], first=mine.start, group=group)
        scale = float(expected_gradient.abs().max())
        yield (
            dtype,
            {
                "losses": parity.worst([losses], [expected])[1],
                # of the largest gradient on any rank, since a rank may hold none but zeros
                "gradient": parity.worst([gradient], [expected_gradient[:, mine]])[0] / scale,
                "padding": float(gradient[:, expected_gradient[0, mine] == 0].abs().sum()),
                "evaluated": torch.equal(evaluated, losses),
                "unknown": bool(unknown.isnan().all()),
                "none": list(none.shape),
            },
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
