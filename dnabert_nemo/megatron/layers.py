"""The layer specs: which modules megatron-core composes a BERT layer from, pre-LN or post-LN."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from dnabert_nemo.megatron.attention import PackedSelfAttention
from dnabert_nemo.megatron.bert_shape import POST_LN, PRE_LN, BertShape
from dnabert_nemo.megatron.linear import linears


class LayerNorm(torch.nn.LayerNorm):
    """torch's LayerNorm, its gradients summed over tensor ranks where each normalises tokens of its own.

    megatron-core's wrapper of the same class refuses sequence parallelism; the mark below is all that it
    lacks.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-12) -> None:
        super().__init__(hidden_size, eps=eps)
        for parameter in self.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]


class PostNormLayer(TransformerLayer):  # type: ignore[misc]
    """A layer of the original BERT (Devlin et al. 2019): LayerNorm after each residual addition.

    Its spec has no norm before attention and MLP; the rest, recomputation included, is megatron-core's layer.
    """

    def __init__(self, config: TransformerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        size, eps = config.hidden_size, config.layernorm_epsilon
        self.post_attention_layernorm = LayerNorm(config, size, eps)
        self.post_mlp_layernorm = LayerNorm(config, size, eps)

    def _forward_attention(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden, context = super()._forward_attention(*args, **kwargs)
        return self.post_attention_layernorm(hidden), context

    def _forward_mlp(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return self.post_mlp_layernorm(super()._forward_mlp(*args, **kwargs))


class PostNormEmbedding(LanguageModelEmbedding):  # type: ignore[misc]
    """The original BERT's embedding: LayerNorm on the sum of words and positions, then dropout."""

    def __init__(self, config: TransformerConfig, vocab_size: int, max_sequence_length: int) -> None:
        super().__init__(config, vocab_size, max_sequence_length)
        self.embedding_dropout = torch.nn.Identity()  # megatron-core's comes before any norm could
        self.dropout = torch.nn.Dropout(config.hidden_dropout)
        self.layernorm = LayerNorm(config, config.hidden_size, config.layernorm_epsilon)

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Return the embedded tokens [T, 1, H], or [T / R, 1, H] under sequence parallelism."""
        hidden = self.layernorm(super().forward(input_ids, position_ids))
        own = get_cuda_rng_tracker().fork() if self.config.sequence_parallel else nullcontext()
        with own:  # tensor ranks that hold tokens of their own draw numbers of their own
            return self.dropout(hidden)


def bert_embedding(config: TransformerConfig, shape: BertShape) -> LanguageModelEmbedding:
    """Make the embedding of words and positions."""
    kind = PostNormEmbedding if shape.transformer_block_type == POST_LN else LanguageModelEmbedding
    return kind(config, shape.padded_vocab_size, shape.max_position_embeddings)


def bert_layer(config: TransformerConfig, block_type: str) -> ModuleSpec:
    """Describe one layer, `pre_ln` or `post_ln`."""
    column, row = linears(config)
    is_post = block_type == POST_LN
    norm = IdentityOp if is_post else LayerNorm
    return ModuleSpec(
        module=PostNormLayer if is_post else TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=ModuleSpec(
                module=SelfAttention,
                params={"attn_mask_type": AttnMaskType.padding},
                submodules=SelfAttentionSubmodules(
                    linear_qkv=column,
                    core_attention=PackedSelfAttention,
                    linear_proj=row,
                    q_layernorm=IdentityOp,
                    k_layernorm=IdentityOp,
                ),
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=norm,
            mlp=ModuleSpec(
                module=MLP,
                submodules=MLPSubmodules(linear_fc1=column, linear_fc2=row),
            ),
            mlp_bda=get_bias_dropout_add,
        ),
    )


def bert_layers(
    config: TransformerConfig, block_type: str = PRE_LN, vp_stage: int | None = None
) -> TransformerBlockSubmodules:
    """Describe this pipeline stage's layers; pre-LN has a LayerNorm after the last layer of all."""
    num_layers = get_num_layers_to_build(config, vp_stage)
    norm = None if block_type == POST_LN else LayerNorm
    return TransformerBlockSubmodules(
        layer_specs=[bert_layer(config, block_type)] * num_layers, layer_norm=norm
    )
