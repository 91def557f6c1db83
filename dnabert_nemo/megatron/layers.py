"""The layer specs: which modules megatron-core composes a BERT from, pre-LN or post-LN."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from megatron.core.models.common.embeddings.language_model_embedding import LanguageModelEmbedding
from megatron.core.tensor_parallel.random import get_cuda_rng_tracker
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_layer import TransformerLayerSubmodules

from dnabert_nemo.megatron.attention import PackedSelfAttention, ReadingAttention
from dnabert_nemo.megatron.bert_shape import POST_LN, PRE_LN, BertShape
from dnabert_nemo.megatron.compiled_layer import CompiledPostNormLayer, CompiledPreNormLayer
from dnabert_nemo.megatron.layer import Dropout, PostNormLayer, PreNormLayer
from dnabert_nemo.megatron.linear import linears
from dnabert_nemo.megatron.lora import LoraColumnParallelLinear, LoraRowParallelLinear
from dnabert_nemo.megatron.norm import layer_norm
from dnabert_nemo.megatron.shape import BertConfig


class BertEmbedding(LanguageModelEmbedding):  # type: ignore[misc]
    """The sum of words and positions, then dropout; the original BERT (post-LN) has a LayerNorm between."""

    def __init__(self, config: BertConfig, shape: BertShape) -> None:
        super().__init__(config, shape.padded_vocab_size, shape.max_position_embeddings)
        self.embedding_dropout = torch.nn.Identity()  # megatron-core's comes before any norm could
        self.dropout = Dropout(config)
        if shape.transformer_block_type == POST_LN:
            self.layernorm = layer_norm(config)(config, config.hidden_size, config.layernorm_epsilon)

    def forward(self, input_ids: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Return the embedded tokens [T, 1, H], or [T / R, 1, H] under sequence parallelism."""
        hidden = super().forward(input_ids, position_ids)
        if hasattr(self, "layernorm"):
            hidden = self.layernorm(hidden)
        own = get_cuda_rng_tracker().fork() if self.config.sequence_parallel else nullcontext()
        with own:  # tensor ranks that hold tokens of their own draw numbers of their own
            return self.dropout(hidden)


def bert_layer(config: BertConfig, block_type: str, *, reads: bool = False) -> ModuleSpec:
    """Describe one layer, `pre_ln` or `post_ln`; one that `reads` computes only the tokens that are read."""
    column, row = linears(config)
    own = (LoraColumnParallelLinear, LoraRowParallelLinear) if config.lora else (column, row)
    is_post = block_type == POST_LN
    norm = IdentityOp if is_post else layer_norm(config)
    if reads or config.kernels.layer == "eager":
        module = PostNormLayer if is_post else PreNormLayer
    else:
        module = CompiledPostNormLayer if is_post else CompiledPreNormLayer
    return ModuleSpec(
        module=module,
        submodules=TransformerLayerSubmodules(
            input_layernorm=norm,
            self_attention=ModuleSpec(
                module=ReadingAttention if reads else SelfAttention,
                params={"attn_mask_type": AttnMaskType.padding},
                submodules=SelfAttentionSubmodules(
                    linear_qkv=own[0],
                    core_attention=_core_attention(config),
                    linear_proj=own[1],
                    q_layernorm=IdentityOp,
                    k_layernorm=IdentityOp,
                ),
            ),
            pre_mlp_layernorm=norm,
            mlp=ModuleSpec(
                module=MLP,
                submodules=MLPSubmodules(linear_fc1=column, linear_fc2=row),
            ),
        ),
    )


def bert_layers(
    config: BertConfig, block_type: str = PRE_LN, vp_stage: int | None = None, *, is_last: bool = True
) -> TransformerBlockSubmodules:
    """Describe this pipeline stage's layers; pre-LN has a LayerNorm after the last layer of all."""
    num_layers = get_num_layers_to_build(config, vp_stage)
    layers = [bert_layer(config, block_type)] * num_layers
    if is_last and config.last_layer_where_read and layers:
        layers[-1] = bert_layer(config, block_type, reads=True)
    norm = None if block_type == POST_LN else layer_norm(config)
    return TransformerBlockSubmodules(layer_specs=layers, layer_norm=norm)


def _core_attention(config: BertConfig) -> type:
    if config.kernels.attention != "te":
        return PackedSelfAttention
    from megatron.core.extensions.transformer_engine import TEDotProductAttention

    return TEDotProductAttention  # type: ignore[no-any-return]
