"""What is in a shard, byte for byte: ids, soft-mask bits, the description of each stretch, and the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import webdataset

from dnabert_nemo.genome.alphabet import encode, encode_soft
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.shards.records import INDEX, STRETCH
from dnabert_nemo.shards.writer import Origin, ShardJob, WrittenShard, write_shard

CONTIG = b"ACGTacgtNACGTTGCAAC"
READ = b"TTGANNGGATC"


def written(folder: Path) -> WrittenShard:
    """Write one record of two parts of a contig that share two bases, and two stretches of a read."""
    (folder / "contig").write_bytes(encode_soft(CONTIG).tobytes())
    (folder / "reads").write_bytes(b"r/17" + encode_soft(READ).tobytes())
    record = np.array(
        [
            (0, 0, 5, 0, 0, 0, 0),
            (0, 3, 5, 2, 0, 0, 3),
            (9, 0, 4, 0, 1, 4, 4),
            (9, 6, 5, 0, 1, 4, 10),
        ],
        dtype=STRETCH,
    )
    origins = {
        0: Origin("chr1", "assembly", "human", 1, ("a.fa",), folder / "contig"),
        9: Origin("liver", "sample", "liver", 0, ("1.fq", "2.fq"), folder / "reads"),
    }
    return write_shard(ShardJob(folder, 3, 70, 3, [record], origins))


def test_a_record_as_webdataset_reads_it(tmp_path: Path) -> None:
    written(tmp_path)
    [record] = webdataset.WebDataset(str(tmp_path / "shard-000003.tar"), shardshuffle=False).decode()
    assert record["__key__"] == "00000070"
    letters = [b"ACGTa", b"Tacgt", b"TTGA", b"GGATC"]
    expected = [kmer_ids(encode(each), 3) for each in letters]
    assert np.array_equal(record["kmers.npy"], np.concatenate(expected))
    assert record["softmask.npy"].tolist() == [0b00001000, 0b01111000]
    assert record["json"]["k"] == 3
    contig = {"assembly": "human", "contig": "chr1", "strand": "+", "source": "a.fa", "tokens": 3}
    read = {"sample": "liver", "read": "r/17", "strand": "+", "source": "2.fq", "soft_masked": 0}
    assert record["json"]["stretches"] == [
        {"offset": 0, "start": 0, "end": 5, "soft_masked": 1, **contig},
        {"offset": 3, "start": 3, "end": 8, "soft_masked": 4, **contig},
        {"offset": 6, "tokens": 2, "start": 0, "end": 4, **read},
        {"offset": 8, "tokens": 3, "start": 6, "end": 11, **read},
    ]


def test_the_index_is_where_things_are(tmp_path: Path) -> None:
    shard = written(tmp_path)
    content = (tmp_path / "shard-000003.tar").read_bytes()
    index = np.load(tmp_path / "shard-000003.index.npy")
    assert index.dtype == INDEX
    assert index["tokens"].tolist() == [3, 3, 2, 3]
    assert index["component"].tolist() == [1, 1, 0, 0]
    for row, letters in zip(index, (b"ACGTa", b"Tacgt", b"TTGA", b"GGATC"), strict=True):
        ids = np.frombuffer(content, "<u2", int(row["tokens"]), int(row["ids_at"]))
        assert np.array_equal(ids, kmer_ids(encode(letters), 3))
    assert [content[at] for at in index["soft_at"][:2]] == [0b00001000, 0b01111000]
    assert index["soft_at"][2:].tolist() == [-1, -1]
    assert (shard.file.num_records, shard.file.num_stretches, shard.file.num_tokens) == (1, 4, 11)


def test_bases_of_an_overlap_count_once(tmp_path: Path) -> None:
    shard = written(tmp_path)
    # ACGTa, then cgt without the two shared, TTGA, GGATC; in the order A, T, C, G
    assert shard.base_counts.tolist() == [4, 5, 3, 5]
    assert shard.num_soft_masked == 1 + 3


def test_upper_case_alone_has_no_bits(tmp_path: Path) -> None:
    (tmp_path / "contig").write_bytes(encode_soft(b"ACGTACGT").tobytes())
    record = np.array([(0, 0, 8, 0, 0, 0, 0)], dtype=STRETCH)
    origins = {0: Origin("1", "assembly", "human", 0, ("a.fa",), tmp_path / "contig")}
    write_shard(ShardJob(tmp_path, 0, 0, 3, [record], origins))
    [found] = webdataset.WebDataset(str(tmp_path / "shard-000000.tar"), shardshuffle=False)
    assert sorted(found) == ["__key__", "__local_path__", "__url__", "json", "kmers.npy"]
