"""From FASTA to shards: what is in them, the same every time, and nothing half-made is left."""

from __future__ import annotations

import hashlib
import json
import math
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from dnabert_nemo.errors import ConfigError, FormatError, ShardError
from dnabert_nemo.genome.alphabet import unbroken_stretches
from dnabert_nemo.genome.fasta import read_fastas
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.shards import prepare as prepare_module
from dnabert_nemo.shards import writer
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.settings import ShardSettings

Prepare = Callable[..., dict[str, Manifest]]


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def records_by_webdataset(folder: Path) -> list[dict]:
    tars = sorted(str(path) for path in folder.glob("*.tar"))
    return list(webdataset.WebDataset(tars, shardshuffle=False).decode())


@pytest.mark.parametrize("k", [1, 3, 6, 7])
def test_every_kmer_of_the_genome_once_and_none_across_n(
    k: int, genome: list[Path], prepare: Prepare, tmp_path: Path
) -> None:
    """Read by plain webdataset; the place of a k-mer is told by the JSON."""
    prepare(tmp_path / "shards", k=k)
    expected, found = {}, {}
    for contig in read_fastas(genome):
        for start, end in unbroken_stretches(contig.codes).tolist():
            if end - start >= 64:
                ids = kmer_ids(contig.codes[start:end], k).tolist()
                expected |= {(contig.name, start + i): token for i, token in enumerate(ids)}
    num_tokens = 0
    for split in ("train", "validation", "test"):
        for record in records_by_webdataset(tmp_path / "shards" / split):
            ids = record["kmers.npy"]
            assert ids.dtype == np.uint16
            stretches = record["json"]["stretches"]
            assert sum(stretch["end"] - stretch["start"] for stretch in stretches) <= 16_384
            for stretch in stretches:
                assert stretch["tokens"] == stretch["end"] - stretch["start"] - k + 1
                assert stretch["source"] == ("b.fa.gz" if stretch["contig"].startswith("read") else "a.fa")
                assert stretch["assembly"] == "input"
                tokens = ids[stretch["offset"] : stretch["offset"] + stretch["tokens"]].tolist()
                found |= {(stretch["contig"], stretch["start"] + i): token for i, token in enumerate(tokens)}
            num_tokens += len(ids)
    assert found == expected
    assert num_tokens == len(expected)


def test_the_reader_reads_what_webdataset_reads(shards: Path) -> None:
    for split in ("train", "validation", "test"):
        reader = ShardSet.open(shards / split, k=3)
        stretch = 0
        for record in records_by_webdataset(shards / split):
            for place in record["json"]["stretches"]:
                expected = record["kmers.npy"][place["offset"] : place["offset"] + place["tokens"]]
                assert reader.stretch_tokens[stretch] == place["tokens"]
                assert np.array_equal(reader.read(stretch, 0, place["tokens"]), expected)
                assert np.array_equal(reader.read(stretch, 5, 40), expected[5:45])
                stretch += 1
        assert stretch == reader.num_stretches


def test_manifest_counts_what_is_there(shards: Path, genome: list[Path]) -> None:
    train = Manifest.read(shards / "train")
    contigs = {contig.name: contig for contig in read_fastas(genome)}
    usable = {"long": 57_000, "exact": 16_384, "void": 0} | {f"read{i}": 150 + i for i in range(40)}
    assert {entry.name: entry.length for entry in train.contigs} == {
        name: len(contigs[name].codes) for name in usable
    }
    assert (train.split, train.k, train.seed, train.min_stretch) == ("train", 3, 1, 64)
    assert train.vocabulary_sha256 == Vocabulary(3).sha256
    assert train.num_bases == sum(usable.values()) == sum(train.base_counts.values())
    # each unbroken stretch has two tokens less than bases
    assert train.num_tokens == train.num_bases - 2 * (2 + 1 + 40)
    assert (train.num_short_stretches, train.num_short_bases, train.num_not_bases) == (1, 20, 54 + 100)
    codes = np.concatenate(
        [contigs[name].codes for name in ("long", "exact", *(f"read{i}" for i in range(40)))]
    )
    kept = np.delete(codes, range(40_050, 40_070))
    assert list(train.base_counts.values()) == [int((kept == code).sum()) for code in range(4)]
    shares = [count / train.num_bases for count in train.base_counts.values()]
    assert train.composition_entropy == pytest.approx(-sum(share * math.log(share) for share in shares))
    assert train.composition_entropy < math.log(4)
    records = records_by_webdataset(shards / "train")
    assert train.num_records == len(records) == sum(shard.num_records for shard in train.shards)
    assert train.num_stretches == sum(len(record["json"]["stretches"]) for record in records)
    assert len(train.shards) == math.ceil(len(records) / 2)
    for shard in train.shards:
        content = (shards / "train" / shard.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.num_bytes, shard.sha256)
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in genome}
    assert {file.name: file.sha256 for file in train.inputs} == hashes


def test_short_contigs_share_records_and_neighbours_are_strangers(shards: Path) -> None:
    records = records_by_webdataset(shards / "train")
    assert len(records) == 7  # 57,000 bases in 5 parts, 16,384 in one, and forty reads together
    assert max(len(record["json"]["stretches"]) for record in records) == 40
    firsts = [
        (record["json"]["stretches"][0]["contig"], record["json"]["stretches"][0]["start"])
        for record in records
    ]
    in_genome_order = sorted(firsts, key=lambda place: (["long", "exact", "read0"].index(place[0]), place[1]))
    assert firsts != in_genome_order


def test_the_same_bytes_from_any_number_of_workers_and_every_time(
    prepare: Prepare, shards: Path, tmp_path: Path
) -> None:
    expected = all_bytes(shards)
    assert len(expected) == 3 + 2 * (4 + 1 + 1)
    prepare(tmp_path / "again")
    prepare(tmp_path / "by_two", num_workers=2)
    assert all_bytes(tmp_path / "again") == expected
    assert all_bytes(tmp_path / "by_two") == expected
    prepare(tmp_path / "other_seed", seed=2)
    assert all_bytes(tmp_path / "other_seed")["train/shard-000000.tar"] != expected["train/shard-000000.tar"]


def test_nothing_in_a_set_depends_on_when_and_where(shards: Path, genome: list[Path]) -> None:
    with tarfile.open(shards / "train" / "shard-000000.tar") as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
    text = (shards / "train" / "manifest.json").read_text()
    assert str(genome[0].parent) not in text
    assert str(shards) not in text
    assert json.loads(text)["inputs"][0]["name"] == "a.fa"


def test_an_empty_split_has_no_folder(prepare: Prepare, tmp_path: Path) -> None:
    manifests = prepare(tmp_path / "shards", validation=(), test=())
    assert list(manifests) == ["train"]
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["train"]


def test_a_stretch_of_just_min_stretch_is_used(prepare: Prepare, tmp_path: Path) -> None:
    fasta = tmp_path / "two.fa"
    fasta.write_text(f">c\n{'ACGT' * 16}N{'ACG' * 21}\n")
    [manifest] = prepare(tmp_path / "shards", fasta=[fasta], validation=(), test=()).values()
    assert (manifest.num_bases, manifest.num_short_bases, manifest.num_short_stretches) == (64, 63, 1)


def test_a_run_that_dies_leaves_nothing_and_can_be_run_again(
    prepare: Prepare, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    def dies(job: writer.ShardJob) -> writer.WrittenShard:
        if written:
            raise KeyboardInterrupt
        written.append(write_shard(job))
        return written[0]

    write_shard = writer.write_shard
    monkeypatch.setattr(prepare_module, "write_shard", dies)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "shards")
    assert written
    assert list(tmp_path.iterdir()) == []

    # Killed outright it cannot tidy up: what is left must not look finished nor stand in the way.
    monkeypatch.setattr("dnabert_nemo.shards.publish.shutil.rmtree", lambda *_, **__: None)
    written.clear()
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "shards")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["shards.unfinished"]
    for left in (
        tmp_path / "shards",
        tmp_path / "shards.unfinished",
        tmp_path / "shards.unfinished" / "train",
    ):
        with pytest.raises(ShardError, match="unfinished or not a shard set: run prepare_shards again"):
            ShardSet.open(left)
    prepare(tmp_path / "shards")
    assert all_bytes(tmp_path / "shards") == all_bytes(shards)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_an_existing_output_is_replaced_only_when_told_and_only_if_it_is_shards(
    prepare: Prepare, tmp_path: Path
) -> None:
    prepare(tmp_path / "shards", k=3)
    with pytest.raises(ConfigError, match="exists: pass overwrite=true"):
        prepare(tmp_path / "shards", k=4)
    assert ShardSet.open(tmp_path / "shards" / "train").manifest.k == 3
    prepare(tmp_path / "shards", k=4, overwrite=True)
    assert ShardSet.open(tmp_path / "shards" / "train").manifest.k == 4
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]

    (tmp_path / "shards" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other things than shards"):
        prepare(tmp_path / "shards", overwrite=True)
    (tmp_path / "mine.unfinished").mkdir()
    (tmp_path / "mine.unfinished" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="was not left by prepare_shards"):
        prepare(tmp_path / "mine")
    assert len(list(tmp_path.rglob("thesis.tex"))) == 2
    with pytest.raises(ConfigError, match="marks what is not finished"):
        prepare(tmp_path / "new.unfinished")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"k": 8}, r"tokenizer.k=8: give a whole number from 1 to 7"),
        ({"k": 0}, r"tokenizer.k=0: give"),
        ({"k": "three"}, r"tokenizer.k=three: give"),
        ({"seed": -1}, r"seed=-1: give a whole number from 0"),
        ({"min_stretch": 2}, r"min_stretch=2 is shorter than one k-mer: pass min_stretch=3 or more"),
        ({"records_per_shard": 0}, r"records_per_shard=0: give a whole number of at least 1"),
        ({"num_workers": 0}, r"num_workers=0: give a whole number of at least 1"),
        ({"fasta": []}, r"no input: pass input.fasta=\[a.fa.gz,b.fa\], or a corpus"),
        ({"non_acgt": "keep"}, r"non_acgt=keep is not known: choose cut or unk"),
        ({"executor": "slurm"}, r"executor=slurm is not known: choose processes or ray"),
        ({"ray_address": "auto"}, r"ray_address=auto is for executor=ray"),
    ],
)
def test_settings_are_refused_before_a_file_is_touched(
    changed: dict, says: str, prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare_module, "scan_corpus", lambda *_: pytest.fail("files were touched"))
    with pytest.raises(ConfigError, match=says):
        prepare(tmp_path / "shards", **changed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"fasta": [Path("absent.fa")]}, FormatError, "absent.fa: no such file"),
        (
            {"min_stretch": 50_000},
            FormatError,
            "no stretch of 50000 bases .* nor in the 1 files after it, the longest",
        ),
        ({"validation": ("chr20",)}, ConfigError, "no contig 'chr20' in the input; there are long, exact"),
    ],
)
def test_input_that_does_not_do_leaves_nothing(
    changed: dict, error: type[Exception], says: str, prepare: Prepare, tmp_path: Path
) -> None:
    with pytest.raises(error, match=says):
        prepare(tmp_path / "shards", **changed)
    assert list(tmp_path.iterdir()) == []


def test_an_output_that_cannot_be_written(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ShardError, match=r"cannot be written .* pass another output_dir"):
        prepare(tmp_path / "file" / "shards")


def test_settings_take_seven() -> None:
    assert ShardSettings(k=7, seed=2**64 - 1, min_stretch=7, records_per_shard=1).k == 7


def test_real_chromosomes(data_dir: Path, prepare: Prepare, tmp_path: Path) -> None:
    fasta = data_dir / "mini_genomes" / "D.melanogaster.fa.gz"
    names = [contig.name for contig in read_fastas([fasta])]
    manifests = prepare(
        tmp_path / "shards", fasta=[fasta], k=6, validation=(names[-1],), test=(), records_per_shard=4096
    )
    assert manifests["train"].num_not_bases + manifests["validation"].num_not_bases == 17_972
    for contig in read_fastas([fasta]):
        split = "validation" if contig.name == names[-1] else "train"
        ids = {}
        for record in records_by_webdataset(tmp_path / "shards" / split):
            for stretch in record["json"]["stretches"]:
                if stretch["contig"] == contig.name:
                    first = stretch["offset"]
                    ids[stretch["start"]] = record["kmers.npy"][first : first + stretch["tokens"]]
        expected = [
            kmer_ids(contig.codes[start:end], 6)
            for start, end in unbroken_stretches(contig.codes).tolist()
            if end - start >= 64
        ]
        assert np.array_equal(np.concatenate([ids[start] for start in sorted(ids)]), np.concatenate(expected))
