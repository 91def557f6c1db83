"""Trains one tiny model in every layout of `layouts` and writes what it measured; the tests start it, or you
do.

    python tests/parallel/ranks.py [--steps 10]      # starts 2, 4 and 1 ranks in turn and prints the table

The ranks are forks of one interpreter that has imported all they need, since importing Megatron costs
each a quarter of a minute; a layout replaces the process groups of the one before. `start` is the
parent's side, `fork_ranks` that of the interpreter, `main` that of a rank.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from layouts import LAYOUTS, LEARNING_RATE, SHARED, WRITERS, Layout

SEED = 7
NUMBERS = (2, 4, 1)  # of ranks, in the order in which they read what others wrote
ROWS, TOKENS_PER_ROW, MAX_POSITIONS = 4, 256, 128


def start(folder: Path, num_steps: int, timeout: float = 600) -> str:
    """Run `main` on 2, 4 and 1 ranks, one thread each, and return what they printed; results go to `folder`.

    Ranks that take longer than `timeout` are ended, and the next number of them has its turn.
    """
    given = ["--folder", str(folder), "--steps", str(num_steps), "--timeout", str(timeout)]
    process = subprocess.Popen(
        [sys.executable, __file__, *given],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        return process.communicate(timeout=4 * timeout)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"{process.communicate()[0]}\nstill running after {4 * timeout} s"


def write_shards(folder: Path) -> None:
    """Write the shard sets all ranks train on to `folder`/shards."""
    from dnabert_nemo.genome.toy import write_toy_genome
    from dnabert_nemo.shards.corpus import Corpus
    from dnabert_nemo.shards.prepare import prepare_shards
    from dnabert_nemo.shards.publish import Output
    from dnabert_nemo.shards.settings import ShardSettings
    from dnabert_nemo.shards.splits import SplitSettings

    fasta, _ = write_toy_genome(folder / "toy", seed=1, num_chromosomes=3, chromosome_length=20_000)
    for name, records_per_shard in (("shards", 64), ("small", 1)):
        prepare_shards(
            Corpus.of_fasta(fasta),
            Output(str(folder / name)),
            ShardSettings(k=3, seed=1, min_stretch=64, records_per_shard=records_per_shard),
            SplitSettings(validation=("2",), test=("3",), fractions={"train": 1, "validation": 0, "test": 0}),
        )


def read_results(folder: Path) -> dict[str, Any]:
    """Collect what the ranks have written so far, by the name of the check."""
    results: dict[str, Any] = {}
    for path in sorted(folder.glob("results-*.json")):
        results |= json.loads(path.read_text())
    return results


def fork_ranks(folder: Path, num_steps: int, timeout: float) -> None:
    """Run `main` on every number of ranks in turn, whatever becomes of those before."""
    import checkpoints  # noqa: F401  with the next two, all that ranks import
    import measures  # noqa: F401
    import switches  # noqa: F401
    import torch.distributed as dist
    from torch.multiprocessing.spawn import ProcessException, start_processes

    import dnabert_nemo.model  # noqa: F401

    gc.freeze()  # Megatron looks for garbage at each checkpoint it reads, which is long among all its imports
    for num_ranks in NUMBERS:
        store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        end = time.monotonic() + timeout
        print(f"on {num_ranks} ranks:", flush=True)
        try:
            started = start_processes(
                main, (num_ranks, store.port, folder, num_steps), num_ranks, join=False, start_method="fork"
            )
            while time.monotonic() < end:
                if started.join(end - time.monotonic()):
                    break
            else:
                print(f"still running after {timeout} s", flush=True)
                for process in started.processes:
                    process.kill()
                    process.join()
        except ProcessException as error:
            print(error, flush=True)


def main(rank: int, world: int, port: int, folder: Path, num_steps: int) -> None:
    """Run every check of this number of ranks; results are written after each, so that a crash loses one."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, is_master=False)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world)
    results: dict[str, Any] = {}

    def record(name: str, result: Any) -> None:
        results[name] = result
        if rank == 0:
            (folder / f"results-{world}.json").write_text(json.dumps(results))

    from switches import losses, tested

    record(
        f"switches on {world}", {each.name: losses(each, folder, each.tested_steps) for each in tested(world)}
    )
    for layout in LAYOUTS[world]:
        record(layout.name, train(layout, folder, num_steps))
    if world == 2:
        from measures import dropout, losses_under_dropout, optimizer_bytes, streamed

        record("dropout", dropout())
        record("losses under dropout", losses_under_dropout(folder))
        record("streamed", streamed(folder))
        record("optimizer bytes", optimizer_bytes())
    else:
        from checkpoints import read_checkpoints, read_nemo, reshape, write_nemo

        record(f"checkpoints on {world}", read_checkpoints(folder, num_steps))
        if world == 4:
            record("reshaped", reshape(folder, num_steps))
            write_nemo(folder)
        else:
            from measures import curve

            record("nemo", read_nemo(folder))
            record("curve", curve(folder))
    dist.destroy_process_group()


def shape(dropout: float = 0.0, block_type: str = "pre_ln") -> Any:
    from dnabert_nemo.megatron.shape import BertShape

    sizes = (69, 128, 4, 64, 256, 4, MAX_POSITIONS)
    return BertShape(
        *sizes, hidden_dropout=dropout, attention_dropout=dropout, transformer_block_type=block_type
    )


def stage(layout: Layout, dropout: float = 0.0) -> Any:
    """Start the layout's groups and make what this rank holds of the model, with its first weights."""
    from dnabert_nemo.megatron import topology, weights
    from dnabert_nemo.megatron.bert import BertForMaskedLM, build
    from dnabert_nemo.megatron.lora import train_adapters_alone
    from dnabert_nemo.megatron.lora_settings import LoraSettings
    from dnabert_nemo.megatron.shape import transformer_config

    topology.start(layout.sizes, SEED)
    whole = shape(dropout, layout.block_type)
    config = transformer_config(
        whole,
        layout.sizes,
        layout.precision,
        layout.recompute,
        layout.kernels,
        last_layer_where_read=layout.last_layer_where_read,
        lora=layout.lora_rank and LoraSettings(layout.lora_rank, alpha=8),
    )
    module = build(lambda run: BertForMaskedLM(config, whole, run))
    weights.initialize(module, whole, SEED)
    if layout.lora_rank:
        train_adapters_alone(module)
        for name, parameter in module.named_parameters():
            if name.endswith("output_layer.weight"):  # a last stage's own copy of the embedding
                parameter.requires_grad = False
        _draw_second_halves(module)
    return module


def _draw_second_halves(module: Any) -> None:
    """Draw the halves of adapters that start at zero, by which the others would have no gradient."""
    import torch

    from dnabert_nemo.megatron import weights

    for shard in weights.shards(module):
        if shard.key.endswith("lora_b"):
            seed = int.from_bytes(hashlib.sha256(shard.key.encode()).digest()[:4], "big")
            whole = 0.05 * torch.randn(shard.global_shape, generator=torch.Generator().manual_seed(seed))
            first, size = shard.global_offset[0], shard.local_shape[0]
            with torch.no_grad():
                shard.data.copy_(whole[first : first + size])


def steps(folder: Path, count: int) -> list[Any]:
    """Build this data rank's part of the first steps, as a run's data module does."""
    from dnabert_nemo.data.masking import Masking
    from dnabert_nemo.data.module import PretrainingDataModule
    from dnabert_nemo.data.packing import StepShape
    from dnabert_nemo.data.paths import DataPaths
    from dnabert_nemo.kmer.masking import MaskRule
    from dnabert_nemo.megatron import topology

    data = PretrainingDataModule(
        DataPaths((str(folder / "shards" / "train"),), str(folder / "shards" / "validation")),
        StepShape(ROWS, 1, TOKENS_PER_ROW, MAX_POSITIONS),
        Masking(MaskRule(3)),
        seed=SEED,
        num_workers=0,
    )
    data.setup()
    data.set_data_parallel(topology.data_rank(), topology.data_size())
    return list(islice(data.train_dataloader(), count))


class Trainer:
    """A stage with its optimizer, and the loss and gradient norm of every step it took."""

    def __init__(self, layout: Layout, module: Any) -> None:
        from dnabert_nemo.megatron.engine import data_parallel
        from dnabert_nemo.megatron.losses import MaskedLMLoss
        from dnabert_nemo.megatron.optimizer import MegatronAdamW, OptimizerSettings

        name = "distributed_fused_adam" if layout.distributed_optimizer else "fused_adam"
        self.module = module
        self.ddp = data_parallel(module, distributed_optimizer=layout.distributed_optimizer)
        # eps above the rounding of gradients that are zero in theory, as those of the bias of keys: Adam's
        # first step would blow up the sign of their noise to the learning rate
        self.optimizer = MegatronAdamW(self.ddp, OptimizerSettings(name=name, lr=LEARNING_RATE, eps=1e-6))
        self.loss: Any = MaskedLMLoss(3, layout.kernels.cross_entropy)
        self.gradients: dict[str, Any] = {}
        self.losses: list[float] = []
        self.grad_norms: list[float] = []

    def sums(self, step: Any, training: bool) -> Any:
        from dnabert_nemo.megatron.engine import run_step
        from dnabert_nemo.megatron.losses import MASKED_LM_SUMS

        return run_step(
            self.ddp,
            step.micro_batches,
            self.loss,
            hidden_tokens=TOKENS_PER_ROW,
            num_sums=len(MASKED_LM_SUMS),
            training=training,
        )

    def take(self, step: Any, keep_gradients: bool = False) -> None:
        self.optimizer.zero_grad()
        sums = self.sums(step, training=True)
        if keep_gradients:
            self.gradients = _gradients(self.module)
        self.optimizer.step()
        self.losses.append(float(sums[0] / sums[1]))
        self.grad_norms.append(self.optimizer.last.grad_norm)


def train(layout: Layout, folder: Path, num_steps: int) -> dict[str, Any]:
    """Take some steps, and write a checkpoint after the first where the layout is one of `WRITERS`."""
    import torch
    import torch.distributed as dist

    from dnabert_nemo.megatron import checkpoint, weights

    module = stage(layout)
    first_weights = _sha256(weights.gather(module))
    trainer = Trainer(layout, module)
    batches = steps(folder, num_steps + 1)
    for number, batch in enumerate(batches[:-1]):
        trainer.take(batch, keep_gradients=number == 0)
        if number == 0:
            after_one_step = weights.gather(module)
            if dist.get_rank() == 0:
                torch.save(after_one_step, folder / f"{layout.name}.pt")
                torch.save(trainer.gradients, folder / f"{layout.name}.gradients.pt")
            if layout.name in WRITERS:
                checkpoint.save(folder / WRITERS[layout.name], module, trainer.optimizer, {"steps": 1})
    evaluated = trainer.sums(batches[-1], training=False).tolist()
    first_again = trainer.sums(batches[0], training=False).tolist()
    on_every_rank: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(on_every_rank, (trainer.losses, trainer.grad_norms, evaluated))
    return {
        "losses": trainer.losses,
        "grad_norms": trainer.grad_norms,
        "evaluated": evaluated,
        "first_again": first_again[0] / first_again[1],
        "first_weights": first_weights,
        "ranks_agree": all(each == on_every_rank[0] for each in on_every_rank),
    }


def _gradients(module: Any) -> dict[str, Any]:
    """Gather the gradients before clipping, by the names of their weights.

    Under the distributed optimizer a rank knows only those it will step, so theirs are not all of them.
    """
    import torch

    from dnabert_nemo.megatron import weights

    kept = [(parameter, parameter.data) for parameter in module.parameters()]
    for parameter, data in kept:  # of another type it would lose the hook that fills main_grad
        gradient = parameter.main_grad if parameter.requires_grad else torch.zeros_like(data)
        parameter.data = gradient.to(data.dtype, copy=True)
    gathered = weights.gather(module)
    for parameter, data in kept:
        parameter.data = data
    return gathered


def _sha256(tensors: dict[str, Any]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].float().numpy().tobytes())
    return digest.hexdigest()


def table(folder: Path, results: dict[str, Any]) -> str:
    """Lay all layouts side by side: how far each is from one rank, the largest distance there is."""
    lines = [f"{'':58}{'loss':>9}{'grad norm':>11}{'gradient':>10}{'weights':>9}  losses"]
    for layout in dict.fromkeys([each.one_rank for each in SHARED] + SHARED):
        own, one_rank = results[layout.name], results[layout.one_rank.name]
        far = [
            max(abs(a / b - 1) if b else abs(a) for a, b in zip(own[key], one_rank[key], strict=True))
            for key in ("losses", "grad_norms")
        ]
        far += [distance(folder, layout, part) for part in (".gradients", "")]
        figures = "".join(f"{each:{width}.1e}" for each, width in zip(far, (9, 11, 10, 9), strict=True))
        lines.append(f"{layout.name:58}{figures}  {' '.join(f'{loss:.6f}' for loss in own['losses'])}")
    lines.append(
        "loss, grad norm: relative; gradient of the first step, weights after it: the largest of any"
    )
    return "\n".join(lines)


def reshaped_table(results: dict[str, Any]) -> str:
    """Lay out the last loss of every reader of every writer's checkpoint."""
    reshaped = results["reshaped"]
    lines = [f"{'written at':24}" + "".join(f"{'read at ' + name:>32}" for name in reshaped)]
    for writer, by_reader in reshaped.items():
        lines.append(f"{writer:24}" + "".join(f"{by_reader[reader][-1]:32.6f}" for reader in reshaped))
    return "\n".join(lines)


def distance(folder: Path, layout: Layout, part: str) -> float:
    """Return how far any element is from one rank's at most: of `.gradients`, or of weights after a step."""
    import torch

    if part and layout.distributed_optimizer:
        return float("nan")
    own, one_rank = (
        torch.load(folder / f"{each.name}{part}.pt", weights_only=True) for each in (layout, layout.one_rank)
    )
    assert own.keys() == one_rank.keys()
    return max(float((own[name] - tensor).abs().max()) for name, tensor in one_rank.items())


def _started_by_hand(num_steps: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder)
        printed = start(folder, num_steps, timeout=900)
        results = read_results(folder)
        if not {layout.name for number in NUMBERS for layout in LAYOUTS[number]} <= results.keys():
            sys.exit(printed)
        print(table(folder, results), reshaped_table(results), sep="\n\n")
        for name, num_bytes in results["optimizer bytes"].items():
            print(f"{name}: {num_bytes:,} bytes of optimizer state on a rank")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--timeout", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.folder is None:
        _started_by_hand(given.steps)
    else:
        fork_ranks(given.folder, given.steps, given.timeout)
