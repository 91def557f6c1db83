"""What an export or an import can be told before NeMo is imported: what is there to read, and in the way."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.errors import ConfigError

FORMATS = ("nemo", "huggingface")
# What a HuggingFace folder of this package holds (`model.huggingface`): all that is deleted to replace one.
_FILES = {
    "config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
}


def check_export(cfg: DictConfig) -> None:
    """Raise ConfigError for paths or a format with which nothing can be exported."""
    _check_kinds(cfg, "checkpoint")
    if cfg.format not in FORMATS:
        raise ConfigError(f"format={cfg.format} is not known: choose {' or '.join(FORMATS)}")
    if not Path(cfg.checkpoint).exists():
        raise ConfigError(
            f"checkpoint={cfg.checkpoint}: no such file: give a folder *.ckpt of a run, or a .nemo file"
        )
    _check_output(cfg, is_file=cfg.format == "nemo")


def check_import(cfg: DictConfig) -> None:
    """Raise ConfigError for paths with which nothing can be imported."""
    _check_kinds(cfg, "input")
    if not Path(cfg.input).is_dir():
        raise ConfigError(
            f"input={cfg.input}: no such folder: give one with config.json, vocab.txt and weights"
        )
    _check_output(cfg, is_file=True)


def _check_kinds(cfg: DictConfig, source: str) -> None:
    for key in (source, "output"):
        if not isinstance(cfg[key], str) or not cfg[key]:
            raise ConfigError(f"{key}={cfg[key]}: give a path")
    if not isinstance(cfg.overwrite, bool):
        raise ConfigError(f"overwrite={cfg.overwrite}: give true or false")


def _check_output(cfg: DictConfig, *, is_file: bool) -> None:
    output = Path(cfg.output)
    if is_file and output.suffix != ".nemo":
        raise ConfigError(f"output={output}: give a name that ends in .nemo")
    if not output.exists():
        return
    if not cfg.overwrite:
        raise ConfigError(f"output={output} is there already: give another, or overwrite=true")
    if output.is_dir() == is_file:
        raise ConfigError(f"output={output} is a {'folder' if is_file else 'file'}: give another")
    other = [] if is_file else sorted({each.name for each in output.iterdir()} - _FILES)
    if other:
        raise ConfigError(
            f"output={output} holds other things than a HuggingFace model, {other[0]}: give another folder"
        )
