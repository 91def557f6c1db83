"""Contigs to train, validation and test: by name, by share, and what cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.splits import SPLITS, SplitSettings, Unit, assign_splits

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def contigs(names: list[str], bases: np.ndarray, component: str = "human") -> list[Unit]:
    return [Unit(name, component, size) for name, size in zip(names, bases.tolist(), strict=True)]


NAMES = ["chr1", "chr2", "chr3", "chrX", "chrM"]
BASES = np.array([500, 400, 300, 200, 0])


def split_of(validation: tuple[str, ...] | None, test: tuple[str, ...] | None) -> dict[str, list[str]]:
    places = assign_splits(contigs(NAMES, BASES), SplitSettings(validation, test, FRACTIONS), seed=1)
    return {split: [NAMES[i] for i in np.flatnonzero(places == place)] for place, split in enumerate(SPLITS)}


def test_by_name() -> None:
    chosen = split_of(validation=("chrX", "chr2"), test=("chr3",))
    assert chosen == {"train": ["chr1", "chrM"], "validation": ["chr2", "chrX"], "test": ["chr3"]}
    assert split_of(validation=(), test=()) == {"train": NAMES, "validation": [], "test": []}
    assert split_of(validation=("chr1",), test=()) == {"train": NAMES[1:], "validation": ["chr1"], "test": []}


def two_species(validation: tuple[str, ...]) -> list[str]:
    both = contigs(["1", "2"], np.array([50, 60])) + contigs(["2", "3"], np.array([70, 80]), "mouse")
    places = assign_splits(both, SplitSettings(validation, (), FRACTIONS), seed=1)
    return [f"{both[i].component}:{both[i].name}" for i in np.flatnonzero(places == 1)]


def test_by_name_in_several_assemblies() -> None:
    assert two_species(("3",)) == ["mouse:3"]
    assert two_species(("mouse:2",)) == ["mouse:2"]
    assert two_species(("human",)) == ["human:1", "human:2"]
    assert two_species(("mouse", "mouse:3")) == ["mouse:2", "mouse:3"]
    with pytest.raises(ConfigError, match="'2' is in several assemblies: write human:2 or mouse:2"):
        two_species(("2",))
    with pytest.raises(ConfigError, match=r"no contig 'rat:1' in the input; there are 1, 2, 2, 3"):
        two_species(("rat:1",))


def test_a_contig_and_its_assembly_in_two_splits() -> None:
    both = contigs(["1", "2"], np.array([50, 60])) + contigs(["2", "3"], np.array([70, 80]), "mouse")
    with pytest.raises(ConfigError, match=r"contig '3' is in both split.validation and split.test"):
        assign_splits(both, SplitSettings(("mouse",), ("3",), FRACTIONS), seed=1)


def test_one_by_name_one_by_share() -> None:
    chosen = split_of(validation=("chrX",), test=None)
    assert chosen["validation"] == ["chrX"]
    assert chosen["test"] == ["chr3"]  # none fits into a tenth, this is the smallest left


@given(st.lists(st.integers(1, 1000), min_size=3, max_size=40), st.integers(0, 2**64 - 1))
@settings(max_examples=150)
def test_each_split_gets_a_contig_and_no_more_than_its_share(bases: list[int], seed: int) -> None:
    names = [f"c{i}" for i in range(len(bases))]
    sizes = np.array(bases)
    chosen = assign_splits(contigs(names, sizes), SplitSettings(None, None, FRACTIONS), seed)
    again = assign_splits(contigs(names, sizes), SplitSettings(None, None, FRACTIONS), seed)
    assert chosen.tolist() == again.tolist()
    assert set(chosen.tolist()) == {0, 1, 2}
    for place in (1, 2):
        members = sizes[chosen == place]
        assert members.sum() <= 0.1 * sizes.sum() or len(members) == 1


def test_shares_come_near_and_follow_the_seed() -> None:
    sizes = np.random.Generator(np.random.Philox(3)).integers(1, 1000, 300)
    names = [f"c{i}" for i in range(300)]
    chosen = [
        assign_splits(contigs(names, sizes), SplitSettings(None, None, FRACTIONS), seed) for seed in (1, 2)
    ]
    for places in chosen:
        shares = [sizes[places == place].sum() / sizes.sum() for place in range(3)]
        assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.005)
    assert not np.array_equal(*chosen)


def test_a_share_of_nothing_leaves_the_split_empty() -> None:
    fractions = {"train": 0.9, "validation": 0.1, "test": 0.0}
    chosen = assign_splits(contigs(NAMES[:2], BASES[:2]), SplitSettings(None, None, fractions), seed=1)
    assert sorted(chosen.tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("validation", "test", "says"),
    [
        (
            ("chr9",),
            (),
            r"split.validation: no contig 'chr9' in the input; there are chr1, chr2, chr3, chrX, chrM",
        ),
        ((), ("chrM",), r"split.test=\[chrM\] has no stretch as long as min_stretch"),
        (("chr1", "chr2"), ("chr2",), r"contig 'chr2' is in both"),
        (
            ("chr1", "chr2", "chr3"),
            None,
            r"^1 contigs are too few for train, test: .* split.test=\[NAME\], or .* split.test=\[\]",
        ),
    ],
)
def test_contigs_that_cannot_be(validation: tuple[str, ...], test: tuple[str, ...] | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        split_of(validation, test)


def test_two_contigs_cannot_make_three_splits() -> None:
    with pytest.raises(ConfigError, match=r"split.validation=\[NAME\].*split.validation=\[\]"):
        assign_splits(contigs(NAMES[:2], BASES[:2]), SplitSettings(None, None, FRACTIONS), seed=1)


@pytest.mark.parametrize(
    ("fractions", "says"),
    [
        ({"train": 0.8, "validation": 0.1, "test": 0.2}, "sum to 1.1: make them sum to 1"),
        ({"train": 1.2, "validation": -0.1, "test": -0.1}, "a number from 0 to 1"),
        ({"train": 0.8, "validation": 0.2}, "give each of train, validation, test"),
        ({"train": "most", "validation": 0.1, "test": 0.1}, "a number from 0 to 1"),
        ([0.8, 0.1, 0.1], "give each of"),
        ({"train": 0, "validation": 0.5, "test": 0.5}, "nothing to train on"),
    ],
)
def test_fractions_that_are_none(fractions: dict[str, float], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SplitSettings(None, None, fractions)
