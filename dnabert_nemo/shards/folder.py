"""Output folders that appear whole or not at all; `duplicates` and what comes after write through it."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.reader import UNFINISHED


@contextmanager
def publish(output_dir: str | Path, files: Collection[str], *, overwrite: bool) -> Iterator[Path]:
    """Hand out a folder that becomes `output_dir` when the block ends well, and is removed when it does not.

    SIGTERM, by which a scheduler ends a job, ends the block as an exception does, with exit code 143.

    `files` are the names the block writes: a folder that holds anything else is never replaced.

    Raises:
        ConfigError: `output_dir` exists and `overwrite` is false, holds other files, or cannot be written.
    """
    check_output(output_dir, files, overwrite=overwrite)
    final = Path(output_dir).absolute()
    aside = final.with_name(final.name + UNFINISHED)
    _remove(aside, files)
    try:
        with _sigterm_as_exit():
            aside.mkdir(parents=True)
            yield aside
            _replace(final, aside, files)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError):
            problem = error.strerror or str(error)
            raise ConfigError(
                f"output_dir={output_dir}: cannot be written ({problem}): pass another"
            ) from error
        raise


def check_output(output_dir: str | Path, files: Collection[str], *, overwrite: bool) -> None:
    """Refuse what `publish` will refuse, for those who want to know before they have anything to write.

    Raises:
        ConfigError: `output_dir` exists and `overwrite` is false, or holds other files.
    """
    final = Path(output_dir).absolute()
    if final.name.endswith(UNFINISHED):
        raise ConfigError(f"output_dir={output_dir}: {UNFINISHED} marks unfinished work: pass another name")
    if final.exists() and not overwrite:
        raise ConfigError(
            f"output_dir={output_dir} exists: pass overwrite=true to replace it, or another output_dir"
        )
    if final.exists():
        _check_ours(final, files)


@contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # to which signals come
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _replace(final: Path, aside: Path, files: Collection[str]) -> None:
    if not final.exists():
        aside.rename(final)
        return
    replaced = final.with_name(f"{final.name}.replaced{UNFINISHED}")
    _remove(replaced, files)
    final.rename(replaced)
    aside.rename(final)
    shutil.rmtree(replaced)


def _remove(folder: Path, files: Collection[str]) -> None:
    if folder.exists():
        _check_ours(folder, files)
        shutil.rmtree(folder)


def _check_ours(folder: Path, files: Collection[str]) -> None:
    others = (
        sorted({child.name for child in folder.iterdir()} - set(files)) if folder.is_dir() else [folder.name]
    )
    if others:
        raise ConfigError(
            f"{folder} holds {others[0]!r}, which this command did not write: move it elsewhere"
        )
