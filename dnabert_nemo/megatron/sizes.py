"""How many ranks share a model, and how: checked from the config alone, before any device is touched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnabert_nemo.errors import ConfigError


@dataclass(frozen=True)
class ParallelSizes:
    """Sizes of the groups that share one model; what is left of the ranks is data parallel.

    Args:
        tensor: ranks that share every layer.
        pipeline: ranks that follow each other, each with layers of its own.
        sequence_parallel: tensor ranks also share the tokens between the layers.
        virtual: runs of layers that each pipeline rank holds, taken in turn (interleaved 1F1B).
        context: ranks that share the tokens of a row, all through the model.
        layout: how many layers each of the pipeline x virtual runs holds, in the order of the layers; None
            for as many in each.
    """

    tensor: int = 1
    pipeline: int = 1
    sequence_parallel: bool = False
    virtual: int = 1
    context: int = 1
    layout: tuple[int, ...] | None = None

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> ParallelSizes:
        """Read the sizes from the section `model` of a config; what it does not name is 1.

        Raises:
            ConfigError: a value is of another type.
        """
        keys = {"tensor": "tensor_model_parallel_size", "pipeline": "pipeline_model_parallel_size"}
        keys |= {"virtual": "virtual_pipeline_model_parallel_size", "context": "context_parallel_size"}
        sizes = {axis: 1 if model.get(key) is None else model.get(key) for axis, key in keys.items()}
        for axis, size in sizes.items():
            if type(size) is not int:
                raise ConfigError(f"model.{keys[axis]}={size}: give a whole number of at least 1")
        layout = model.get("pipeline_model_parallel_layout")
        if isinstance(layout, str | int):
            raise ConfigError(
                f"model.pipeline_model_parallel_layout={layout}: give the layers of each part as a list, "
                "such as [3,4,4,1]"
            )
        sequence_parallel = model.get("sequence_parallel") or False
        if not isinstance(sequence_parallel, bool):
            raise ConfigError(f"model.sequence_parallel={sequence_parallel}: give true or false")
        layout = None if layout is None else tuple(layout)
        return cls(**sizes, sequence_parallel=sequence_parallel, layout=layout)

    @property
    def model(self) -> int:
        """Ranks that hold one copy of the model and of a row's tokens."""
        return self.tensor * self.pipeline * self.context

    @property
    def names(self) -> dict[str, str]:
        """The config key of each size with its value, as messages name them."""
        return {
            "tensor": f"model.tensor_model_parallel_size={self.tensor}",
            "pipeline": f"model.pipeline_model_parallel_size={self.pipeline}",
            "virtual": f"model.virtual_pipeline_model_parallel_size={self.virtual}",
            "context": f"model.context_parallel_size={self.context}",
        }

    def data(self, num_ranks: int) -> int:
        """Copies of the model that `num_ranks` ranks hold."""
        return num_ranks // self.model

    def describe(self, num_ranks: int) -> str:
        """Say in a few words how `num_ranks` ranks share the work."""
        axes = {"tensor": self.tensor, "pipeline": self.pipeline, "context": self.context}
        axes["data"] = self.data(num_ranks)
        words = " x ".join(f"{size} {axis}" for axis, size in axes.items())
        return words + (", sequence parallel" if self.sequence_parallel else "")

    def layers_of_runs(self, num_layers: int) -> tuple[int, ...]:
        """How many layers each run holds; run i is on pipeline rank i mod `pipeline`."""
        num_runs = self.pipeline * self.virtual
        return self.layout or (num_layers // num_runs,) * num_runs

    def layers_of_rank(self, num_layers: int, pipeline_rank: int) -> tuple[int, ...]:
        """How many layers each run on this pipeline rank holds."""
        return self.layers_of_runs(num_layers)[pipeline_rank :: self.pipeline]

    def check(
        self,
        *,
        num_ranks: int,
        num_layers: int,
        num_attention_heads: int,
        ffn_hidden_size: int,
        padded_vocab_size: int,
        tokens_per_micro_batch: int,
        rows_per_step: int,
        micro_batch_size: int,
    ) -> None:
        """Raise ConfigError, naming the override, where these sizes cannot divide the model or the ranks."""
        names = self.names
        for axis, name in names.items():
            if getattr(self, axis) < 1:
                raise ConfigError(f"{name} must be 1 or more")
        for total, name in (
            (num_attention_heads, f"model.num_attention_heads={num_attention_heads}"),
            (ffn_hidden_size, f"model.ffn_hidden_size={ffn_hidden_size}"),
            (padded_vocab_size, f"the padded vocabulary of {padded_vocab_size} tokens"),
        ):
            if total % self.tensor:
                raise ConfigError(f"{names['tensor']} does not divide {name}: choose a size that does")
        self._check_layers(num_layers)
        self._check_ranks(num_ranks)
        self._check_tokens(tokens_per_micro_batch)
        num_micro_batches = rows_per_step // (micro_batch_size * self.data(num_ranks))
        if self.virtual > 1 and num_micro_batches % self.pipeline:
            raise ConfigError(
                f"{names['virtual']} takes micro batches in groups of {self.pipeline}, the pipeline's size, "
                f"and there are {num_micro_batches} in a step (model.global_batch_size / "
                f"(model.micro_batch_size x {self.data(num_ranks)} data-parallel ranks)): change one of them"
            )

    def _check_layers(self, num_layers: int) -> None:
        names, num_runs = self.names, self.pipeline * self.virtual
        if self.virtual > 1 and self.pipeline == 1:
            raise ConfigError(
                f"{names['virtual']} splits the layers of a pipeline's rank and needs "
                "model.pipeline_model_parallel_size of 2 or more"
            )
        if self.layout is None:
            if num_layers % num_runs:
                sizes = names["pipeline"] + (f" x {names['virtual']}" if self.virtual > 1 else "")
                raise ConfigError(
                    f"{sizes} does not divide model.num_layers={num_layers}: choose a size that does, or "
                    f"give the layers of each of the {num_runs} in model.pipeline_model_parallel_layout"
                )
            return
        layout = f"model.pipeline_model_parallel_layout={list(self.layout)}"
        if num_runs == 1:
            raise ConfigError(f"{layout} needs model.pipeline_model_parallel_size of 2 or more")
        if len(self.layout) != num_runs:
            sizes = "model.pipeline_model_parallel_size x model.virtual_pipeline_model_parallel_size"
            raise ConfigError(
                f"{layout} has {len(self.layout)} parts: give {num_runs}, which is {sizes}, in the order of "
                "the layers"
            )
        if any(type(part) is not int or part < 1 for part in self.layout):
            raise ConfigError(f"{layout}: every part is a whole number of layers, 1 or more")
        if sum(self.layout) != num_layers:
            raise ConfigError(
                f"{layout} adds up to {sum(self.layout)}: make it model.num_layers={num_layers} layers"
            )

    def _check_ranks(self, num_ranks: int) -> None:
        if num_ranks % self.model == 0:
            return
        names = self.names
        product = f"{names['tensor']} x {names['pipeline']}"
        product += f" x {names['context']}" if self.context > 1 else ""
        raise ConfigError(
            f"{product} needs a multiple of {self.model} ranks and there are {num_ranks}: change these "
            "sizes, or start as many processes (torchrun --nproc_per_node, or trainer.devices x "
            "trainer.num_nodes)"
        )

    def _check_tokens(self, tokens_per_micro_batch: int) -> None:
        names = self.names
        tokens = (
            f"the {tokens_per_micro_batch} tokens of a micro batch (model.micro_batch_size x "
            "model.data.tokens_per_row)"
        )
        if tokens_per_micro_batch % self.context:
            raise ConfigError(f"{names['context']} does not divide {tokens}: choose a size that does")
        if not self.sequence_parallel:
            return
        if self.tensor == 1:
            raise ConfigError(
                "model.sequence_parallel=true splits the tokens over the tensor-parallel ranks and needs "
                "model.tensor_model_parallel_size of 2 or more"
            )
        if tokens_per_micro_batch % (self.tensor * self.context):
            context = f" x {names['context']}" if self.context > 1 else ""
            raise ConfigError(
                f"model.sequence_parallel=true: {names['tensor']}{context} does not divide {tokens}: choose "
                "sizes that do"
            )
