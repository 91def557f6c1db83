"""The members of a .nemo file, found by walking its tar; each is checked before a byte of any is read.

`tarfile` itself follows what a tar says: it reads extended headers of any size into memory, and makes links
and sparse files. Here nothing is followed: a header says a name, a type and a size, or the file is refused.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dnabert_nemo.errors import CheckpointError

REMEDY = "give a .nemo file that dnabert_nemo wrote"
_BLOCK = tarfile.BLOCKSIZE
_MAX_EXTENDED = 1 << 16
_HARMLESS = {"size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname"}
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a long name",
    tarfile.GNUTYPE_LONGLINK: "a link",
}


@dataclass(frozen=True)
class Member:
    """Where the content of a member begins in the tar, and its bytes."""

    offset: int
    size: int

    def read(self, file: BinaryIO) -> bytes:
        """Read the content from the opened tar."""
        file.seek(self.offset)
        return file.read(self.size)


def members(file: BinaryIO, path: Path, names: Collection[str]) -> dict[str, Member]:
    """Find the members of an uncompressed tar, which may be these and no others.

    Raises:
        CheckpointError: it is no such tar or ends early, or a member is of another name (absolute, or leading
            out of the folder, for instance), no plain file, or there twice.
    """
    end = file.seek(0, os.SEEK_END)
    found: dict[str, Member] = {}
    at, extended_size = 0, None
    while at < end:
        file.seek(at)
        try:
            header = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "backslashreplace")
        except tarfile.EOFHeaderError:
            if at == 0:
                raise CheckpointError(f"{path}: {_NOT_A_TAR}") from None
            break
        except tarfile.HeaderError:
            problem = _NOT_A_TAR if at == 0 else f"damaged at byte {at}: {REMEDY}"
            raise CheckpointError(f"{path}: {problem}") from None
        size = header.size if extended_size is None else extended_size
        content = at + _BLOCK
        at = content + -(-size // _BLOCK) * _BLOCK
        extended_size = None
        shown = f"its member {header.name!a:.80}"
        if size < 0 or content + size > end:
            raise CheckpointError(
                f"{path}: {shown} is said to have {size:,} bytes, more than the file: cut off or not ours: "
                f"{REMEDY}"
            )
        if header.type == tarfile.XHDTYPE:
            if size > _MAX_EXTENDED:
                raise CheckpointError(f"{path}: {shown} is a header of {size:,} bytes: {REMEDY}")
            extended_size = _extended_size(path, Member(content, size).read(file))
            continue
        if header.isdir() and header.name in (".", "./"):
            continue
        _check_name(path, header.name)
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            kind = _KINDS.get(header.type, "of a type of its own")
            leads = f" to {header.linkname!a:.80}" if header.islnk() or header.issym() else ""
            raise CheckpointError(f"{path}: {shown} is {kind}{leads}, and all are plain files: {REMEDY}")
        name = header.name.removeprefix("./")
        if name not in names:
            raise CheckpointError(f"{path}: {shown} is none that a .nemo file of this package has: {REMEDY}")
        if name in found:
            raise CheckpointError(f"{path}: {shown} is there twice: {REMEDY}")
        found[name] = Member(content, size)
    if not found:
        raise CheckpointError(f"{path}: {_NOT_A_TAR}")
    return found


_NOT_A_TAR = f"not a .nemo file, which is an uncompressed tar: {REMEDY}"


def _check_name(path: Path, name: str) -> None:
    if name.startswith("/"):
        raise CheckpointError(f"{path}: its member {name!a:.80} has an absolute name: {REMEDY}")
    if ".." in name.split("/"):
        raise CheckpointError(f"{path}: its member {name!a:.80} leads out of the folder: {REMEDY}")


def _extended_size(path: Path, content: bytes) -> int | None:
    """Return the size that a PAX header gives the next member, or None; it may say little else."""
    found = None
    while content.strip(b"\0"):
        match = re.match(rb"(\d{1,9}) ([^=\n]+)=", content)
        length = int(match[1]) if match else 0
        if match is None or length < match.end() + 1 or content[length - 1 : length] != b"\n":
            raise CheckpointError(f"{path}: an extended header is damaged: {REMEDY}")
        key, value = match[2].decode("utf-8", "backslashreplace"), content[match.end() : length - 1]
        if key.startswith("GNU.sparse"):
            raise CheckpointError(f"{path}: a member is a sparse file, and all are plain files: {REMEDY}")
        if key not in _HARMLESS:
            raise CheckpointError(f"{path}: an extended header sets {key!a:.40} of a member: {REMEDY}")
        if key == "size":
            if not value.isdigit() or len(value) > 18:
                raise CheckpointError(f"{path}: an extended header is damaged: {REMEDY}")
            found = int(value)
        content = content[length:]
    return found
