"""What travels between numbers of ranks: checkpoints to resume from, and the .nemo file; `ranks` calls it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from layouts import LAYOUTS, ONE_RANK, RESHAPED, WRITERS, Layout
from omegaconf import OmegaConf
from ranks import SEED, TOKENS_PER_ROW, Trainer, shape, stage, steps

from dnabert_nemo.megatron import checkpoint, topology, weights

NEMO = "tp2_pp2.nemo"


def read_checkpoints(folder: Path, num_steps: int) -> dict[str, list[float]]:
    """Read every checkpoint written so far into a new model of this number of ranks and take the steps
    left.
    """
    world = dist.get_world_size()
    losses = {}
    for writer, name in WRITERS.items():
        sizes = LAYOUTS[world][0].sizes
        layout = Layout(world, sizes, distributed_optimizer="distributed" in writer)
        trainer = Trainer(layout, _emptied(stage(layout)))
        progress = checkpoint.load(folder / name, trainer.module, trainer.optimizer)
        for batch in steps(folder, num_steps)[progress["steps"] :]:
            trainer.take(batch)
        losses[writer] = trainer.losses
    return losses


def reshape(folder: Path, num_steps: int) -> dict[str, dict[str, list[float]]]:
    """Write a checkpoint after one step in each of `RESHAPED`, and go on from each in each: the losses.

    All are of four ranks, so what a model does not share is data parallel, over which the optimizer's state
    is sharded: that is reshaped too.
    """
    layouts = {name: Layout(4, sizes, distributed_optimizer=True) for name, sizes in RESHAPED.items()}
    for name, layout in layouts.items():
        trainer = Trainer(layout, stage(layout))
        trainer.take(steps(folder, 1)[0])
        checkpoint.save(folder / f"{name}.ckpt", trainer.module, trainer.optimizer, {"steps": 1})
    losses: dict[str, dict[str, list[float]]] = {name: {} for name in layouts}
    for reader, layout in layouts.items():
        for writer in layouts:
            trainer = Trainer(layout, _emptied(stage(layout)))
            progress = checkpoint.load(folder / f"{writer}.ckpt", trainer.module, trainer.optimizer)
            for batch in steps(folder, num_steps)[progress["steps"] :]:
                trainer.take(batch)
            losses[writer][reader] = trainer.losses
    return losses


def _emptied(module: Any) -> Any:
    """Set all weights to zero: what is not read shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    return module


def write_nemo(folder: Path) -> None:
    """Write a trained model from TP2 x PP2 ranks, and beside it the logits of those ranks."""
    from dnabert_nemo.model import DnabertModel

    layout = LAYOUTS[4][0]
    trainer = Trainer(layout, stage(layout))
    batches = steps(folder, 2)
    trainer.take(batches[0])
    model = DnabertModel(OmegaConf.create(_config()))
    model.bert = trainer.module
    model.save_to(str(folder / NEMO))
    logits = _logits(trainer, batches[1].micro_batches[0])
    if topology.is_last_stage() and topology.tensor_rank() == 0:
        torch.save(logits, folder / "logits.pt")
    dist.barrier()


def read_nemo(folder: Path) -> dict[str, Any]:
    """Open that file with NeMo's own restore, and compare its logits and weights with those of the ranks."""
    from nemo.core import ModelPT

    import dnabert_nemo.model  # noqa: F401  NeMo's restore then knows the class

    topology.start(ONE_RANK.sizes, SEED)
    model = ModelPT.restore_from(str(folder / NEMO)).eval()
    batch = steps(folder, 2)[1].micro_batches[0]
    with torch.no_grad():
        logits = model(batch)
    expected = torch.load(folder / "logits.pt")
    real = expected.isfinite()
    one_rank = torch.load(folder / f"{ONE_RANK.name}.pt")
    restored = weights.gather(model.bert)
    return {
        "class": type(model).__name__,
        "logits_differ_by": float((logits - expected)[real].abs().max()),
        "same_padding": bool(torch.equal(logits.isfinite(), real)),
        "same_names": sorted(restored) == sorted(one_rank),
        "weights_differ_by": max(float((restored[name] - one_rank[name]).abs().max()) for name in restored),
    }


def _logits(trainer: Trainer, batch: Any) -> torch.Tensor | None:
    """Return the logits [M, V] of one micro batch on the last stage, of all tensor ranks together."""
    from megatron.core import tensor_parallel

    from dnabert_nemo.megatron.engine import run_step

    seen = []

    def keep(output: torch.Tensor, _: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seen.append(tensor_parallel.gather_from_tensor_model_parallel_region(output))
        return output.sum(), torch.tensor(1, dtype=torch.int), torch.zeros(1, dtype=torch.double)

    trainer.ddp.eval()
    with torch.no_grad():
        run_step(trainer.ddp, [batch], keep, hidden_tokens=TOKENS_PER_ROW, num_sums=1, training=False)
    return seen[0] if seen else None


def _config() -> dict[str, Any]:
    tiny = shape()
    return {
        "seed": SEED,
        "tokenizer": {"k": 3, "vocab_file": None},
        "num_layers": tiny.num_layers,
        "hidden_size": tiny.hidden_size,
        "ffn_hidden_size": tiny.ffn_hidden_size,
        "num_attention_heads": tiny.num_attention_heads,
        "max_position_embeddings": tiny.max_position_embeddings,
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "tensor_model_parallel_size": 2,
        "pipeline_model_parallel_size": 2,
        "sequence_parallel": False,
    }
