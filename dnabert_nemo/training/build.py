"""Builds a run from its config: data, model, trainer. No config object goes further than this."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment
from nemo.utils import logging as nemo_logging
from nemo.utils.exp_manager import exp_manager
from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.data.labelled import LabelledDataModule, LabelledSequences, SampleShape
from dnabert_nemo.data.module import PretrainingDataModule
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron import checkpoint
from dnabert_nemo.model import DnabertClassifier, DnabertModel, nemo_file
from dnabert_nemo.model.base import ENCODER_KEYS
from dnabert_nemo.training.callbacks import Checkpoints, LatestCheckpoints, PlainLines, ReturnedMemory
from dnabert_nemo.training.check import PRECISIONS, check_finetuning, launch_of, sizes_of
from dnabert_nemo.training.data_config import data_paths, masking, step_shape
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
        model.start_from(nemo_file.read(Path(cfg.restore_from_path)), cfg.restore_from_path)
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
    return complete


def labelled_data(cfg: DictConfig, train: LabelledSplit, validation: LabelledSplit) -> LabelledDataModule:
    """Encode the sequences of a fine-tuning run, as the encoder's vocabulary has them."""
    model = cfg.model
    encoded = [
        LabelledSequences(
            split.sequences, split.labels, k=model.tokenizer.k, max_positions=model.max_position_embeddings
        )
        for split in (train, validation)
    ]
    log.info("data: %d sequences to train on, %d to validate on", *map(len, encoded))
    shape = SampleShape(model.global_batch_size, model.micro_batch_size)
    return LabelledDataModule(*encoded, shape, seed=model.seed)


def classifier(cfg: DictConfig, labels: Sequence[str]) -> DnabertClassifier:
    """Make a classifier on the encoder of `restore_from_path`."""
    model = DnabertClassifier(OmegaConf.merge(cfg.model, {"labels": list(labels)}))
    model.start_from(nemo_file.read(Path(cfg.restore_from_path)), cfg.restore_from_path)
    log.info(
        "model: %s on a %s encoder", ", ".join(labels), "frozen" if cfg.model.freeze_encoder else "trained"
    )
    return model


def trainer(cfg: DictConfig) -> Trainer:
    """Make Lightning's trainer around Megatron's ranks, and NeMo's folders and loggers around it."""
    _quiet()
    started = launch_of(cfg)
    precision = _precision(str(cfg.trainer.precision))
    log.info("precision %s, %d ranks, %s", precision, started.num_ranks, sizes_of(cfg))
    folder = Path(cfg.exp_manager.exp_dir, cfg.exp_manager.name)
    checkpoints = folder / "checkpoints"
    made = Trainer(
        devices=started.devices,
        num_nodes=started.num_nodes,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        strategy=MegatronStrategy(
            sizes_of(cfg),
            seed=cfg.model.seed,
            model_precision=precision,
            clip_grad=cfg.trainer.gradient_clip_val,
        ),
        max_steps=cfg.trainer.max_steps,
        max_epochs=-1,
        val_check_interval=cfg.trainer.val_check_interval,
        limit_val_batches=cfg.trainer.limit_val_batches,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=cfg.trainer.log_every_n_steps,
        callbacks=_callbacks(cfg, folder, checkpoints),
        enable_progress_bar=sys.stdout.isatty(),
        enable_model_summary=False,
        logger=False,
        use_distributed_sampler=False,
        # Lightning's own requeueing would write a checkpoint beside ours and prefer it, however old
        plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
    )
    with nemo_logging.temp_verbosity(logging.ERROR):  # it warns of the settings below, which are meant
        exp_manager(made, _experiment(cfg, checkpoints))
    return made


def nemo_path(cfg: DictConfig) -> Path:
    """Where the model of a run goes when it ends."""
    return Path(cfg.exp_manager.exp_dir, cfg.exp_manager.name, "checkpoints", f"{cfg.exp_manager.name}.nemo")


def _precision(name: str) -> str:
    """The 16-bit type the device is made for: Volta fp16, Ampere and later bf16; a CPU stays at fp32."""
    if name != "auto":
        precision = PRECISIONS[name]
    elif not torch.cuda.is_available():
        precision = "fp32"
    else:
        precision = "bf16" if torch.cuda.get_device_capability() >= (8, 0) else "fp16"
    if precision == "fp16" and not torch.cuda.is_available():
        raise ConfigError(
            f"trainer.precision={name} needs a GPU for its loss scaling: choose 32 or bf16-mixed on a CPU"
        )
    return precision


def _callbacks(cfg: DictConfig, folder: Path, checkpoints: Path) -> list[Callback]:
    keep = cfg.exp_manager.checkpoint_callback_params
    best = Checkpoints(
        dirpath=checkpoints,
        filename=f"{keep.monitor}={{{keep.monitor}:.4f}}-step={{step}}",
        auto_insert_metric_name=False,
        monitor=keep.monitor,
        mode=keep.mode,
        save_top_k=keep.save_top_k,
    )
    return [
        PlainLines(folder / "train_log.txt", cfg.trainer.log_every_n_steps),
        best,
        LatestCheckpoints(checkpoints, keep.every_n_train_steps),
        *([] if torch.cuda.is_available() else [ReturnedMemory()]),
    ]


def _experiment(cfg: DictConfig, checkpoints: Path) -> dict[str, Any]:
    """NeMo's settings, with checkpoints left to our callbacks and the newest finished one to resume from.

    NeMo's own search wants exactly one checkpoint named last, which a run that was killed may not have left.
    """
    settings = OmegaConf.to_container(cfg.exp_manager, resolve=True)
    newest = checkpoint.newest(checkpoints) if settings["resume_if_exists"] else None
    if newest is not None:
        log.info("resuming from %s", newest)
    return {
        **settings,
        "create_checkpoint_callback": False,
        "resume_ignore_no_checkpoint": True,
        "resume_from_checkpoint": None if newest is None else str(newest),
    }


def _quiet() -> None:
    """Leave the terminal to this package's lines; the libraries' warnings still go to NeMo's files."""
    nemo_logging.setLevel(logging.WARNING)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Data resumes by its own count of samples.
    warnings.filterwarnings("ignore", message=".*ended before the epoch ended.*")
