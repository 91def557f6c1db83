"""A layer of BERT: attention and MLP around residual sums, with the kernels of the config.

megatron-core's layer, with its parameters, its names in checkpoints and its sub-modules; the way through
them is written here, so that bias, dropout, residual and LayerNorm can be one kernel, and the last layer can
leave out what nobody reads. T packed tokens, M of them that are read, H hidden, R tensor-parallel ranks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.transformer_layer import TransformerLayer
from megatron.core.utils import make_viewless_tensor, nvtx_range_pop, nvtx_range_push

from dnabert_nemo.kernels import bias_gelu, residual_norm
from dnabert_nemo.kernels.dropout import dropout as dropout_by_bits
from dnabert_nemo.megatron.attention import ReadingAttention, Segments
from dnabert_nemo.megatron.norm import LayerNorm, layer_norm
from dnabert_nemo.megatron.shape import BertConfig


def dropped(x: torch.Tensor, p: float, config: BertConfig) -> torch.Tensor:
    """Apply dropout as the config has it; p is 0 outside training."""
    return dropout_by_bits(x, p) if config.kernels.dropout == "bits" else F.dropout(x, p)


class Dropout(torch.nn.Module):
    """Dropout of the embedded tokens."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return dropped(x, self.config.hidden_dropout if self.training else 0.0, self.config)


class PreNormLayer(TransformerLayer):  # type: ignore[misc]
    """LayerNorm before attention and before the MLP (Xiong et al. 2020, arXiv:2002.04745)."""

    def forward(
        self, hidden_states: torch.Tensor, *, packed_seq_params: Segments, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Map [T, 1, H], or [T / R, 1, H] under sequence parallelism, to as much, or to [M, 1, H]."""
        attended, residual = _attended(
            self, self.input_layernorm(hidden_states), hidden_states, packed_seq_params
        )
        summed, normed = _sum_and_norm(self, attended, residual, self.pre_mlp_layernorm)
        return viewless(_sum(self, _mlp(self, normed), summed)), None


class PostNormLayer(TransformerLayer):  # type: ignore[misc]
    """LayerNorm after each residual sum, as in the original BERT (Devlin et al. 2019)."""

    def __init__(self, config: BertConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        size, eps = config.hidden_size, config.layernorm_epsilon
        self.post_attention_layernorm = layer_norm(config)(config, size, eps)
        self.post_mlp_layernorm = layer_norm(config)(config, size, eps)

    def forward(
        self, hidden_states: torch.Tensor, *, packed_seq_params: Segments, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Map [T, 1, H], or [T / R, 1, H] under sequence parallelism, to as much, or to [M, 1, H]."""
        attended, residual = _attended(self, hidden_states, hidden_states, packed_seq_params)
        _, normed = _sum_and_norm(self, attended, residual, self.post_attention_layernorm)
        _, normed = _sum_and_norm(self, _mlp(self, normed), normed, self.post_mlp_layernorm)
        return viewless(normed), None


_Biased = tuple[torch.Tensor, torch.Tensor | None]  # a product, and the bias it still lacks


def _attended(
    layer: TransformerLayer, normed: torch.Tensor, hidden: torch.Tensor, segments: Segments
) -> tuple[_Biased, torch.Tensor]:
    """Return what attention makes of the normed tokens, and the tokens that it is to be added to."""
    nvtx_range_push("attention")
    attended = layer.self_attention(normed, attention_mask=None, packed_seq_params=segments)
    nvtx_range_pop("attention")
    if isinstance(layer.self_attention, ReadingAttention):
        hidden = hidden.index_select(0, segments.read)
    return attended, hidden


def _mlp(layer: TransformerLayer, normed: torch.Tensor) -> _Biased:
    """Return the second product of the MLP: H to F, bias and erf GELU, F to H."""
    nvtx_range_push("mlp")
    inner, bias = layer.mlp.linear_fc1(normed)
    is_fused = layer.config.kernels.gelu == "triton"
    inner = bias_gelu.bias_gelu(inner, bias) if is_fused else F.gelu(inner.add_(bias))
    product: _Biased = layer.mlp.linear_fc2(inner)
    nvtx_range_pop("mlp")
    return product


def _sum(layer: TransformerLayer, biased: _Biased, residual: torch.Tensor) -> torch.Tensor:
    product, bias = biased
    p = layer.hidden_dropout if layer.training else 0.0
    if bias is None:
        return residual + dropped(product, p, layer.config)
    return dropped(product + bias, p, layer.config).add_(residual)


def _sum_and_norm(
    layer: TransformerLayer, biased: _Biased, residual: torch.Tensor, norm: LayerNorm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return residual + dropout(product + bias), and its LayerNorm."""
    if layer.config.kernels.norm == "triton":
        product, bias = biased
        p = layer.hidden_dropout if layer.training else 0.0
        return residual_norm.residual_dropout_norm(
            product, bias, residual, norm.weight, norm.bias, p=p, eps=norm.eps
        )
    summed = _sum(layer, biased, residual)
    return summed, norm(summed)


def viewless(hidden: torch.Tensor) -> torch.Tensor:
    """Make sure that no view leaves the layer: Megatron's pipeline frees what it has sent on."""
    return make_viewless_tensor(inp=hidden, requires_grad=hidden.requires_grad, keep_graph=True)
