"""Each protocol against the text of its genome: where sites and negatives stand, and how they are split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from test_prepare_splice import COMPLEMENT, ISOFORMS, annotated_sites, bases, by_hand, read_text

from dnabert_nemo.downstream.prepare import SpliceSettings
from dnabert_nemo.downstream.protocols import PROTOCOLS
from dnabert_nemo.downstream.splice_dataset import SpliceDataset, SpliceSplit, load_splice_dataset
from dnabert_nemo.errors import ConfigError

Prepare = Callable[..., dict[str, Any]]
Write = Callable[..., tuple[Path, Path]]
AT_RANDOM = {"validation": None, "test": None}


@pytest.fixture(scope="module")
def made(toy: tuple[Path, Path], prepare: Prepare, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The data set of a protocol, of the toy genome."""
    folder, known = tmp_path_factory.mktemp("protocols"), {}

    def load(name: str) -> SpliceDataset:
        if name not in known:
            split = {} if PROTOCOLS[name].by_contig else AT_RANDOM
            prepare(toy, folder / name, protocol=name, **split)
            known[name] = load_splice_dataset(folder / name)
        return known[name]

    return load


def all_rows(dataset: SpliceDataset) -> list[tuple[str, int, str, str, int, str, str, str, int]]:
    """Return split, label, contig, strand, start, sequence, against, motif, distance of every window."""
    return [
        (name, label, contig, strand, start, sequence, against, motif, distance)
        for name, part in dataset.splits.items()
        for label, contig, strand, start, sequence, against, motif, distance in zip(
            part.labels.tolist(), part.contigs, part.strands, part.starts.tolist(), part.sequences,
            part.against, part.motifs, part.distances.tolist(), strict=True,
        )
    ]  # fmt: skip


def centre(sequence: str) -> str:
    return sequence[len(sequence) // 2 - 1 : len(sequence) // 2 + 1]


def test_a_decoy_has_the_bases_gene_and_strand_of_its_site_and_keeps_away(
    made: Any, toy: tuple[Path, Path]
) -> None:
    dataset = made("hard")
    sites, bodies = annotated_sites(toy[1])
    starts = {contig: [start for where, _, _, start in sites if where == contig] for contig in "12345"}
    text = read_text(toy[0])
    of_kind: Counter[tuple[str, str, str]] = Counter()
    for split, label, contig, strand, start, sequence, against, motif, distance in all_rows(dataset):
        pair = text[contig][start : start + 2]
        pair = pair if strand == "+" else pair[::-1].translate(COMPLEMENT)
        assert centre(sequence) == pair
        nearest = min(abs(start - other) for other in starts[contig])
        assert distance == (nearest if label == 2 else 0)
        if label == 2:
            assert nearest >= 50
            assert motif == pair
            assert any(
                (where, along) == (contig, strand) and first <= start < end - 1
                for where, along, first, end in bodies
            )
        else:
            kind = ("donor", "acceptor")[label]
            assert (contig, strand, kind, start) in sites
            assert motif.split("-")[label] == pair
            assert against == ""
        of_kind[split, against if label == 2 else ("donor", "acceptor")[label], pair] += (
            1 if label == 2 else -1
        )
    assert not any(of_kind.values())  # as many decoys as sites, of each pair of bases in each split
    counts = dataset.manifest["counts"]
    assert all(count["negative"] == count["donor"] + count["acceptor"] for count in counts.values())
    assert dataset.manifest["centre_shares"]["negative"]["GT"] > 0.45


def test_card_holds_out_a_tenth_of_unique_windows_at_random(made: Any) -> None:
    dataset = made("card")
    rows = all_rows(dataset)
    assert len({row[5] for row in rows}) == len(rows)
    for part in dataset.splits.values():
        assert len(set(part.contigs)) == 5
    of_split = Counter(row[0] for row in rows)
    for split, share in (("train", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert of_split[split] / len(rows) == pytest.approx(share, abs=0.03)
        assert len(set(dataset.manifest["counts"][split].values())) == 1


def test_card_as_published_repeats_sites_and_does_not_turn_windows(made: Any, toy: tuple[Path, Path]) -> None:
    dataset = made("card_as_published")
    sites, _ = annotated_sites(toy[1])
    middles = midpoints(toy[1])
    text = read_text(toy[0])
    rows = all_rows(dataset)
    on_minus = 0
    for _, label, contig, strand, start, sequence, *_ in rows:
        assert strand == "+"
        assert sequence == text[contig][start - 255 : start + 257]
        if label == 2:
            assert (contig, start) in middles
        else:
            kind = ("donor", "acceptor")[label]
            on = {along for along in "+-" if (contig, along, kind, start) in sites}
            assert on
            on_minus += on == {"-"}
    assert on_minus > len(rows) / 4
    repeated = Counter(row[1:6] for row in rows)
    assert max(repeated.values()) > 1
    train, test = (set(dataset.splits[name].sequences) for name in ("train", "test"))
    assert train & test  # the leak that the others have not
    assert dataset.manifest["annotated"]["donor"] > len([site for site in sites if site[2] == "donor"])


def midpoints(gff3: Path) -> set[tuple[str, int]]:
    exons: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for line in gff3.read_text().splitlines():
        columns = line.split("\t")
        if len(columns) == 9 and columns[2] == "exon":
            for parent in columns[8].split("Parent=")[1].split(";")[0].split(","):
                exons.setdefault((columns[0], parent), []).append((int(columns[3]) - 1, int(columns[4])))
    found = set()
    for (contig, _), intervals in exons.items():
        intervals.sort()
        for (_, left), (right, _) in pairwise(intervals):
            found.add((contig, (left + right) // 2 - 1))
    return found


def with_introns(text: str, first: str, last: str) -> str:
    """Put these bases at both ends of the introns [100, 160) and [220, 300)."""
    for start, end in ((100, 160), (220, 300)):
        text = text[:start] + first + text[start + 2 : end - 2] + last + text[end:]
    return text


def test_noncanonical_takes_gc_ag_and_at_ac_introns_alone(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    """Contig a has GT-AG and GC-AG introns, b AT-AC ones on the minus strand, c GC-AG ones."""
    texts = {name: text + bases(4000, seed) for seed, (name, text) in enumerate(by_hand(1, 2, 3).items())}
    texts["a"] = with_introns(texts["a"], "GT", "AG")
    texts["a"] = texts["a"][:220] + "GC" + texts["a"][222:]
    texts["b"] = with_introns(texts["b"], "AC"[::-1].translate(COMPLEMENT), "AT"[::-1].translate(COMPLEMENT))
    texts["c"] = with_introns(texts["c"], "GC", "AG")
    exons = [*ISOFORMS[0][:-1], (300, 4000)]
    genes = [(name, "-" if name == "b" else "+", [exons]) for name in "abc"]
    manifest = prepare(
        write_genome(texts, genes),
        tmp_path / "out",
        protocol="noncanonical",
        validation=("b",),
        test=("c",),
        window=40,
    )
    assert manifest["dropped"]["other_introns"] == {"donor": 1, "acceptor": 1, "negative": 0}
    assert manifest["motifs"] == {
        "train": {"donor": {"GC-AG": 1}, "acceptor": {"GC-AG": 1}},
        "validation": {"donor": {"AT-AC": 2}, "acceptor": {"AT-AC": 2}},
        "test": {"donor": {"GC-AG": 2}, "acceptor": {"GC-AG": 2}},
    }
    part: SpliceSplit = load_splice_dataset(tmp_path / "out").splits["validation"]
    pairs = Counter(zip(part.labels.tolist(), map(centre, part.sequences), strict=True))
    assert pairs == {(0, "AT"): 2, (1, "AC"): 2, (2, "AT"): 2, (2, "AC"): 2}


def test_held_out_windows_that_training_has_seen_most_of_go_with_their_decoys(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    """Contig c begins as a does, but for a base: of the window [61, 141) 34 of 50 31-mers are the same."""
    texts = {name: text + bases(6000, seed) for seed, (name, text) in enumerate(by_hand(1, 2, 3).items())}
    for name in "abc":
        texts[name] = with_introns(texts[name], "GT", "AG")
    changed = {"A": "C", "C": "A", "G": "T", "T": "G"}[texts["a"][65]]
    texts["c"] = texts["a"][:65] + changed + texts["a"][66:130] + texts["c"][130:]
    exons = [*ISOFORMS[0][:-1], (300, 6000)]
    manifest = prepare(
        write_genome(texts, [(name, "+", [exons]) for name in "abc"]),
        tmp_path / "out",
        protocol="hard",
        validation=("b",),
        test=("c",),
        window=80,
    )
    assert manifest["dropped"]["shares_31_mers_with_training"] == {"donor": 1, "acceptor": 0, "negative": 1}
    assert manifest["dropped"]["beyond_balance"] == {"donor": 0, "acceptor": 1, "negative": 0}
    left = {row[1:5] for row in all_rows(load_splice_dataset(tmp_path / "out")) if row[0] == "test"}
    assert {row for row in left if row[0] == 0} == {(0, "c", "+", 220)}
    assert {row for row in left if row[0] == 1} < {(1, "c", "+", 158), (1, "c", "+", 298)}
    assert manifest["counts"]["test"] == {"donor": 1, "acceptor": 1, "negative": 2}
    accounts_for_all(manifest)


def accounts_for_all(manifest: dict[str, Any]) -> None:
    """Check that each annotated site is in a split or counted once as left out, and that labels balance."""
    for label in ("donor", "acceptor"):
        used = sum(counts[label] for counts in manifest["counts"].values())
        dropped = sum(count[label] for count in manifest["dropped"].values())
        assert manifest["annotated"][label] == used + dropped
    for counts in manifest["counts"].values():
        assert counts["donor"] == counts["acceptor"] == counts["negative"] // 2


def test_a_site_without_a_decoy_is_counted_once(data_dir: Path, prepare: Prepare, tmp_path: Path) -> None:
    worm = [data_dir / "mini_genomes" / f"C.elegans.{kind}.gz" for kind in ("fa", "gff")]
    manifest = prepare(worm, tmp_path / "out", protocol="hard", window=512, **AT_RANDOM)
    assert manifest["dropped"]["without_decoy"] == {"donor": 2, "acceptor": 1, "negative": 0}
    accounts_for_all(manifest)


def test_a_split_of_which_training_has_all_is_an_error(
    write_genome: Write, prepare: Prepare, tmp_path: Path
) -> None:
    texts = {name: text + bases(6000, seed) for seed, (name, text) in enumerate(by_hand(1, 2, 3).items())}
    for name in "abc":
        texts[name] = with_introns(texts[name], "GT", "AG")
    texts["c"] = texts["a"][:-1]
    genes = [(name, "+", [[*ISOFORMS[0][:-1], (300, 6000)]]) for name in "abc"]
    asked: dict[str, Any] = {"protocol": "hard", "validation": ("b",), "test": ("c",), "window": 80}
    with pytest.raises(ConfigError, match=r"no window is left for test: .* all they have is in training too"):
        prepare(write_genome(texts, genes), tmp_path / "out", **asked)
    assert not (tmp_path / "out").exists()


def test_a_genome_without_such_introns_is_told(write_genome: Write, prepare: Prepare, tmp_path: Path) -> None:
    texts = {name: with_introns(text, "GT", "AG") for name, text in by_hand(1, 2, 3).items()}
    genes = [(name, "+", [ISOFORMS[0]]) for name in texts]
    with pytest.raises(ConfigError, match=r"protocol=noncanonical: none of the \d+ splice sites is of its"):
        prepare(write_genome(texts, genes), tmp_path / "out", protocol="noncanonical", window=40, **AT_RANDOM)
    assert not (tmp_path / "out").exists()


def test_settings_that_do_not_go_together(toy: tuple[Path, Path], prepare: Prepare, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"protocol=easy: choose from card_by_contig, card, card_as_publ"):
        SpliceSettings(protocol="easy")
    with pytest.raises(
        ConfigError, match=r"split.validation=\[4\]: protocol=card holds windows out at random"
    ):
        prepare(toy, tmp_path / "out", protocol="card")
    assert not list(tmp_path.iterdir())
