"""A file that is not whole yet, and what it is a part of, so that a later run can go on; under `download`."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dnabert_nemo.errors import FetchError

PART = ".part"  # after the name of a file that is not whole or not verified yet
ORIGIN = ".part.json"  # the address, and the version the server named with it

log = logging.getLogger(__name__)


def part_of(path: Path) -> Path:
    """Return where the part of a file is while it is fetched."""
    return path.with_name(path.name + PART)


def remove_part(path: Path) -> None:
    """Remove what is left beside a file of its part."""
    part_of(path).unlink(missing_ok=True)
    path.with_name(path.name + ORIGIN).unlink(missing_ok=True)


class PartFile:
    """The bytes of a part so far, to which more are added.

    Args:
        size: bytes so far.
        version: the ETag or date that the server gave with them; None if it gave neither.
    """

    def __init__(self, path: Path, url: str, file: BinaryIO) -> None:
        self.url, self._file = url, file
        self._origin = path.with_name(path.name.removesuffix(PART) + ORIGIN)
        self.size = file.tell()
        self.version = self._version_of_origin() if self.size else None

    @classmethod
    @contextmanager
    def opened(cls, path: Path, url: str) -> Iterator[PartFile]:
        """Open the part of a file for this run alone.

        Raises:
            FetchError: another run has it open; it cannot be written, or the disk is full.
        """
        try:
            with path.open("ab") as file:
                _lock(file, path)
                part = cls(path, url, file)
                try:
                    yield part
                except BaseException:
                    if not part.size:
                        remove_part(path.with_name(path.name.removesuffix(PART)))
                    raise
        except OSError as error:
            remedy = "make room or pass another output_dir, then run this again"
            raise FetchError(f"{path}: cannot be written ({error.strerror or error}): {remedy}") from None

    def restart(self, version: str | None) -> None:
        """Begin again, as a part of this version of the file."""
        if self.size:
            self._file.truncate(0)
        self.size, self.version = 0, version
        self._origin.write_text(json.dumps({"url": self.url, "version": version}))

    def write(self, chunk: bytes) -> None:
        """Add the next bytes."""
        self._file.write(chunk)
        self.size += len(chunk)

    def sync(self) -> None:
        """Have all bytes on the disk, so that a rename never comes before them."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def _version_of_origin(self) -> str | None:
        try:
            origin = json.loads(self._origin.read_text())
            return origin["version"] if origin["url"] == self.url else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None


def _lock(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FetchError(f"{path}: another run is fetching this file: wait for it to end") from None
    except OSError as error:  # some file systems of clusters have no locks
        log.info("%s: not locked (%s): fetch into this folder by one run at a time", path, error.strerror)
