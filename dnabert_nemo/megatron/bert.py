"""BERT for packed rows: Megatron's embedding and transformer block, then the head of the task.

T packed tokens (of this rank, under context parallelism), M masked places, B samples, P pooled tokens of
these, H hidden, V padded vocabulary, C classes, R tensor-parallel ranks. Hidden states are Megatron's
[T, 1, H], or [T / R, 1, H] between layers under sequence parallelism. A stage is one run of layers; `Runs`
holds those of a rank that has several.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from megatron.core import tensor_parallel
from megatron.core.models.bert.bert_lm_head import BertLMHead
from megatron.core.models.common.language_module.language_module import LanguageModule
from megatron.core.transformer.enums import ModelType
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_block import TransformerBlock

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.megatron import topology
from dnabert_nemo.megatron.attention import segments
from dnabert_nemo.megatron.layers import BertEmbedding, bert_layers
from dnabert_nemo.megatron.shape import BertConfig, BertShape


class BertForMaskedLM(LanguageModule):  # type: ignore[misc]
    """A stage of the masked language model: the run-th run of layers of this rank and what is at its ends.

    Only masked places reach its head, which is dense, GELU, LayerNorm and the tied embedding with a bias.
    Rows of the embedding that only pad the vocabulary stay zero and their logits are minus infinity, so they
    win no softmax and learn nothing.
    """

    def __init__(self, config: BertConfig, shape: BertShape, run: int = 0) -> None:
        super().__init__(config=config)
        self.shape = shape
        self.model_type = ModelType.encoder_or_decoder
        self.pre_process, self.post_process = topology.is_first_stage(run), topology.is_last_stage(run)
        self.vp_stage = _vp_stage(config, run)
        self.share_embeddings_and_output_weights = True
        if self.pre_process:
            self.embedding = BertEmbedding(config, shape)
        self.encoder = _encoder(config, shape, self.pre_process, self.post_process, self.vp_stage)
        if self.post_process:
            whole = _on_whole_rows(config)
            self.lm_head = BertLMHead(shape.hidden_size, whole)
            self.output_layer = tensor_parallel.ColumnParallelLinear(
                shape.hidden_size,
                shape.padded_vocab_size,
                config=whole,
                init_method=whole.init_method,
                bias=True,
                skip_bias_add=False,
                skip_weight_param_allocation=self.pre_process,
            )
        self.setup_embeddings_and_output_layer()

    def set_input_tensor(self, input_tensor: list[torch.Tensor | None] | torch.Tensor | None) -> None:
        """Take the hidden states the stage before this one sent (called by Megatron's schedule)."""
        self.encoder.set_input_tensor(_only(input_tensor))

    def forward(self, batch: MicroBatch) -> torch.Tensor:
        """Return the logits [M, V / R] at the masked places, or this stage's hidden states."""
        hidden = _hidden_states(self, batch)
        if not self.post_process:
            return hidden
        return self.logits(_at_read(hidden, batch.masked_at, self.config))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Map hidden states [M, 1, H] to this rank's columns of the logits [M, V / R] (last stage)."""
        weight = self.shared_embedding_or_output_weight()
        logits, _ = self.output_layer(self.lm_head(hidden), weight=weight)
        first = topology.tensor_rank() * logits.shape[-1]
        padding = torch.arange(first, first + logits.shape[-1], device=logits.device) >= self.shape.vocab_size
        return logits[:, 0].masked_fill(padding, float("-inf"))


class BertForClassification(MegatronModule):  # type: ignore[misc]
    """A stage of a classifier, as of the language model; its head is H-64-C on what is pooled of a sample."""

    def __init__(self, config: BertConfig, shape: BertShape, num_classes: int, run: int = 0) -> None:
        super().__init__(config=config)
        self.shape = shape
        self.model_type = ModelType.encoder_or_decoder
        self.pre_process, self.post_process = topology.is_first_stage(run), topology.is_last_stage(run)
        self.vp_stage = _vp_stage(config, run)
        self.share_embeddings_and_output_weights = False
        if self.pre_process:
            self.embedding = BertEmbedding(config, shape)
        self.encoder = _encoder(config, shape, self.pre_process, self.post_process, self.vp_stage)
        if self.post_process:
            self.head = torch.nn.Sequential(
                torch.nn.Linear(shape.hidden_size, 64), torch.nn.ReLU(), torch.nn.Linear(64, num_classes)
            )

    def set_input_tensor(self, input_tensor: list[torch.Tensor | None] | torch.Tensor | None) -> None:
        """Take the hidden states the stage before this one sent (called by Megatron's schedule)."""
        self.encoder.set_input_tensor(_only(input_tensor))

    def forward(self, batch: Any) -> torch.Tensor:
        """Return the logits [B, C] of the samples, or this stage's hidden states.

        A batch that carries `features` [B, H], computed before by a frozen encoder, goes straight to the
        head.
        """
        features = self.features(batch) if batch.features is None else batch.features
        return self.head(features) if self.post_process else features

    def features(self, batch: Any) -> torch.Tensor:
        """Return the mean [B, H] of each sample's states at `batch.pooled_at`, or this stage's states."""
        hidden = _hidden_states(self, batch)
        if not self.post_process:
            return hidden
        return _means(_at_read(hidden, batch.pooled_at, self.config)[:, 0], batch.pooled_lengths)


Stage = BertForMaskedLM | BertForClassification


class Runs(torch.nn.ModuleList):
    """The stages of a rank that holds several runs of layers (interleaved pipelines), in the model's order.

    Their tensors have the one-rank names of the whole model, so checkpoints know no runs.
    """

    @property
    def config(self) -> BertConfig:
        return self[0].config

    def sharded_state_dict(self, **settings: Any) -> dict[str, Any]:
        """Describe the tensors of each stage, by its number."""
        return {str(run): stage.sharded_state_dict(**settings) for run, stage in enumerate(self)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Take what was read into the room that `sharded_state_dict` described."""
        for run, stage in enumerate(self):
            stage.load_state_dict(state[str(run)], strict=strict, assign=assign)


def build(new_stage: Callable[[int], Stage]) -> Stage | Runs:
    """Make what this rank holds of a model: one stage, or as many as it has runs of layers."""
    if topology.num_runs() == 1:
        return new_stage(0)
    return Runs([new_stage(run) for run in range(topology.num_runs())])


def _vp_stage(config: BertConfig, run: int) -> int | None:
    return run if config.virtual_pipeline_model_parallel_size is not None else None


def _encoder(
    config: BertConfig, shape: BertShape, pre_process: bool, post_process: bool, vp_stage: int | None
) -> TransformerBlock:
    layers = bert_layers(config, shape.transformer_block_type, vp_stage, is_last=post_process)
    return TransformerBlock(
        config, layers, pre_process=pre_process, post_process=post_process, vp_stage=vp_stage
    )


def _hidden_states(stage: Stage, batch: Any) -> torch.Tensor:
    embedded = stage.embedding(batch.ids[None], batch.positions[None]) if stage.pre_process else None
    is_part = stage.config.context_parallel_size > 1
    part = (batch.first, batch.ids.numel()) if is_part else ()
    read = {"read": batch.read_at, "read_lengths": batch.read_lengths} if _reads(stage) else {}
    here = segments(batch.segment_lengths, *part, device=batch.ids.device, **read)
    return stage.encoder(embedded, attention_mask=None, packed_seq_params=here)


def _reads(stage: Stage) -> bool:
    return stage.post_process and stage.config.last_layer_where_read


def _at_read(hidden: torch.Tensor, at: torch.Tensor, config: BertConfig) -> torch.Tensor:
    """Return the hidden states at the places that are read, where a last layer has not left out the rest."""
    return hidden if config.last_layer_where_read else _whole_rows(hidden, config).index_select(0, at)


def _means(hidden: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor:
    """Average [P, H] over so many rows for each sample, to [B, H]; in fp32, as the sums are long."""
    if hidden.shape[0] == len(lengths):
        return hidden
    counts = torch.tensor(lengths, device=hidden.device)
    return torch.segment_reduce(hidden.float(), "mean", lengths=counts).to(hidden.dtype)


def _whole_rows(hidden: torch.Tensor, config: BertConfig) -> torch.Tensor:
    """Gather [T / R, 1, H] to [T, 1, H]; the heads work on whole rows, alike on every tensor rank."""
    if not config.sequence_parallel:
        return hidden
    return tensor_parallel.gather_from_sequence_parallel_region(hidden, tensor_parallel_output_grad=False)


def _on_whole_rows(config: BertConfig) -> BertConfig:
    """The config of the head's layers, whose tokens are not split over the tensor ranks."""
    whole = copy.copy(config)
    whole.sequence_parallel = False
    return whole


def _only(input_tensor: list[torch.Tensor | None] | torch.Tensor | None) -> torch.Tensor | None:
    return input_tensor[0] if isinstance(input_tensor, list) else input_tensor
