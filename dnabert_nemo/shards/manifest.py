"""What a shard set says of itself, manifest.json beside its shards; `prepare` writes it, `reader` checks."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dnabert_nemo.errors import ShardError

MANIFEST = "manifest.json"
FORMAT_VERSION = 2

Kind = Literal["assembly", "taxon", "sample"]


@dataclass(frozen=True)
class ShardFile:
    """One tar of the set; its index lies beside it, see `index_name`."""

    name: str
    num_bytes: int
    sha256: str
    index_sha256: str
    num_records: int
    num_stretches: int
    num_tokens: int

    @property
    def index_name(self) -> str:
        """The file of `records.INDEX`, one row a stretch."""
        return Path(self.name).stem + ".index.npy"


@dataclass(frozen=True)
class InputFile:
    """One file the run read: its name without folders, and its content's hash."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ContigEntry:
    """One contig, or one sample of reads taken together: what is split, and what was found in it."""

    name: str
    component: str
    sources: tuple[str, ...]  # the names of its files
    length: int  # all letters
    num_bases: int  # in the set: in stretches long enough
    num_not_bases: int  # letters that are none of A, C, G, T
    num_soft_masked: int  # lower-case letters
    num_short_stretches: int  # skipped, with their num_short_bases
    num_short_bases: int
    num_excluded_bases: int  # outside the regions asked for


@dataclass(frozen=True)
class Component:
    """A part of a set with a sampling weight of its own: an assembly, a taxon or a sample of reads."""

    name: str
    kind: Kind
    weight: float  # the share of training samples drawn from it; those of a set sum to 1
    num_stretches: int
    num_bases: int
    num_tokens: int
    labels: dict[str, str]  # of a sample, from its sheet


@dataclass(frozen=True)
class Manifest:
    """A shard set: one split of one run of `prepare_shards`. It holds no time and no path."""

    format_version: int
    split: str
    k: int
    vocabulary_sha256: str
    seed: int
    min_stretch: int  # bases; shorter stretches were skipped
    non_acgt: str  # "cut": stretches end at other letters; "unk": k-mers over them are UNK
    block_bases: int  # the most bases in a record
    num_records: int
    num_stretches: int  # as in the records; an unbroken stretch longer than a block counts once for each part
    num_bases: int  # overlaps between parts are counted once
    num_tokens: int
    base_counts: dict[str, int]  # of the num_bases; what is missing to them is other letters, kept as UNK
    num_soft_masked: int  # lower-case letters among the num_bases
    num_short_stretches: int
    num_short_bases: int
    num_not_bases: int
    components: tuple[Component, ...]
    shards: tuple[ShardFile, ...]
    inputs: tuple[InputFile, ...]
    contigs: tuple[ContigEntry, ...]

    @property
    def composition_entropy(self) -> float:
        """The entropy of the base composition in nats: the loss of a model that knows nothing else."""
        total = sum(self.base_counts.values())
        shares = [count / total for count in self.base_counts.values() if count]
        return -sum(share * math.log(share) for share in shares)

    @cached_property
    def sha256(self) -> str:
        """The sha256, in hex, of the file that `write` writes."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    @property
    def _text(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    def write(self, folder: Path) -> None:
        """Write manifest.json into `folder`."""
        (folder / MANIFEST).write_text(self._text, encoding="utf-8", newline="\n")

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read manifest.json of `folder`.

        Raises:
            ShardError: it is damaged, or of a format version this package does not read.
        """
        path = folder / MANIFEST
        try:
            return Manifest.parse(path.read_bytes(), path)
        except OSError as error:
            raise ShardError(f"{path}: {error.strerror}: run prepare_shards again") from None

    @staticmethod
    def parse(text: bytes, path: str | Path) -> Manifest:
        """Take the content of a manifest.json that was read from `path`.

        Raises:
            ShardError: as `read`.
        """
        try:
            content: dict[str, Any] = json.loads(text)
            version = content["format_version"]
            if version != FORMAT_VERSION:
                problem = f"shard format {version}, this package reads {FORMAT_VERSION}"
                raise ShardError(f"{path}: {problem}: run prepare_shards again")
            for key, kind in _ROWS.items():
                content[key] = tuple(kind(**row) for row in content[key])
            return Manifest(**content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ShardError(f"{path}: not a manifest ({error!r}): run prepare_shards again") from None


def _contig(**row: Any) -> ContigEntry:
    return ContigEntry(**{**row, "sources": tuple(row["sources"])})


_ROWS: dict[str, Any] = {
    "components": Component,
    "shards": ShardFile,
    "inputs": InputFile,
    "contigs": _contig,
}
