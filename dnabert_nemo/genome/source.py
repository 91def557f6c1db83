"""One input file as a stream: local or remote, plain or packed, with its checksum; all readers begin here."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from dnabert_nemo.errors import ConfigError, DnabertError, FormatError
from dnabert_nemo.genome.unpacking import BGZF_END, HEAD_BYTES, Readable, is_bgzf, not_read, packing, unpacked

STDIN = "-"

_BUFFER = 1 << 18
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class Source:
    """One input file, read once from start to end, so that a pipe will do.

    It is a path, a URL that fsspec knows (s3://bucket/x.fa.gz), or "-" for standard input. gzip, bgzip,
    bzip2, xz and zstd are told by content, whatever the name.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.name = "stdin" if self._is_stdin else re.split(r"[?#]", str(path))[0].rstrip("/").split("/")[-1]
        self._stored: _Stored | None = None

    @property
    def _is_stdin(self) -> bool:
        return str(self.path) == STDIN

    @property
    def sha256(self) -> str:
        """Of the bytes as stored; known once `open()` was read to its end, or `open_at_random()` entered."""
        assert self._stored is not None and self._stored.is_at_end, "the file was not read to its end"
        return self._stored.digest.hexdigest()

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open the unpacked bytes, to be read from start to end.

        An empty file is no error here: the reader of its format knows what should be in it.

        Raises:
            FormatError: here or at any read, if the file is missing or unreadable, its packed data are
                damaged or cut off, or it is an archive of a kind that is not read.
            ConfigError: if a URL needs a package that is not installed.
        """
        with ExitStack() as stack:
            raw = self._raw()
            if not self._is_stdin:
                stack.callback(raw.close)
            self._stored = stored = _Stored(self.path, raw)
            if (kind := packing(stored.head)) is not None:
                yield cast(BinaryIO, io.BufferedReader(_Plain(stored, kind), _BUFFER))
            elif archive := not_read(stored.head):
                what, command = archive
                raise FormatError(self.path, f"{what}, which is not read: unpack it first ({command})")
            else:
                yield cast(BinaryIO, io.BufferedReader(stored, _BUFFER))

    @contextmanager
    def open_at_random(self) -> Iterator[BinaryIO]:
        """Open the bytes as they are stored, to be read at any place; all are read once before, for `sha256`.

        Raises:
            FormatError: if the file is missing or unreadable, or is standard input or a pipe.
            ConfigError: as `open`.
        """
        # a pipe is not even opened: nobody may write to it any more
        if self._is_stdin or ("://" not in str(self.path) and stat.S_ISFIFO(self._mode())):
            problem = "is read at several places, which a pipe does not allow: give the path of a file"
            raise FormatError(self.path, problem)
        with ExitStack() as stack:
            raw = self._raw()
            stack.callback(raw.close)
            self._stored = stored = _Stored(self.path, raw)
            while stored.read(_BUFFER):
                pass
            with _read_errors(self.path):
                raw.seek(0)
            yield cast(BinaryIO, raw)

    def _mode(self) -> int:
        with _read_errors(self.path):
            return os.stat(self.path).st_mode

    def _raw(self) -> Any:
        if "://" in str(self.path):
            fs, path = file_system(str(self.path))
            with _read_errors(self.path):
                return fs.open(path, "rb")
        with _read_errors(self.path):
            # Not sys.stdin, which a worker process has closed: file 0 is the same in all of them.
            return open(0 if self._is_stdin else self.path, "rb", buffering=0, closefd=not self._is_stdin)


class _Stored(io.RawIOBase):
    """The bytes as they are stored: hashed as they pass, their first and last ones kept."""

    def __init__(self, path: str | Path, raw: Any) -> None:
        self.path, self._raw = path, raw
        self.digest = hashlib.sha256()
        self.is_at_end = False
        self.head = self.tail = b""
        while len(self.head) < HEAD_BYTES and not self.is_at_end:  # a pipe gives as few as it likes
            self.head += self._next(HEAD_BYTES - len(self.head))
        self._ahead = self.head

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        chunk = self._ahead[: len(buffer)] or self._next(len(buffer))
        self._ahead = self._ahead[len(chunk) :]
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def _next(self, size: int) -> bytes:
        with _read_errors(self.path):
            chunk: bytes = self._raw.read(size)
        self.digest.update(chunk)
        self.tail = (self.tail + chunk[-len(BGZF_END) :])[-len(BGZF_END) :]
        self.is_at_end = not chunk
        return chunk


class _Plain(io.RawIOBase):
    """The unpacked bytes, with an error that says what to do where the packed ones are no good."""

    def __init__(self, stored: _Stored, kind: str) -> None:
        self._stored, self._kind = stored, kind
        self._unpacked: Readable = unpacked(cast(Readable, stored), kind)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        path = self._stored.path
        try:
            chunk = self._unpacked.read(len(buffer))
            if not chunk and is_bgzf(self._stored.head) and self._stored.tail != BGZF_END:
                raise EOFError("no end marker")  # as samtools does: blocks are whole wherever a file is cut
        except (DnabertError, MemoryError):
            raise
        except EOFError:
            problem = f"the {self._kind} data end too early: the file is cut off, copy it again"
            raise FormatError(path, problem) from None
        except Exception as error:  # every library has an error class of its own
            if "too much memory" in str(error):
                problem = "packed by zstd --long, which takes too much memory to read: pack it without"
                raise FormatError(path, problem) from None
            problem = f"the {self._kind} data are damaged ({error}): copy the file again"
            raise FormatError(path, problem) from None
        buffer[: len(chunk)] = chunk
        return len(chunk)


def file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL, and the path in it.

    Raises:
        ConfigError: if the protocol is not known, or its package is not installed.
    """
    import fsspec

    protocol = url.split("://")[0].split("::")[-1]
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"pip install dnabert_nemo[{extra}]" if extra else f"install its package ({error})"
        raise ConfigError(f"{url}: {protocol}:// needs a package that is not installed: {remedy}") from None
    except ValueError as error:
        raise ConfigError(
            f"{url}: not a URL that can be opened ({error}): use s3://, gs:// or https://"
        ) from None
    return fs, str(path)


@contextmanager
def _read_errors(path: str | Path) -> Iterator[None]:
    """Turn what goes wrong while opening or reading stored bytes into a `FormatError` with the remedy."""
    try:
        yield
    except FileNotFoundError:
        raise FormatError(path, "no such file: check the path") from None
    except IsADirectoryError:
        raise FormatError(path, "cannot be read: Is a directory: name the file in it") from None
    except PermissionError:
        remedy = "ask for read access, or for a URL set the credentials of its store"
        raise FormatError(path, f"cannot be read: Permission denied: {remedy}") from None
    except MemoryError:
        raise
    except Exception as error:  # what is behind a URL has errors of many kinds
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise FormatError(
            path, f"cannot be read ({reason}): check the path, the disk or the network"
        ) from None


def quoted(line: str) -> str:
    """Return a line shortened and safe to print, for an error message."""
    line = line.rstrip("\r\n")
    return ascii(line[:40]) + ("..." if len(line) > 40 else "")
