"""Random access to a finished shard set, any window of ids in one positioned read; `data` samples by it."""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ShardError
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.shards.manifest import MANIFEST, Manifest, ShardFile
from dnabert_nemo.shards.records import INDEX, file_sha256
from dnabert_nemo.shards.remote import is_remote
from dnabert_nemo.shards.tar_records import stored_records

UNFINISHED = ".unfinished"  # the ending of a folder that is still being written
_ID = np.dtype("<u2")
_NOT_FINISHED = "unfinished or not a shard set"
_REMEDY = "run prepare_shards again"


class ShardSet:
    """A finished set of shards, opened for reading; use `ShardSet.open`.

    Only the index is held in memory, 26 bytes a stretch. It pickles: each process opens the shards it reads.
    """

    def __init__(self, path: Path, manifest: Manifest, indexes: list[NDArray[np.void]]) -> None:
        rows = np.concatenate(indexes)
        self.path = path
        self.manifest = manifest
        # each [num_stretches], in the order of the set
        self.stretch_tokens: NDArray[np.int64] = rows["tokens"].astype(np.int64)
        self.stretch_component: NDArray[np.uint16] = rows["component"].copy()
        self._ids_at: NDArray[np.int64] = rows["ids_at"].copy()
        self._soft_at: NDArray[np.int64] = rows["soft_at"].copy()
        self._first_stretch = [0, *np.cumsum([len(index) for index in indexes]).tolist()]  # of each shard
        self._descriptors: dict[int, int] = {}

    @staticmethod
    def open(path: str | Path, k: int | None = None, *, verify: bool = False) -> ShardSet:
        """Open the folder of one split, such as shards/train; with `k`, only if it was made with that k.

        With `verify` every byte of the shards is read and held against the manifest's checksums.

        Raises:
            ShardError: the folder is unfinished or no shard set, was made with another k or vocabulary, or a
                shard or its index is missing or damaged.
        """
        if is_remote(str(path)):
            raise ShardError(f"{path}: a set is read by offset, which takes a disk: copy it to one first")
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
        if verify:
            _verify(folder, manifest)
        shards = ShardSet(folder, manifest, [checked_index(folder, shard) for shard in manifest.shards])
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

    @property
    def component_names(self) -> tuple[str, ...]:
        """The names of the components; `stretch_component` counts in this order."""
        return tuple(component.name for component in self.manifest.components)

    @property
    def component_weights(self) -> NDArray[np.float64]:
        """The share of training samples to draw from each component: [num_components], summing to 1."""
        return np.array([component.weight for component in self.manifest.components])

    def read(self, stretch: int, first: int, count: int) -> NDArray[np.uint16]:
        """Read the ids of tokens first .. first + count of one stretch: uint16 [count], read-only.

        Raises:
            IndexError: there is no such stretch, or it has no such tokens.
            ShardError: the shard ends too early or cannot be read.
        """
        self._check(stretch, first, count, int(self.stretch_tokens[stretch]), "tokens")
        start = int(self._ids_at[stretch]) + first * _ID.itemsize
        return np.frombuffer(self._bytes(stretch, start, count * _ID.itemsize), dtype=_ID)

    def read_soft_mask(self, stretch: int, first: int, count: int) -> NDArray[np.bool_]:
        """Tell of the bases first .. first + count of one stretch which are lower case: bool [count].

        Raises:
            IndexError: there is no such stretch, or it has no such bases.
            ShardError: the shard ends too early or cannot be read.
        """
        bases = int(self.stretch_tokens[stretch]) + self.manifest.k - 1
        self._check(stretch, first, count, bases, "bases")
        if self._soft_at[stretch] < 0:
            return np.zeros(count, dtype=np.bool_)
        first_byte, num_bytes = first // 8, -(-(first + count) // 8) - first // 8
        content = self._bytes(stretch, int(self._soft_at[stretch]) + first_byte, num_bytes)
        bits = np.unpackbits(np.frombuffer(content, dtype=np.uint8))
        return bits[first % 8 : first % 8 + count].astype(np.bool_)

    def _check(self, stretch: int, first: int, count: int, has: int, what: str) -> None:
        if stretch < 0:
            raise IndexError(f"stretch {stretch}")
        if not 0 <= first <= first + count <= has:
            raise IndexError(f"{what} {first}..{first + count} of stretch {stretch}, which has {has}")

    def _bytes(self, stretch: int, start: int, num_bytes: int) -> bytes:
        shard = bisect_right(self._first_stretch, stretch) - 1
        try:
            content = os.pread(self._descriptor(shard), num_bytes, start)
        except OSError as error:
            raise ShardError(f"{self.where(stretch)}: {error.strerror}: {_REMEDY}") from None
        if len(content) != num_bytes:
            raise ShardError(f"{self.where(stretch)}: ends too early: {_REMEDY}")
        return content

    def where(self, stretch: int) -> str:
        """Name a stretch in an error, by its shard and record, as far as the shard can be read."""
        path = self._file(bisect_right(self._first_stretch, stretch) - 1)
        at = int(self._ids_at[stretch])
        place = f"stretch {stretch}"
        with suppress(OSError, ShardError):
            for record in stored_records(path):
                if any(first <= at < first + size for first, size in record.parts.values()):
                    return f"{path}, record {record.key}"
                place = f"stretch {stretch}, after record {record.key}"
        return f"{path}, {place}"

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


def _verify(folder: Path, manifest: Manifest) -> None:
    for shard in manifest.shards:
        for name, expected in ((shard.name, shard.sha256), (shard.index_name, shard.index_sha256)):
            try:
                found = file_sha256(folder / name)
            except OSError as error:
                raise ShardError(f"{folder / name}: {error.strerror}: {_REMEDY}") from None
            if found != expected:
                look = f"`python -m dnabert_nemo shards inspect {folder}` finds the record"
                raise ShardError(
                    f"{folder / name}: its bytes are not those {MANIFEST} has the checksum of ({look}): "
                    f"copy the file again, or {_REMEDY}"
                )


def checked_index(folder: Path, shard: ShardFile) -> NDArray[np.void]:
    """Read the index of a shard, INDEX [num_stretches], and see that both are of the size they should be.

    Raises:
        ShardError: they are not, or one of them is missing.
    """
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
    if index.dtype != INDEX or index.shape != (shard.num_stretches,):
        problem = f"not the index of {shard.num_stretches} stretches"
        raise ShardError(f"{folder / shard.index_name}: {problem}: {_REMEDY}")
    return np.asarray(index)
