"""Opens an input file by its content, plain or gzip, and says what is wrong when it cannot be read.

`fasta` and `annotation` read through it.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from dnabert_nemo.errors import FormatError

_GZIP = b"\x1f\x8b"


def open_by_content(path: str | Path, mode: str = "rb") -> BinaryIO:
    """Open a file's bytes, unpacked where they begin as gzip does (bgzip is gzip), whatever its name."""
    with open(path, "rb") as file:
        is_gzip = file.read(len(_GZIP)) == _GZIP
    return cast(BinaryIO, gzip.open(path, mode)) if is_gzip else cast(BinaryIO, open(path, mode))


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while reading `path` into a `FormatError` with the remedy."""
    try:
        yield
    except FileNotFoundError:
        raise FormatError(path, "no such file: check the path") from None
    except EOFError:
        raise FormatError(path, "the gzip data end too early: the file is cut off, copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise FormatError(path, f"the gzip data are damaged ({error}): copy the file again") from None
    except OSError as error:
        raise FormatError(path, f"cannot be read: {error.strerror}") from None


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line) of any file; to find the line an error is about."""
    with io.TextIOWrapper(open_by_content(path), encoding="latin-1") as text:
        yield from enumerate(text, start=1)


def quoted(line: str) -> str:
    """Return a line shortened and safe to print, for an error message."""
    line = line.rstrip("\r\n")
    return ascii(line[:40]) + ("..." if len(line) > 40 else "")
