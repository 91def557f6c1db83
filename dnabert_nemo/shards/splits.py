"""Which contigs are for training, validation and test, by name or by share; after `scan`, before `writer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.records import random_order

SPLITS = ("train", "validation", "test")
TRAIN = 0  # the place of train in SPLITS; a contig that no other split takes


@dataclass(frozen=True)
class Unit:
    """What is never split: a contig, or a sample of reads."""

    name: str
    component: str
    num_bases: int  # usable ones, or whatever else the shares are of


@dataclass(frozen=True)
class SplitSettings:
    """The contigs of validation and test by name (`()` for none), or None for a share of the genome.

    Raises:
        ConfigError: a contig is named in both, or the fractions are no shares of one.
    """

    validation: tuple[str, ...] | None
    test: tuple[str, ...] | None
    fractions: Mapping[str, float]  # of all usable bases, for each of SPLITS

    def __post_init__(self) -> None:
        twice = sorted(set(self.validation or ()) & set(self.test or ()))
        if twice:
            raise ConfigError(
                f"contig {twice[0]!r} is in both split.validation and split.test: take it from one"
            )
        if (
            not isinstance(self.fractions, Mapping)
            or self.fractions.keys() != set(SPLITS)
            or not all(
                isinstance(share, int | float) and 0 <= share <= 1 for share in self.fractions.values()
            )
        ):
            raise ConfigError(
                f"split.fractions={self.fractions}: give each of {', '.join(SPLITS)} a number from 0 to 1"
            )
        total = sum(self.fractions.values())
        if abs(total - 1) > 1e-6:
            raise ConfigError(f"split.fractions={dict(self.fractions)} sum to {total:g}: make them sum to 1")
        if not self.fractions["train"]:
            raise ConfigError("split.fractions.train=0 leaves nothing to train on: name the contigs instead")


def assign_splits(contigs: Sequence[Unit], settings: SplitSettings, seed: int) -> NDArray[np.int64]:
    """Assign each contig, or sample of reads, a place in SPLITS: int64 [num_contigs].

    A split given by name has the contigs named: `NAME`, `COMPONENT:NAME` where several components have such a
    one, or `COMPONENT` for all of its contigs. One given by its fraction takes those that still fit into its
    share, in an order drawn from the seed, and where none fits the smallest there is. Train has the rest.

    Raises:
        ConfigError: a named contig is not in the input, is in two components, or has no usable bases; or the
            contigs are too few.
    """
    usable_bases = np.array([contig.num_bases for contig in contigs], dtype=np.int64)
    split_of = np.full(len(contigs), TRAIN, dtype=np.int64)
    is_free = usable_bases > 0
    by_share = []
    for split, named in zip(SPLITS[1:], (settings.validation, settings.test), strict=True):
        if named is None:
            by_share += [split] if settings.fractions[split] else []
            continue
        places = named_places(contigs, named, split)
        if named and not usable_bases[places].any():
            given = f"split.{split}=[{','.join(named)}]"
            raise ConfigError(f"{given} has no stretch as long as min_stretch: name another contig")
        twice = [place for place in places if split_of[place] != TRAIN]
        if twice:
            name = contigs[twice[0]].name
            raise ConfigError(f"contig {name!r} is in both split.validation and split.test: take it from one")
        split_of[places] = SPLITS.index(split)
        is_free[places] = False
    num_free = np.count_nonzero(is_free)
    if by_share and num_free < len(by_share) + 1:
        first = by_share[0]
        raise ConfigError(
            f"{num_free} contigs are too few for train, {' and '.join(by_share)}: "
            f"name contigs, split.{first}=[NAME], or leave a split empty, split.{first}=[]"
        )
    order = random_order(len(contigs), seed, stream=len(SPLITS))
    for number, split in enumerate(by_share):
        free = order[is_free[order]]
        kept_back = len(by_share) - number  # one for train and for each split to come
        share = settings.fractions[split] * float(usable_bases.sum())
        taken = _take(free, usable_bases[free], share, most=len(free) - kept_back)
        split_of[taken] = SPLITS.index(split)
        is_free[taken] = False
    return split_of


def _take(free: NDArray[np.int64], bases: NDArray[np.int64], share: float, most: int) -> list[int]:
    taken: list[int] = []
    size = 0
    for contig, length in zip(free.tolist(), bases.tolist(), strict=True):
        if len(taken) < most and size + length <= share:
            taken.append(contig)
            size += length
    return taken or [int(free[bases.argmin()])]


def named_places(contigs: Sequence[Unit], named: Sequence[str], split: str) -> list[int]:
    """Return where in `contigs` those are that a split names, as `assign_splits` reads names.

    Raises:
        ConfigError: one is not there, or in two components.
    """
    by_name: dict[str, list[int]] = {}
    for place, contig in enumerate(contigs):
        # a sample's only contig has its own name
        for name in {contig.name, f"{contig.component}:{contig.name}"}:
            by_name.setdefault(name, []).append(place)
    by_component: dict[str, list[int]] = {}
    for place, contig in enumerate(contigs):
        by_component.setdefault(contig.component, []).append(place)
    places: list[int] = []
    for name in named:
        found = by_name.get(name) or by_component.get(name)
        if found is None:
            some = ", ".join(contig.name for contig in contigs[:8]) + (", ..." if len(contigs) > 8 else "")
            raise ConfigError(f"split.{split}: no contig {name!r} in the input; there are {some}")
        if name in by_name and len(found) > 1:
            either = " or ".join(f"{contigs[place].component}:{name}" for place in found)
            raise ConfigError(f"split.{split}: {name!r} is in several assemblies: write {either}")
        places += found
    return list(dict.fromkeys(places))
