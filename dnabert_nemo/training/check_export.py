"""What an export or an import can be told before NeMo is imported: what is there to read, and in the way."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from dnabert_nemo.errors import ConfigError

FORMATS = ("nemo", "huggingface")


def check_export(cfg: DictConfig) -> None:
    """Raise ConfigError for paths or a format with which nothing can be exported."""
    if cfg.format not in FORMATS:
        raise ConfigError(f"format={cfg.format} is not known: choose {' or '.join(FORMATS)}")
    if not Path(cfg.checkpoint).exists():
        raise ConfigError(
            f"checkpoint={cfg.checkpoint}: no such file: give a folder *.ckpt of a run, or a .nemo file"
        )
    _check_output(cfg, is_file=cfg.format == "nemo")


def check_import(cfg: DictConfig) -> None:
    """Raise ConfigError for paths with which nothing can be imported."""
    if not Path(cfg.input).is_dir():
        raise ConfigError(
            f"input={cfg.input}: no such folder: give one with config.json, vocab.txt and weights"
        )
    _check_output(cfg, is_file=True)


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
    if not is_file and any(output.iterdir()) and not (output / "config.json").is_file():
        raise ConfigError(f"output={output} holds other things than a HuggingFace model: give another folder")
