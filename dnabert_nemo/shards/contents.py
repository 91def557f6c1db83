"""One record of a shard, parsed and checked; streaming and the shard tools read by it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS, UNK
from dnabert_nemo.shards.manifest import Kind, Manifest

KINDS: tuple[Kind, ...] = ("assembly", "taxon", "sample")
REMEDY = "copy the shard again, or run prepare_shards again"

_NUMBERS = ("offset", "tokens", "start", "end", "soft_masked")


@dataclass(frozen=True, eq=False, slots=True)
class Record:
    """A block of up to `block_bases` bases: ids of several stretches end to end, and where each is from."""

    key: str
    rows: list[dict[str, Any]]  # its stretches, as the JSON has them
    components: tuple[str, ...]  # [m] the component of each stretch
    offsets: NDArray[np.int64]  # [m] the first id of each stretch
    tokens: NDArray[np.int64]  # [m]
    ids: NDArray[np.uint16]  # [the sum of tokens]
    soft_bits: NDArray[np.uint8]  # packed, of the stretches that have a lower-case base, each from a byte on
    soft_at: NDArray[np.int64]  # [m] the first byte in `soft_bits` of each stretch; -1: it has none

    def soft_mask(self, stretch: int, first: int, count: int) -> NDArray[np.bool_]:
        """Tell of the bases first .. first + count of one stretch which are lower case: bool [count]."""
        at = int(self.soft_at[stretch])
        if at < 0:
            return np.zeros(count, dtype=np.bool_)
        bits = np.unpackbits(self.soft_bits[at + first // 8 : at - (-(first + count) // 8)])
        return bits[first % 8 : first % 8 + count].astype(np.bool_)


def parse_record(key: str, parts: Mapping[str, bytes], manifest: Manifest) -> Record:
    """Take a record apart, from the bytes of its `json`, `kmers.npy` and, if there is one, `softmask.npy`.

    Every id has to be a k-mer (or UNK where the set has those) that follows the one before it base by base.

    Raises:
        ValueError: a part is missing, cannot be read or does not agree with another; says which and how.
    """
    others = sorted(parts.keys() - {"json", "kmers.npy", "softmask.npy"})
    if others:
        raise ValueError(f"{others[0]!r} is no part of a record")
    rows = _rows(_part(parts, "json"), manifest.k)
    offset, tokens, start, end, soft_masked = (_column(rows, name) for name in _NUMBERS)
    expected = np.cumsum(tokens) - tokens
    if (tokens < 1).any() or not np.array_equal(offset, expected):
        raise ValueError("json: its stretches do not lie end to end")
    if (start < 0).any() or not np.array_equal(end - start, tokens + manifest.k - 1):
        raise ValueError("json: a stretch does not have as many bases as its ids stand for")
    ids = _array(_part(parts, "kmers.npy"), "kmers.npy", "<u2")
    if len(ids) != tokens.sum():
        raise ValueError(f"kmers.npy: {len(ids)} ids, its json lists {tokens.sum()}")
    _check_ids(ids, offset, manifest)
    soft_bits, soft_at = _soft_mask(parts, tokens + manifest.k - 1, soft_masked)
    components = tuple(_component(row) for row in rows)
    return Record(key, rows, components, offset, tokens, ids, soft_bits, soft_at)


def _part(parts: Mapping[str, bytes], name: str) -> bytes:
    if name not in parts:
        raise ValueError(f"{name}: this part of the record is missing")
    return parts[name]


def _rows(content: bytes, k: int) -> list[dict[str, Any]]:
    try:
        description = json.loads(content)
        found, rows = description["k"], description["stretches"]
    except (ValueError, KeyError, TypeError):
        raise ValueError("json: not the description of a record") from None
    if found != k:
        raise ValueError(f"json: k={found}, the set has k={k}")
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError("json: lists no stretches")
    for row in rows:
        named = [row.get("source"), row.get("contig", row.get("read")), _component(row)]
        if row.get("strand") != "+" or not all(isinstance(name, str) for name in named):
            raise ValueError("json: a stretch without its origin, strand or source")
    return rows


def _component(row: dict[str, Any]) -> str:
    names = [row[kind] for kind in KINDS if kind in row]
    if len(names) != 1:
        raise ValueError("json: a stretch without one assembly, taxon or sample")
    return str(names[0])


def _column(rows: list[dict[str, Any]], name: str) -> NDArray[np.int64]:
    values = [row.get(name) for row in rows]
    if not all(type(value) is int for value in values):
        raise ValueError(f"json: a stretch without a whole number of {name!r}")
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise ValueError(f"json: a {name!r} too large") from None


def _array(content: bytes, name: str, dtype: str) -> NDArray[Any]:
    try:
        array = np.lib.format.read_array(BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TokenError, TypeError) as error:  # of numpy, on a header
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise ValueError(f"{name}: not an array ({first})") from None
    if array.dtype != np.dtype(dtype) or array.ndim != 1:
        raise ValueError(f"{name}: {array.dtype} {list(array.shape)}, not a row of {np.dtype(dtype)}")
    return array


def _check_ids(ids: NDArray[np.uint16], offset: NDArray[np.int64], manifest: Manifest) -> None:
    # The check of `bases_of` for all stretches of a record at once, of which there may be hundreds.
    k = manifest.k
    number = ids.astype(np.int64) - NUM_SPECIALS
    is_unknown = (ids == UNK) & (manifest.non_acgt == "unk")
    is_wrong = ~is_unknown & ((number < 0) | (number >= 4**k))
    if is_wrong.any():
        at = int(is_wrong.argmax())
        raise ValueError(f"kmers.npy: id {ids[at]} at token {at} is no {k}-mer")
    follows = (number[:-1] % 4 ** (k - 1) == number[1:] // 4) | is_unknown[:-1] | is_unknown[1:]
    follows[offset[1:] - 1] = True
    if not follows.all():
        at = int(follows.argmin()) + 1
        raise ValueError(f"kmers.npy: id {ids[at]} at token {at} does not follow the one before it")


def _soft_mask(
    parts: Mapping[str, bytes], bases: NDArray[np.int64], soft_masked: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    has_bits = soft_masked != 0
    num_bytes = np.where(has_bits, -(-bases // 8), 0)
    soft_at = np.where(has_bits, np.cumsum(num_bytes) - num_bytes, -1)
    if "softmask.npy" not in parts and not has_bits.any():
        return np.empty(0, dtype=np.uint8), soft_at
    bits = _array(_part(parts, "softmask.npy"), "softmask.npy", "u1")
    if len(bits) != num_bytes.sum() or not has_bits.any():
        raise ValueError(f"softmask.npy: {len(bits)} bytes, its json needs {num_bytes.sum()}")
    set_bits = np.unpackbits(bits).reshape(-1, 8).sum(axis=1, dtype=np.int64)
    if not np.array_equal(np.add.reduceat(set_bits, soft_at[has_bits]), soft_masked[has_bits]):
        raise ValueError("softmask.npy: other numbers of lower-case bases than its json lists")
    return bits, soft_at
