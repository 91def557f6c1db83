"""Which tensor of ours is which of HuggingFace's, and how they differ.

Ours are padded to a multiple of 128 rows of vocabulary, and keep query, key and value of one head together:
rows [N heads, 3, D head size]. Theirs have as many rows as tokens, and three matrices. Each of theirs whose
model type is `bert` is post-LN, of `megatron-bert` pre-LN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from dnabert_nemo.megatron.bert_shape import POST_LN, PRE_LN, BertShape
from dnabert_nemo.megatron.tensor_shapes import Shapes

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Kind:
    """A class of `transformers`, and its names for the LayerNorms of one layer."""

    model_type: str
    architecture: str
    block_type: str
    layer_norms: dict[str, str]  # by our name
    outer_norm: tuple[str, str]  # ours and theirs: after the last layer, or on the embeddings


KINDS = {
    "megatron-bert": Kind(
        "megatron-bert",
        "MegatronBertForMaskedLM",
        PRE_LN,
        {"input_layernorm": "attention.ln", "pre_mlp_layernorm": "ln"},
        ("encoder.final_layernorm", "bert.encoder.ln"),
    ),
    "bert": Kind(
        "bert",
        "BertForMaskedLM",
        POST_LN,
        {"post_attention_layernorm": "attention.output.LayerNorm", "post_mlp_layernorm": "output.LayerNorm"},
        ("embedding.layernorm", "bert.embeddings.LayerNorm"),
    ),
}
WORDS = "bert.embeddings.word_embeddings.weight"
POSITIONS = "bert.embeddings.position_embeddings.weight"
TOKEN_TYPES = "bert.embeddings.token_type_embeddings.weight"
BIAS = "cls.predictions.bias"
# Copies of the two above, which some files have and all may leave out.
TIED = {"cls.predictions.decoder.weight": WORDS, "cls.predictions.decoder.bias": BIAS}

_LINEAR = {
    "self_attention.linear_proj": "attention.output.dense",
    "mlp.linear_fc1": "intermediate.dense",
    "mlp.linear_fc2": "output.dense",
}
_HEAD = {"lm_head.dense": "cls.predictions.transform.dense"}
_HEAD_NORM = {"lm_head.layer_norm": "cls.predictions.transform.LayerNorm"}


def kind_of(shape: BertShape) -> Kind:
    """Find the class that computes what a model of this shape does."""
    return next(kind for kind in KINDS.values() if kind.block_type == shape.transformer_block_type)


def to_theirs(ours: Mapping[str, torch.Tensor], shape: BertShape) -> Tensors:
    """Rename and rearrange a language model's tensors; token types, of which ours have none, are zero."""
    theirs = {there: ours[here] for here, there in _alike(shape)}
    for here, there in _fused(shape):
        parts = ours[here].unflatten(0, (shape.num_attention_heads, 3, -1)).unbind(1)
        theirs |= {name: part.flatten(0, 1) for name, part in zip(there, parts, strict=True)}
    words = ours["embedding.word_embeddings.weight"]
    theirs[WORDS] = words[: shape.vocab_size]
    theirs[BIAS] = ours["output_layer.bias"][: shape.vocab_size]
    theirs[TOKEN_TYPES] = torch.zeros(2, shape.hidden_size, dtype=words.dtype)
    return {name: tensor.contiguous() for name, tensor in theirs.items()}


def to_ours(theirs: Mapping[str, torch.Tensor], shape: BertShape, rows: torch.Tensor) -> Tensors:
    """Rename and rearrange their tensors, which have the names and shapes of `their_tensors`.

    Token type 0, the only one there is in DNA, is added to the positions. `rows` [V] says in which row of
    theirs each of our tokens is.
    """
    ours = {here: theirs[there] for here, there in _alike(shape)}
    heads = shape.num_attention_heads
    for here, there in _fused(shape):
        parts = [theirs[name].unflatten(0, (heads, -1)) for name in there]
        ours[here] = torch.stack(parts, dim=1).flatten(0, 2)
    token_type = theirs[TOKEN_TYPES][0]
    if token_type.any():
        folded = theirs[POSITIONS].float() + token_type.float()
        ours["embedding.position_embeddings.weight"] = folded.to(token_type.dtype)
    for here, there in (("embedding.word_embeddings.weight", WORDS), ("output_layer.bias", BIAS)):
        padded = theirs[there].new_zeros(shape.padded_vocab_size, *theirs[there].shape[1:])
        padded[: shape.vocab_size] = theirs[there][rows]
        ours[here] = padded
    return {name: tensor.contiguous() for name, tensor in ours.items()}


def their_tensors(shape: BertShape, num_token_types: int) -> Shapes:
    """Name the tensors that a file of theirs must have, with their shapes."""
    h, f = shape.hidden_size, shape.ffn_hidden_size
    sizes = {
        "intermediate.dense.weight": (f, h),
        "intermediate.dense.bias": (f,),
        "output.dense.weight": (h, f),
    }
    sizes["attention.output.dense.weight"] = (h, h)
    tensors: Shapes = {
        WORDS: (shape.vocab_size, h),
        BIAS: (shape.vocab_size,),
        TOKEN_TYPES: (num_token_types, h),
        POSITIONS: (shape.max_position_embeddings, h),
        "cls.predictions.transform.dense.weight": (h, h),
    }
    for _, name in _alike(shape):
        within_layer = name.split(".", 4)[-1] if name.startswith("bert.encoder.layer.") else name
        tensors.setdefault(name, sizes.get(within_layer, (h,)))
    for _, names in _fused(shape):
        tensors |= {name: (h, h) if name.endswith("weight") else (h,) for name in names}
    return tensors


def _alike(shape: BertShape) -> Iterator[tuple[str, str]]:
    """Yield our name and theirs of each tensor that is the same in both."""
    yield "embedding.position_embeddings.weight", POSITIONS
    kind = kind_of(shape)
    for part in ("weight", "bias"):
        for here, there in (_HEAD | _HEAD_NORM | dict([kind.outer_norm])).items():
            yield f"{here}.{part}", f"{there}.{part}"
        for layer in range(shape.num_layers):
            for here, there in (_LINEAR | kind.layer_norms).items():
                yield f"encoder.layers.{layer}.{here}.{part}", f"bert.encoder.layer.{layer}.{there}.{part}"


def _fused(shape: BertShape) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of each of our matrices of query, key and value, and their names for the three."""
    for layer in range(shape.num_layers):
        for part in ("weight", "bias"):
            there = f"bert.encoder.layer.{layer}.attention.self"
            yield (
                f"encoder.layers.{layer}.self_attention.linear_qkv.{part}",
                [f"{there}.{name}.{part}" for name in ("query", "key", "value")],
            )
