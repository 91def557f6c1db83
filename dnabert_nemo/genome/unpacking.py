"""Packed bytes to plain ones: gzip, bzip2, xz and zstd told apart by content; `source` reads through it."""

from __future__ import annotations

import bz2
import lzma
import sys
from collections.abc import Callable
from typing import BinaryIO, Protocol, cast

from xopen import xopen

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEAD_BYTES = 18  # of a file, enough to tell what it is
# The SAM specification, 4.1.2: an empty block, by which a bgzip file is known to be whole.
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")

_CHUNK = 1 << 17  # packed bytes read at once
_MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    **{bytes([first]) + b"\x2a\x4d\x18": "zstd" for first in range(0x50, 0x60)},  # skippable: pzstd begins so
}
_NOT_READ = {
    b"PK\x03\x04": ("a zip archive", "unzip -p IN > OUT"),
    b"\x1f\x9d": ("packed by compress", "uncompress -c IN > OUT"),
    b"7z\xbc\xaf\x27\x1c": ("a 7-Zip archive", "7z x -so IN > OUT"),
    b"\x04\x22\x4d\x18": ("packed by lz4", "lz4 -dc IN > OUT"),
}


class Readable(Protocol):
    """What packed bytes are read from, and plain ones."""

    def read(self, size: int, /) -> bytes: ...


class _Frame(Protocol):
    """A decompressor of bz2, lzma or zstd: it unpacks one stream or frame, and a file may hold several."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def packing(head: bytes) -> str | None:
    """Return "gzip", "bzip2", "xz" or "zstd" by the first bytes of a file, None for anything else."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def not_read(head: bytes) -> tuple[str, str] | None:
    """Return what a file of a kind that is not read is, and the command that unpacks it; None for others."""
    return next((found for magic, found in _NOT_READ.items() if head.startswith(magic)), None)


def is_bgzf(head: bytes) -> bool:
    """Tell whether a file begins as bgzip writes it: gzip whose extra field begins with BC."""
    return head.startswith(b"\x1f\x8b\x08\x04") and head[12:16] == b"BC\x02\x00"


def unpacked(stored: Readable, kind: str) -> Readable:
    """Open packed bytes as plain ones; what stands after a member, stream or frame must be another, or zeros.

    The libraries' own files ignore anything else after the first frame of bzip2, xz and zstd, and so hand out
    part of a file whose later frame is damaged. Whatever a library raises while reading means damaged data;
    EOFError means that they end too early.
    """
    make_frame: dict[str, Callable[[], _Frame]] = {
        "bzip2": bz2.BZ2Decompressor,
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
        "zstd": zstd.ZstdDecompressor,
    }
    if kind == "gzip":
        return cast(Readable, xopen(cast(BinaryIO, stored), "rb", threads=0, format="gz"))
    return _Frames(stored, make_frame[kind])


class _Frames:
    def __init__(self, stored: Readable, make_frame: Callable[[], _Frame]) -> None:
        self._stored, self._make_frame = stored, make_frame
        self._frame = make_frame()

    def read(self, size: int, /) -> bytes:
        while True:
            packed = b""
            if self._frame.eof:
                packed = self._frame.unused_data.lstrip(b"\0")
                while not packed:
                    chunk = self._stored.read(_CHUNK)
                    if not chunk:
                        return b""
                    packed = chunk.lstrip(b"\0")
                self._frame = self._make_frame()
            elif self._frame.needs_input:
                packed = self._stored.read(_CHUNK)
                if not packed:
                    raise EOFError("the last frame has no end")
            if plain := self._frame.decompress(packed, size):
                return plain
