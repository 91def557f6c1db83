"""A finished shard set read front to back, from a URL, a command's output or a folder; `data` streams it."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from dnabert_nemo.errors import ConfigError, ShardError
from dnabert_nemo.genome.source import file_system
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.shards.manifest import MANIFEST, Manifest

PIPE = "pipe:"
NAME = "{name}"  # stands in a pipe's command for the file to print
_CHUNK = 1 << 20


def is_remote(path: str) -> bool:
    """Tell whether a set can only be read front to back: it is a URL, or a command."""
    return "://" in path or path.startswith(PIPE)


def check_local(key: str, path: str) -> None:
    """Refuse what is not on a disk for a set that is read by offset; `key` names it.

    Raises:
        ConfigError: it is a URL, or a command.
    """
    if is_remote(path):
        raise ConfigError(
            f"{key}={path} cannot be streamed, since this set is read by offset: copy it to a disk, and "
            "give the folder"
        )


@dataclass(frozen=True)
class RemoteSet:
    """A shard set somewhere; only its manifest is held. Use `RemoteSet.open`.

    `where` is a URL that fsspec knows (s3://bucket/shards/train), a command that prints one of its files
    (`pipe:aws s3 cp s3://bucket/shards/train/{name} -`), or a folder.
    """

    where: str
    manifest: Manifest

    @staticmethod
    def open(where: str, k: int | None = None) -> RemoteSet:
        """Read and check the manifest of a set; with `k`, only if it was made with that k.

        Raises:
            ConfigError: the URL or the command cannot be one, or reading it needs another package.
            ShardError: there is no manifest, or it is of another k, vocabulary or format.
        """
        if where.startswith(PIPE) and NAME not in where:
            raise ConfigError(
                f"model.data.train={where}: say where the command takes a file's name: "
                f"{PIPE}aws s3 cp s3://bucket/shards/train/{NAME} -"
            )
        path = _url(where, MANIFEST)
        try:
            with _opened(path) as file:
                content = file.read()
        except ConfigError:
            raise
        except Exception as error:  # every file system has errors of its own
            problem = f"cannot be read ({first_line(error)}): unfinished or not a shard set"
            raise ShardError(f"{path}: {problem}: give one split, such as s3://bucket/shards/train") from None
        manifest = Manifest.parse(content, path)
        if k is not None and k != manifest.k:
            raise ShardError(
                f"{where}: made with k={manifest.k}, the model has k={k}: "
                f"pass model.tokenizer.k={manifest.k}, or run prepare_shards with tokenizer.k={k}"
            )
        if manifest.vocabulary_sha256 != Vocabulary(manifest.k).sha256:
            raise ShardError(f"{where}: made with another k-mer vocabulary: run prepare_shards again")
        for shard in manifest.shards:
            # The name goes into a path, and into a command's line.
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", shard.name):
                raise ShardError(f"{path}: {shard.name!r} is no name of a shard: run prepare_shards again")
        return RemoteSet(where, manifest)

    def url(self, shard: int) -> str:
        """Name a shard as its errors do."""
        return _url(self.where, self.manifest.shards[shard].name)

    @contextmanager
    def reading(self, shard: int) -> Iterator[CheckedStream]:
        """Open one shard to be read once, and at its end checked."""
        described = self.manifest.shards[shard]
        with _opened(self.url(shard)) as file:
            yield CheckedStream(file, described.num_bytes, described.sha256)


class CheckedStream:
    """The bytes of a shard as they come, counted and hashed."""

    def __init__(self, file: BinaryIO, num_bytes: int, sha256: str) -> None:
        self._file = file
        self._expected = num_bytes, sha256
        self._num_bytes = 0
        self._hash = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Read some bytes, all that are left by default; none at the end."""
        content = self._file.read(size)
        self._num_bytes += len(content)
        self._hash.update(content)
        return content

    def check(self) -> None:
        """Read what is left, and hold what was read against the manifest.

        Raises:
            ValueError: it is not as long, or not the same.
        """
        while self.read(_CHUNK):
            pass
        num_bytes, sha256 = self._expected
        if self._num_bytes != num_bytes:
            raise ValueError(f"{self._num_bytes} bytes, {MANIFEST} says {num_bytes}")
        if self._hash.hexdigest() != sha256:
            raise ValueError(f"its bytes are not those {MANIFEST} has the checksum of")


def _url(where: str, name: str) -> str:
    return where.replace(NAME, name) if where.startswith(PIPE) else f"{where.rstrip('/')}/{name}"


def first_line(error: BaseException) -> str:
    """Say in one line what a library has to say."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _opened(url: str) -> Iterator[BinaryIO]:
    if url.startswith(PIPE):
        with _command_output(url.removeprefix(PIPE)) as file:
            yield file
        return
    fs, path = file_system(url)
    with fs.open(path, "rb") as file:
        yield file


@contextmanager
def _command_output(command: str) -> Iterator[BinaryIO]:
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE) as process:
        try:
            yield cast(BinaryIO, process.stdout)
        except BaseException:
            process.kill()  # it may go on for long, with nobody to read
            raise
    if process.returncode:
        raise OSError(f"the command ended with exit code {process.returncode}")
