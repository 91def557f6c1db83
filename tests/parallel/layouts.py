"""The ways of sharing one model that are held against one rank: `ranks` runs them, the tests compare them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace

from dnabert_nemo.kernels.choose import Device, Kernels, choose
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.sizes import ParallelSizes

LEARNING_RATE = 1e-3
ON_CPU = choose("auto", Device(None), precision="fp32").kernels


@dataclass(frozen=True)
class Layout:
    """Some ranks and how they share a model; what tensor and pipeline sizes leave over is data parallel."""

    num_ranks: int
    sizes: ParallelSizes
    distributed_optimizer: bool = False
    precision: str = "fp32"
    recompute: Recompute = field(default_factory=Recompute)
    block_type: str = "pre_ln"
    kernels: Kernels = ON_CPU
    last_layer_where_read: bool = True
    lora_rank: int | None = None

    @property
    def name(self) -> str:
        """Such as TP2 x PP2 + SP, bf16."""
        sizes = self.sizes
        parts = {"TP": sizes.tensor, "PP": sizes.pipeline, "CP": sizes.context}
        parts["DP"] = sizes.data(self.num_ranks)
        name = " x ".join(f"{axis}{size}" for axis, size in parts.items() if size > 1) or "one rank"
        name += " + SP" if sizes.sequence_parallel else ""
        name += f" + {sizes.virtual} runs a rank" if sizes.virtual > 1 else ""
        name += f" + layout {'-'.join(map(str, sizes.layout))}" if sizes.layout else ""
        name += " + distributed optimizer" if self.distributed_optimizer else ""
        name += f" + {self.recompute.granularity} recompute" if self.recompute.granularity else ""
        name += f" {self.recompute.method}" if self.recompute.method else ""
        name += ", post-LN" if self.block_type == "post_ln" else ""
        name += "" if self.lora_rank is None else ", adapters"
        name += "" if self.last_layer_where_read else ", last layer whole"
        usual = asdict(ON_CPU)
        name += "".join(
            f", {kernel} {piece}" for piece, kernel in asdict(self.kernels).items() if kernel != usual[piece]
        )
        return name if self.precision == "fp32" else f"{name}, {self.precision}"

    @property
    def one_rank(self) -> Layout:
        """What this one is held against: the same model on one rank, nothing shared or computed again."""
        return Layout(
            1,
            ParallelSizes(),
            precision=self.precision,
            block_type=self.block_type,
            lora_rank=self.lora_rank,
        )


def _layouts(num_ranks: int) -> list[Layout]:
    whole = ParallelSizes()
    tensor, pipeline, both = ParallelSizes(2, 1), ParallelSizes(1, 2), ParallelSizes(2, 2)
    tensor_sequence, both_sequence = ParallelSizes(2, 1, True), ParallelSizes(2, 2, True)
    interleaved, uneven = ParallelSizes(1, 2, virtual=2), ParallelSizes(1, 2, layout=(3, 1))
    context = ParallelSizes(context=2)
    uniform, block = Recompute("full", "uniform", 1), Recompute("full", "block", 1)
    if num_ranks == 1:
        return [
            Layout(1, whole),
            Layout(1, whole, precision="bf16"),
            Layout(1, whole, block_type="post_ln"),
            Layout(1, whole, lora_rank=4),
            Layout(1, whole, recompute=Recompute("selective")),
            Layout(1, whole, recompute=uniform),
            Layout(1, whole, recompute=block),
        ]
    if num_ranks == 2:
        return [
            Layout(2, tensor),
            Layout(2, tensor_sequence),
            Layout(2, pipeline),
            Layout(2, interleaved),
            Layout(2, uneven),
            Layout(2, context),
            Layout(2, whole),
            Layout(2, whole, distributed_optimizer=True),
            Layout(2, tensor_sequence, recompute=uniform),
            Layout(2, tensor_sequence, block_type="post_ln"),
            Layout(2, tensor, kernels=replace(ON_CPU, cross_entropy="triton")),
            Layout(2, tensor, lora_rank=4),
            Layout(2, whole, distributed_optimizer=True, lora_rank=4),
            Layout(2, tensor, precision="bf16"),
            Layout(2, pipeline, precision="bf16"),
            Layout(2, context, precision="bf16"),
            Layout(2, whole, distributed_optimizer=True, precision="bf16"),
        ]
    return [
        Layout(4, both),
        Layout(4, both_sequence),
        Layout(4, tensor),
        Layout(4, pipeline, distributed_optimizer=True),
        Layout(4, interleaved, distributed_optimizer=True),
        Layout(4, ParallelSizes(1, 2, virtual=2, layout=(1, 1, 1, 1), context=2)),
        Layout(4, ParallelSizes(2, 1, True, context=2)),
        Layout(4, context, distributed_optimizer=True),
        Layout(4, ParallelSizes(2, 2, True, virtual=2), recompute=uniform),
        Layout(4, both_sequence, block_type="post_ln"),
        Layout(4, ParallelSizes(2, 2, virtual=2), lora_rank=4),
        Layout(4, both_sequence, precision="bf16"),
    ]


LAYOUTS = {num_ranks: _layouts(num_ranks) for num_ranks in (1, 2, 4)}
ONE_RANK = LAYOUTS[1][0]
# All that are held against the same model on one rank that keeps everything.
SHARED = [layout for layouts in LAYOUTS.values() for layout in layouts if layout != layout.one_rank]

# Checkpoints: who writes each and who reads it besides; all at fp32.
WRITERS = {"DP2 + distributed optimizer": "dp2", "TP2 x PP2": "tp2_pp2"}

# Written by each of these sizes of four ranks, and read by each.
RESHAPED = {
    "TP1 x PP1": ParallelSizes(),
    "TP2 x PP1": ParallelSizes(2, 1),
    "TP1 x PP2": ParallelSizes(1, 2),
    "TP2 x PP2": ParallelSizes(2, 2),
    "TP1 x PP2 interleaved": ParallelSizes(1, 2, virtual=2),
}
