"""Checksums of files as their publishers give them, sha256, md5, or Ensembl's BSD `sum`; for `fetch`."""

from __future__ import annotations

import functools
import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from dnabert_nemo.errors import FormatError

Kind = Literal["sha256", "md5", "sum"]

_FORMS: dict[Kind, str] = {"sha256": "[0-9a-f]{64}", "md5": "[0-9a-f]{32}", "sum": "[0-9]{1,5} +[0-9]{1,12}"}
_SUM_BLOCK = 1024  # bytes
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Checksum:
    """What a file is known by.

    Args:
        value: lower-case hexadecimal digits; for `sum` its two numbers, checksum and blocks of 1,024 bytes.

    Raises:
        ValueError: the value is not of the form of its kind; what is right is said.
    """

    kind: Kind
    value: str

    def __post_init__(self) -> None:
        value = self.value.strip().lower()
        if not re.fullmatch(_FORMS[self.kind], value):
            form = "its two numbers, '12345 6789'"
            if self.kind != "sum":
                form = f"{hashlib.new(self.kind).digest_size * 2} hexadecimal digits"
            raise ValueError(f"{self.value!r} is no {self.kind}: give {form}")
        if self.kind == "sum":  # written with leading zeros or without, by different programs
            value = " ".join(str(int(number)) for number in value.split())
        object.__setattr__(self, "value", value)


def checksums_of(path: Path, kinds: Iterable[Kind]) -> dict[Kind, str]:
    """Read a file once, and return its checksums as `Checksum.value` has them."""
    kinds = set(kinds)
    by_program = {"sum"} & kinds if _has_program() else set()
    digests: dict[Kind, _Digest] = {
        kind: _BsdSum() if kind == "sum" else hashlib.new(kind, usedforsecurity=False)
        for kind in kinds - by_program
    }
    with path.open("rb") as file:
        while digests and (chunk := file.read(_CHUNK)):
            for digest in digests.values():
                digest.update(chunk)
    found = {kind: digest.hexdigest() for kind, digest in digests.items()}
    if by_program:
        with path.open("rb") as file:
            done = subprocess.run(["sum", "-r"], stdin=file, capture_output=True, check=True)
        found["sum"] = Checksum("sum", " ".join(done.stdout.decode().split()[:2])).value
    return found


@functools.cache
def _has_program() -> bool:
    """Whether there is a `sum` that knows -r and means the same by it: far faster than a loop of ours."""
    if shutil.which("sum") is None:
        return False
    sample = bytes(range(256)) * 5
    ours = _BsdSum()
    ours.update(sample)
    done = subprocess.run(["sum", "-r"], input=sample, capture_output=True, check=False)
    words = done.stdout.decode("latin-1").split()[:2]
    return (
        all(word.isdecimal() for word in words)
        and " ".join(str(int(word)) for word in words) == ours.hexdigest()
    )


def read_checksums(text: str, address: str) -> dict[str, Checksum]:
    """Read a list of checksums, a file a line: what `sum` prints, or `md5sum` or `sha256sum`.

    A file is known by the last part of its path.

    Raises:
        FormatError: with the address and line, for a line that none of them prints; for a file that is listed
            twice with different checksums; without a line, if nothing is listed.
    """
    found: dict[str, Checksum] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        words = line.split()
        # `sum` gives two numbers and the name, the others one number and the name; a star marks binary
        kind: Kind = "sum" if len(words) == 3 else "sha256" if len(words[0]) == 64 else "md5"
        try:
            if len(words) not in (2, 3):
                raise ValueError
            checksum = Checksum(kind, " ".join(words[:-1]))
        except ValueError:
            problem = "no list of checksums: give the address of what sum, md5sum or sha256sum printed"
            raise FormatError(address, problem, line=number) from None
        name = words[-1].removeprefix("*").rsplit("/", 1)[-1]
        if found.setdefault(name, checksum) != checksum:
            problem = f"{name} is listed twice, with different checksums: give its own in the config"
            raise FormatError(address, problem, line=number)
    if not found:
        raise FormatError(address, "no checksum in it: give the address of a list that has some")
    return found


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class _BsdSum:
    """The checksum of BSD's `sum`, which coreutils has as `sum -r`: rotate 16 bits to the right, add a byte.

    A step depends on all before it, so it is a plain loop, a hundred times as slow as the program.
    """

    def __init__(self) -> None:
        self._sum = self._num_bytes = 0

    def update(self, data: bytes, /) -> None:
        value = self._sum
        for byte in data:
            value = ((value >> 1) + ((value & 1) << 15) + byte) & 0xFFFF
        self._sum = value
        self._num_bytes += len(data)

    def hexdigest(self) -> str:
        return f"{self._sum} {-(-self._num_bytes // _SUM_BLOCK)}"
