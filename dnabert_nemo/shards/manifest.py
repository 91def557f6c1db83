"""What a shard set says of itself, manifest.json beside its shards; `prepare` writes it, `reader` checks."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from dnabert_nemo.errors import ShardError

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ShardFile:
    """One tar of the set; its index lies beside it, see `index_name`."""

    name: str
    num_bytes: int
    sha256: str
    num_records: int
    num_stretches: int

    @property
    def index_name(self) -> str:
        """The file of int64 [num_stretches, 2]: the byte in the tar of a stretch's first id, its tokens."""
        return Path(self.name).stem + ".index.npy"


@dataclass(frozen=True)
class InputFile:
    """One FASTA the run read: its name without folders, and its content's hash."""

    name: str
    sha256: str


@dataclass(frozen=True)
class ContigEntry:
    """One contig of the split, and its length in bases, all letters counted."""

    name: str
    source: str  # the name of its file
    length: int


@dataclass(frozen=True)
class Manifest:
    """A shard set: one split of one run of `prepare_shards`. It holds no time and no path."""

    format_version: int
    split: str
    k: int
    vocabulary_sha256: str
    seed: int
    min_stretch: int  # bases; shorter stretches were skipped
    block_bases: int  # the most bases in a record
    num_records: int
    num_stretches: int  # as in the records; an unbroken stretch longer than a block counts once for each part
    num_bases: int  # overlaps between parts are counted once
    num_tokens: int
    base_counts: dict[str, int]  # of the num_bases
    num_short_stretches: int  # skipped, with their num_short_bases
    num_short_bases: int
    num_not_bases: int  # letters that are none of A, C, G, T
    shards: tuple[ShardFile, ...]
    inputs: tuple[InputFile, ...]
    contigs: tuple[ContigEntry, ...]

    @property
    def composition_entropy(self) -> float:
        """The entropy of the base composition in nats: the loss of a model that knows nothing else."""
        shares = [count / self.num_bases for count in self.base_counts.values() if count]
        return -sum(share * math.log(share) for share in shares)

    def write(self, folder: Path) -> None:
        """Write manifest.json into `folder`."""
        content = json.dumps(asdict(self), indent=1) + "\n"
        (folder / MANIFEST).write_text(content, encoding="utf-8", newline="\n")

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read manifest.json of `folder`.

        Raises:
            ShardError: it is damaged, or of a format version this package does not read.
        """
        path = folder / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content["format_version"]
            if version != FORMAT_VERSION:
                problem = f"shard format {version}, this package reads {FORMAT_VERSION}"
                raise ShardError(f"{path}: {problem}: run prepare_shards again")
            content["shards"] = tuple(ShardFile(**row) for row in content["shards"])
            content["inputs"] = tuple(InputFile(**row) for row in content["inputs"])
            content["contigs"] = tuple(ContigEntry(**row) for row in content["contigs"])
            return Manifest(**content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ShardError(f"{path}: not a manifest ({error!r}): run prepare_shards again") from None
