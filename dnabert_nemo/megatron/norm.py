"""LayerNorm by torch, apex or Transformer Engine, as the config's kernels say."""

from __future__ import annotations

from typing import Any

import torch

from dnabert_nemo.megatron.shape import BertConfig


class LayerNorm(torch.nn.LayerNorm):
    """torch's LayerNorm, its gradients summed over tensor ranks where each normalises tokens of its own.

    megatron-core's wrapper of the same class refuses sequence parallelism; the mark below is all that it
    lacks.
    """

    def __init__(self, config: BertConfig, hidden_size: int, eps: float = 1e-12) -> None:
        super().__init__(hidden_size, eps=eps)
        for parameter in self.parameters():
            parameter.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]


def layer_norm(config: BertConfig) -> Any:
    """Return the class of a config's LayerNorm; what is fused works on the parameters of torch's."""
    if config.kernels.norm == "apex":
        from megatron.core.fusions.fused_layer_norm import FusedLayerNorm

        return FusedLayerNorm
    if config.kernels.norm == "te":
        from megatron.core.extensions.transformer_engine import TENorm

        return TENorm
    return LayerNorm
