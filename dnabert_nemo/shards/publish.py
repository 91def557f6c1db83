"""How an output folder appears at once or not at all, written aside, then renamed; `prepare` fills it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.shards.manifest import MANIFEST
from dnabert_nemo.shards.reader import UNFINISHED
from dnabert_nemo.shards.splits import SPLITS

SCRATCH = "bases.scratch"  # in the unfinished folder until the shards are written

log = logging.getLogger(__name__)


def check_output_dir(output_dir: Path, overwrite: bool) -> None:
    """Refuse an output folder that exists, or with `overwrite` one that holds anything but finished shards.

    Raises:
        ConfigError: it does.
    """
    if output_dir.name.endswith(UNFINISHED):
        raise ConfigError(
            f"output_dir={output_dir}: {UNFINISHED} marks what is not finished: pass another name"
        )
    if not output_dir.exists():
        return
    if not overwrite:
        remedy = "pass overwrite=true to replace it, or another output_dir"
        raise ConfigError(f"output_dir={output_dir} exists: {remedy}")
    if not _is_ours(output_dir) or not all((child / MANIFEST).is_file() for child in output_dir.iterdir()):
        raise ConfigError(f"output_dir={output_dir} holds other things than shards: pass another output_dir")


@contextmanager
def published(output_dir: Path) -> Iterator[Path]:
    """Give a folder beside `output_dir` to write in; it takes that place at the end; an error removes it.

    What a killed run left there is removed first.

    Raises:
        ConfigError: something else stands where that folder would be.
        ShardError: the folder cannot be written.
    """
    unfinished = output_dir.with_name(output_dir.name + UNFINISHED)
    if unfinished.exists():
        log.info("removing what an unfinished run left in %s", unfinished.name)
        _remove(unfinished)
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        _rename(unfinished, output_dir)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error}): pass another output_dir"
        raise ShardError(f"output_dir={output_dir} {problem}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename(unfinished: Path, output_dir: Path) -> None:
    if not output_dir.exists():
        unfinished.rename(output_dir)
        return
    replaced = output_dir.with_name(f"{output_dir.name}.replaced{UNFINISHED}")
    if replaced.exists():
        _remove(replaced)
    output_dir.rename(replaced)
    unfinished.rename(output_dir)
    _remove(replaced)


def _is_ours(folder: Path) -> bool:
    return folder.is_dir() and {child.name for child in folder.iterdir()} <= {*SPLITS, SCRATCH}


def _remove(folder: Path) -> None:
    if not _is_ours(folder):
        raise ConfigError(f"{folder} is in the way and was not left by prepare_shards: move it elsewhere")
    shutil.rmtree(folder)
