"""The shape of the encoder: its sizes, and the parameters they come to; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.vocabulary import Vocabulary

PRE_LN, POST_LN = "pre_ln", "post_ln"  # where a layer's LayerNorms are: transformer_block_type


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
    transformer_block_type: str = PRE_LN  # or POST_LN, as the original BERT's

    def __post_init__(self) -> None:
        if self.transformer_block_type not in (PRE_LN, POST_LN):
            raise ConfigError(
                f"model.transformer_block_type={self.transformer_block_type} is not known: choose {PRE_LN} "
                f"or {POST_LN}"
            )

    @classmethod
    def of(cls, model: Mapping[str, Any]) -> BertShape:
        """Read the shape from the section `model` of a config (keys as in conf/dnabert_86m.yaml)."""
        vocabulary = Vocabulary(model["tokenizer"]["k"])
        given = {key: model[key] for key in SHAPE_KEYS if key in model}
        return cls(len(vocabulary), vocabulary.padded_size(), **given)

    def num_parameters(self) -> int:
        """Trainable parameters of the masked language model, tied embedding counted once.

        Pre-LN has a LayerNorm after its last layer, post-LN one on its embeddings: as many in one as in the
        other.
        """
        h, f = self.hidden_size, self.ffn_hidden_size
        embeddings = (self.padded_vocab_size + self.max_position_embeddings) * h
        layer = 4 * (h * h + h) + (2 * h * f + f + h) + 2 * (2 * h)
        head = (h * h + h) + 2 * h + self.padded_vocab_size
        return embeddings + self.num_layers * layer + 2 * h + head


# What a config says of the shape, beside tokenizer.k.
SHAPE_KEYS = {field.name for field in fields(BertShape)} - {"vocab_size", "padded_vocab_size"}
MOST_SEED = (1 << 62) - 1  # torch takes more, and a rank adds its place to it
# Of those that are no counts, the most that they can be; of dropout, less than all.
MOST = {"hidden_dropout": 0.99, "attention_dropout": 0.99, "layernorm_epsilon": 1000, "init_method_std": 1000}


def wrong_number(model: Mapping[str, Any]) -> str | None:
    """Return a key of `MOST` whose value in a config is no number from 0 up to it, if there is one."""
    given = {key: model[key] for key in MOST if key in model}
    right = {key for key, value in given.items() if type(value) in (int, float) and 0 <= value <= MOST[key]}
    return next((key for key in given if key not in right), None)
