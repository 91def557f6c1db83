"""Ids against a naive loop over text, and back."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnabert_nemo.genome.alphabet import BASES, encode, reverse_complement
from dnabert_nemo.kmer.ids import base_table, bases_of, first_break, kmer_ids, reverse_complement_table
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS, UNK, Vocabulary

ks = st.integers(1, 7)
sequences = st.text(alphabet="ACGTacgt", max_size=60)


@given(sequences, ks)
@settings(max_examples=80)
def test_ids_are_the_places_of_the_kmers_in_the_vocabulary(sequence: str, k: int) -> None:
    number_of = {"".join(kmer): 5 + i for i, kmer in enumerate(product("ATCG", repeat=k))}
    naive = [number_of[sequence[i : i + k].upper()] for i in range(len(sequence) - k + 1)]
    ids = kmer_ids(encode(sequence), k)
    assert ids.dtype == np.uint16
    assert ids.tolist() == naive


@given(sequences, ks)
@settings(max_examples=80)
def test_bases_of_undoes_kmer_ids(sequence: str, k: int) -> None:
    codes = encode(sequence)
    expected = codes if len(codes) >= k else codes[:0]
    assert bases_of(kmer_ids(codes, k), k).tolist() == expected.tolist()


@given(sequences, ks)
@settings(max_examples=80)
def test_the_other_strand_needs_only_the_table(sequence: str, k: int) -> None:
    codes = encode(sequence)
    other = reverse_complement_table(k)[kmer_ids(codes, k)[::-1]]
    assert other.tolist() == kmer_ids(reverse_complement(codes), k).tolist()


@pytest.mark.parametrize("k", range(1, 8))
def test_tables_agree_with_the_vocabulary(k: int) -> None:
    tokens = Vocabulary(k).tokens
    spelled = ["".join(BASES[code] for code in codes) for codes in base_table(k)[NUM_SPECIALS:]]
    assert spelled == tokens[NUM_SPECIALS:]
    assert (base_table(k)[:NUM_SPECIALS] == 4).all()
    swap = str.maketrans("ATCG", "TAGC")
    reversed_tokens = [tokens[i] for i in reverse_complement_table(k)[NUM_SPECIALS:]]
    assert reversed_tokens == [token.translate(swap)[::-1] for token in tokens[NUM_SPECIALS:]]
    assert reverse_complement_table(k)[:NUM_SPECIALS].tolist() == list(range(NUM_SPECIALS))


def test_the_largest_id_fits() -> None:
    assert kmer_ids(encode("GGGGGGG"), 7).tolist() == [4**7 + 4]


@pytest.mark.parametrize("k", [0, 8, -1])
def test_k_out_of_range(k: int) -> None:
    for use in (lambda: kmer_ids(encode("ACGTACGTACGT"), k), lambda: base_table(k), lambda: Vocabulary(k)):
        with pytest.raises(ValueError, match="is not in 1"):
            use()


def test_a_broken_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="unbroken"):
        kmer_ids(encode("ACGTNACGT"), 3)


@pytest.mark.parametrize("ids", [[4], [5, 68], [5, 5, 2]])
def test_bases_of_refuses_ids_that_do_not_follow_one_another(ids: list[int]) -> None:
    with pytest.raises(ValueError, match=r"follow|not all 3-mers or UNK"):
        bases_of(np.array(ids), 3)


@given(st.integers(1, 7), st.text(alphabet="ACGTN", max_size=60))
def test_unknown_letters_come_back_as_far_as_a_kmer_shows(k: int, sequence: str) -> None:
    codes = encode(sequence)
    ids = kmer_ids(codes, k, keep_unknown=True)
    for place, token in enumerate(ids.tolist()):
        window = codes[place : place + k]
        assert token == (UNK if (window == 4).any() else kmer_ids(window, k)[0])
    if len(ids):
        found = bases_of(ids, k)
        is_shown = found != 4
        assert np.array_equal(found[is_shown], codes[is_shown])


@given(
    st.lists(
        st.lists(st.sampled_from("ACGTN"), min_size=7, max_size=30).map("".join), min_size=1, max_size=4
    ),
    st.integers(1, 7),
    st.integers(0, 2**16 - 1),
    st.data(),
)
def test_a_changed_id_is_found_where_it_breaks_the_sequence(
    sequences: list[str], k: int, changed: int, data: st.DataObject
) -> None:
    parts = [kmer_ids(encode(sequence), k, keep_unknown=True) for sequence in sequences]
    ids = np.concatenate(parts)
    begins = np.cumsum([0, *map(len, parts[:-1])])
    assert first_break(ids, begins, k) is None
    at = data.draw(st.integers(0, len(ids) - 1))
    ids[at] = changed
    part = int(np.searchsorted(begins, at, side="right")) - 1
    own = ids[begins[part] :][: len(parts[part])]
    broken = (place for place in range(len(own)) if not _follows(own[max(place - 1, 0) : place + 1], k))
    first = next(broken, None)
    assert first_break(ids, begins, k) == (None if first is None else int(begins[part]) + first)


def _follows(pair: np.ndarray, k: int) -> bool:
    """Whether the last of one or two ids can stand there, the one before it being sound."""
    tokens = Vocabulary(k).tokens
    if pair[-1] >= len(tokens) or (pair[-1] < NUM_SPECIALS and pair[-1] != UNK):
        return False
    return len(pair) == 1 or UNK in pair or tokens[pair[-1]][:-1] == tokens[pair[0]][1:]
