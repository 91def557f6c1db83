"""The ways of sharing one model that are held against one rank: `ranks` runs them, the tests compare them."""

from __future__ import annotations

from dataclasses import dataclass

from dnabert_nemo.megatron.sizes import ParallelSizes

LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Layout:
    """Some ranks and how they share a model; what tensor and pipeline sizes leave over is data parallel."""

    num_ranks: int
    sizes: ParallelSizes
    distributed_optimizer: bool = False
    precision: str = "fp32"

    @property
    def name(self) -> str:
        """Such as TP2 x PP2 + SP, bf16."""
        data = self.sizes.data(self.num_ranks)
        parts = {"TP": self.sizes.tensor, "PP": self.sizes.pipeline, "DP": data}
        name = " x ".join(f"{axis}{size}" for axis, size in parts.items() if size > 1) or "one rank"
        name += " + SP" if self.sizes.sequence_parallel else ""
        name += " + distributed optimizer" if self.distributed_optimizer else ""
        return name if self.precision == "fp32" else f"{name}, {self.precision}"


def _layouts(num_ranks: int) -> list[Layout]:
    whole = ParallelSizes()
    tensor, pipeline, both = ParallelSizes(2, 1), ParallelSizes(1, 2), ParallelSizes(2, 2)
    tensor_sequence, both_sequence = ParallelSizes(2, 1, True), ParallelSizes(2, 2, True)
    if num_ranks == 1:
        return [Layout(1, whole), Layout(1, whole, precision="bf16")]
    if num_ranks == 2:
        return [
            Layout(2, tensor),
            Layout(2, tensor_sequence),
            Layout(2, pipeline),
            Layout(2, whole),
            Layout(2, whole, distributed_optimizer=True),
            Layout(2, tensor, precision="bf16"),
            Layout(2, pipeline, precision="bf16"),
            Layout(2, whole, distributed_optimizer=True, precision="bf16"),
        ]
    return [
        Layout(4, both),
        Layout(4, both_sequence),
        Layout(4, tensor),
        Layout(4, pipeline, distributed_optimizer=True),
        Layout(4, both_sequence, precision="bf16"),
    ]


LAYOUTS = {num_ranks: _layouts(num_ranks) for num_ranks in (1, 2, 4)}
ONE_RANK, ONE_RANK_BF16 = LAYOUTS[1]
SHARED = [layout for num_ranks in (2, 4) for layout in LAYOUTS[num_ranks]]

# Checkpoints: who writes each and who reads it besides; all at fp32.
WRITERS = {"DP2 + distributed optimizer": "dp2", "TP2 x PP2": "tp2_pp2"}
