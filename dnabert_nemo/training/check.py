"""Everything a config can be told before NeMo is imported, a file is written or a device is touched."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, ListConfig, OmegaConf

from dnabert_nemo.data.joined import JoinedSets
from dnabert_nemo.data.sampling import LENGTH_MIXES
from dnabert_nemo.data.shard_order import check_streams
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.vocabulary import MAX_K, Vocabulary
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.remote import RemoteSet, check_local
from dnabert_nemo.training.data_config import data_paths, masking, step_shape
from dnabert_nemo.training.launch import Launch, launch

PRECISIONS = {
    "32": "fp32",
    "32-true": "fp32",
    "bf16": "bf16",
    "bf16-mixed": "bf16",
    "16": "fp16",
    "16-mixed": "fp16",
}

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
    "model.tensor_model_parallel_size",
    "model.pipeline_model_parallel_size",
    "model.micro_batch_size",
    "model.global_batch_size",
)


def check_pretraining(cfg: DictConfig) -> None:
    """Raise ConfigError or ShardError for what a pre-training run could not get past."""
    data = cfg.model.data
    if type(data.tokens_per_row) is not int:
        raise ConfigError(f"model.data.tokens_per_row={data.tokens_per_row}: give a whole number")
    check_run(cfg, tokens_per_micro_batch=cfg.model.micro_batch_size * data.tokens_per_row)
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
    sizes, ranks = sizes_of(cfg), launch_of(cfg).num_ranks
    shape.check(sizes.data(ranks))
    paths = data_paths(cfg)
    if paths.is_streamed:
        _check_streamed(cfg, data_parallel_size=sizes.data(ranks))
    else:
        JoinedSets([ShardSet.open(path, cfg.model.tokenizer.k) for path in paths.train], paths.train_weights)
    check_local("model.data.validation", str(data.validation))
    ShardSet.open(Path(data.validation), cfg.model.tokenizer.k)
    if cfg.restore_from_path is not None and not Path(cfg.restore_from_path).is_file():
        raise ConfigError(
            f"restore_from_path={cfg.restore_from_path}: no such file: give a .nemo file, or null"
        )


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
    check_run(cfg, tokens_per_micro_batch=model.micro_batch_size * model.max_position_embeddings)
    if model.freeze_encoder and model.pipeline_model_parallel_size > 1:
        raise ConfigError(
            f"model.pipeline_model_parallel_size={model.pipeline_model_parallel_size}: a frozen encoder is "
            "run once, "
            "ahead of training, and its head trains on one stage: use 1, or model.freeze_encoder=false"
        )


def check_run(cfg: DictConfig, *, tokens_per_micro_batch: int) -> None:
    """Raise ConfigError for parallel sizes, precision or a schedule that cannot work."""
    model = cfg.model
    for key in _COUNTS:
        value = OmegaConf.select(cfg, key)
        if type(value) is not int or value < 1:
            raise ConfigError(f"{key}={value}: give a whole number of at least 1")
    if model.tokenizer.k > MAX_K:
        raise ConfigError(f"model.tokenizer.k={model.tokenizer.k} is more than {MAX_K}, the largest there is")
    if model.hidden_size % model.num_attention_heads:
        raise ConfigError(
            f"model.num_attention_heads={model.num_attention_heads} does not divide "
            f"model.hidden_size={model.hidden_size}"
        )
    sizes_of(cfg).check(
        num_ranks=launch_of(cfg).num_ranks,
        num_layers=model.num_layers,
        num_attention_heads=model.num_attention_heads,
        ffn_hidden_size=model.ffn_hidden_size,
        padded_vocab_size=Vocabulary(model.tokenizer.k).padded_size(),
        tokens_per_micro_batch=tokens_per_micro_batch,
    )
    precision = str(cfg.trainer.precision)
    if precision not in ("auto", *PRECISIONS):
        raise ConfigError(
            f"trainer.precision={precision} is not known: choose auto or one of {', '.join(PRECISIONS)}"
        )
    sched, steps = model.optim.sched, cfg.trainer.max_steps
    if sched.name != "CosineAnnealing":
        raise ConfigError(f"model.optim.sched.name={sched.name} is not known: it is CosineAnnealing")
    if sched.warmup_steps + sched.constant_steps > steps:
        raise ConfigError(
            f"model.optim.sched.warmup_steps={sched.warmup_steps} + constant_steps={sched.constant_steps} "
            "is more than "
            f"trainer.max_steps={steps}: shorten them or lengthen the run"
        )


def sizes_of(cfg: DictConfig) -> ParallelSizes:
    """The sizes of the parallel groups a config asks for."""
    model = cfg.model
    return ParallelSizes(
        model.tensor_model_parallel_size, model.pipeline_model_parallel_size, model.sequence_parallel
    )


def launch_of(cfg: DictConfig) -> Launch:
    """The ranks of this run."""
    return launch(cfg.trainer.devices, cfg.trainer.num_nodes)
