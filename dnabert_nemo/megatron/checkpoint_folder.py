"""A checkpoint as a folder of files: written with checksums, put in place whole, found again.

`checkpoint` decides what goes into the files. Of the names beside a checkpoint's own, `.unfinished` is one
being written, `.replaced` the one it takes the place of, `.removed` one being deleted, and `.damaged` one
passed over.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from dnabert_nemo.errors import CheckpointError

MANIFEST = "manifest.json"
UNFINISHED, REPLACED, REMOVED, DAMAGED = ".unfinished", ".replaced", ".removed", ".damaged"
_FORMAT = 1
_NAME = re.compile(r"(?:(?P<metric>.+)=(?P<score>[^=]*)-)?step=(?P<step>\d+)\.ckpt")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Written:
    """A file of a checkpoint and what its bytes must be."""

    name: str
    size: int
    sha256: str


class HashedFile:
    """A file being written, on the disk for good when its block ends; `written` then tells its checksum.

    Writers that turn every error into one of their own leave the first one in `error`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._size = 0
        self.error: OSError | None = None

    def __enter__(self) -> HashedFile:
        self._file = self._path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file as file:
            if kind is None:
                file.flush()
                os.fsync(file.fileno())

    def write(self, content: Any) -> int:
        """Append some bytes."""
        try:
            count = self._file.write(content)
        except OSError as error:
            self.error = self.error or error
            raise
        self._digest.update(content)
        self._size += count
        return count

    def tell(self) -> int:
        """Return the bytes written so far."""
        return self._size

    def flush(self) -> None:
        """Nothing: the end of the block does."""

    @property
    def written(self) -> Written:
        return Written(self._path.name, self._size, self._digest.hexdigest())


@dataclass(frozen=True, order=True)
class Finished:
    """A checkpoint that was put in place, ordered by age.

    Of two of one step the one that names a metric is later: validation comes after the other was saved.
    """

    step: int
    is_scored: bool
    path: Path

    @property
    def name(self) -> str:
        """The name it was saved under."""
        return self.path.name.removesuffix(REPLACED)

    def score(self, metric: str) -> float | None:
        """Return the value of this metric that the name tells, None where it names another or none."""
        named = _NAME.fullmatch(self.name)
        assert named is not None
        if named["metric"] != metric:
            return None
        try:
            return float(named["score"])
        except ValueError:
            return None


def finished(folder: Path) -> list[Finished]:
    """List the checkpoints in a folder, the newest first; whether they are whole, `damage` tells."""
    found = []
    for path in folder.glob("*.ckpt*"):
        name = path.name.removesuffix(REPLACED)
        is_whole_name = path.name == name or not path.with_name(name).exists()
        if (named := _NAME.fullmatch(name)) and is_whole_name and path.is_dir():
            found.append(Finished(int(named["step"]), named["metric"] is not None, path))
    return sorted(found, reverse=True)


def damage(path: Path) -> str | None:
    """Say what is wrong with the files of a checkpoint, or None where every byte is what was written."""
    try:
        files = _read_manifest(path)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        return f"{MANIFEST} {what}"
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        return next(filter(None, threads.map(lambda file: _damage_of(path, file), files)), None)


def newest_whole(folder: Path) -> tuple[Path, list[tuple[Path, str]]]:
    """Find the newest checkpoint whose every byte is what was written, and what is wrong with newer ones.

    The newer ones are put aside as `.damaged`, so that they are told of once; what a run that was killed left
    half written or half deleted is cleared away.

    Raises:
        CheckpointError: none is whole; then nothing is touched but leftovers.
    """
    clear_leftovers(folder)
    damaged: list[tuple[Path, str]] = []
    for each in finished(folder):
        problem = damage(each.path)
        if problem is None:
            return each.path, [(_put_aside(path), wrong) for path, wrong in damaged]
        damaged.append((each.path, problem))
    told = "; ".join(f"{path.name}: {wrong}" for path, wrong in damaged)
    raise CheckpointError(
        f"{folder}: no checkpoint to resume from is whole ({told}): put back a copy of one, or move them "
        "away to start from the beginning"
    )


def clear_leftovers(folder: Path) -> None:
    """Delete what was half written or half deleted, and finish a replacement that was cut short."""
    for path in folder.glob(f"*.ckpt{REPLACED}"):
        inplace = path.with_name(path.name.removesuffix(REPLACED))
        if inplace.exists():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.rename(inplace)
    for suffix in (UNFINISHED, REMOVED):
        for path in folder.glob(f"*.ckpt{suffix}"):
            shutil.rmtree(path, ignore_errors=True)


def make_aside(path: Path) -> Path:
    """Make an empty folder to write a checkpoint in before it takes its name."""
    aside = path.with_name(path.name + UNFINISHED)
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    return aside


def write_manifest(aside: Path, files: Iterable[Written]) -> None:
    """Write the list of a checkpoint's files with their checksums, as the last of them."""
    listed = {file.name: asdict(file) for file in sorted(files, key=lambda file: file.name)}
    for each in listed.values():
        del each["name"]
    with HashedFile(aside / MANIFEST) as file:
        file.write((json.dumps({"format": _FORMAT, "files": listed}, indent=1) + "\n").encode())


def written(path: Path) -> Written:
    """Put a file that another library wrote on the disk for good, and tell its checksum."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256")
        return Written(path.name, file.tell(), digest.hexdigest())


def put_in_place(aside: Path, path: Path) -> None:
    """Give a finished folder its name; where another has it, one of the two is there at any instant."""
    _sync_folder(aside)
    replaced = path.with_name(path.name + REPLACED)
    if path.exists():
        shutil.rmtree(replaced, ignore_errors=True)
        path.rename(replaced)
    aside.rename(path)
    _sync_folder(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def remove(path: Path) -> None:
    """Delete a checkpoint, if it is there; from the first instant it counts as none."""
    removed = path.with_name(path.name + REMOVED)
    shutil.rmtree(removed, ignore_errors=True)
    if path.exists():
        path.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def reason(error: BaseException, aside: Path) -> str:
    """Say in one line why a checkpoint could not be written."""
    if isinstance(error, OSError) and error.errno in _FULL:
        free = shutil.disk_usage(aside.parent).free
        return f"the disk is full, or your share of it ({free / 1e9:.2f} GB are free)"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')[:200]}"


def names_in_manifest(path: Path) -> set[str]:
    """Return the names of the files that were checked, all of them right inside the folder."""
    return {file.name for file in _read_manifest(path)}


def _read_manifest(path: Path) -> list[Written]:
    read = json.loads((path / MANIFEST).read_bytes())
    if read["format"] != _FORMAT:
        raise ValueError
    files = [Written(name, **figures) for name, figures in read["files"].items()]
    if not files or any(Path(file.name).name != file.name or file.name == ".." for file in files):
        raise ValueError
    return files


def _damage_of(path: Path, file: Written) -> str | None:
    try:
        size = (path / file.name).stat().st_size
        if size != file.size:
            return f"{file.name} has {size:,} bytes where {file.size:,} were written"
        with (path / file.name).open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.sha256:
                return f"{file.name} does not match its checksum"
    except FileNotFoundError:
        return f"{file.name} is missing"
    except OSError as error:
        return f"{file.name} cannot be read: {error.strerror}"
    return None


def _put_aside(path: Path) -> Path:
    aside = path.with_name(path.name + DAMAGED)
    shutil.rmtree(aside, ignore_errors=True)
    return path.rename(aside)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
