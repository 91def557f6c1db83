"""The tensors of a whole model by their one-rank names, told from its shape alone; needs no torch."""

from __future__ import annotations

from dnabert_nemo.megatron.bert_shape import POST_LN, BertShape
from dnabert_nemo.megatron.lora_settings import A, B, LoraSettings

Shapes = dict[str, tuple[int, ...]]

HEAD_SIZE = 64  # of a classifier's hidden layer
_PARTS = {
    "embedding.word_embeddings.": "word embeddings",
    "embedding.": "positions",
    "encoder.layers.": "layers",
    "encoder.": "last LayerNorm",
    "lm_head.": "language model head",
    "output_layer.": "language model head",
    "head.": "classifier head",
}


def encoder_tensors(shape: BertShape) -> Shapes:
    """Name the tensors of the embedding and the layers, each with its shape."""
    h, f, is_post = shape.hidden_size, shape.ffn_hidden_size, shape.transformer_block_type == POST_LN
    tensors: Shapes = {
        "embedding.word_embeddings.weight": (shape.padded_vocab_size, h),
        "embedding.position_embeddings.weight": (shape.max_position_embeddings, h),
        **(_norm("embedding.layernorm", h) if is_post else {}),
    }
    norms = ("post_attention_layernorm", "post_mlp_layernorm")
    for layer in range(shape.num_layers):
        here = f"encoder.layers.{layer}"
        for norm in norms if is_post else ("input_layernorm", "pre_mlp_layernorm"):
            tensors |= _norm(f"{here}.{norm}", h)
        tensors |= _linear(f"{here}.self_attention.linear_qkv", 3 * h, h)
        tensors |= _linear(f"{here}.self_attention.linear_proj", h, h)
        tensors |= _linear(f"{here}.mlp.linear_fc1", f, h)
        tensors |= _linear(f"{here}.mlp.linear_fc2", h, f)
    return tensors if is_post else tensors | _norm("encoder.final_layernorm", h)


def language_model_tensors(shape: BertShape) -> Shapes:
    """Name the tensors of the masked language model, its tied embedding once."""
    h = shape.hidden_size
    head = _linear("lm_head.dense", h, h) | _norm("lm_head.layer_norm", h)
    return encoder_tensors(shape) | head | {"output_layer.bias": (shape.padded_vocab_size,)}


def classifier_tensors(shape: BertShape, num_classes: int, lora: LoraSettings | None = None) -> Shapes:
    """Name the tensors of a classifier of sequences, with its adapters if it is in training with any."""
    head = _linear("head.0", HEAD_SIZE, shape.hidden_size) | _linear("head.2", num_classes, HEAD_SIZE)
    return encoder_tensors(shape) | ({} if lora is None else _adapters(shape, lora.rank)) | head


def _adapters(shape: BertShape, rank: int) -> Shapes:
    h, tensors = shape.hidden_size, Shapes()
    for layer in range(shape.num_layers):
        for linear, rows in (("linear_qkv", 3 * h), ("linear_proj", h)):
            of = f"encoder.layers.{layer}.self_attention.{linear}"
            tensors |= {f"{of}.{A}": (rank, h), f"{of}.{B}": (rows, rank)}
    return tensors


def part_of(name: str) -> str:
    """Say, for people, which part of a model a tensor belongs to."""
    if name.startswith("embedding.layernorm."):
        return "embedding LayerNorm"
    return next(part for start, part in _PARTS.items() if name.startswith(start))


def _linear(name: str, rows: int, columns: int) -> Shapes:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, size: int) -> Shapes:
    return {f"{name}.weight": (size,), f"{name}.bias": (size,)}
