"""The alphabet against a naive loop over letters."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dnabert_nemo.genome.alphabet import (
    BASES,
    NOT_A_BASE,
    SOFT,
    decode,
    encode,
    encode_soft,
    reverse_complement,
    unbroken_stretches,
)

letters = st.text(alphabet="ACGTNacgtnRYKM-*. ", max_size=80)
bases_and_n = st.text(alphabet="ACGTN", max_size=80)
COMPLEMENT = {"A": "T", "T": "A", "C": "G", "G": "C", "N": "N"}


def test_order_is_dnaberts_and_complement_flips_the_last_bit():
    assert BASES == "ATCG"
    assert [BASES[code ^ 1] for code in range(4)] == [COMPLEMENT[base] for base in BASES]


@given(letters)
def test_encode_is_the_index_in_bases_whatever_the_case(sequence):
    wanted = [BASES.index(letter) if letter in BASES else NOT_A_BASE for letter in sequence.upper()]
    codes = encode(sequence)
    assert codes.dtype == np.uint8
    assert codes.tolist() == wanted
    assert encode(sequence.encode()).tolist() == wanted


def test_encode_takes_every_byte_and_any_text():
    codes = encode(bytes(range(256)))
    assert np.flatnonzero(codes != NOT_A_BASE).tolist() == sorted(b"ACGTacgt")
    assert encode("Aé→T").tolist() == [0, 4, 4, 1]


@given(letters)
def test_encode_soft_adds_the_case(sequence):
    codes = encode_soft(sequence.encode())
    assert (codes & (SOFT - 1)).tolist() == encode(sequence).tolist()
    assert ((codes & SOFT) != 0).tolist() == [letter.islower() for letter in sequence]


def test_encode_soft_takes_every_byte():
    codes = encode_soft(bytes(range(256)))
    assert np.flatnonzero(codes & SOFT).tolist() == list(range(ord("a"), ord("z") + 1))
    assert (codes & (SOFT - 1)).tolist() == encode(bytes(range(256))).tolist()


@given(st.text(alphabet="ACGTNacgtn", max_size=80))
def test_decode_inverts_encode_soft(sequence):
    assert decode(encode_soft(sequence.encode())) == sequence


@given(bases_and_n)
def test_decode_inverts_encode(sequence):
    assert decode(encode(sequence)) == sequence


@given(bases_and_n)
def test_reverse_complement_matches_a_loop_and_leaves_its_input(sequence):
    codes = encode(sequence)
    assert decode(reverse_complement(codes)) == "".join(COMPLEMENT[base] for base in reversed(sequence))
    assert decode(codes) == sequence
    assert reverse_complement(reverse_complement(codes)).tolist() == codes.tolist()


@given(bases_and_n)
def test_unbroken_stretches_match_a_loop(sequence):
    wanted = []
    for place, base in enumerate(sequence):
        if base == "N":
            continue
        if wanted and wanted[-1][1] == place:
            wanted[-1][1] = place + 1
        else:
            wanted.append([place, place + 1])
    stretches = unbroken_stretches(encode(sequence))
    assert stretches.dtype == np.int64
    assert stretches.shape == (len(wanted), 2)
    assert stretches.tolist() == wanted
