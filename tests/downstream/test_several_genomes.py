"""Splice data sets of several genomes: whose contigs are whose, what is matched in one, what leaks across."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_prepare_splice import (
    COMPLEMENT,
    ISOFORMS,
    annotated_sites,
    by_hand,
    contents,
    no_introns,
    read_text,
)

from dnabert_nemo.downstream.genomes import Genome, genomes_of
from dnabert_nemo.downstream.report import RULE_ROW, render_markdown, report_context, report_rows
from dnabert_nemo.downstream.scan import held_out_loci
from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceDataset, load_splice_dataset
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.annotation import Transcript
from dnabert_nemo.genome.annotation_file import read_annotation
from dnabert_nemo.genome.toy import write_toy_genome

Prepare = Callable[..., dict[str, Any]]
Write = Callable[..., tuple[Path, Path]]
SCRIPTS = Path(__file__).parents[2] / "examples"
HELD_OUT = {"validation": ("fly:4",), "test": ("worm",)}


@pytest.fixture(scope="module")
def two(toy: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Genome]:
    """The toy genome, and one of three shorter chromosomes with the names of its first three."""
    other = write_toy_genome(tmp_path_factory.mktemp("other"), 7, 3, 40_000)
    return [Genome((fasta,), (gff3,), name) for name, (fasta, gff3) in (("fly", toy), ("worm", other))]


@pytest.fixture(scope="module")
def made(two: list[Genome], prepare: Prepare, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The data set of a protocol, of both."""
    folder, known = tmp_path_factory.mktemp("several"), {}

    def load(name: str) -> SpliceDataset:
        if name not in known:
            split = {"validation": None, "test": None} if name == "card" else HELD_OUT
            prepare(two, folder / name, protocol=name, **split)
            known[name] = load_splice_dataset(folder / name)
        return known[name]

    return load


@pytest.mark.parametrize("protocol", ["hard", "card", "card_by_contig"])
def test_every_window_is_what_the_text_of_its_own_genome_says(
    made: Any, two: list[Genome], protocol: str
) -> None:
    texts = {genome.name: read_text(genome.fasta[0]) for genome in two}
    annotated = {genome.name: annotated_sites(genome.annotation[0]) for genome in two}
    seen: Counter[str] = Counter()
    for part in made(protocol).splits.values():
        rows = zip(
            part.sequences,
            part.labels.tolist(),
            part.contigs,
            part.starts.tolist(),
            part.strands,
            strict=True,
        )
        for sequence, label, full_name, start, strand in rows:
            genome, contig = full_name.split(":")
            around = texts[genome][contig][start - 255 : start + 257]
            assert sequence == (around if strand == "+" else around[::-1].translate(COMPLEMENT))
            sites, bodies = annotated[genome]
            if LABELS[label] == "negative":  # in a gene of the same genome
                assert any(
                    (contig, strand) == (where, along) and first <= start < end - 1
                    for where, along, first, end in bodies
                )
            else:
                assert (contig, strand, LABELS[label], start) in sites
            seen[genome] += 1
    assert min(seen.values()) > 100


def test_no_genome_tells_of_a_label(made: Any) -> None:
    """Each gives a split as many donors as acceptors, and of negatives or decoys what goes with them."""
    for protocol, negatives in (("card_by_contig", 1), ("card", 1), ("hard", 2)):
        manifest = made(protocol).manifest
        assert list(manifest["genomes"]) == ["fly", "worm"]
        for split, whole in manifest["counts"].items():
            parts = [genome["counts"][split] for genome in manifest["genomes"].values()]
            assert {label: sum(part[label] for part in parts) for label in LABELS} == whole
            if protocol != "hard":  # whose windows that leak go with their decoys, after the balance
                assert all(part["donor"] == part["acceptor"] for part in parts)
            assert all(
                part["negative"] * 2 == negatives * (part["donor"] + part["acceptor"]) for part in parts
            )
    assert all(genome["counts"]["test"]["donor"] for genome in made("card").manifest["genomes"].values())


def test_manifest_tells_the_genomes_apart(made: Any, two: list[Genome]) -> None:
    manifest = made("card_by_contig").manifest
    assert manifest["contigs"] == {
        "train": ["fly:1", "fly:2", "fly:3", "fly:5"],
        "validation": ["fly:4"],
        "test": ["worm:1", "worm:2", "worm:3"],
    }
    assert manifest["split"]["test"] == ["worm"]
    inputs = [(file["genome"], file["name"]) for file in manifest["inputs"]]
    assert inputs == [(name, file) for name in ("fly", "worm") for file in ("toy.fa", "toy.gff3")]
    assert len({file["sha256"] for file in manifest["inputs"]}) == 4
    for genome in two:
        sites, _ = annotated_sites(genome.annotation[0])
        own = manifest["genomes"][genome.name]["annotated"]
        assert own["donor"] == sum(site[2] == "donor" for site in sites)
    for label in ("donor", "acceptor"):
        used = sum(count[label] for count in manifest["counts"].values())
        lost = sum(count[label] for count in manifest["dropped"].values())
        assert manifest["annotated"][label] == used + lost


def test_a_contig_of_one_genome_alone_may_be_named_without_it(
    two: list[Genome], prepare: Prepare, tmp_path: Path
) -> None:
    manifest = prepare(two, tmp_path / "out", validation=("4",), test=("worm:1", "5"))
    assert manifest["split"]["validation"] == ("fly:4",)
    assert manifest["split"]["test"] == ("worm:1", "fly:5")
    assert manifest["contigs"]["test"] == ["fly:5", "worm:1"]
    with pytest.raises(ConfigError, match=r"split.test: '1' is in several assemblies: write fly:1 or worm:1"):
        prepare(two, tmp_path / "other", test=("1",))
    assert not list(tmp_path.glob("other*"))


def test_one_genome_gives_the_windows_it_gives_without_a_name(
    toy: tuple[Path, Path], splice_dir: Path, prepare: Prepare, tmp_path: Path
) -> None:
    named = [Genome((toy[0],), (toy[1],), "fly")]
    manifest = prepare(named, tmp_path / "out", validation=("4",), test=("fly:5",))
    alone = contents(splice_dir)
    for name, content in contents(tmp_path / "out").items():
        if name.endswith(".csv"):
            assert content.replace(b",fly:", b",") == alone[name]
    assert "genomes" not in json.loads(alone["manifest.json"])
    assert manifest["genomes"]["fly"]["counts"] == manifest["counts"]


def test_a_gene_that_two_genomes_share_is_in_one_split(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    """The second genome's b is the first's a: none of its sites is left, those of its a stay."""
    one = write_genome(by_hand(1, 2, 3), [(name, "+", ISOFORMS) for name in "abc"])
    first = [path.rename(path.with_stem("first")) for path in one]
    texts = {"a": by_hand(9, 8, 7)["a"], "b": by_hand(1, 2, 3)["a"]}
    fasta, gff3 = write_genome(texts, [(name, "+", ISOFORMS) for name in texts])
    genomes = [Genome((first[0],), (first[1],), "x"), Genome((fasta,), (gff3,), "y")]
    manifest = prepare(genomes, tmp_path / "out", validation=("c",), test=("y",), window=40)
    assert manifest["dropped"]["duplicate_across_splits"]["donor"] == 2
    test = load_splice_dataset(tmp_path / "out").splits["test"]
    sites = [contig for contig, label in zip(test.contigs, test.labels.tolist(), strict=True) if label < 2]
    assert sites == ["y:a"] * 4


def test_a_genome_without_introns_is_named(
    toy: tuple[Path, Path], write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    fasta, gff3 = no_introns(write_genome)
    genomes = [Genome((toy[0],), (toy[1],), "fly"), Genome((fasta,), (gff3,), "coli")]
    says = r"hand\.gff3: genome 'coli': no splice sites in it: none of 3 .* is spliced, or leave coli out"
    with pytest.raises(FormatError, match=says.replace("is spliced", "are spliced")):
        prepare(genomes, tmp_path / "out", test=("5",))
    assert not list(tmp_path.glob("out*"))


def test_the_report_counts_by_genome(made: Any, tmp_path: Path) -> None:
    dataset = made("card_by_contig")
    rows = report_rows(dataset.splits["validation"], {}, seed=1)
    context = report_context(dataset, split="validation", seeds={}, command=["x"], files={})
    published = {"name": "p", "card": rows[RULE_ROW]["card"]}
    report = {"title": "", "the_bar": "", "published": published, "rows": rows, **context}
    markdown = render_markdown(report)
    count = dataset.manifest["genomes"]["worm"]["counts"]["test"]["donor"]
    assert f"| worm | test | {count} | {count} | {count} |" in markdown
    assert markdown.count("| input worm | toy.") == 2


def test_the_scan_reads_the_genes_of_the_genome_held_out(made: Any, two: list[Genome]) -> None:
    dataset = made("hard")
    loci = held_out_loci(dataset, two, genes=None, seed=1)
    assert {locus.span.contig for locus in loci} == {"worm:1", "worm:2", "worm:3"}
    genes = {gene for locus in loci for gene in locus.span.genes}
    transcripts: list[Transcript] = read_annotation(two[1].annotation[0])
    assert genes == {transcript.gene_id for transcript in transcripts}
    turned = [
        Genome(other.fasta, other.annotation, one.name) for one, other in zip(two, two[::-1], strict=True)
    ]
    with pytest.raises(FormatError, match=r"not one of the files of genome fly .* in genomes.fly.fasta"):
        held_out_loci(dataset, turned, genes=None, seed=1)
    with pytest.raises(ConfigError, match=r"genomes.fly.fasta and genomes.fly.annotation lack toy.fa"):
        held_out_loci(dataset, two[:1], genes=None, seed=1)


FILES = {"fasta": ["a.fa"], "annotation": "a.gff3"}
NONE = {"fasta": None, "annotation": None}


def test_a_config_names_one_genome_or_several() -> None:
    assert genomes_of(FILES, None) == (Genome((Path("a.fa"),), (Path("a.gff3"),)),)
    other = {"fasta": "b.fa", "annotation": ["b.gtf", "c.gtf"]}
    assert genomes_of(NONE, {"human": FILES, 9606: other}) == (
        Genome((Path("a.fa"),), (Path("a.gff3"),), "human"),
        Genome((Path("b.fa"),), (Path("b.gtf"), Path("c.gtf")), "9606"),
    )


@pytest.mark.parametrize(
    ("one", "several", "says"),
    [
        (FILES, {"x": FILES}, r"input\.fasta and genomes exclude each other: name the files in one of them"),
        (NONE, None, r"no genome: pass input\.fasta=\[FILE\] and input\.annotation=\[FILE\], or genomes"),
        (NONE, {}, r"no genome: pass input\.fasta"),
        ({**FILES, "annotation": None}, None, r"input\.annotation=\[\] names no file"),
        (NONE, {"x": {"fasta": ["a.fa"]}}, r"genomes\.x\.annotation=\[\] names no file"),
        (NONE, {"x": {**FILES, "gff3": "a"}}, r"genomes\.x\.gff3 is no key there: the keys are fasta, annot"),
        (NONE, {"x": "a.fa"}, r"genomes\.x=a\.fa: give a mapping, {fasta: \[FILE\], annotation: \[FILE\]}"),
        (NONE, ["a.fa"], r"genomes=\['a\.fa'\]: give a mapping, {NAME: {fasta"),
        (NONE, {"x:y": FILES}, r"genomes\.x:y: contigs are named NAME:CONTIG: leave out the colon"),
        (NONE, {"x": FILES, "y": FILES}, r"genomes: the file '.*a\.(fa|gff3)' is given twice"),
    ],
)
def test_configs_that_cannot_be(one: Any, several: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        genomes_of(one, several)


def test_several_without_names_are_refused(two: list[Genome], prepare: Prepare, tmp_path: Path) -> None:
    nameless = Genome(two[0].fasta, two[0].annotation)
    with pytest.raises(ConfigError, match="of several genomes each must have a name"):
        prepare([nameless, two[1]], tmp_path / "out")
    with pytest.raises(ConfigError, match="the name 'worm' is given twice"):
        prepare([two[1], Genome(two[0].fasta, two[0].annotation, "worm")], tmp_path / "out")


def run(folder: Path, script: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPTS / f"{script}.py"), *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


def test_commands_take_several_genomes(two: list[Genome], made: Any, tmp_path: Path) -> None:
    given = ", ".join(
        f"{each.name}: {{fasta: {each.fasta[0]}, annotation: {each.annotation[0]}}}" for each in two
    )
    split = ["protocol=hard", "split.validation=['fly:4']", "split.test=[worm]"]
    done = run(tmp_path, "prepare_splice", f"genomes={{{given}}}", "output_dir=splice", *split)
    assert done.returncode == 0, done.stderr
    assert "\nworm: " in done.stdout
    assert contents(tmp_path / "splice") == contents(made("hard").path)
    both = run(tmp_path, "prepare_splice", f"genomes={{{given}}}", "input.fasta=[a.fa]", "output_dir=other")
    assert (both.returncode, both.stderr.count("\n")) == (2, 1)
    assert "input.fasta and genomes exclude each other" in both.stderr


def test_real_genomes_in_one_set(data_dir: Path, prepare: Prepare, tmp_path: Path) -> None:
    """A hundredth of three genomes, the fly held out: no window of it that training has seen half of."""
    mini = data_dir / "mini_genomes"
    genomes = [
        Genome((mini / f"{stem}.fa.gz",), (mini / f"{stem}.gff.gz",), name)
        for name, stem in (("worm", "C.elegans"), ("cress", "A.thaliana"), ("fly", "D.melanogaster"))
    ]
    manifest = prepare(
        genomes, tmp_path / "out", protocol="hard", per_class=400, validation=("cress",), test=("fly",)
    )
    dataset = load_splice_dataset(tmp_path / "out")
    assert {name.split(":")[0] for name in dataset.splits["test"].contigs} == {"fly"}
    assert manifest["counts"]["test"] == manifest["genomes"]["fly"]["counts"]["test"]
    seen = {
        kmer
        for name in ("train", "validation")
        for each in dataset.splits[name].sequences
        for kmer in kmers(each)
    }
    for sequence in dataset.splits["test"].sequences:
        own = kmers(sequence)
        assert len(own & seen) <= len(own) / 2


def kmers(sequence: str) -> set[str]:
    """The 31-mers of both strands, each by the one that comes first."""
    found = {sequence[at : at + 31] for at in range(len(sequence) - 30)}
    return {min(each, each[::-1].translate(COMPLEMENT)) for each in found}
