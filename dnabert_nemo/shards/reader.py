"""Random access to a finished shard set, any window of ids in one positioned read; `data` samples by it."""

from __future__ import annotations

import os
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ShardError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.shards.manifest import MANIFEST, Manifest, ShardFile

UNFINISHED = ".unfinished"  # the ending of a folder that is still being written
_ID = np.dtype("<u2")
_NOT_FINISHED = "unfinished or not a shard set"
_REMEDY = "run prepare_shards again"


class ShardSet:
    """A finished set of shards, opened for reading; use `ShardSet.open`.

    Only the index is held in memory, 16 bytes a stretch. It pickles: each process opens the shards it reads.
    """

    def __init__(self, path: Path, manifest: Manifest, indexes: list[NDArray[np.int64]]) -> None:
        rows = np.concatenate(indexes)
        self.path = path
        self.manifest = manifest
        self.stretch_tokens: NDArray[np.int64] = rows[:, 1].copy()  # [num_stretches], in the order of the set
        self._byte_offset: NDArray[np.int64] = rows[
            :, 0
        ].copy()  # [num_stretches] of the first id in its shard
        self._first_stretch = [0, *np.cumsum([len(index) for index in indexes]).tolist()]  # of each shard
        self._descriptors: dict[int, int] = {}

    @staticmethod
    def open(path: str | Path, k: int | None = None) -> ShardSet:
        """Open the folder of one split, such as shards/train; with `k`, only if it was made with that k.

        Raises:
            ShardError: the folder is unfinished or no shard set, was made with another k or vocabulary, or a
                shard or its index is missing or damaged.
        """
        folder = Path(path).absolute()
        if any(name.endswith(UNFINISHED) for name in (folder.name, folder.parent.name)):
            raise ShardError(f"{path}: {_NOT_FINISHED}: {_REMEDY}")
        if not (folder / MANIFEST).is_file():
            splits = sorted(f"{path}/{child.parent.name}" for child in folder.glob(f"*/{MANIFEST}"))
            remedy = f"give one of its splits, {' or '.join(splits)}" if splits else _REMEDY
            raise ShardError(f"{path}: {_NOT_FINISHED}: {remedy}")
        manifest = Manifest.read(folder)
        if k is not None and k != manifest.k:
            raise ShardError(
                f"{path}: made with k={manifest.k}, the model has k={k}: "
                f"pass model.tokenizer.k={manifest.k}, or run prepare_shards with tokenizer.k={k}"
            )
        if manifest.vocabulary_sha256 != Vocabulary(manifest.k).sha256:
            raise ShardError(f"{path}: made with another k-mer vocabulary: {_REMEDY}")
        shards = ShardSet(folder, manifest, [_checked_index(folder, shard) for shard in manifest.shards])
        if shards.num_tokens != manifest.num_tokens:
            problem = f"{shards.num_tokens} tokens in the indexes, {MANIFEST} says {manifest.num_tokens}"
            raise ShardError(f"{path}: {problem}: {_REMEDY}")
        return shards

    @property
    def num_stretches(self) -> int:
        """The number of unbroken stretches that can be read."""
        return len(self.stretch_tokens)

    @property
    def num_tokens(self) -> int:
        """The number of tokens in all stretches."""
        return int(self.stretch_tokens.sum())

    def read(self, stretch: int, first: int, count: int) -> NDArray[np.uint16]:
        """Read the ids of tokens first .. first + count of one stretch: uint16 [count], read-only.

        Raises:
            IndexError: there is no such stretch, or it has no such tokens.
            ShardError: the shard ends too early or cannot be read.
        """
        if not 0 <= stretch < self.num_stretches:
            raise IndexError(f"stretch {stretch} of {self.num_stretches}")
        if not 0 <= first <= first + count <= self.stretch_tokens[stretch]:
            has = self.stretch_tokens[stretch]
            raise IndexError(f"tokens {first}..{first + count} of stretch {stretch}, which has {has}")
        shard = bisect_right(self._first_stretch, stretch) - 1
        num_bytes = count * _ID.itemsize
        start = int(self._byte_offset[stretch]) + first * _ID.itemsize
        content = os.pread(self._descriptor(shard), num_bytes, start)
        if len(content) != num_bytes:
            raise ShardError(f"{self._file(shard)}: ends too early: {_REMEDY}")
        return np.frombuffer(content, dtype=_ID)

    def close(self) -> None:
        """Close the shards this process opened; a later read opens them again."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def __del__(self) -> None:
        if hasattr(self, "_descriptors"):
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptors": {}}

    def _file(self, shard: int) -> Path:
        return self.path / self.manifest.shards[shard].name

    def _descriptor(self, shard: int) -> int:
        # A forked worker may share the parent's descriptors: a positioned read leaves no position behind.
        if shard not in self._descriptors:
            try:
                self._descriptors[shard] = os.open(self._file(shard), os.O_RDONLY)
            except OSError as error:
                raise ShardError(f"{self._file(shard)}: {error.strerror}: {_REMEDY}") from None
        return self._descriptors[shard]


def _checked_index(folder: Path, shard: ShardFile) -> NDArray[np.int64]:
    for name in (shard.name, shard.index_name):
        if not (folder / name).is_file():
            raise ShardError(f"{folder / name}: this part of the shard set is missing: {_REMEDY}")
    num_bytes = (folder / shard.name).stat().st_size
    if num_bytes != shard.num_bytes:
        problem = f"{num_bytes} bytes, {MANIFEST} says {shard.num_bytes}"
        raise ShardError(f"{folder / shard.name}: {problem}: {_REMEDY}")
    try:
        index = np.load(folder / shard.index_name, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ShardError(f"{folder / shard.index_name}: not an index ({error}): {_REMEDY}") from None
    if index.dtype != np.int64 or index.shape != (shard.num_stretches, 2):
        problem = f"not the index of {shard.num_stretches} stretches"
        raise ShardError(f"{folder / shard.index_name}: {problem}: {_REMEDY}")
    return np.asarray(index, dtype=np.int64)
