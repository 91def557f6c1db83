"""Bytes packed in every way that is read; for the tests of the readers."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib

from dnabert_nemo.genome.unpacking import zstd


def bgzip(data: bytes, block_size: int = 50) -> bytes:
    """Pack as bgzip does: many small gzip members with an extra field, and an empty one at the end."""
    packed = b""
    for block in [data[at : at + block_size] for at in range(0, len(data), block_size)] + [b""]:
        deflate = zlib.compressobj(wbits=-15)
        body = deflate.compress(block) + deflate.flush()
        header = struct.pack("<4BI2BH", 31, 139, 8, 4, 0, 0, 255, 6)
        extra = b"BC" + struct.pack("<2H", 2, len(body) + 25)
        packed += header + extra + body + struct.pack("<2I", zlib.crc32(block), len(block))
    return packed


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


PACKERS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bgzip": bgzip,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
}
PACKED = sorted(PACKERS.keys() - {"plain"})
