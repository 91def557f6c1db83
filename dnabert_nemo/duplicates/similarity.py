"""What similarity means for two windows, and how much of it chance gives; `deduplicate` is set by it."""

from __future__ import annotations

import math

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kmer.canonical import MAX_CANONICAL_K

_CHANCE_SHARE = 10  # chance has to be below the threshold's tenth: buckets full of strangers hide duplicates
REAL_SEQUENCE = 2  # real DNA shares more than chance: vertebrates .07 at k = 9 and 10,000 bases, chance .04


def chance_similarity(bases: int, k: int) -> float:
    """Return the Jaccard similarity to expect of two random windows of `bases`, of their canonical k-mers.

    Of the C canonical k-mers each window holds each with probability q = 1 - (1 - 1/C)^n, n = bases - k + 1,
    so both hold q^2 C and either holds (2q - q^2) C. With even k, the 2^k palindromes are half as likely as
    the other canonical k-mers, having one strand for two.
    """
    num_kmers = bases - k + 1
    palindromes = 0 if k % 2 else 2**k
    kinds = ((palindromes, 0.25**k), ((4**k - palindromes) // 2, 2 * 0.25**k))
    both = either = 0.0
    for number, probability in kinds:
        held = -math.expm1(num_kmers * math.log1p(-probability)) if probability < 1 else 1.0
        both += number * held**2
        either += number * (2 * held - held**2)
    return both / either


def workable_k(bases: int, threshold: float) -> int:
    """Return the smallest odd k at which even real DNA shares under a tenth of the threshold by chance."""
    return next(
        k
        for k in range(5, MAX_CANONICAL_K, 2)
        if REAL_SEQUENCE * _CHANCE_SHARE * chance_similarity(bases, k) < threshold or k == MAX_CANONICAL_K - 1
    )


def check_chance(bases: int, k: int, threshold: float) -> float:
    """Return the chance similarity of windows of `bases`, if it leaves the threshold something to tell.

    Raises:
        ConfigError: it reaches a tenth of the threshold; the message has the figure and a k that works.
    """
    chance = chance_similarity(bases, k)
    if _CHANCE_SHARE * chance < threshold:
        return chance
    enough = workable_k(bases, threshold)
    raise ConfigError(
        f"max_similarity={threshold}, k={k}: two unrelated {bases:,}-base windows share {short(chance)} of "
        f"their canonical {k}-mers; use k >= {enough}, where chance is below a tenth of the threshold: pass "
        f"k={enough}"
    )


def identity(similarity: float, k: int) -> float:
    """Return the share of equal bases that a Jaccard similarity implies (Mash: 1 + ln(2J / (1 + J)) / k).

    Ondov et al. 2016, Genome Biology 17:132, for substitutions alone in windows of one length.
    """
    return max(0.0, 1 + math.log(2 * similarity / (1 + similarity)) / k) if similarity > 0 else 0.0


def short(share: float) -> str:
    """Write a share in 0..1 with two digits that say something: .54, .0024, 1."""
    if not 0 < share < 0.995:
        return f"{share:.0f}"
    digits = max(2, 1 - math.floor(math.log10(share)))
    return f"{share:.{digits}f}".lstrip("0")
