"""The first records of a shard set as bases, with their places: to see what a model is going to read."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from dnabert_nemo.errors import ShardError
from dnabert_nemo.genome.alphabet import SOFT, decode
from dnabert_nemo.kmer.ids import bases_of
from dnabert_nemo.shards.contents import REMEDY, Record, parse_record
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.tar_records import read_parts, stored_records


def head_lines(path: str | Path, num_records: int = 1, num_bases: int | None = None) -> Iterator[str]:
    """Yield the first records as FASTA: a header for every stretch, and at most `num_bases` of its bases.

    What was lower-case in the input is so again; a base that only UNK covers is N.

    Raises:
        ShardError: the set is unfinished, or one of these records is damaged.
    """
    shards = ShardSet.open(path)
    for record in islice(_records(shards), num_records):
        for number in range(len(record.rows)):
            yield _header(record, number)
            yield _letters(record, number, shards.manifest.k)[:num_bases]


def _records(shards: ShardSet) -> Iterator[Record]:
    for shard in shards.manifest.shards:
        path = shards.path / shard.name
        with open(path, "rb") as file:
            for stored in stored_records(path):
                try:
                    yield parse_record(stored.key, read_parts(file, stored), shards.manifest)
                except ValueError as error:
                    raise ShardError(f"{path}, record {stored.key}: {error}: {REMEDY}") from None


def _header(record: Record, number: int) -> str:
    row, component = record.rows[number], record.components[number]
    name = row.get("contig", row.get("read"))
    return (
        f">{name}:{row['start']}-{row['end']}({row['strand']}) record={record.key} component={component} "
        f"tokens={row['tokens']} soft_masked={row['soft_masked']} source={row['source']}"
    )


def _letters(record: Record, number: int, k: int) -> str:
    first, tokens = int(record.offsets[number]), int(record.tokens[number])
    codes = bases_of(record.ids[first : first + tokens], k)
    at = int(record.soft_at[number])
    if at >= 0:
        codes = codes + SOFT * np.unpackbits(record.soft_bits[at:], count=len(codes))
    return decode(codes)
