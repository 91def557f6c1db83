"""What a model's config says of its network, checked as far as a file of another's making needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnabert_nemo.data.pooling import POOLINGS
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.vocabulary import MAX_K
from dnabert_nemo.megatron.bert_shape import MOST, MOST_SEED, SHAPE_KEYS, BertShape, wrong_number
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.tensor_shapes import Shapes, classifier_tensors, language_model_tensors

LANGUAGE_MODEL = "dnabert_nemo.model.pretraining.DnabertModel"
CLASSIFIER = "dnabert_nemo.model.classification.DnabertClassifier"

# What a config must share with another for their encoders to be alike.
ENCODER_KEYS = SHAPE_KEYS | {"tokenizer"}

_SIZES = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "max_position_embeddings")
_MOST, _MOST_LAYERS = 1 << 20, 1 << 12  # of a size, of classes, of layers: few enough to name each tensor


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
    if (wrong := wrong_number(config)) is not None:
        raise ConfigError(f"has {wrong}={config[wrong]!a:.40}, which is no number in 0..{MOST[wrong]}")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise ConfigError(
            f"has num_attention_heads={config['num_attention_heads']}, which does not divide "
            f"hidden_size={config['hidden_size']}"
        )
    return BertShape.of(config)


def tensors_of(config: Mapping[str, Any]) -> Shapes:
    """Name the tensors of the model that a config describes, as its file names them, with their shapes.

    Raises:
        ConfigError: the config describes no model of this package; the message starts with the key.
    """
    shape, target = checked_shape(config), config.get("target")
    if "seed" in config:
        _check_count("seed", config["seed"], MOST_SEED, least=0)
    if not isinstance(config.get("provenance", {}), dict):
        raise ConfigError(f"has provenance={config['provenance']!a:.40}, which is no mapping")
    if target == LANGUAGE_MODEL:
        tensors = language_model_tensors(shape)
    elif target == CLASSIFIER:
        labels = config.get("labels")
        if not isinstance(labels, list) or not 1 <= len(labels) <= _MOST:
            raise ConfigError("has no list of labels")
        if not isinstance(config.get("freeze_encoder"), bool):
            raise ConfigError("has no freeze_encoder, true or false")
        if config.get("pooling", "centre") not in POOLINGS:
            raise ConfigError(
                f"has pooling={config['pooling']!a:.40}, which is none of {', '.join(POOLINGS)}"
            )
        tensors = classifier_tensors(shape, len(labels), LoraSettings.of(config))
    else:
        raise ConfigError(f"has target={target!a:.80}, which is no model of dnabert_nemo")
    return {f"bert.{name}": size for name, size in tensors.items()}


def _check_count(key: str, value: object, most: int, *, least: int = 1) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(f"has {key}={value!a:.40}, which is no whole number in {least}..{most}")
