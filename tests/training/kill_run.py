"""Kills a tiny pre-training run at random moments, starts it again each time, and compares how it ends.

    python tests/training/kill_run.py [--kills 30] [--seed 1] [--steps 200]

Half of the kills come at a moment within the first seconds of training, the others while a checkpoint is
being written. At some starts a bit of the newest checkpoint has been flipped. The .nemo file at the end must
have the bytes of that of a run that nobody disturbed. A start takes about ten seconds before its first step.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

NAME = "dnabert_tiny"
OVERRIDES = (
    "model.num_layers=2",
    "model.hidden_size=64",
    "model.ffn_hidden_size=256",
    "model.num_attention_heads=4",
    "model.hidden_dropout=0.1",
    "model.attention_dropout=0.1",
    "model.micro_batch_size=1",
    "model.global_batch_size=2",
    "model.data.tokens_per_row=512",
    "model.data.sequence_length=null",
    "model.max_position_embeddings=512",
    "model.data.num_validation_samples=8",
    "model.optim.sched.warmup_steps=2",
    "model.optim.sched.constant_steps=1",
    "trainer.val_check_interval=10",
    "trainer.log_every_n_steps=1",
    "exp_manager.checkpoint_callback_params.every_n_train_steps=2",
    "exp_manager.checkpoint_callback_params.save_top_k=2",
    "exp_manager.create_tensorboard_logger=false",
)


@dataclass(frozen=True)
class Kill:
    """What was done to one start, and what the next one said of it."""

    moment: str
    last_step: int
    left: str
    flipped: str
    resumed_from: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=4.0, help="of training, that a kill comes within")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_shards(folder)
        undisturbed = Run(folder, "undisturbed", given.steps, in_background=False)
        undisturbed.start().finish()
        killed = Run(folder, "killed", given.steps, in_background=True)
        kills = _kill(killed, given.kills, given.seconds, random.Random(given.seed))
        print(_table(kills))
        same = killed.nemo.read_bytes() == undisturbed.nemo.read_bytes()
        best = [run.best() for run in (undisturbed, killed)]
        print(f"{len(kills)} kills; the .nemo files are {'the same' if same else 'NOT THE SAME'}")
        print(f"checkpoints kept, undisturbed: {best[0]}\ncheckpoints kept, killed:      {best[1]}")
        sys.exit(not same or len(kills) < given.kills or best[0] != best[1])


class Run:
    """A run in a folder of its own, which can be started any number of times."""

    def __init__(self, folder: Path, name: str, num_steps: int, *, in_background: bool) -> None:
        self.folder, self.num_steps = folder / name, num_steps
        self.folder.mkdir()
        self._command = [
            sys.executable,
            str(Path(__file__).parents[2] / "examples" / "pretrain.py"),
            *("--config-name", NAME),
            *(f"model.data.{split}={folder / 'shards' / split}" for split in ("train", "validation")),
            *OVERRIDES,
            f"trainer.max_steps={num_steps}",
            f"exp_manager.checkpoint_callback_params.async_save={str(in_background).lower()}",
        ]
        self.checkpoints = self.folder / "runs" / NAME / "checkpoints"
        self.nemo = self.checkpoints / f"{NAME}.nemo"
        self.out = self.folder / "out.txt"

    def start(self) -> Run:
        """Start the command once more."""
        with self.out.open("w") as out, (self.folder / "err.txt").open("a") as err:
            self.process = subprocess.Popen(
                self._command,
                cwd=self.folder,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    def finish(self) -> None:
        """Let it end by itself."""
        if self.process.wait() != 0:
            sys.exit(f"{self.out.read_text()[-3000:]}\n{(self.folder / 'err.txt').read_text()[-3000:]}")

    def kill(self) -> None:
        """Kill its processes as a machine that fails does."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def last_step(self) -> int:
        """The last step it has told of."""
        return max((int(step) for step in re.findall(r"^step (\d+)/", self.out.read_text(), re.M)), default=0)

    def best(self) -> list[str]:
        """Names of the checkpoints that are there."""
        return sorted(path.name for path in self.checkpoints.glob("*.ckpt"))


def _kill(run: Run, num_kills: int, seconds: float, rng: random.Random) -> list[Kill]:
    kills: list[tuple[str, int, str]] = []
    flipped, starts = [""], []
    while True:
        run.start()
        killed = len(kills) < num_kills and _kill_at_a_moment(run, seconds, rng, kills)
        if not killed:
            run.finish()
        starts.append(re.findall(r"^resuming from .*/(\S+ckpt)$", run.out.read_text(), re.M))
        if not killed:
            break
        is_unfinished = run.last_step() < run.num_steps  # else the best would be lost for good
        flipped.append(_flip(run, rng) if rng.random() < 0.25 and is_unfinished else "")
    starts = [found[0] if found else "the beginning" for found in starts]
    return [Kill(*kill, flipped[n + 1], starts[n + 1]) for n, kill in enumerate(kills)]


def _kill_at_a_moment(
    run: Run, seconds: float, rng: random.Random, kills: list[tuple[str, int, str]]
) -> bool:
    """Kill a start, unless it ends before; return whether it was killed."""
    while_saving = rng.random() < 0.5
    delay = rng.uniform(0, 0.05) if while_saving else rng.uniform(0, seconds)
    num_saves = rng.randrange(1, 6)
    while run.last_step() == 0:
        if run.process.poll() is not None:
            return False
        time.sleep(0.01)
    seen = False
    while while_saving and num_saves and run.process.poll() is None:
        is_saving = any(run.checkpoints.glob("*.unfinished"))
        num_saves -= is_saving and not seen
        seen = is_saving
        time.sleep(0.0005)
    time.sleep(delay)
    if run.process.poll() is not None:
        return False
    run.kill()
    left = sorted({path.suffix for path in run.checkpoints.glob("*.ckpt.*")} - {".damaged"})
    moment = f"save + {1000 * delay:.0f} ms" if while_saving else f"first step + {delay:.2f} s"
    kills.append((moment, run.last_step(), " ".join(left)))
    return True


def _flip(run: Run, rng: random.Random) -> str:
    """Flip a bit of the newest checkpoint, where one stays that is whole."""
    from dnabert_nemo.megatron import checkpoint_folder

    found = checkpoint_folder.finished(run.checkpoints)
    if len(found) < 2:
        return ""
    path = rng.choice(sorted(path for path in found[0].path.iterdir() if path.name != "manifest.json"))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return f"{found[0].name}/{path.name}"


def _write_shards(folder: Path) -> None:
    from dnabert_nemo.genome.toy import write_toy_genome
    from dnabert_nemo.shards.corpus import Corpus
    from dnabert_nemo.shards.prepare import prepare_shards
    from dnabert_nemo.shards.publish import Output
    from dnabert_nemo.shards.settings import ShardSettings
    from dnabert_nemo.shards.splits import SplitSettings

    fasta, _ = write_toy_genome(folder / "toy", seed=1, num_chromosomes=3, chromosome_length=20_000)
    prepare_shards(
        Corpus.of_fasta(fasta),
        Output(str(folder / "shards")),
        ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=64),
        SplitSettings(validation=("2",), test=("3",), fractions={"train": 1, "validation": 0, "test": 0}),
    )


def _table(kills: list[Kill]) -> str:
    lines = [
        "| kill | moment | last step | left behind | bit flipped in | resumed from |",
        "|---|---|---|---|---|---|",
    ]
    for number, each in enumerate(kills, 1):
        cells = (number, each.moment, each.last_step, each.left, each.flipped, each.resumed_from)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
