"""The shape of the encoder and how it becomes megatron-core's TransformerConfig."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from megatron.core.transformer.transformer_config import TransformerConfig

from dnabert_nemo.megatron.sizes import ParallelSizes

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class BertShape:
    """Sizes of a BERT encoder; its `vocab_size` tokens are padded to `padded_vocab_size` rows."""

    vocab_size: int
    padded_vocab_size: int
    num_layers: int = 12
    hidden_size: int = 768
    ffn_hidden_size: int = 3072
    num_attention_heads: int = 12
    max_position_embeddings: int = 512
    hidden_dropout: float = 0.1
    attention_dropout: float = 0.1
    layernorm_epsilon: float = 1e-12
    init_method_std: float = 0.02

    def num_parameters(self) -> int:
        """Trainable parameters of the masked language model, tied embedding counted once."""
        h, f = self.hidden_size, self.ffn_hidden_size
        embeddings = (self.padded_vocab_size + self.max_position_embeddings) * h
        layer = 4 * (h * h + h) + (2 * h * f + f + h) + 2 * (2 * h)
        head = (h * h + h) + 2 * h + self.padded_vocab_size
        return embeddings + self.num_layers * layer + 2 * h + head


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of the model's own weights at `precision` (fp32, bf16, fp16); main weights stay fp32."""
    return _DTYPES[precision]


def _leave(weight: torch.Tensor) -> torch.Tensor:
    return weight


def transformer_config(shape: BertShape, sizes: ParallelSizes, precision: str) -> TransformerConfig:
    """Build megatron-core's config: pre-LN, erf GELU, biases everywhere, loss summed over tokens.

    Weights are drawn by `weights.initialize` and not by megatron-core, so that they do not depend on the
    sizes. Its own
    initialisation still runs, over nothing, because it also marks which parameters are split over tensor
    ranks: without those marks the norm of the gradient misses them.
    """
    dtype = dtype_of(precision)
    return TransformerConfig(
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        ffn_hidden_size=shape.ffn_hidden_size,
        num_attention_heads=shape.num_attention_heads,
        hidden_dropout=shape.hidden_dropout,
        attention_dropout=shape.attention_dropout,
        layernorm_epsilon=shape.layernorm_epsilon,
        activation_func=F.gelu,
        bias_activation_fusion=False,  # megatron-core's fused bias-GELU is the tanh form
        bias_dropout_fusion=False,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        tensor_model_parallel_size=sizes.tensor,
        pipeline_model_parallel_size=sizes.pipeline,
        sequence_parallel=sizes.sequence_parallel,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu_initialization=not torch.cuda.is_available(),
        init_method=_leave,
        output_layer_init_method=_leave,
        calculate_per_token_loss=True,
        batch_p2p_comm=torch.cuda.is_available(),
    )
