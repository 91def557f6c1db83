"""What a config may say of a corpus, and what it may not; the corpora in conf/ say what they should."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dnabert_nemo.command import CONF
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.corpus import Assembly, Corpus, Mixture, Reads, Table
from dnabert_nemo.shards.corpus_config import corpus_of

NO_INPUT = {"fasta": None, "include": None, "exclude": None}
BY_SIZE = {"temperature": 1.0, "proportions": None}


def built(corpus: dict[str, Any], **mixture: Any) -> Corpus:
    return corpus_of(NO_INPUT, corpus, BY_SIZE | mixture)


def test_each_kind_of_input(tmp_path: Path) -> None:
    (tmp_path / "keep.bed").write_text("chr1\t5\t90\n")
    corpus = built(
        {
            "human": {"fasta": ["a.fa", "b.fa"], "names": "header", "include": str(tmp_path / "keep.bed")},
            "refseq": {"table": "t.parquet", "columns": {"sequence": "dna", "group": "taxon"}},
            "study": {
                "fastq": {
                    "samples": {
                        "liver": {"files": ["1.fq"], "mates": ["2.fq"], "labels": {"dose": 3}},
                        "gut": "g.fq",
                    }
                },
                "filter": {"min_length": 40, "adapters": ["AGATC"]},
                "reads_per_sample": 100,
            },
        },
        temperature=2.0,
    )
    human, refseq, study = corpus.inputs
    assert isinstance(human, Assembly) and isinstance(refseq, Table) and isinstance(study, Reads)
    assert (human.files, human.names, human.exclude) == (("a.fa", "b.fa"), "header", None)
    assert human.include is not None and human.include["chr1"].tolist() == [[5, 90]]
    assert (refseq.files, refseq.columns.sequence, refseq.columns.group) == (("t.parquet",), "dna", "taxon")
    assert [(s.name, s.files, s.mates, s.labels) for s in study.samples] == [
        ("liver", ("1.fq",), ("2.fq",), {"dose": "3"}),
        ("gut", ("g.fq",), (), {}),
    ]
    assert (study.filter.min_length, study.filter.adapters) == (40, ("AGATC",))
    assert (study.reads_per_sample, study.equal_portions) == (100, True)
    assert corpus.mixture == Mixture(2.0)


def test_one_assembly_in_short() -> None:
    corpus = corpus_of(NO_INPUT | {"fasta": "a.fa"}, {}, BY_SIZE)
    assert [(each.name, each.files) for each in corpus.inputs] == [("input", ("a.fa",))]


@pytest.mark.parametrize(
    ("corpus", "says"),
    [
        ({}, r"no input: pass input.fasta=\[a.fa.gz,b.fa\], or a corpus"),
        ({"human": "a.fa"}, r"corpus.human=a.fa: give a mapping with one of fasta, table, fastq"),
        ({"human": {}}, "corpus.human has no input"),
        ({"human": {"fasta": "a", "table": "b"}}, "corpus.human has fasta and table: give one"),
        (
            {"human": {"fasta": "a.fa", "nmaes": "header"}},
            "corpus.human.nmaes is no key there: the keys are exclude, fasta",
        ),
        ({"human": {"fasta": "a.fa", "names": "all"}}, "corpus.human.names=all is not known"),
        ({"human": {"fasta": [3]}}, r"corpus.human.fasta=\[3\]: give a file, or a list of files"),
        ({"a": {"fasta": "x.fa"}, "b": {"fasta": "x.fa"}}, "corpus: the file '.*x.fa' is given twice"),
        ({"t": {"table": "x.csv", "columns": {"seq": "s"}}}, "corpus.t.columns.seq is no key there"),
        ({"r": {"fastq": {}}}, "corpus.r.fastq: give sheet: FILE, or samples"),
        ({"r": {"fastq": {"sheet": "s.csv", "samples": {}}}}, "corpus.r.fastq: give either sheet"),
        (
            {"r": {"fastq": {"samples": {"s": "x.fq"}}, "reads_per_sample": 0}},
            "corpus.r.reads_per_sample=0: give",
        ),
        (
            {"r": {"fastq": {"samples": {"s": "x.fq"}}, "equal_portions": "no"}},
            "corpus.r.equal_portions=no: give true",
        ),
        (
            {"r": {"fastq": {"samples": {"s": "x.fq"}}, "filter": {"min_length": 0}}},
            "corpus.r.filter.min_length=0: give",
        ),
        (
            {"r": {"fastq": {"samples": {"s": {"files": "x.fq", "mates": ["a", "b"]}}}}},
            "1 files of first reads and 2",
        ),
        (
            {"s": {"fasta": "a.fa"}, "r": {"fastq": {"samples": {"s": "x.fq"}}}},
            "corpus: the name 's' is given twice",
        ),
    ],
)
def test_what_cannot_be(corpus: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        built(corpus)


def test_regions_beside_a_corpus() -> None:
    with pytest.raises(ConfigError, match=r"input.exclude is for input.fasta: .* corpus.NAME.exclude=x.bed"):
        corpus_of(NO_INPUT | {"exclude": "x.bed"}, {"a": {"fasta": "a.fa"}}, BY_SIZE)


@pytest.mark.parametrize(
    ("mixture", "says"),
    [
        ({"temperature": 0.5}, "mixture.temperature=0.5: give a number of at least 1"),
        ({"temperature": "hot"}, "mixture.temperature=hot"),
        ({"temperature": True}, "mixture.temperature=True"),
        ({"proportions": 3}, "mixture.proportions=3: give a mapping"),
        ({"proportions": {"a": True}}, "mixture.proportions.a=True: give a number above 0"),
        ({"proportions": {"a": 0}}, "mixture.proportions.a=0: give a number above 0"),
        ({"proportions": {"a": 1}, "temperature": 2}, "exclude each other"),
    ],
)
def test_mixtures_that_cannot_be(mixture: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        built({"a": {"fasta": "a.fa"}}, **mixture)


def test_weights() -> None:
    tokens = {"human": 3_000_000, "fly": 120_000, "worm": 100_000}
    by_size = Mixture().weights(tokens)
    assert by_size["human"] == pytest.approx(3 / 3.22)
    evened = Mixture(temperature=2.0).weights(tokens)
    assert evened["human"] / evened["fly"] == pytest.approx(5)
    assert Mixture(temperature=float("inf")).weights(tokens)["worm"] == pytest.approx(1 / 3)
    by_share = Mixture(proportions={"human": 1, "fly": 1, "worm": 2, "yeast": 5}).weights(tokens)
    assert by_share == pytest.approx({"human": 0.25, "fly": 0.25, "worm": 0.5})
    for weights in (by_size, evened, by_share):
        assert sum(weights.values()) == pytest.approx(1)
    with pytest.raises(ConfigError, match=r"mixture.proportions has no 'worm': give all of fly, human, worm"):
        Mixture(proportions={"human": 1, "fly": 1}).weights(tokens)


def composed(name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("prepare_shards", overrides=[f"corpus={name}", "output_dir=x", "folder=data"])
    return OmegaConf.to_container(cfg, resolve=True)


@pytest.mark.parametrize("name", ["grch38", "multi_species", "refseq_taxa"])
def test_corpora_of_the_package(name: str) -> None:
    config = composed(name)
    corpus = corpus_of(config["input"], config["corpus"], config["mixture"])
    files = [file for each in corpus.inputs for file in each.files]
    assert all(file.startswith("data/") for file in files)
    assert {"grch38": (1, 21), "multi_species": (5, 5), "refseq_taxa": (12, 12)}[name] == (
        len(corpus.inputs),
        len(files),
    )
    if name == "grch38":  # 22 is held back
        assert not [file for file in files if ".22." in file]
        assert (config["split"]["validation"], config["split"]["test"]) == (["20"], ["21"])


def test_the_study_of_the_package(tmp_path: Path) -> None:
    config = composed("osdr_study")
    [study] = config["corpus"].values()
    study["fastq"] |= {"sheet": str(tmp_path / "runsheet.csv"), "files_dir": str(tmp_path)}
    for name in ("a_1", "a_2", "b_1", "b_2"):
        (tmp_path / f"{name}.fq").touch()
    (tmp_path / "runsheet.csv").write_text(
        "Sample Name,read1_path,read2_path,Factor Value[Spaceflight]\n"
        "a,a_1.fq,a_2.fq,Flight\nb,b_1.fq,b_2.fq,Ground\n"
    )
    [reads] = corpus_of(config["input"], config["corpus"], config["mixture"]).inputs
    assert isinstance(reads, Reads)
    assert [(sample.name, sample.labels) for sample in reads.samples] == [
        ("a", {"Spaceflight": "Flight"}),
        ("b", {"Spaceflight": "Ground"}),
    ]
    assert reads.filter.trim_quality == 20 and reads.reads_per_sample == 1_000_000
