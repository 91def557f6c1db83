"""Everything that makes a step faster is held against the golden curve, which none of it may change.

    python tests/parallel/switches.py [--steps 20]     # prints the table; exits 1 where a loss is too far

Triton's kernels run in its interpreter, number by number, so that the whole takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from golden_curve import GOLDEN_CURVE
from layouts import ON_CPU, Layout

from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.megatron.sizes import ParallelSizes

# The curve is rounded to 5e-7, and sums in another order make 1e-7 of a loss, 4.2, in a step. Attention that
# looks at another sample, the control, changes it by 4e-4 in the first.
TOLERANCE = 1e-5
QUICK, SLOW, SLOWEST = 15, 5, 2  # steps in the tests, fewer of what Triton's interpreter makes slow


@dataclass(frozen=True)
class Switch:
    """A way to compute the same losses.

    Args:
        in_padded_rows: each sample has a row of its own.
        at_every_token: the head maps every token to logits, of which the loss takes those of masked ones.
        across_samples: tokens of a row see those of all its samples, which is wrong.
        tested_steps: in the tests; 0 for what another switch has too.
    """

    name: str
    layout: Layout
    in_padded_rows: bool = False
    at_every_token: bool = False
    across_samples: bool = False
    tested_steps: int = QUICK


def _kernels(**changed: str) -> Layout:
    return Layout(1, ParallelSizes(), kernels=replace(ON_CPU, **changed))


_ALL = {"norm": "triton", "gelu": "triton", "cross_entropy": "triton"}
_ONE_RANK, _WHOLE = Layout(1, ParallelSizes()), Layout(1, ParallelSizes(), last_layer_where_read=False)
_TWO = Layout(2, ParallelSizes(2))
_TWO_FUSED = replace(_TWO, kernels=replace(ON_CPU, cross_entropy="triton"))

SWITCHES = [
    Switch("packed rows, masked head, last layer where it is read", _ONE_RANK),
    Switch("last layer whole", _WHOLE),
    Switch("head at every token, last layer whole", _WHOLE, at_every_token=True),
    Switch("padded rows", _ONE_RANK, in_padded_rows=True),
    Switch("padded rows, head at every token, last layer whole", _WHOLE, True, True),
    Switch("kernels of torch", Layout(1, ParallelSizes(), kernels=Kernels())),
    Switch("Triton's cross-entropy", _kernels(cross_entropy="triton"), tested_steps=SLOW),
    Switch("Triton's norm", _kernels(norm="triton"), tested_steps=0),
    Switch("Triton's GELU", _kernels(gelu="triton"), tested_steps=0),
    Switch("all of Triton's kernels", _kernels(**_ALL), tested_steps=SLOWEST),
    Switch("layers by torch.compile", _kernels(layer="compiled"), tested_steps=SLOW),
    Switch("TP2", _TWO, tested_steps=0),
    Switch("TP2, Triton's cross-entropy", _TWO_FUSED, tested_steps=SLOW),
]
CONTROL = Switch("attention across samples", _ONE_RANK, across_samples=True, tested_steps=SLOWEST)
EACH = [*SWITCHES, CONTROL]


def tested(num_ranks: int) -> list[Switch]:
    """Return what the tests measure on so many ranks."""
    return [each for each in EACH if each.layout.num_ranks == num_ranks and each.tested_steps]


def losses(switch: Switch, folder: Path, num_steps: int) -> list[float]:
    """Train on the shards in `folder` with the switch thrown, and return the loss of each step."""
    from ranks import MAX_POSITIONS, Trainer, stage, steps

    from dnabert_nemo.bench.throughput.samples import in_padded_rows

    trainer = Trainer(switch.layout, stage(switch.layout))
    if switch.at_every_token:
        trainer.loss = _OfAsked(trainer.loss)
    for step in steps(folder, num_steps):
        batches = step.micro_batches
        if switch.in_padded_rows:
            batches = tuple(in_padded_rows(batch, MAX_POSITIONS) for batch in batches)
        if switch.across_samples:
            batches = tuple(replace(batch, segment_lengths=(len(batch.ids),)) for batch in batches)
        if switch.at_every_token:
            batches = tuple(_EveryToken(batch) for batch in batches)
        trainer.take(replace(step, micro_batches=batches))
    return trainer.losses


class _EveryToken:
    """A micro batch of which the head is asked for everything."""

    def __init__(self, asked: Any) -> None:
        import torch

        self.asked, self.ids, self.positions = asked, asked.ids, asked.positions
        self.segment_lengths = asked.segment_lengths
        self.masked_at = torch.arange(len(asked.ids))


class _OfAsked:
    """The loss of the logits that were asked for, among those of every token."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss

    def __call__(self, logits: Any, batch: _EveryToken) -> Any:
        return self.loss(logits.index_select(0, batch.asked.masked_at), batch.asked)


def furthest(found: Sequence[float]) -> float:
    """Return the largest difference of any loss from the golden curve."""
    return max(abs(loss - golden) for loss, golden in zip(found, GOLDEN_CURVE, strict=False))


def _on_each_rank(folder: Path, num_steps: int) -> None:
    """Measure the switches of this number of ranks."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    for number, switch in enumerate(EACH):
        if switch.layout.num_ranks == dist.get_world_size():
            found = losses(switch, folder, num_steps)
            if dist.get_rank() == 0:
                (folder / f"switch-{number}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _started_by_hand(num_steps: int) -> int:
    import ranks

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranks.write_shards(folder)
        for num_ranks in (1, 2):
            command = [*torchrun, f"--nproc_per_node={num_ranks}", __file__, "--folder", name]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"}
            done = subprocess.run(
                [*command, "--steps", str(num_steps)], env=environment, capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(done.stdout + done.stderr)
        found = [json.loads((folder / f"switch-{number}.json").read_text()) for number in range(len(EACH))]
    print(f"{'':56}{'largest difference':>20}{'at most':>10}  of {num_steps} steps")
    *far, control = map(furthest, found)
    for switch, each in zip(SWITCHES, far, strict=True):
        print(f"{switch.name:56}{each:20.1e}{TOLERANCE:10.0e}{'  TOO FAR' * (not each <= TOLERANCE)}")
    print(f"{CONTROL.name:56}{control:20.1e}  a mistake, to be seen")
    print("of any loss from tests/parallel/golden_curve.py; fp32, dropout 0")
    return 0 if all(each <= TOLERANCE for each in far) and control > 10 * TOLERANCE else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is None:
        sys.exit(_started_by_hand(given.steps))
    _on_each_rank(given.folder, given.steps)
