"""Whole corpora to shards: species with weights, regions, unknown letters kept, and reads split by sample."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.alphabet import encode
from dnabert_nemo.genome.fastq import ReadSample
from dnabert_nemo.genome.read_filter import ReadFilter
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.vocabulary import UNK
from dnabert_nemo.shards.corpus import Assembly, Corpus, Mixture, Reads
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.reader import ShardSet

Prepare = Callable[..., dict[str, Manifest]]


def records(folder: Path) -> list[dict]:
    tars = sorted(map(str, folder.glob("*.tar")))
    return list(webdataset.WebDataset(tars, shardshuffle=False).decode())


def letters(count: int, seed: int) -> str:
    return "".join("ATCG"[code] for code in np.random.Generator(np.random.Philox(seed)).integers(0, 4, count))


def test_species_have_weights_and_may_share_names_of_contigs(prepare: Prepare, tmp_path: Path) -> None:
    sizes = {"cat": 40_000, "fly": 10_000, "eel": 2_500}
    for number, (species, size) in enumerate(sizes.items()):
        (tmp_path / f"{species}.fa").write_text(
            f">1\n{letters(size, number)}\n>2\n{letters(900, 9 + number)}\n"
        )
    assemblies = tuple(Assembly(species, (str(tmp_path / f"{species}.fa"),)) for species in sizes)
    manifests = prepare(
        tmp_path / "shards",
        corpus=Corpus(assemblies, Mixture(2.0)),
        validation=("cat:2", "fly:2"),
        test=("eel",),
    )
    assert [one.name for one in manifests["train"].components] == ["cat", "fly"]
    weights = {one.name: one.weight for one in manifests["train"].components}
    tokens = {one.name: one.num_tokens for one in manifests["train"].components}
    assert weights["cat"] / weights["fly"] == pytest.approx((tokens["cat"] / tokens["fly"]) ** 0.5)
    assert sum(weights.values()) == pytest.approx(1)
    reader = ShardSet.open(tmp_path / "shards" / "train")
    for number, name in enumerate(reader.component_names):
        assert reader.stretch_tokens[reader.stretch_component == number].sum() == tokens[name]
    held = {
        (row["assembly"], row["contig"])
        for each in records(tmp_path / "shards" / "test")
        for row in each["json"]["stretches"]
    }
    assert held == {("eel", "1"), ("eel", "2")}
    one_file_twice = Corpus((Assembly("cat", (str(tmp_path / "cat.fa"), str(tmp_path / "fly.fa"))),))
    with pytest.raises(
        FormatError, match=r"fly.fa: contig '1' is also in .*cat.fa: give every contig of an assembly"
    ):
        prepare(tmp_path / "other", corpus=one_file_twice)


def test_regions(prepare: Prepare, tmp_path: Path) -> None:
    sequence = letters(1000, 3) + "N" * 10 + letters(500, 4)
    (tmp_path / "a.fa").write_text(f">1\n{sequence}\n>2\n{letters(300, 5)}\n")
    include = {"1": np.array([[100, 400], [950, 1200]])}
    exclude = {"1": np.array([[150, 160], [1100, 1101]])}
    assembly = Assembly("a", (str(tmp_path / "a.fa"),), include=include, exclude=exclude)
    [manifest] = prepare(
        tmp_path / "shards", corpus=Corpus((assembly,)), min_stretch=20, validation=(), test=()
    ).values()
    rows = [row for each in records(tmp_path / "shards" / "train") for row in each["json"]["stretches"]]
    assert sorted((row["start"], row["end"]) for row in rows) == [
        (100, 150), (160, 400), (950, 1000), (1010, 1100), (1101, 1200),
    ]  # fmt: skip
    assert {row["contig"] for row in rows} == {"1"}
    kept = 50 + 240 + 50 + 90 + 99
    assert manifest.num_bases == kept
    assert sum(contig.num_excluded_bases for contig in manifest.contigs) == 1800 - kept


def test_regions_of_other_names_are_refused(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(f">1\n{letters(300, 3)}\n>2\n{letters(300, 5)}\n")
    for key in ("include", "exclude"):
        regions = {key: {"chr1": np.array([[0, 100]])}}
        with pytest.raises(
            ConfigError, match=rf"{key}: the regions of 'a' are of chr1, its contigs are 1, 2: give"
        ):
            prepare(tmp_path / "x", corpus=Corpus((Assembly("a", (str(tmp_path / "a.fa"),), **regions),)))
    some = Assembly(
        "a", (str(tmp_path / "a.fa"),), include={"1": np.array([[0, 90]]), "3": np.array([[0, 9]])}
    )
    [manifest] = prepare(tmp_path / "y", corpus=Corpus((some,)), validation=(), test=()).values()
    assert manifest.num_bases == 90


def test_unknown_letters_kept(prepare: Prepare, tmp_path: Path) -> None:
    sequence = letters(90, 1) + "NRN" + letters(80, 2).lower() + "N" * 64 + letters(100, 3)
    (tmp_path / "a.fa").write_text(f">1\n{sequence}\n")
    [manifest] = prepare(
        tmp_path / "shards", fasta=[tmp_path / "a.fa"], non_acgt="unk", validation=(), test=()
    ).values()
    [record] = records(tmp_path / "shards" / "train")
    assert [(row["start"], row["end"]) for row in record["json"]["stretches"]] == [(0, 173), (237, 337)]
    expected = kmer_ids(encode(sequence[:173]), 3, keep_unknown=True)
    assert np.array_equal(record["kmers.npy"][:171], expected)
    assert (record["kmers.npy"] == UNK).sum() == 5
    assert (manifest.non_acgt, manifest.num_bases, sum(manifest.base_counts.values())) == ("unk", 273, 270)
    assert (manifest.num_not_bases, manifest.num_soft_masked) == (67, 80)


def test_a_stretch_of_more_gaps_than_bases_is_none(prepare: Prepare, tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(
        f">1\n{('A' + 'N' * 60) * 50}\n>2\n{letters(100, 2)}{'N' * 60}{letters(90, 3)}\n"
    )
    [manifest] = prepare(
        tmp_path / "shards", fasta=[tmp_path / "a.fa"], non_acgt="unk", validation=(), test=()
    ).values()
    assert {contig.name: contig.num_bases for contig in manifest.contigs} == {"1": 0, "2": 250}


@pytest.mark.parametrize("names", [{"a": 1}, {"a": 1, "b": 1, "c": 7}])
def test_proportions_are_checked_before_a_shard_is_written(
    names: dict[str, float], prepare: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.fa").write_text(f">1\n{letters(300, 3)}\n")
    assemblies = tuple(Assembly(name, (str(tmp_path / f"{name}.fa"),)) for name in ("a", "b"))
    monkeypatch.setattr("dnabert_nemo.shards.prepare.write_shard", lambda _: pytest.fail("it was written"))
    with pytest.raises(ConfigError, match=r"no 'b': give all of a, b|proportions.c: no such part"):
        prepare(tmp_path / "x", corpus=Corpus(assemblies, Mixture(proportions=names)), validation=(), test=())


def test_one_file_under_two_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is given twice"):
        Corpus((Assembly("a", ("m.fa",)), Assembly("b", ("./m.fa",))))


def fastq(path: Path, num_reads: int, seed: int, suffix: str = "", quality: str = "I") -> str:
    rows = [f"@r{n}{suffix}\n{letters(70, seed + n)}\n+\n{quality * 70}\n" for n in range(num_reads)]
    path.write_text("".join(rows))
    return str(path)


@pytest.fixture
def reads(tmp_path: Path) -> Reads:
    """Three samples: pairs, single reads in two lanes, and one of few reads."""
    samples = (
        ReadSample(
            "pairs",
            (fastq(tmp_path / "p1.fq", 60, 1, "/1"),),
            (fastq(tmp_path / "p2.fq", 60, 500, "/2"),),
            {"dose": "3"},
        ),
        ReadSample("lanes", (fastq(tmp_path / "l1.fq", 50, 1000), fastq(tmp_path / "l2.fq", 40, 2000))),
        ReadSample("few", (fastq(tmp_path / "f.fq", 25, 3000),)),
    )
    return Reads("study", samples, ReadFilter(min_length=10), 40, True)


def test_reads_are_split_by_sample_in_equal_portions(reads: Reads, prepare: Prepare, tmp_path: Path) -> None:
    prepare(tmp_path / "shards", corpus=Corpus((reads,)), min_stretch=20, validation=("lanes",), test=())
    seen: dict[str, list[dict]] = {}
    for split, samples in (("train", {"pairs", "few"}), ("validation", {"lanes"})):
        rows = [row for each in records(tmp_path / "shards" / split) for row in each["json"]["stretches"]]
        assert {row["sample"] for row in rows} == samples
        for row in rows:
            seen.setdefault(row["sample"], []).append(row)
    assert {sample: len(rows) for sample, rows in seen.items()} == {"pairs": 50, "few": 25, "lanes": 25}
    # mates stay together, and what is drawn is not the head of the file
    names = [row["read"] for row in seen["pairs"]]
    assert {name.split("/")[0] + "/2" for name in names} <= set(names)
    assert {row["source"] for row in seen["lanes"]} == {"l1.fq", "l2.fq"}
    assert max(int(row["read"][1:]) for row in seen["lanes"] if row["source"] == "l1.fq") >= 25
    train = Manifest.read(tmp_path / "shards" / "train")
    assert [(one.name, one.kind, one.labels) for one in train.components] == [
        ("pairs", "sample", {"dose": "3"}),
        ("few", "sample", {}),
    ]
    with open(tmp_path / "shards" / "samples.tsv", newline="") as file:
        report = {row["sample"]: row for row in csv.DictReader(file, delimiter="\t")}
    assert [report[name]["in"] for name in ("pairs", "lanes", "few")] == ["60", "90", "25"]
    assert [report[name]["sampled"] for name in ("pairs", "lanes", "few")] == ["25", "25", "25"]


def test_reads_come_with_their_own_letters(reads: Reads, prepare: Prepare, tmp_path: Path) -> None:
    prepare(tmp_path / "shards", corpus=Corpus((reads,)), min_stretch=20, validation=(), test=())
    texts = {path.name: path.read_text().split("\n") for path in tmp_path.glob("*.fq")}
    num_rows = 0
    for record in records(tmp_path / "shards" / "train"):
        for row in record["json"]["stretches"]:
            lines = texts[row["source"]]
            sequence = lines[lines.index("@" + row["read"]) + 1]
            ids = record["kmers.npy"][row["offset"] : row["offset"] + row["tokens"]]
            assert np.array_equal(ids, kmer_ids(encode(sequence[row["start"] : row["end"]]), 3))
            num_rows += 1
    assert num_rows == 100


def test_the_same_reads_from_two_workers_and_others_from_another_seed(
    reads: Reads, prepare: Prepare, tmp_path: Path
) -> None:
    folders = []
    for number, changes in enumerate(({}, {"num_workers": 2}, {"seed": 2})):
        folders.append(tmp_path / f"shards{number}")
        prepare(
            folders[-1], corpus=Corpus((reads,)), min_stretch=20, validation=("lanes",), test=(), **changes
        )
    names = [
        {row["read"] for each in records(folder / "train") for row in each["json"]["stretches"]}
        for folder in folders
    ]
    assert names[0] == names[1] != names[2]
    for path in folders[0].rglob("*.*"):
        assert (folders[1] / path.relative_to(folders[0])).read_bytes() == path.read_bytes()


def test_a_sample_that_kept_nothing(reads: Reads, prepare: Prepare, tmp_path: Path) -> None:
    strict = Reads("study", reads.samples, ReadFilter(min_mean_quality=41), 40, True)
    with pytest.raises(ConfigError, match=r"sample 'pairs' kept no read"):
        prepare(tmp_path / "shards", corpus=Corpus((strict,)), min_stretch=20)
    assert not (tmp_path / "shards").exists()
