"""Every site and negative that a splice data set may take, with its window; `prepare` chooses among them.

Genomes are read twice, one contig in memory at a time: for the `survey` of them, and here for the windows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.downstream.protocols import DECOY, INTRON_MIDPOINT, Protocol
from dnabert_nemo.downstream.splice_balance import ALONE, NEGATIVE, STREAMS_OF_GENOME
from dnabert_nemo.downstream.splice_decoys import Decoys, draw_decoys
from dnabert_nemo.downstream.splice_motifs import bases_at, site_motifs
from dnabert_nemo.downstream.splice_survey import Survey
from dnabert_nemo.downstream.splice_windows import PLACE, Layout, draw_negatives, fit, read_window
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.fasta import read_fastas
from dnabert_nemo.shards.records import random_order
from dnabert_nemo.shards.splits import SPLITS, SplitSettings, assign_splits, named_places

LEAST_DISTANCE = 50  # bases between a decoy and any annotated site

# Streams of random numbers; those below 100 belong to the contigs' split and to shards.
_NEGATIVE_STREAM = 100
_SPLIT_STREAM = 130


@dataclass(frozen=True, eq=False)
class Candidates:
    """n sites and negatives, the sites first.

    Args:
        places: PLACE [n], on the strand of their gene.
        splits: int64 [n], places in SPLITS.
        genomes: int64 [n], places among the genomes.
        partner: int64 [n], of a decoy its site and of a site its decoy; ALONE where there is none.
        motifs: [n], of a site its intron's first and last two bases, GT-AG; of a negative its own two.
        distances: int64 [n], bases from a negative to the nearest annotated site; 0 for a site.
        windows: [n], as the protocol reads them.
    """

    places: NDArray[np.void]
    splits: NDArray[np.int64]
    genomes: NDArray[np.int64]
    partner: NDArray[np.int64]
    motifs: list[str]
    distances: NDArray[np.int64]
    windows: list[str]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class indices [n]."""
        labels: NDArray[np.int64] = self.places["label"]
        return labels

    @property
    def has_decoys(self) -> bool:
        """Whether sites and negatives come in pairs."""
        return bool((self.partner != ALONE).any())


@dataclass(frozen=True, eq=False)
class _Found:
    """The same of one contig, its decoys after its sites, with how many sites are of other introns."""

    places: NDArray[np.void]
    partner: NDArray[np.int64]
    motifs: list[str]
    distances: NDArray[np.int64]
    windows: list[str]
    other_introns: Counter[int]


def draw_candidates(
    survey: Survey, protocol: Protocol, split: SplitSettings, *, width: int, seed: int
) -> tuple[Candidates, dict[str, Counter[int]]]:
    """Find all sites with a window of `width` bases, and negatives, more than can be needed.

    Returns them, and the sites left out: by reason, then by class index.

    Raises:
        ConfigError: the splits or the window do not fit the contigs, or there is no site of the protocol.
    """
    every, introns, rooms = survey.sites, survey.introns, survey.rooms
    stays, is_unbroken = fit(every, survey.layouts, width)
    if not is_unbroken.any():
        problem = f"none of the {len(every):,} splice sites has so many bases of A, C, G, T around it"
        raise ConfigError(f"window={width}: {problem}: pass a smaller window")
    sites = every[is_unbroken]
    split_of = _splits_of_contigs(survey, sites, protocol, split, seed)
    if protocol.negatives == DECOY:
        drawn = sites[:0]
    elif protocol.negatives == INTRON_MIDPOINT:
        drawn = _midpoints(introns, survey.layouts, width)
    else:
        drawn = _in_genes(rooms, sites, split_of, survey.genome_of, seed)
    found = []
    contigs = chain.from_iterable(read_fastas(genome.fasta) for genome in survey.genomes)
    for number, contig in enumerate(contigs):
        on = _OnContig(*(of[of["contig"] == number] for of in (sites, drawn, every, introns, rooms)))
        found.append(_found(contig.codes, on, protocol, width, seed))
    dropped = {
        "contig_without_sequence": sum(survey.annotated, Counter()) - tally(every),
        "outside_contig": tally(every[~stays]),
        "not_acgt": tally(every[stays & ~is_unbroken]),
    }
    dropped["other_introns"] = sum((each.other_introns for each in found), Counter())
    if not sum(len(each.places) for each in found):
        raise ConfigError(
            f"protocol={protocol.name}: none of the {len(sites):,} splice sites is of its kind: "
            "pass another protocol"
        )
    return _joined(found, split_of, survey.genome_of, protocol, split, seed), dropped


def tally(places: NDArray[np.void]) -> Counter[int]:
    """Count places by class index."""
    return Counter(places["label"].tolist())


def _splits_of_contigs(
    survey: Survey, sites: NDArray[np.void], protocol: Protocol, split: SplitSettings, seed: int
) -> NDArray[np.int64]:
    """Assign each contig a place in SPLITS, [num_contigs], all of them 0 where windows are split instead."""
    num_contigs = len(survey.layouts)
    for key, named in (("validation", split.validation), ("test", split.test)):
        if named and not protocol.by_contig:
            raise ConfigError(
                f"split.{key}=[{','.join(named)}]: protocol={protocol.name} holds windows out at random: "
                "leave it null, or pass protocol=hard or card_by_contig"
            )
    if not protocol.by_contig:
        return np.zeros(num_contigs, dtype=np.int64)
    num_sites = np.bincount(sites["contig"], minlength=num_contigs)
    units = survey.units(num_sites)
    for key, named in (("validation", split.validation), ("test", split.test)):
        if named and not num_sites[named_places(units, named, key)].any():
            given = f"split.{key}=[{','.join(named)}]"
            raise ConfigError(f"{given}: no splice site there has a whole window: name other contigs")
    return assign_splits(units, split, seed)


def _in_genes(
    rooms: NDArray[np.void],
    sites: NDArray[np.void],
    split_of: NDArray[np.int64],
    genome_of: NDArray[np.int64],
    seed: int,
) -> NDArray[np.void]:
    """Draw a quarter more negatives than a genome has pairs of sites in a split, so that duplicates may go.

    Of each genome its own number, since genes are of other sizes in another.
    """
    drawn = []
    for genome in range(int(genome_of.max()) + 1):
        for place in range(len(SPLITS)):
            is_own = (genome_of == genome) & (split_of == place)
            own = sites[is_own[sites["contig"]]]
            num_pairs = int(np.bincount(own["label"], minlength=NEGATIVE).min())
            count = num_pairs + num_pairs // 4 + 16
            stream = _NEGATIVE_STREAM + place + genome * STREAMS_OF_GENOME
            drawn.append(draw_negatives(rooms[is_own[rooms["contig"]]], own, count, seed, stream))
    return np.concatenate(drawn)


def _midpoints(introns: NDArray[np.void], layouts: Sequence[Layout], width: int) -> NDArray[np.void]:
    """Return the middles of introns whose windows are whole."""
    places = np.zeros(len(introns), dtype=PLACE)
    places["label"] = NEGATIVE
    places["contig"], places["is_reverse"] = introns["contig"], introns["is_reverse"]
    places["start"] = (introns["start"] + introns["end"]) // 2 - 1
    return places[fit(places, layouts, width)[1]]


@dataclass(frozen=True, eq=False)
class _OnContig:
    """What is on one contig: sites with a whole window, negatives drawn, all annotated sites (PLACE each),
    introns (INTRON) and where a decoy may stand (ROOM).
    """

    sites: NDArray[np.void]
    drawn: NDArray[np.void]
    annotated: NDArray[np.void]
    introns: NDArray[np.void]
    rooms: NDArray[np.void]


def _found(codes: NDArray[np.uint8], on: _OnContig, protocol: Protocol, width: int, seed: int) -> _Found:
    """Cut the windows of a contig's sites, and of the negatives drawn there or a decoy for each site."""
    sites, drawn = on.sites, on.drawn
    motifs = site_motifs(codes, sites, on.introns)
    is_asked = np.array([not protocol.introns or motif in protocol.introns for motif in motifs], dtype=bool)
    other_introns = tally(sites[~is_asked])
    sites, motifs = sites[is_asked], [motif for motif, asked in zip(motifs, is_asked, strict=True) if asked]
    partner = np.full(len(sites), ALONE, dtype=np.int64)
    if protocol.negatives == DECOY:
        decoys: Decoys = draw_decoys(
            codes, sites, on.annotated["start"], on.rooms, least_distance=LEAST_DISTANCE, seed=seed
        )
        partner[decoys.of_site] = len(sites) + np.arange(len(decoys.places))
        drawn = decoys.places
        partner = np.concatenate([partner, decoys.of_site])
    else:
        partner = np.concatenate([partner, np.full(len(drawn), ALONE)])
    places = np.concatenate([sites, drawn])
    return _Found(
        places,
        partner,
        motifs + bases_at(codes, drawn["start"], drawn["is_reverse"]),
        np.concatenate([np.zeros(len(sites), dtype=np.int64), _distances(drawn, on.annotated, len(codes))]),
        [
            read_window(codes, start, along and protocol.is_stranded, width)
            for start, along in zip(places["start"].tolist(), places["is_reverse"].tolist(), strict=True)
        ],
        other_introns,
    )


def _distances(places: NDArray[np.void], annotated: NDArray[np.void], length: int) -> NDArray[np.int64]:
    """Return the bases from each place to the nearest annotated site of its contig, either strand: [n].

    On a contig that has none, as a mitochondrion with genes, no site is nearer than its `length`.
    """
    if not len(annotated):
        return np.full(len(places), length, dtype=np.int64)
    starts = np.unique(annotated["start"])
    after = np.searchsorted(starts, places["start"])
    left, right = starts[np.maximum(after - 1, 0)], starts[np.minimum(after, len(starts) - 1)]
    nearest: NDArray[np.int64] = np.minimum(np.abs(places["start"] - left), np.abs(right - places["start"]))
    return nearest


def _joined(
    found: Sequence[_Found],
    split_of: NDArray[np.int64],
    genome_of: NDArray[np.int64],
    protocol: Protocol,
    split: SplitSettings,
    seed: int,
) -> Candidates:
    """Put the contigs' together, the sites of all before the negatives of all."""
    places = np.concatenate([each.places for each in found])
    firsts = np.cumsum([0, *(len(each.places) for each in found)])
    partner = np.concatenate(
        [
            np.where(each.partner == ALONE, ALONE, each.partner + first)
            for each, first in zip(found, firsts.tolist(), strict=False)
        ]
    )
    order = np.argsort(places["label"] == NEGATIVE, kind="stable")
    place_of = np.empty(len(order) + 1, dtype=np.int64)
    place_of[order], place_of[ALONE] = np.arange(len(order)), ALONE
    motifs = list(chain.from_iterable(each.motifs for each in found))
    windows = list(chain.from_iterable(each.windows for each in found))
    places = places[order]
    of_contigs = split_of[places["contig"]]
    splits = of_contigs if protocol.by_contig else _splits_at_random(len(places), split, seed)
    return Candidates(
        places,
        splits,
        genome_of[places["contig"]],
        place_of[partner[order]],
        [motifs[i] for i in order.tolist()],
        np.concatenate([each.distances for each in found])[order],
        [windows[i] for i in order.tolist()],
    )


def _splits_at_random(count: int, split: SplitSettings, seed: int) -> NDArray[np.int64]:
    """Give each of n windows a place in SPLITS, [n]: its fraction of them each."""
    wanted = [0.0 if named == () else split.fractions[name] for name, named in _held_out(split)]
    ends = np.round(np.cumsum(wanted) * count).astype(np.int64)
    splits = np.empty(count, dtype=np.int64)
    # what is left after validation and test is for training
    splits[random_order(count, seed, _SPLIT_STREAM)] = (
        1 + np.searchsorted(ends, np.arange(count), side="right")
    ) % len(SPLITS)
    return splits


def _held_out(split: SplitSettings) -> list[tuple[str, tuple[str, ...] | None]]:
    return [("validation", split.validation), ("test", split.test)]
