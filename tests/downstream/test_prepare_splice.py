"""From FASTA and GFF3 to a splice data set, checked window by window against the text of the input."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.prepare import SpliceSettings, prepare_splice
from dnabert_nemo.downstream.splice_dataset import LABELS, SpliceSplit, load_splice_dataset
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.shards.splits import SplitSettings

Prepare = Callable[..., dict[str, Any]]
Write = Callable[..., tuple[Path, Path]]
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def read_text(fasta: Path) -> dict[str, str]:
    blocks = fasta.read_text().split(">")[1:]
    return {block.split()[0]: "".join(block.split("\n")[1:]).upper() for block in blocks}


def annotated_sites(gff3: Path) -> tuple[set[tuple[str, str, str, int]], list[tuple[str, str, int, int]]]:
    """Return (contig, strand, kind, start) of the sites, (contig, strand, start, end) of the transcripts."""
    exons: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for line in gff3.read_text().splitlines():
        columns = line.split("\t")
        if len(columns) == 9 and columns[2] == "exon":
            for parent in re.search("Parent=([^;]*)", columns[8])[1].split(","):
                key = (columns[0], columns[6], parent)
                exons.setdefault(key, []).append((int(columns[3]) - 1, int(columns[4])))
    sites, bodies = set(), []
    for (contig, strand, _), intervals in exons.items():
        intervals.sort()
        bodies.append((contig, strand, intervals[0][0], intervals[-1][1]))
        for (_, left), (right, _) in pairwise(intervals):
            ends = [(left, "donor"), (right - 2, "acceptor")]
            if strand == "-":
                ends = [(left, "acceptor"), (right - 2, "donor")]
            sites |= {(contig, strand, kind, start) for start, kind in ends}
    return sites, bodies


def rows_of(split: SpliceSplit) -> list[tuple[str, str, str, int, str]]:
    labels = [LABELS[label] for label in split.labels]
    return list(
        zip(split.sequences, labels, split.contigs, split.starts.tolist(), split.strands, strict=True)
    )


def test_every_window_is_what_the_text_of_the_input_says(toy: tuple[Path, Path], splice_dir: Path) -> None:
    contigs = read_text(toy[0])
    sites, bodies = annotated_sites(toy[1])
    splits = load_splice_dataset(splice_dir).splits
    rows = [row for split in splits.values() for row in rows_of(split)]
    positions = {(contig, start) for contig, _, _, start in sites}
    strands = Counter()
    for sequence, label, contig, start, strand in rows:
        around = contigs[contig][start - 255 : start + 257]
        assert sequence == (around if strand == "+" else around[::-1].translate(COMPLEMENT))
        if label == "negative":
            assert (contig, start) not in positions
            assert any(
                (contig, strand) == (where, along) and body_start <= start and start + 2 <= body_end
                for where, along, body_start, body_end in bodies
            )
        else:
            assert (contig, strand, label, start) in sites
        strands[label, strand] += 1
    assert all(strands[label, strand] > 20 for label in LABELS for strand in "+-")
    assert len({row[0] for row in rows}) == len(rows)
    assert len({row[1:] for row in rows}) == len(rows)


def test_manifest_accounts_for_every_annotated_site(toy: tuple[Path, Path], splice_dir: Path) -> None:
    manifest = load_splice_dataset(splice_dir).manifest
    sites, _ = annotated_sites(toy[1])
    for label in ("donor", "acceptor"):
        annotated = sum(site[2] == label for site in sites)
        assert manifest["annotated"][label] == annotated
        used = sum(manifest["counts"][split][label] for split in manifest["counts"])
        assert annotated == used + sum(count[label] for count in manifest["dropped"].values())
    assert manifest["protocol"] == "card_by_contig"
    assert manifest["contigs"] == {"train": ["1", "2", "3"], "validation": ["4"], "test": ["5"]}
    for counts in manifest["counts"].values():
        assert counts["donor"] == counts["acceptor"] == counts["negative"] > 30
    assert [entry["name"] for entry in manifest["inputs"]] == ["toy.fa", "toy.gff3"]
    assert manifest["centre_shares"]["donor"]["GT"] > 0.95
    assert manifest["centre_shares"]["acceptor"]["AG"] > 0.95
    assert manifest["centre_shares"]["negative"]["GT"] < 0.15


def test_contigs_are_never_shared(splice_dir: Path) -> None:
    splits = load_splice_dataset(splice_dir).splits
    assert [sorted(set(split.contigs)) for split in splits.values()] == [["1", "2", "3"], ["4"], ["5"]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_input_gives_the_same_bytes(
    toy: tuple[Path, Path], splice_dir: Path, prepare: Prepare, tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(splice_dir)
    prepare(toy, tmp_path / "other", seed=2)
    other = contents(tmp_path / "other")
    assert all(other[name] != content for name, content in contents(splice_dir).items())


def test_splits_by_fraction_are_shares_of_the_sites(
    toy: tuple[Path, Path], prepare: Prepare, tmp_path: Path
) -> None:
    fractions = {"train": 0.6, "validation": 0.2, "test": 0.2}
    manifest = prepare(toy, tmp_path / "drawn", validation=None, test=None, fractions=fractions)
    total = sum(counts["donor"] for counts in manifest["counts"].values())
    assert sorted(chain.from_iterable(manifest["contigs"].values())) == ["1", "2", "3", "4", "5"]
    for split, share in fractions.items():
        assert abs(manifest["counts"][split]["donor"] / total - share) < 0.1


def test_per_class_caps_the_whole_set_in_proportion(
    toy: tuple[Path, Path], prepare: Prepare, tmp_path: Path
) -> None:
    manifest = prepare(toy, tmp_path / "few", per_class=50, window=64)
    counts = [manifest["counts"][split]["negative"] for split in ("train", "validation", "test")]
    assert sum(counts) == 50
    assert counts == [30, 10, 10]  # of 246, 79 and 80 or so
    assert {len(s) for s in load_splice_dataset(tmp_path / "few").splits["train"].sequences} == {64}


def test_a_split_named_empty_has_a_file_without_windows(
    toy: tuple[Path, Path], prepare: Prepare, tmp_path: Path
) -> None:
    prepare(toy, tmp_path / "no_validation", validation=())
    dataset = load_splice_dataset(tmp_path / "no_validation")
    assert len(dataset.splits["validation"]) == 0
    assert len(dataset.splits["train"]) > len(dataset.splits["test"]) > 0


def bases(count: int, seed: int) -> str:
    return "".join(np.array(list("ACGT"))[np.random.Generator(np.random.Philox(seed)).integers(0, 4, count)])


# one gene of three exons and its isoform without the second: donors at 100, 220 and acceptors at 158, 298
EXONS = [(40, 100), (160, 220), (300, 360)]
ISOFORMS = [EXONS, [EXONS[0], EXONS[2]]]


def by_hand(*seeds: int) -> dict[str, str]:
    return {name: bases(400, seed) for name, seed in zip("abc", seeds, strict=True)}


def test_isoforms_count_once_and_minus_strand_windows_are_turned(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    genome = write_genome(by_hand(1, 2, 3), [(name, "-" if name == "b" else "+", ISOFORMS) for name in "abc"])
    manifest = prepare(genome, tmp_path / "out", validation=("b",), test=("c",), window=40)
    assert manifest["annotated"] == {"donor": 6, "acceptor": 6, "negative": 0}
    rows = rows_of(load_splice_dataset(tmp_path / "out").splits["validation"])
    text = by_hand(1, 2, 3)["b"]
    found = {(label, start): sequence for sequence, label, _, start, _ in rows if label != "negative"}
    # on the reverse strand the intron [100, 160) begins at its right end
    assert set(found) == {("acceptor", 100), ("donor", 158), ("acceptor", 220), ("donor", 298)}
    assert found["donor", 158] == text[139:179][::-1].translate(COMPLEMENT)


def test_windows_over_the_edge_or_with_n_are_dropped_and_counted(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    contigs = {name: sequence.lower() for name, sequence in by_hand(1, 2, 3).items()}
    contigs["a"] = contigs["a"][:235] + "R" + contigs["a"][236:]  # in reach of the donor at 220 alone
    genes = [(name, "+", ISOFORMS) for name in "abc"]
    genes += [("a", "+", [[(5, 10), (60, 90)]])]  # donor at 10, with 11 bases before its window's middle
    manifest = prepare(
        write_genome(contigs, genes), tmp_path / "out", validation=("b",), test=("c",), window=40
    )
    assert manifest["dropped"]["not_acgt"] == {"donor": 1, "acceptor": 0, "negative": 0}
    assert manifest["dropped"]["outside_contig"] == {"donor": 1, "acceptor": 0, "negative": 0}
    assert manifest["counts"]["train"] == {"donor": 1, "acceptor": 1, "negative": 1}
    assert manifest["dropped"]["beyond_balance"] == {"donor": 0, "acceptor": 2, "negative": 0}


def test_negatives_of_a_contig_without_introns_are_as_far_from_a_site_as_it_is_long(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    """As on a mitochondrion, with a gene many times as long as those that have introns."""
    contigs = {**by_hand(1, 2, 3), "mito": bases(9000, 4)}
    genes = [*((name, "+", ISOFORMS) for name in "abc"), ("mito", "+", [[(100, 8900)]])]
    prepare(write_genome(contigs, genes), tmp_path / "out", validation=("b",), test=("c",), window=40)
    part = load_splice_dataset(tmp_path / "out").splits["train"]
    far = [
        distance for contig, distance in zip(part.contigs, part.distances, strict=True) if contig == "mito"
    ]
    assert far
    assert set(far) == {9000}


def test_a_gene_copied_to_another_split_is_kept_once(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    contigs = by_hand(1, 2, 3)
    # contig b carries the first intron of a, on the other strand: the same windows, read along the gene
    contigs["b"] = contigs["b"][:180] + contigs["a"][40:220][::-1].translate(COMPLEMENT) + contigs["b"][360:]
    genes = [(name, "+", ISOFORMS) for name in "ac"]
    genes += [("b", "-", [[(180, 240), (300, 360)]]), ("b", "+", [[(20, 60), (100, 140)]])]
    manifest = prepare(
        write_genome(contigs, genes), tmp_path / "out", validation=("b",), test=("c",), window=40
    )
    assert manifest["dropped"]["duplicate_across_splits"] == {"donor": 1, "acceptor": 1, "negative": 0}
    splits = load_splice_dataset(tmp_path / "out").splits
    assert not set(splits["train"].sequences) & set(splits["validation"].sequences)
    assert manifest["counts"]["validation"] == {"donor": 1, "acceptor": 1, "negative": 1}


def test_a_split_whose_windows_are_all_copies_is_an_error(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    genome = write_genome(by_hand(1, 1, 3), [(name, "+", ISOFORMS) for name in "abc"])
    with pytest.raises(
        ConfigError, match=r"no window is left for validation: .* name other contigs in split"
    ):
        prepare(genome, tmp_path / "out", validation=("b",), test=("c",), window=40)
    assert not list(tmp_path.glob("out*"))


def test_annotation_without_sequence_is_counted(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    genome = write_genome(by_hand(1, 2, 3), [(name, "+", ISOFORMS) for name in ("a", "b", "c", "patch")])
    manifest = prepare(genome, tmp_path / "out", validation=("b",), test=("c",), window=40)
    assert manifest["dropped"]["contig_without_sequence"] == {"donor": 2, "acceptor": 2, "negative": 0}


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("window", 511, r"window=511 has no middle pair for the site: pass window=512"),
        ("window", 0, r"window=0: give a whole number"),
        ("per_class", 0, r"per_class=0: give a whole number"),
        ("per_class", 1.5, r"per_class=1.5: give a whole number"),
        ("seed", -1, r"seed=-1: give a whole number"),
    ],
)
def test_settings_out_of_range(key: str, value: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SpliceSettings(**{key: value})


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"validation": ("19",)}, r"split\.validation: no contig '19' in the input; there are a, b, c"),
        ({"test": ("empty",)}, r"split\.test=\[empty\]: no splice site there has a whole window"),
        ({"window": 402}, r"window=402: none of the 12 splice sites has so many bases"),
        ({"per_class": 1}, r"no window is left for (train|validation|test): per_class=1 is too few"),
    ],
)
def test_config_that_does_not_fit_the_genome(
    changed: dict[str, Any], says: str, write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    genome = write_genome(
        {**by_hand(1, 2, 3), "empty": bases(100, 4)}, [(name, "+", ISOFORMS) for name in "abc"]
    )
    settings = {"validation": ("b",), "test": ("c",), "window": 40, **changed}
    with pytest.raises(ConfigError, match=says):
        prepare(genome, tmp_path / "out", **settings)
    assert not list(tmp_path.glob("out*"))


def no_introns(write: Write) -> tuple[Path, Path]:
    return write(by_hand(1, 2, 3), [(name, "+", [[EXONS[0]]]) for name in "abc"])


def other_names(write: Write) -> tuple[Path, Path]:
    return write(by_hand(1, 2, 3), [(f"chr{name}", "+", ISOFORMS) for name in "abc"])


def beyond_contig(write: Write) -> tuple[Path, Path]:
    return write(by_hand(1, 2, 3), [(name, "+", [[*EXONS, (390, 401)]]) for name in "abc"])


def no_exons(write: Write) -> tuple[Path, Path]:
    fasta, gff3 = write(by_hand(1, 2, 3), [("a", "+", ISOFORMS)])
    gff3.write_text(gff3.read_text().replace("\texon\t", "\tregion\t"))
    return fasta, gff3


def missing_gff3(write: Write) -> tuple[Path, Path]:
    return write(by_hand(1, 2, 3), [])[0], Path("absent.gff3")


def missing_fasta(write: Write) -> tuple[Path, Path]:
    return Path("absent.fa"), write(by_hand(1, 2, 3), [("a", "+", ISOFORMS)])[1]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (no_introns, r"hand\.gff3: no splice sites in it: none of 3 transcripts has an intron"),
        (
            other_names,
            r"hand\.gff3: none of its seqids \(chra, chrb, chrc\) is a contig of the FASTA \(a, b, c\)",
        ),
        (beyond_contig, r"hand\.gff3: .* ends at base 401 of 'a', which has 400 bases"),
        (no_exons, r"hand\.gff3: .*no exon, intron or CDS rows"),
        (missing_gff3, r"absent\.gff3: no such file"),
        (missing_fasta, r"absent\.fa: no such file"),
    ],
)
def test_input_that_cannot_be_used_leaves_nothing(
    make: Callable[[Write], tuple[Path, Path]],
    says: str,
    write_genome: Write,
    prepare: Prepare,
    tmp_path: Path,
) -> None:
    genome = make(write_genome)
    with pytest.raises(FormatError, match=says) as caught:
        prepare(genome, tmp_path / "out", validation=("b",), test=("c",), window=40)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out*"))


def test_no_input_files() -> None:
    split = SplitSettings((), (), {"train": 1, "validation": 0, "test": 0})
    with pytest.raises(ConfigError, match=r"input\.annotation=\[\] names no file"):
        prepare_splice([Genome((Path("a.fa"),), ())], Path("out"), SpliceSettings(), split)


def test_gzip_and_many_files_give_the_windows_of_one(
    toy: tuple[Path, Path], splice_dir: Path, tmp_path: Path
) -> None:
    blocks = [f">{block}" for block in toy[0].read_text().split(">")[1:]]
    halves = [tmp_path / "one.fa.gz", tmp_path / "two.fa"]
    halves[0].write_bytes(gzip.compress("".join(blocks[:2]).encode()))
    halves[1].write_text("".join(blocks[2:]))
    split = SplitSettings(("4",), ("5",), {"train": 0.8, "validation": 0.1, "test": 0.1})
    prepare_splice([Genome(tuple(halves), (toy[1],))], tmp_path / "halves", SpliceSettings(), split)
    for name in ("train.csv", "validation.csv", "test.csv"):
        assert (tmp_path / "halves" / name).read_bytes() == (splice_dir / name).read_bytes()


def test_a_bacterium_has_no_splice_sites(data_dir: Path, tmp_path: Path) -> None:
    [fasta] = (data_dir / "ecoli").glob("*.fna.gz")
    [gff3] = (data_dir / "ecoli").glob("*.gff.gz")
    split = SplitSettings((), (), {"train": 1, "validation": 0, "test": 0})
    with pytest.raises(FormatError, match="no splice sites in it"):
        prepare_splice([Genome((fasta,), (gff3,))], tmp_path / "ecoli", SpliceSettings(), split)
    assert not list(tmp_path.iterdir())
