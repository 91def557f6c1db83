"""Builds a run from its config: data, model, trainer. No config object goes further than this."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from nemo.utils import logging as nemo_logging
from nemo.utils.exp_manager import exp_manager
from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.data.labelled import LabelledDataModule, LabelledSequences, SampleShape
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import COMPILED, Device
from dnabert_nemo.kernels.choose import choose as choose_kernels
from dnabert_nemo.megatron import checkpoint, checkpoint_weights
from dnabert_nemo.megatron.bert_shape import MOST, SHAPE_KEYS, BertShape
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.tensor_shapes import classifier_tensors
from dnabert_nemo.model import DnabertClassifier, DnabertModel, nemo_file
from dnabert_nemo.model.model_config import ENCODER_KEYS, LANGUAGE_MODEL
from dnabert_nemo.training.callbacks import PlainLines, ReturnedMemory
from dnabert_nemo.training.check import BALANCED, check_finetuning, launch_of, sizes_of
from dnabert_nemo.training.checkpoints import BestCheckpoints, LatestCheckpoints
from dnabert_nemo.training.data_config import data_paths, masking, step_shape
from dnabert_nemo.training.launch import end_with_first_rank
from dnabert_nemo.training.loggers import csv_logger, nemos_settings
from dnabert_nemo.training.nonfinite import NonFiniteSteps
from dnabert_nemo.training.precision import choose, has_transformer_engine
from dnabert_nemo.training.profile import profiling
from dnabert_nemo.training.step_end import StepEnd
from dnabert_nemo.training.strategy import MegatronStrategy

log = logging.getLogger("dnabert_nemo")


class LabelledSplit(Protocol):
    """A part of a dataset: sequences of bases and the integer label of each."""

    sequences: Sequence[str]
    labels: Sequence[int]


def pretraining_data(cfg: DictConfig) -> PretrainingDataModule:
    """Open the shard sets a pre-training config names."""
    data = cfg.model.data
    module = PretrainingDataModule(
        data_paths(cfg),
        step_shape(cfg),
        masking(cfg),
        seed=cfg.model.seed,
        length_mix=data.length_mix,
        reverse_complement=data.reverse_complement,
        num_validation_samples=data.num_validation_samples,
        shuffle_buffer=data.shuffle_buffer,
        num_workers=data.num_workers,
        verify_checksums=data.verify_checksums,
    )
    module.setup()
    log.info("data: %s", module.describe())
    return module


def pretraining_model(cfg: DictConfig) -> DnabertModel:
    """Make the masked language model, from the weights of `restore_from_path` where one is named."""
    model = DnabertModel(cfg.model)
    if cfg.restore_from_path is not None:
        file = nemo_file.read(Path(cfg.restore_from_path))
        _check_alike(cfg, file.config)
        model.start_from(file, cfg.restore_from_path)
    shape = model.shape
    log.info(
        "model: %s parameters: %d layers x %d hidden, %d-mers, vocabulary %d padded to %d",
        f"{shape.num_parameters():,}",
        shape.num_layers,
        shape.hidden_size,
        cfg.model.tokenizer.k,
        shape.vocab_size,
        shape.padded_vocab_size,
    )
    return model


def with_encoder(cfg: DictConfig) -> DictConfig:
    """Complete a fine-tuning config with its encoder's shape and vocabulary, and check it.

    Raises:
        CheckpointError: that file is not a .nemo file.
        ConfigError: the run could not get past its config.
    """
    file = nemo_file.read_config(Path(cfg.restore_from_path))
    encoder = {key: value for key, value in file.items() if key in ENCODER_KEYS}
    encoder["tokenizer"] = {**encoder["tokenizer"], "vocab_file": None}
    complete = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    complete.model = OmegaConf.merge(encoder, complete.model)
    check_finetuning(complete)
    shape = SampleShape(complete.model.global_batch_size, complete.model.micro_batch_size)
    shape.check(sizes_of(complete).data(launch_of(complete).num_ranks))
    return complete


def labelled_data(cfg: DictConfig, train: LabelledSplit, validation: LabelledSplit) -> LabelledDataModule:
    """Encode the sequences of a fine-tuning run, as the encoder's vocabulary has them.

    Raises:
        ConfigError: there is none to validate on.
    """
    model = cfg.model
    if not len(validation.labels):
        raise ConfigError(
            f"model.data.dataset_path={model.data.dataset_path}: its validation split is empty, and the best "
            "checkpoint is chosen by one: prepare it again with contigs, or a fraction, for split.validation"
        )
    encoded = [
        LabelledSequences(
            split.sequences,
            split.labels,
            k=model.tokenizer.k,
            max_positions=model.max_position_embeddings,
            pooling=model.pooling,
            multiple_of=math.lcm(16, model.tensor_model_parallel_size),  # for fp8, and to share tokens out
            one_size=model.pipeline_model_parallel_size > 1 or model.kernels in COMPILED,
        )
        for split in (train, validation)
    ]
    log.info("data: %d sequences to train on, %d to validate on", *map(len, encoded))
    shape = SampleShape(model.global_batch_size, model.micro_batch_size)
    return LabelledDataModule(*encoded, shape, seed=model.seed)


def classifier(cfg: DictConfig, labels: Sequence[str], data: LabelledDataModule) -> DnabertClassifier:
    """Make a classifier on the encoder of `restore_from_path`, or on one of its shape with first weights.

    Raises:
        ConfigError: weights of classes that are not as many as the labels, or a label without a sample.
    """
    counts = np.bincount(data.train.labels, minlength=len(labels))
    if missing := [label for label, count in zip(labels, counts, strict=True) if not count]:
        raise ConfigError(
            f"no sequence to train on has the label {missing[0]}: leave the label out, or add some"
        )
    weights = class_weights(cfg.model.class_weights, counts)
    model = DnabertClassifier(OmegaConf.merge(cfg.model, {"labels": list(labels), "class_weights": weights}))
    if not cfg.model.random_encoder:
        model.start_from(nemo_file.read(Path(cfg.restore_from_path)), cfg.restore_from_path)
    kind = "frozen" if cfg.model.freeze_encoder else "trained"
    of = " of random weights" if cfg.model.random_encoder else ""
    log.info("model: %s on a %s encoder%s", ", ".join(labels), kind, of)
    return model


def class_weights(asked: str | Sequence[float] | None, counts: Sequence[int]) -> list[float] | None:
    """Return what a sample of each class counts; balanced: n / (C n_c), whose mean over the samples is one.

    Raises:
        ConfigError: not as many as there are classes, or all zero.
    """
    if asked is None:
        return None
    if asked == BALANCED:
        return [float(sum(counts) / (len(counts) * count)) for count in counts]
    weights = list(map(float, asked))
    if len(weights) != len(counts) or not any(weights):
        raise ConfigError(
            f"model.class_weights={weights}: give {len(counts)}, a number for each label, not all of them 0"
        )
    return weights


def trainer(cfg: DictConfig) -> Trainer:
    """Make Lightning's trainer around Megatron's ranks, and NeMo's folders and loggers around it."""
    _quiet()
    started = launch_of(cfg)
    end_with_first_rank()
    capability = torch.cuda.get_device_capability() if torch.cuda.is_available() else None
    precision = choose(
        str(cfg.trainer.precision), capability, has_transformer_engine=has_transformer_engine()
    )
    kernels = choose_kernels(cfg.model.kernels, Device.here(capability), precision=precision.name)
    log.info(
        "precision %s, %d ranks: %s; %s for %s",
        precision.name,
        started.num_ranks,
        sizes_of(cfg).describe(started.num_ranks),
        precision.name,
        precision.reason,
    )
    log.info("kernels: %s", kernels)
    folder = Path(cfg.exp_manager.exp_dir, cfg.exp_manager.name)
    checkpoints = folder / "checkpoints"
    profiler, profiled = profiling(cfg.trainer.profile, folder)
    made = Trainer(
        devices=started.devices,
        num_nodes=started.num_nodes,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        strategy=MegatronStrategy(
            sizes_of(cfg),
            seed=cfg.model.seed,
            model_precision=precision.name,
            kernels=kernels.kernels,
            clip_grad=cfg.trainer.gradient_clip_val,
            save_in_background=cfg.exp_manager.checkpoint_callback_params.async_save,
        ),
        max_steps=cfg.trainer.max_steps,
        max_epochs=-1,
        val_check_interval=cfg.trainer.val_check_interval,
        limit_val_batches=cfg.trainer.limit_val_batches,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=cfg.trainer.log_every_n_steps,
        callbacks=[*_callbacks(cfg, folder, checkpoints), *profiled],
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        logger=False,
        profiler=profiler,
        use_distributed_sampler=False,
        # Lightning's own requeueing would write a checkpoint beside ours and prefer it, however old
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
    )
    with nemo_logging.temp_verbosity(logging.ERROR):  # it warns of the settings below, which are meant
        exp_manager(made, nemos_settings(_experiment(cfg, checkpoints)))
    if cfg.exp_manager.create_csv_logger:
        made.loggers = [*made.loggers, csv_logger(folder)]
    return made


def _check_alike(cfg: DictConfig, file: dict[str, Any]) -> None:
    """Raise ConfigError where a .nemo file holds another model than the one that is to start from it."""
    if file["target"] != LANGUAGE_MODEL:
        raise ConfigError(
            f"restore_from_path={cfg.restore_from_path}: holds a {file['target']}: give the .nemo file of a "
            "pre-training run"
        )
    theirs, ours = BertShape.of(file), BertShape.of(cfg.model)
    wrong = {key for key in SHAPE_KEYS - MOST.keys() if getattr(theirs, key) != getattr(ours, key)}
    there = {f"model.{key}": getattr(theirs, key) for key in sorted(wrong)}
    if theirs.vocab_size != ours.vocab_size:
        there["model.tokenizer.k"] = file["tokenizer"]["k"]
    if there:
        asked = " ".join(f"{key}={value}" for key, value in there.items())
        raise ConfigError(f"restore_from_path={cfg.restore_from_path} holds another model: pass {asked}")


def take_best(cfg: DictConfig, model: DnabertClassifier) -> None:
    """Put the best checkpoint's weights into a model whose run stops early; every rank calls."""
    if not cfg.exp_manager.create_early_stopping_callback:
        return
    (best,) = (each for each in model.trainer.checkpoint_callbacks if isinstance(each, BestCheckpoints))
    path = Path(model.trainer.strategy.broadcast(best.best_model_path))
    shapes = classifier_tensors(model.shape, len(model.labels), LoraSettings.of(model.cfg))
    model.take(checkpoint_weights.read_weights(path, shapes))
    log.info("the weights are those of %s, the best by %s", path.name, best.monitor)


def nemo_path(cfg: DictConfig) -> Path:
    """Where the model of a run goes when it ends."""
    return Path(cfg.exp_manager.exp_dir, cfg.exp_manager.name, "checkpoints", f"{cfg.exp_manager.name}.nemo")


def _callbacks(cfg: DictConfig, folder: Path, checkpoints: Path) -> list[Callback]:
    keep = cfg.exp_manager.checkpoint_callback_params
    best = BestCheckpoints(checkpoints, monitor=keep.monitor, mode=keep.mode, save_top_k=keep.save_top_k)
    latest = LatestCheckpoints(checkpoints, keep.every_n_train_steps)
    return [
        NonFiniteSteps(cfg.trainer.nonfinite_tolerance),
        PlainLines(folder / "train_log.txt", cfg.trainer.log_every_n_steps),
        best,
        latest,
        StepEnd(latest),
        *([] if torch.cuda.is_available() else [ReturnedMemory()]),
    ]


def _experiment(cfg: DictConfig, checkpoints: Path) -> dict[str, Any]:
    """NeMo's settings, with checkpoints left to our callbacks, and the folder to resume from if it has any.

    Which of them is used, rank 0 tells the others when they have met (`checkpoint_io`). NeMo's own search
    wants exactly one checkpoint named last, which a run that was killed may not have left.
    """
    settings = OmegaConf.to_container(cfg.exp_manager, resolve=True)
    newest = checkpoint.newest(checkpoints)
    if newest is not None and not settings["resume_if_exists"]:
        raise ConfigError(
            f"exp_manager.resume_if_exists=false, but {checkpoints} has checkpoints of a run, {newest.name} "
            "the newest: name another exp_manager.name, or move them away"
        )
    return {
        **settings,
        "create_checkpoint_callback": False,
        "resume_ignore_no_checkpoint": True,
        "disable_validation_on_resume": False,  # else one that a kill came before is left out
        "resume_from_checkpoint": None if newest is None else str(checkpoints),
    }


def _quiet() -> None:
    """Leave the terminal to this package's lines; the libraries' warnings still go to NeMo's files."""
    nemo_logging.setLevel(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*Experiment logs directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*exists and is not empty")  # it is what a run goes on from
    # Data resumes by its own count of samples.
    warnings.filterwarnings("ignore", message=".*ended before the epoch ended.*")
