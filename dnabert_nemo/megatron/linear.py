"""Which linear layers a BERT layer is made of: megatron-core's, or Transformer Engine's, which know fp8."""

from __future__ import annotations

from megatron.core.tensor_parallel.layers import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.transformer_config import TransformerConfig

from dnabert_nemo.errors import ConfigError


def linears(config: TransformerConfig) -> tuple[type, type]:
    """Return the column- and the row-parallel linear layer of a config.

    Raises:
        ConfigError: fp8 without Transformer Engine.
    """
    if not config.fp8:
        return ColumnParallelLinear, RowParallelLinear
    try:
        from megatron.core.extensions.transformer_engine import TEColumnParallelLinear, TERowParallelLinear
    except ImportError as error:
        raise ConfigError(
            f"trainer.precision=fp8-mixed needs Transformer Engine ({error}): choose bf16-mixed"
        ) from error
    return TEColumnParallelLinear, TERowParallelLinear
