"""How many ranks share a model, and how: checked from the config alone, before any device is touched."""

from __future__ import annotations

from dataclasses import dataclass

from dnabert_nemo.errors import ConfigError


@dataclass(frozen=True)
class ParallelSizes:
    """Sizes of the tensor- and pipeline-parallel groups; what is left of the ranks is data parallel."""

    tensor: int = 1
    pipeline: int = 1
    sequence_parallel: bool = False

    @property
    def model(self) -> int:
        """Ranks that hold one copy of the model."""
        return self.tensor * self.pipeline

    def data(self, num_ranks: int) -> int:
        """Copies of the model that `num_ranks` ranks hold."""
        return num_ranks // self.model

    def check(
        self,
        *,
        num_ranks: int,
        num_layers: int,
        num_attention_heads: int,
        ffn_hidden_size: int,
        padded_vocab_size: int,
        tokens_per_micro_batch: int,
    ) -> None:
        """Raise ConfigError, naming the override, where these sizes cannot divide the model or the ranks."""
        tp = f"model.tensor_model_parallel_size={self.tensor}"
        pp = f"model.pipeline_model_parallel_size={self.pipeline}"
        for value, name in ((self.tensor, tp), (self.pipeline, pp)):
            if value < 1:
                raise ConfigError(f"{name} must be 1 or more")
        for total, name in (
            (num_attention_heads, f"model.num_attention_heads={num_attention_heads}"),
            (ffn_hidden_size, f"model.ffn_hidden_size={ffn_hidden_size}"),
            (padded_vocab_size, f"the padded vocabulary of {padded_vocab_size} tokens"),
        ):
            if total % self.tensor:
                raise ConfigError(f"{tp} does not divide {name}: choose a size that does")
        if num_layers % self.pipeline:
            raise ConfigError(f"{pp} does not divide model.num_layers={num_layers}: choose a size that does")
        if num_ranks % self.model:
            raise ConfigError(
                f"{tp} x {pp} needs a multiple of {self.model} ranks and there are {num_ranks}: change these "
                "sizes, or start as many processes (torchrun --nproc_per_node, or trainer.devices x "
                "trainer.num_nodes)"
            )
        if self.sequence_parallel and self.tensor == 1:
            raise ConfigError(
                "model.sequence_parallel=true splits the tokens over the tensor-parallel ranks and needs "
                "model.tensor_model_parallel_size of 2 or more"
            )
        if self.sequence_parallel and tokens_per_micro_batch % self.tensor:
            raise ConfigError(
                f"model.sequence_parallel=true: {tp} does not divide the {tokens_per_micro_batch} tokens of "
                "a micro "
                "batch (model.micro_batch_size x model.data.tokens_per_row)"
            )
