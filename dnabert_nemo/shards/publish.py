"""How an output folder appears at once or not at all, on a disk or an object store; `prepare` fills it."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.genome.source import file_system
from dnabert_nemo.shards.manifest import MANIFEST
from dnabert_nemo.shards.reader import UNFINISHED
from dnabert_nemo.shards.splits import SPLITS

SCRATCH = "scratch"  # a folder for what the first pass writes, gone when the shards are written
LOCK = "lock"  # held while a run writes to the folder
SAMPLES = "samples.tsv"  # the report on reads, where there are some

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Output:
    """Where shards go: a folder, or a URL that fsspec knows (s3://bucket/shards).

    Args:
        scratch_dir: for the letters between the passes, a byte each, and for shards until they are uploaded;
            by default beside a folder, or in the system's place for temporary files.

    Raises:
        ConfigError: the name is that of unfinished work, or overwrite is neither true nor false.
    """

    path: str
    overwrite: bool = False
    scratch_dir: Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.overwrite, bool):
            raise ConfigError(f"overwrite={self.overwrite}: give true or false")
        if self.path.rstrip("/").endswith(UNFINISHED):
            raise ConfigError(
                f"output_dir={self.path}: {UNFINISHED} marks what is not finished: pass another name"
            )

    @property
    def is_remote(self) -> bool:
        return "://" in self.path

    def check(self) -> None:
        """Refuse an output that exists, or with `overwrite` one that holds anything but finished shards.

        Raises:
            ConfigError: it does, or its file system is not known.
        """
        if self.is_remote:
            fs, folder = file_system(self.path)
            exists = fs.exists(folder) and bool(fs.find(folder))
            is_ours = exists and all(
                part.removeprefix(folder).strip("/").split("/")[0] in {*SPLITS, SAMPLES}
                for part in fs.find(folder)
            )
        else:
            exists, is_ours = Path(self.path).exists(), _is_finished(Path(self.path))
        if exists and not self.overwrite:
            remedy = "pass overwrite=true to replace it, or another output_dir"
            raise ConfigError(f"output_dir={self.path} exists: {remedy}")
        if exists and not is_ours:
            raise ConfigError(
                f"output_dir={self.path} holds other things than shards: pass another output_dir"
            )

    @property
    def _scratch_name(self) -> str:
        # of the whole path, since other runs may share the scratch_dir and end their paths alike
        path = self.path if self.is_remote else str(Path(self.path).absolute())
        name = path.rstrip("/").rsplit("/", 1)[-1]
        return f"{name}-{hashlib.sha256(path.encode()).hexdigest()[:12]}{UNFINISHED}"

    @contextmanager
    def published(self) -> Iterator[tuple[Path, Path]]:
        """Give a folder to write in and one for scratch; the first takes its place at the end.

        An error removes both, and what a killed run left is removed first.

        Raises:
            ConfigError: something else stands where they would be.
            ShardError: they cannot be written.
        """
        final = Path(self.path).resolve()  # what a link points to is replaced, not the link
        elsewhere = (self.scratch_dir or Path(tempfile.gettempdir())).absolute() / self._scratch_name
        folder = elsewhere if self.is_remote else final.with_name(final.name + UNFINISHED)
        scratch = folder / SCRATCH if self.is_remote or self.scratch_dir is None else elsewhere
        for left in (folder, scratch):
            if left.exists():
                _check_nobody_writes(left)
                log.info("removing what an unfinished run left in %s", left.name)
                _remove(left)
        try:
            folder.mkdir(parents=True)
            scratch.mkdir(parents=True)
            with _locked(folder), _locked(scratch):
                yield folder, scratch
            shutil.rmtree(scratch)
            if self.is_remote:
                _upload(folder, self.path)
            else:
                _rename(folder, final)
        except OSError as error:
            problem = f"cannot be written ({error.strerror or error}): pass another output_dir"
            raise ShardError(f"output_dir={self.path} {problem}") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, which ends with this process however that ends."""
    with open(folder / LOCK, "w") as file:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    (folder / LOCK).unlink(missing_ok=True)


def _check_nobody_writes(folder: Path) -> None:
    """Refuse to take a folder away from a run that goes on.

    Raises:
        ConfigError: one does.
    """
    if not (folder / LOCK).is_file():
        return
    with open(folder / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"{folder}: another run is writing there: wait for its end, or pass another output_dir"
            ) from None
        except OSError:
            return


def _upload(folder: Path, url: str) -> None:
    """Copy a finished folder to an object store, its manifests last: without one, nothing is a shard set."""
    fs, target = file_system(url)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    files.sort(key=lambda name: name.endswith(MANIFEST))
    remove_remote(fs, target)
    try:
        for name in files:
            fs.makedirs(f"{target}/{name}".rsplit("/", 1)[0], exist_ok=True)
            fs.put_file(str(folder / name), f"{target}/{name}")
    except BaseException:
        remove_remote(fs, target)
        raise


def remove_remote(fs: Any, folder: str) -> None:
    """Remove a set from an object store, its manifests first."""
    if fs.exists(folder):
        for path in sorted(fs.find(folder), key=lambda name: not name.endswith(MANIFEST)):
            fs.rm_file(path)


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


def _is_finished(folder: Path) -> bool:
    return (
        folder.is_dir()
        and _is_ours(folder)
        and all((child / MANIFEST).is_file() for child in folder.iterdir() if child.name != SAMPLES)
    )


def _is_ours(folder: Path) -> bool:
    names = {child.name for child in folder.iterdir()} if folder.is_dir() else {""}
    return all(name in {*SPLITS, SCRATCH, SAMPLES, LOCK} or name.endswith(".letters") for name in names)


def _remove(folder: Path) -> None:
    if not _is_ours(folder):
        raise ConfigError(f"{folder} is in the way and was not left by prepare_shards: move it elsewhere")
    shutil.rmtree(folder)
