"""What a config gets wrong is told from the config and the shards alone, by the name of the override."""

from __future__ import annotations

import pytest

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.training.check import check_pretraining


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["trainer.precision=32"],
        ["trainer.precision=bf16-mixed"],
        ["trainer.devices=4", "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
        ["trainer.devices=6", "model.pipeline_model_parallel_size=6"],
        ["trainer.max_steps=50500", "model.data.sequence_length=128"],
    ],
)
def test_what_works_passes(config, overrides: list[str]) -> None:
    check_pretraining(config(*overrides))


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["trainer.precision=tf32"], r"trainer\.precision=tf32 is not known: choose auto or one of 32"),
        (["model.kernels=fast"], r"model\.kernels=fast is not known: choose one of auto, te, apex"),
        (
            ["model.kernels=graphs", "model.tensor_model_parallel_size=2", "trainer.devices=2"],
            r"model\.kernels=graphs compiles layers whole, and model\.tensor_model_parallel_size=2 splits",
        ),
        (
            ["model.kernels=inductor", "trainer.precision=fp8-mixed"],
            r"model\.kernels=inductor has no fp8, as trainer\.precision=fp8-mixed asks: use",
        ),
        (
            ["model.kernels=te", "model.context_parallel_size=2", "trainer.devices=2"],
            r"model\.kernels=te shares a row's tokens in another order .* use model\.kernels=auto",
        ),
        (
            ["trainer.max_steps=50499"],
            r"warmup_steps=500 \+ constant_steps=50000 is more than trainer\.max_steps=50499",
        ),
        (
            ["exp_manager.checkpoint_callback_params.async_save=2"],
            r"exp_manager\.checkpoint_callback_params\.async_save=2: give true or false",
        ),
        (["model.seed=-1"], r"model\.seed=-1: give a whole number in 0\.\."),
        (["model.seed=1.5"], r"model\.seed=1\.5: give a whole number"),
        (["model.hidden_dropout=1.5"], r"model\.hidden_dropout=1\.5: give a number in 0\.\.0\.99$"),
        (["model.layernorm_epsilon=null"], r"model\.layernorm_epsilon=None: give a number"),
        (["model.transformer_block_type=mid_ln"], r"model\.transformer_block_type=mid_ln is not known"),
        (["model.optim.sched.name=Linear"], r"model\.optim\.sched\.name=Linear is not known"),
        (["model.tensor_model_parallel_size=2"], "needs a multiple of 2 ranks and there are 1"),
        (
            [
                "model.tensor_model_parallel_size=2",
                "model.pipeline_model_parallel_size=2",
                "trainer.devices=2",
            ],
            "needs a multiple of 4 ranks and there are 2",
        ),
        (
            ["model.tensor_model_parallel_size=8", "trainer.devices=8"],
            r"model\.tensor_model_parallel_size=8 does not divide model\.num_attention_heads=12",
        ),
        (["model.sequence_parallel=true"], r"model\.sequence_parallel=true .* 2 or more"),
        (
            ["model.num_attention_heads=5"],
            r"model\.num_attention_heads=5 does not divide model\.hidden_size=768",
        ),
        (["model.tokenizer.k=0"], r"model\.tokenizer\.k=0: give a whole number of at least 1"),
        (["model.tokenizer.k=8"], r"model\.tokenizer\.k=8 is more than 7"),
        (["model.num_layers=many"], r"model\.num_layers=many: give a whole number"),
        (["model.micro_batch_size=0.5"], r"model\.micro_batch_size=0\.5: give a whole number"),
        (["trainer.devices=0"], r"trainer\.devices=0: give a whole number"),
        (["trainer.devices=auto"], r"trainer\.devices=auto: give a whole number"),
        (["model.data.tokens_per_row=8k"], r"model\.data\.tokens_per_row=8k: give a whole number"),
        (["model.data.tokens_per_row=500"], r"model\.data\.tokens_per_row=500 is less than"),
        (
            ["model.global_batch_size=3", "trainer.devices=2"],
            r"model\.global_batch_size=3 is not a multiple of",
        ),
        (["model.data.sequence_length=513"], r"model\.data\.sequence_length=513 is more than"),
        (["restore_from_path=absent.nemo"], r"restore_from_path=absent\.nemo: no such file"),
    ],
)
def test_what_cannot_is_named(config, overrides: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as raised:
        check_pretraining(config(*overrides))
    assert "\n" not in str(raised.value)


def test_shards_of_another_k_are_refused(config) -> None:
    with pytest.raises(ShardError, match=r"made with k=3, the model has k=4: pass model\.tokenizer\.k=3"):
        check_pretraining(config("model.tokenizer.k=4"))


def test_a_training_set_behind_a_url_is_checked_by_its_manifest(config, toy_shards) -> None:
    train = f"model.data.train=file://{toy_shards}/train"
    check_pretraining(config(train, "model.data.num_workers=0"))
    check_pretraining(
        config(f"model.data.train='pipe:cat {toy_shards}/train/{{name}}'", "model.data.num_workers=1")
    )
    check_pretraining(config("model.data.streaming=true", "model.data.num_workers=1"))
    with pytest.raises(ShardError, match=r"made with k=3, the model has k=4"):
        check_pretraining(config(train, "model.tokenizer.k=4"))
    with pytest.raises(ShardError, match=r"absent/manifest\.json: .*unfinished or not a shard set"):
        check_pretraining(config("model.data.train=memory://absent"))
    with pytest.raises(ConfigError, match=r"model\.data\.num_workers=2 on each of 4 .* there are 1 shards"):
        check_pretraining(config(train, "trainer.devices=4"))
    with pytest.raises(ConfigError, match=r"model\.data\.shuffle_buffer=0: give a whole number"):
        check_pretraining(config(train, "model.data.shuffle_buffer=0"))


def test_a_validation_set_has_to_be_at_hand(config, toy_shards) -> None:
    url = f"file://{toy_shards}/validation"
    with pytest.raises(ConfigError, match=r"model\.data\.validation=file://.* cannot be streamed"):
        check_pretraining(config(f"model.data.validation={url}"))


def test_shards_that_are_not_there_or_not_finished_are_refused(config, toy_shards, tmp_path) -> None:
    for name in ("empty", "shards.unfinished"):
        (tmp_path / name / "train").mkdir(parents=True)
    for folder in (tmp_path / "absent", tmp_path / "empty", tmp_path / "shards.unfinished" / "train"):
        with pytest.raises(ShardError, match="unfinished or not a shard set: run prepare_shards again"):
            check_pretraining(config(f"model.data.train={folder}"))
    with pytest.raises(ShardError, match="give one of its splits"):
        check_pretraining(config(f"model.data.validation={toy_shards}"))
