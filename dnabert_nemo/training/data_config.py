"""The section model.data of a config as the plain values `data` takes, for `check` and `build`."""

from __future__ import annotations

from omegaconf import DictConfig

from dnabert_nemo.command import listed
from dnabert_nemo.data.masking import Masking
from dnabert_nemo.data.packing import StepShape
from dnabert_nemo.data.paths import DataPaths
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.masking import MaskRule


def data_paths(cfg: DictConfig) -> DataPaths:
    """Name the shard sets of a run.

    Raises:
        ConfigError: no set is named to train on, or several are to be streamed.
    """
    data = cfg.model.data
    train = listed(data.train)
    if not train:
        raise ConfigError(
            "model.data.train names no shard set: pass model.data.train=FOLDER, or a list of them"
        )
    weights = data.train_weights
    return DataPaths(
        train=train,
        validation=str(data.validation),
        train_weights=None if weights is None else tuple(weights),
        streaming=data.streaming,
    )


def step_shape(cfg: DictConfig) -> StepShape:
    """Give the shape of an optimizer step."""
    model = cfg.model
    return StepShape(
        model.global_batch_size, model.micro_batch_size, model.data.tokens_per_row, sequence_length(cfg)
    )


def masking(cfg: DictConfig) -> Masking:
    """Say what is hidden of a sample.

    Raises:
        ConfigError: a value is out of range.
    """
    mask = cfg.model.data.mask
    rule = MaskRule(cfg.model.tokenizer.k, mask.name, mask.probability, mask.all_mask)
    return Masking(rule, cfg.model.data.soft_masked_weight)


def sequence_length(cfg: DictConfig) -> int:
    """Tokens of a full pre-training sample, CLS and SEP included."""
    return cfg.model.data.sequence_length or cfg.model.max_position_embeddings
