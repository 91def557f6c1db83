"""Layers that torch.compile makes, in two pieces, between them attention, whose segments vary.

A micro batch has a fixed number of tokens, so each piece has one shape, and on a GPU it can be a CUDA graph,
replayed in one launch. The last layer, where it computes the tokens that are read alone, is not compiled:
their number varies. T packed tokens, N heads, D head size, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.transformer_layer import TransformerLayer

from dnabert_nemo.kernels.bias_gelu import torch_bias_gelu
from dnabert_nemo.kernels.residual_norm import torch_residual_dropout_norm
from dnabert_nemo.megatron.attention import Segments, attention_of
from dnabert_nemo.megatron.layer import PostNormLayer, PreNormLayer, viewless
from dnabert_nemo.megatron.norm import LayerNorm


class CompiledPreNormLayer(PreNormLayer):
    """A pre-LN layer of compiled pieces."""

    def forward(
        self, hidden_states: torch.Tensor, *, packed_seq_params: Segments, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Map [T, 1, H] to as much."""
        return _through(self, hidden_states, packed_seq_params, _after_pre_norm), None


class CompiledPostNormLayer(PostNormLayer):
    """A post-LN layer of compiled pieces."""

    def forward(
        self, hidden_states: torch.Tensor, *, packed_seq_params: Segments, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Map [T, 1, H] to as much."""
        return _through(self, hidden_states, packed_seq_params, _after_post_norm), None


def _through(
    layer: TransformerLayer, hidden: torch.Tensor, segments: Segments, after: Callable[..., torch.Tensor]
) -> torch.Tensor:
    # outside training a row has as many tokens as there are, and a graph one size
    as_graph = layer.config.kernels.layer == "graphs" and layer.training
    rows = hidden[:, 0]  # whose strides are those of any layer's, and not the embedding's own
    query, key, value = _compiled(_query_key_value, as_graph)(layer, rows)
    attended = attention_of(layer.self_attention, query, key, value, segments)
    return viewless(_compiled(after, as_graph)(layer, attended, rows)[:, None])


@cache
def _compiled(function: Callable[..., Any], as_graph: bool) -> Callable[..., Any]:
    """Compile a piece at its first call, which takes some seconds; `reduce-overhead` are CUDA graphs."""
    if as_graph:
        return torch.compile(function, fullgraph=True, dynamic=False, mode="reduce-overhead")
    return torch.compile(function, fullgraph=True)


def _query_key_value(layer: TransformerLayer, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Map [T, H] to three of [T, N, D]; the product's rows of a head are its query, key and value."""
    qkv = layer.self_attention.linear_qkv
    product = F.linear(layer.input_layernorm(hidden), qkv.weight, qkv.bias)
    heads = layer.config.num_attention_heads
    size = layer.config.hidden_size // heads
    return product.view(-1, heads, 3 * size).split(size, dim=-1)


def _after_pre_norm(layer: TransformerLayer, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    projection, last = layer.self_attention.linear_proj, layer.mlp.linear_fc2
    summed, normed = _sum_and_norm(layer, projection, attended, hidden, layer.pre_mlp_layernorm)
    product = F.linear(_inner(layer, normed), last.weight, last.bias)
    return summed + F.dropout(product, layer.hidden_dropout if layer.training else 0.0)


def _after_post_norm(layer: TransformerLayer, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    projection, last = layer.self_attention.linear_proj, layer.mlp.linear_fc2
    _, normed = _sum_and_norm(layer, projection, attended, hidden, layer.post_attention_layernorm)
    return _sum_and_norm(layer, last, _inner(layer, normed), normed, layer.post_mlp_layernorm)[1]


def _inner(layer: TransformerLayer, normed: torch.Tensor) -> torch.Tensor:
    first = layer.mlp.linear_fc1
    return torch_bias_gelu(F.linear(normed, first.weight), first.bias)


def _sum_and_norm(
    layer: TransformerLayer,
    linear: torch.nn.Module,
    x: torch.Tensor,
    residual: torch.Tensor,
    norm: LayerNorm,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return residual + dropout(linear(x)), and its LayerNorm."""
    p = layer.hidden_dropout if layer.training else 0.0
    product = F.linear(x, linear.weight)
    return torch_residual_dropout_norm(
        product, linear.bias, residual, norm.weight, norm.bias, p=p, eps=norm.eps
    )
