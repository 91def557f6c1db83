"""Everything a config can be told before NeMo is imported, a file is written or a device is touched."""

from __future__ import annotations

import math
from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from dnabert_nemo.data.joined import JoinedSets
from dnabert_nemo.data.pooling import POOLINGS
from dnabert_nemo.data.sampling import LENGTH_MIXES
from dnabert_nemo.data.shard_order import check_streams
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import ASKED, COMPILED
from dnabert_nemo.kmer.vocabulary import MAX_K, Vocabulary
from dnabert_nemo.megatron.bert_shape import MOST, MOST_SEED, BertShape, wrong_number
from dnabert_nemo.megatron.lora_settings import LoraSettings
from dnabert_nemo.megatron.optimizer_settings import LossScaling, OptimizerSettings, number
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.schedules import ScheduleSettings
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.remote import RemoteSet, check_local
from dnabert_nemo.training.data_config import data_paths, masking, step_shape
from dnabert_nemo.training.launch import Launch, launch
from dnabert_nemo.training.loggers import check_loggers
from dnabert_nemo.training.micro_batch import know_rows_that_fit
from dnabert_nemo.training.precision import PRECISIONS, check_fp8

NSYS = "nsys"  # trainer.profile
BALANCED = "balanced"  # model.class_weights
_COUNTS = (
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.max_steps",
    "trainer.log_every_n_steps",
    "exp_manager.checkpoint_callback_params.every_n_train_steps",
    "model.tokenizer.k",
    "model.num_layers",
    "model.hidden_size",
    "model.ffn_hidden_size",
    "model.num_attention_heads",
    "model.max_position_embeddings",
    "model.micro_batch_size",
    "model.global_batch_size",
)


def check_pretraining(cfg: DictConfig) -> None:
    """Raise ConfigError or ShardError for what a pre-training run could not get past."""
    launched = launch_of(cfg)
    check_but_data(cfg, launched)
    data, paths = cfg.model.data, data_paths(cfg)
    if paths.is_streamed:
        _check_streamed(cfg, data_parallel_size=sizes_of(cfg).data(launched.num_ranks))
    else:
        JoinedSets([ShardSet.open(path, cfg.model.tokenizer.k) for path in paths.train], paths.train_weights)
    check_local("model.data.validation", str(data.validation))
    ShardSet.open(Path(data.validation), cfg.model.tokenizer.k)
    if cfg.restore_from_path is not None and not Path(cfg.restore_from_path).is_file():
        raise ConfigError(
            f"restore_from_path={cfg.restore_from_path}: no such file: give a .nemo file, or null"
        )


def check_but_data(cfg: DictConfig, launched: Launch) -> None:
    """Raise ConfigError for what pre-training on these ranks could not get past, whatever the data."""
    data = cfg.model.data
    if type(data.tokens_per_row) is not int:
        raise ConfigError(f"model.data.tokens_per_row={data.tokens_per_row}: give a whole number")
    check_run(cfg, launched, tokens_per_micro_batch=cfg.model.micro_batch_size * data.tokens_per_row)
    if data.length_mix not in LENGTH_MIXES:
        known = " or ".join(LENGTH_MIXES)
        raise ConfigError(f"model.data.length_mix={data.length_mix} is not known: choose {known}")
    _check_data(cfg)
    masking(cfg)
    shape = step_shape(cfg)
    if shape.max_positions > cfg.model.max_position_embeddings:
        raise ConfigError(
            f"model.data.sequence_length={shape.max_positions} is more than "
            f"model.max_position_embeddings={cfg.model.max_position_embeddings}: shorten it"
        )
    shape.check(sizes_of(cfg).data(launched.num_ranks))


def _check_data(cfg: DictConfig) -> None:
    data = cfg.model.data
    for key in ("streaming", "verify_checksums", "reverse_complement"):
        if not isinstance(data[key], bool):
            raise ConfigError(f"model.data.{key}={data[key]}: give true or false")
    for key, least in (("shuffle_buffer", 1), ("num_workers", 0), ("num_validation_samples", 1)):
        may_be_null = key == "num_validation_samples"
        if data[key] is None and may_be_null:
            continue
        if type(data[key]) is not int or data[key] < least:
            also = ", or null for one pass" if may_be_null else ""
            raise ConfigError(f"model.data.{key}={data[key]}: give a whole number of at least {least}{also}")
    if not isinstance(data.mask, DictConfig):
        raise ConfigError(f"model.data.mask={data.mask}: set model.data.mask.name and the others one by one")
    if data.train_weights is not None and not isinstance(data.train_weights, ListConfig):
        raise ConfigError(
            f"model.data.train_weights={data.train_weights}: give a list, a number for each set"
        )


def _check_streamed(cfg: DictConfig, data_parallel_size: int) -> None:
    data = cfg.model.data
    shards = RemoteSet.open(data_paths(cfg).train[0], cfg.model.tokenizer.k)
    check_streams(len(shards.manifest.shards), data_parallel_size, data.num_workers)


def check_finetuning(cfg: DictConfig) -> None:
    """Raise ConfigError for what a fine-tuning run could not get past; the config has its encoder's shape."""
    model = cfg.model
    check_run(
        cfg,
        launch_of(cfg),
        tokens_per_micro_batch=model.micro_batch_size * model.max_position_embeddings,
    )
    if model.context_parallel_size > 1:
        raise ConfigError(
            f"model.context_parallel_size={model.context_parallel_size}: it shares the tokens of long packed "
            "rows, and a classifier's sequences are not packed: use 1"
        )
    for key in ("freeze_encoder", "random_encoder"):
        if not isinstance(model[key], bool):
            raise ConfigError(f"model.{key}={model[key]}: give true or false")
    if model.pooling not in POOLINGS:
        raise ConfigError(f"model.pooling={model.pooling} is not known: choose one of {', '.join(POOLINGS)}")
    _check_lora(cfg)
    _check_class_weights(model.class_weights)
    _check_early_stopping(cfg.exp_manager)
    if model.freeze_encoder and model.pipeline_model_parallel_size > 1:
        raise ConfigError(
            f"model.pipeline_model_parallel_size={model.pipeline_model_parallel_size}: a frozen encoder is "
            "run once, "
            "ahead of training, and its head trains on one stage: use 1, or model.freeze_encoder=false"
        )


def _check_lora(cfg: DictConfig) -> None:
    model = cfg.model
    lora = LoraSettings.of(model)
    if lora is None:
        return
    asked = f"model.lora.rank={lora.rank}: adapters"
    if model.freeze_encoder:
        raise ConfigError(f"{asked} train, and model.freeze_encoder=true lets nothing train: pass false")
    if model.sequence_parallel:
        raise ConfigError(f"{asked} are not made for model.sequence_parallel=true: pass false")
    if str(cfg.trainer.precision) == "fp8-mixed":
        raise ConfigError(f"{asked} are not made for trainer.precision=fp8-mixed: pass bf16-mixed")
    if model.activations_checkpoint_granularity == "full":
        raise ConfigError(
            f"{asked} and model.activations_checkpoint_granularity=full do not go together, as what comes "
            "into the first layer has no gradient: pass selective, or null"
        )


def _check_class_weights(weights: object) -> None:
    if weights is None or weights == BALANCED:
        return
    if not isinstance(weights, ListConfig):
        raise ConfigError(
            f"model.class_weights={weights}: give null, {BALANCED}, or a list with a number for each label"
        )
    for at, weight in enumerate(weights):
        if number(f"model.class_weights[{at}]", weight, least=0) == math.inf:
            raise ConfigError(f"model.class_weights[{at}]=inf: give a number")


def _check_early_stopping(exp_manager: DictConfig) -> None:
    asked = exp_manager.create_early_stopping_callback
    if not isinstance(asked, bool):
        raise ConfigError(f"exp_manager.create_early_stopping_callback={asked}: give true or false")
    by, keep = exp_manager.early_stopping_callback_params, exp_manager.checkpoint_callback_params
    if not asked:
        return
    for key in ("monitor", "mode"):
        if by[key] != keep[key]:
            raise ConfigError(
                f"exp_manager.early_stopping_callback_params.{key}={by[key]}, and "
                f"exp_manager.checkpoint_callback_params.{key}={keep[key]}: give both the same, as what is "
                "kept at the end is the best checkpoint"
            )
    if keep.save_top_k == 0:
        raise ConfigError(
            "exp_manager.checkpoint_callback_params.save_top_k=0 keeps no best checkpoint, which a run that "
            "stops early ends with: give 1"
        )


def check_run(cfg: DictConfig, launched: Launch, *, tokens_per_micro_batch: int) -> None:
    """Raise ConfigError for parallel sizes, precision or a schedule that cannot work."""
    model = cfg.model
    for key in _COUNTS:
        value = OmegaConf.select(cfg, key)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{key}={value}: give a whole number of at least 1")
    async_save = cfg.exp_manager.checkpoint_callback_params.async_save
    if not isinstance(async_save, bool):
        raise ConfigError(
            f"exp_manager.checkpoint_callback_params.async_save={async_save}: give true or false"
        )
    if model.tokenizer.k > MAX_K:
        raise ConfigError(f"model.tokenizer.k={model.tokenizer.k} is more than {MAX_K}, the largest there is")
    if type(model.seed) is not int or not 0 <= model.seed <= MOST_SEED:
        raise ConfigError(f"model.seed={model.seed}: give a whole number in 0..{MOST_SEED}")
    if (wrong := wrong_number(model)) is not None:
        raise ConfigError(f"model.{wrong}={model[wrong]}: give a number in 0..{MOST[wrong]}")
    BertShape.of(model)  # which knows the types of layers
    if model.hidden_size % model.num_attention_heads:
        raise ConfigError(
            f"model.num_attention_heads={model.num_attention_heads} does not divide "
            f"model.hidden_size={model.hidden_size}"
        )
    sizes_of(cfg).check(
        num_ranks=launched.num_ranks,
        num_layers=model.num_layers,
        num_attention_heads=model.num_attention_heads,
        ffn_hidden_size=model.ffn_hidden_size,
        padded_vocab_size=Vocabulary(model.tokenizer.k).padded_size(),
        tokens_per_micro_batch=tokens_per_micro_batch,
        rows_per_step=model.global_batch_size,
        micro_batch_size=model.micro_batch_size,
    )
    Recompute.of(model).check(sizes_of(cfg).layers_of_runs(model.num_layers))
    _check_kernels(cfg)
    precision = str(cfg.trainer.precision)
    if precision not in ("auto", *PRECISIONS):
        raise ConfigError(
            f"trainer.precision={precision} is not known: choose auto or one of {', '.join(PRECISIONS)}"
        )
    check_fp8(
        precision, tokens_per_micro_batch=tokens_per_micro_batch, tensor_size=model.tensor_model_parallel_size
    )
    settings = OptimizerSettings.of(model.optim, cfg.trainer.gradient_clip_val)
    ScheduleSettings.of(model.optim.sched).check(lr=settings.lr, max_steps=cfg.trainer.max_steps)
    LossScaling(model.native_amp_init_scale, model.native_amp_growth_interval, model.hysteresis)
    tolerance = cfg.trainer.nonfinite_tolerance
    if type(tolerance) is not int or tolerance < 0:
        raise ConfigError(
            f"trainer.nonfinite_tolerance={tolerance}: give a whole number of steps, 0 to end at the first"
        )
    if not isinstance(cfg.trainer.profile, bool) and cfg.trainer.profile != NSYS:
        raise ConfigError(f"trainer.profile={cfg.trainer.profile}: give true, false or {NSYS}")
    check_loggers(cfg.exp_manager)


def _check_kernels(cfg: DictConfig) -> None:
    """Compiled layers know torch's products, and no collectives among them."""
    model = cfg.model
    asked, instead = f"model.kernels={model.kernels}", "use model.kernels=auto"
    if model.kernels not in ASKED:
        raise ConfigError(f"{asked} is not known: choose one of {', '.join(ASKED)}")
    if model.kernels == "te" and model.context_parallel_size > 1:
        raise ConfigError(
            f"{asked} shares a row's tokens in another order than "
            f"model.context_parallel_size={model.context_parallel_size} does here: {instead}"
        )
    if model.kernels not in COMPILED:
        return
    if model.tensor_model_parallel_size > 1:
        raise ConfigError(
            f"{asked} compiles layers whole, and "
            f"model.tensor_model_parallel_size={model.tensor_model_parallel_size} splits them: {instead}"
        )
    if str(cfg.trainer.precision) == "fp8-mixed":
        raise ConfigError(f"{asked} has no fp8, as trainer.precision=fp8-mixed asks: {instead}")
    if LoraSettings.of(model) is not None:
        raise ConfigError(f"{asked} has no adapters, as model.lora.rank asks: {instead}")


def sizes_of(cfg: DictConfig) -> ParallelSizes:
    """The sizes of the parallel groups a config asks for."""
    return ParallelSizes.of(cfg.model)


def launch_of(cfg: DictConfig) -> Launch:
    """The ranks of this run."""
    return launch(cfg.trainer.devices, cfg.trainer.num_nodes)


know_rows_that_fit()
