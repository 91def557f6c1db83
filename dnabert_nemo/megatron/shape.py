"""How the shape of the encoder becomes megatron-core's TransformerConfig."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from megatron.core.transformer.transformer_config import TransformerConfig

from dnabert_nemo.kernels.choose import Kernels
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.sizes import ParallelSizes

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}


def dtype_of(precision: str) -> torch.dtype:
    """The dtype of the model's own weights at `precision` (fp32, bf16, fp16, or fp8, whose products
    alone are in fp8); main weights stay fp32.
    """
    return _DTYPES[precision]


@dataclass
class BertConfig(TransformerConfig):  # type: ignore[misc]
    """megatron-core's config, and what it has no place for.

    Args:
        kernels: those that the layers and the loss are made of.
        last_layer_where_read: the last layer computes only the tokens whose output is read, where the
            parallel modes leave whole rows to it.
        lora: adapters beside attention's products.
    """

    kernels: Kernels = field(default_factory=Kernels)
    last_layer_where_read: bool = True
    lora: LoraSettings | None = None


def _leave(weight: torch.Tensor) -> torch.Tensor:
    return weight


def transformer_config(
    shape: BertShape,
    sizes: ParallelSizes,
    precision: str,
    recompute: Recompute | None = None,
    kernels: Kernels | None = None,
    *,
    last_layer_where_read: bool = True,
    lora: LoraSettings | None = None,
) -> BertConfig:
    """Build megatron-core's config: erf GELU, biases everywhere, loss summed over tokens.

    Weights are drawn by `weights.initialize` and not by megatron-core, so that they do not depend on the
    sizes. Its own
    initialisation still runs, over nothing, because it also marks which parameters are split over tensor
    ranks: without those marks the norm of the gradient misses them.
    """
    dtype = dtype_of(precision)
    return BertConfig(
        kernels=kernels or Kernels(),
        lora=lora,
        last_layer_where_read=last_layer_where_read
        and not sizes.sequence_parallel
        and sizes.context == 1
        and precision != "fp8",
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
        virtual_pipeline_model_parallel_size=sizes.virtual if sizes.virtual > 1 else None,
        pipeline_model_parallel_layout=_layout(sizes),
        context_parallel_size=sizes.context,
        sequence_parallel=sizes.sequence_parallel,
        **(recompute or Recompute()).settings(),
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        fp8="hybrid" if precision == "fp8" else None,  # E4M3 forward, E5M2 backward
        fp16=precision == "fp16",
        use_cpu_initialization=not torch.cuda.is_available(),
        init_method=_leave,
        output_layer_init_method=_leave,
        calculate_per_token_loss=True,
        batch_p2p_comm=torch.cuda.is_available(),
    )


def _layout(sizes: ParallelSizes) -> list[list[str]] | None:
    """Name what each run of layers holds, as megatron-core wants it; it calls every layer a decoder."""
    if sizes.layout is None:
        return None
    runs = [["decoder"] * num_layers for num_layers in sizes.layout]
    return [["embedding", *runs[0]], *runs[1:-1], [*runs[-1], "loss"]]
