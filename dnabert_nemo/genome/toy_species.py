"""The made-up species whose genomes `toy` writes: its background DNA, codons, splice signals and repeats.

Fixed, whatever a genome's seed, so that what is learnt on one toy genome holds on another.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from dnabert_nemo.genome.alphabet import BASES, encode, reverse_complement

Codes = NDArray[np.uint8]
Weights = NDArray[np.float64]

GC_DONOR_SHARE = 0.014  # introns that start GC; all others start GT, and all end AG

_SPECIES = 1859  # another number, another species
_ORDER = 3  # bases a background base depends on
_CHAIN = 256  # bases of background that are drawn one after the other; chains are drawn side by side
_EXON_LENGTHS = (80, 240)
_SINGLE_EXON_LENGTHS = (300, 900)
_JUNCTION_REACH = 15  # bases a junction may move to a place in the message that suits it

# Weights of A, T, C, G, rounded from what human introns show.
_EXON_END = np.array([[0.34, 0.13, 0.36, 0.17], [0.62, 0.13, 0.11, 0.14], [0.09, 0.07, 0.03, 0.81]])
_EXON_START = np.array([[0.25, 0.13, 0.13, 0.49]])
_AFTER_DONOR = np.array(
    [[0.59, 0.03, 0.03, 0.35], [0.70, 0.10, 0.08, 0.12], [0.08, 0.06, 0.05, 0.81], [0.16, 0.48, 0.16, 0.20]]
)
_BRANCH_POINT = np.array(
    [
        [0.05, 0.35, 0.55, 0.05],
        [0.02, 0.90, 0.06, 0.02],
        [0.3, 0.2, 0.2, 0.3],
        [0.96, 0.02, 0.01, 0.01],
        [0.1, 0.4, 0.4, 0.1],
    ]
)
_TRACT = np.array([[0.09, 0.49, 0.34, 0.08]])  # the polypyrimidine tract, every base of it
_BEFORE_ACCEPTOR = np.array([[0.25, 0.25, 0.25, 0.25], [0.06, 0.28, 0.65, 0.01]])
_TRACT_LENGTHS = (14, 28)


def _constants() -> tuple[Weights, Codes, Weights, list[Codes]]:
    """Return the transitions of the background [64, 4], the sense codons [61, 3], their usage, repeats."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence(_SPECIES)))
    composition = np.array([0.295, 0.295, 0.205, 0.205])
    words = np.array(list(product(range(4), repeat=_ORDER + 1)))
    on_other_strand = (words[:, ::-1] ^ 1) @ 4 ** np.arange(_ORDER, -1, -1)
    frequency = rng.lognormal(sigma=1.4, size=len(words))
    frequency = np.sqrt(frequency * frequency[on_other_strand])  # both strands look much alike
    transitions = composition * frequency.reshape(-1, 4)
    transitions[BASES.index("C") :: 4, BASES.index("G")] *= 0.25  # CpG is rare, as in vertebrates
    transitions /= transitions.sum(axis=1, keepdims=True)
    sense = [codon for codon in map("".join, product(BASES, repeat=3)) if codon not in ("TAA", "TAG", "TGA")]
    codons = np.stack([encode(codon) for codon in sense])
    usage = rng.lognormal(sigma=1.0, size=len(sense))
    repeats = [rng.integers(4, size=length, dtype=np.uint8) for length in (290, 150, 480, 210)]
    return transitions, codons, usage / usage.sum(), repeats


_TRANSITIONS, _CODONS, _CODON_USAGE, _REPEATS = _constants()


def _draw(weights: Weights, rng: np.random.Generator) -> Codes:
    """Draw one base for each row of weights [n, 4] that sum to 1."""
    is_passed = rng.random((len(weights), 1)) >= weights.cumsum(axis=1)[:, :-1]
    codes: Codes = is_passed.sum(axis=1, dtype=np.uint8)
    return codes


def background(length: int, rng: np.random.Generator) -> Codes:
    """Return DNA that is no gene: pieces of a Markov chain of order 3."""
    num_chains = -(-length // _CHAIN)
    chains = np.empty((num_chains, _CHAIN), dtype=np.uint8)
    state = rng.integers(4**_ORDER, size=num_chains)
    for step in range(_CHAIN):
        chains[:, step] = _draw(_TRANSITIONS[state], rng)
        state = (state * 4 + chains[:, step]) % 4**_ORDER
    return chains.reshape(-1)[:length]


def gene_structure(rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the lengths of a gene's exons [n] and introns [n - 1]; one gene in twelve has a single exon."""
    if rng.random() < 1 / 12:
        return rng.integers(*_SINGLE_EXON_LENGTHS, size=1), np.zeros(0, dtype=np.int64)
    num_exons = 2 + int(rng.poisson(3.5))
    exon_lengths = rng.integers(*_EXON_LENGTHS, size=num_exons)
    intron_lengths = 80 + rng.lognormal(np.log(160), 0.7, size=num_exons - 1)
    return exon_lengths, intron_lengths.clip(max=1_500).astype(np.int64)


def message(exon_lengths: NDArray[np.int64], rng: np.random.Generator) -> tuple[Codes, NDArray[np.int64]]:
    """Return a spliced message (ATG, sense codons, a stop, between two UTRs) and its cuts into exons [n - 1].

    Each cut lies near where the lengths put it, at a place whose bases suit a junction (MAG|G best), so that
    the junctions leave the codons as they are.
    """
    length = int(exon_lengths.sum())
    num_codons = (length - 80) // 3 - 2
    codons = _CODONS[rng.choice(len(_CODONS), size=num_codons, p=_CODON_USAGE)]
    stop = encode(("TAA", "TAG", "TGA")[rng.integers(3)])
    start = 30 + int(rng.integers(20))
    sequence = background(length, rng)
    coding = np.concatenate([encode("ATG"), codons.reshape(-1), stop])
    sequence[start : start + len(coding)] = coding
    suits = np.concatenate([_EXON_END, _EXON_START])
    offsets = np.arange(-len(_EXON_END), len(_EXON_START))
    cuts = []
    for wanted in exon_lengths.cumsum()[:-1]:
        places = np.arange(wanted - _JUNCTION_REACH, wanted + _JUNCTION_REACH)
        weight = suits[np.arange(len(suits)), sequence[places[:, None] + offsets]].prod(axis=1)
        cuts.append(int(rng.choice(places, p=weight / weight.sum())))
    return sequence, np.array(cuts, dtype=np.int64)


def mark_intron(intron: Codes, rng: np.random.Generator) -> None:
    """Write the splice signals over an intron's background: donor, branch point, tract, acceptor."""
    donor = encode("GC" if rng.random() < GC_DONOR_SHARE else "GT")
    tract = np.repeat(_TRACT, rng.integers(*_TRACT_LENGTHS), axis=0)
    head = np.concatenate([donor, _draw(_AFTER_DONOR, rng)])
    before_acceptor = _draw(np.concatenate([_BRANCH_POINT, tract, _BEFORE_ACCEPTOR]), rng)
    tail = np.concatenate([before_acceptor, encode("AG")])
    intron[: len(head)] = head
    intron[-len(tail) :] = tail


def isoforms(num_exons: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    """Return which exons each transcript of a gene has: all, and in half of the longer genes all but one."""
    everything = tuple(range(num_exons))
    found = {everything: None}
    if num_exons >= 4 and rng.random() < 0.5:
        for skipped in rng.integers(1, num_exons, size=rng.integers(1, 4)):
            found[tuple(exon for exon in everything if exon != skipped)] = None
    return list(found)


def repeat(rng: np.random.Generator) -> Codes:
    """Return a copy of a repeat, cut, mutated and from either strand, or a microsatellite."""
    if rng.random() < 0.2:
        unit = rng.integers(4, size=rng.integers(2, 5), dtype=np.uint8)
        copy = np.tile(unit, rng.integers(8, 20))
    else:
        family = _REPEATS[rng.choice(len(_REPEATS), p=[0.5, 0.25, 0.15, 0.1])]
        copy = family[rng.integers(len(family) // 2) :].copy()
    is_mutated = rng.random(len(copy)) < rng.uniform(0.02, 0.18)
    copy[is_mutated] = rng.integers(4, size=int(is_mutated.sum()))
    return copy if rng.random() < 0.5 else reverse_complement(copy)
