"""What a model's config says of its network, checked as far as a file of another's making needs it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from omegaconf import DictConfig

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.vocabulary import MAX_K, Vocabulary
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.tensor_shapes import Shapes, classifier_tensors, language_model_tensors

LANGUAGE_MODEL = "dnabert_nemo.model.pretraining.DnabertModel"
CLASSIFIER = "dnabert_nemo.model.classification.DnabertClassifier"

_SHAPE_KEYS = {field.name for field in fields(BertShape)} - {"vocab_size", "padded_vocab_size"}
# What a config must share with another for their encoders to be alike.
ENCODER_KEYS = _SHAPE_KEYS | {"tokenizer"}

_SIZES = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "max_position_embeddings")
_REALS = {"hidden_dropout", "attention_dropout", "layernorm_epsilon", "init_method_std"}
_MOST, _MOST_LAYERS = 1 << 20, 1 << 12  # of a size, of classes, of layers: few enough to name each tensor


def bert_shape(cfg: DictConfig | Mapping[str, Any]) -> BertShape:
    """Read the encoder's shape from a model config (keys as in conf/dnabert_86m.yaml)."""
    vocabulary = Vocabulary(cfg["tokenizer"]["k"])
    given = {key: cfg[key] for key in _SHAPE_KEYS if key in cfg}
    return BertShape(len(vocabulary), vocabulary.padded_size(), **given)


def checked_shape(config: Mapping[str, Any]) -> BertShape:
    """Read the encoder's shape from a config that may say anything.

    Raises:
        ConfigError: it describes no encoder; the message starts with the key.
    """
    tokenizer = config.get("tokenizer")
    if not isinstance(tokenizer, dict):
        raise ConfigError("describes no tokenizer")
    if "k" not in tokenizer:
        raise ConfigError("has no tokenizer.k")
    _check_count("tokenizer.k", tokenizer["k"], MAX_K)
    for key in _SIZES:
        if key not in config:
            raise ConfigError(f"has no {key}")
        _check_count(key, config[key], _MOST_LAYERS if key == "num_layers" else _MOST)
    for key in _REALS & config.keys():
        if type(config[key]) not in (int, float) or not math.isfinite(config[key]) or config[key] < 0:
            raise ConfigError(f"has {key}={config[key]!a:.40}, which is no number of 0 or more")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise ConfigError(
            f"has num_attention_heads={config['num_attention_heads']}, which does not divide "
            f"hidden_size={config['hidden_size']}"
        )
    return bert_shape(config)


def tensors_of(config: Mapping[str, Any]) -> Shapes:
    """Name the tensors of the model that a config describes, as its file names them, with their shapes.

    Raises:
        ConfigError: the config describes no model of this package; the message starts with the key.
    """
    shape, target = checked_shape(config), config.get("target")
    if target == LANGUAGE_MODEL:
        tensors = language_model_tensors(shape)
    elif target == CLASSIFIER:
        labels = config.get("labels")
        if not isinstance(labels, list) or not 1 <= len(labels) <= _MOST:
            raise ConfigError("has no list of labels")
        tensors = classifier_tensors(shape, len(labels))
    else:
        raise ConfigError(f"has target={target!a:.80}, which is no model of dnabert_nemo")
    return {f"bert.{name}": size for name, size in tensors.items()}


def _check_count(key: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ConfigError(f"has {key}={value!a:.40}, which is no whole number in 1..{most}")
