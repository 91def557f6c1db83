"""The vocabulary against DNABERT's own files, and files that are not it."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest

from dnabert_nemo.errors import FormatError
from dnabert_nemo.kmer.vocabulary import CLS, MASK, MAX_K, PAD, SEP, UNK, Vocabulary


@pytest.mark.parametrize("k", [3, 4, 5, 6])
def test_dnaberts_own_files_are_reproduced(k: int, data_dir: Path, tmp_path: Path) -> None:
    theirs = data_dir / "dnabert" / f"vocab_k{k}.txt"
    Vocabulary(k).write(tmp_path / "vocab.txt")
    ours = (tmp_path / "vocab.txt").read_bytes()
    assert ours.removesuffix(b"\n") == theirs.read_bytes().removesuffix(b"\n")
    assert Vocabulary.read(theirs) == Vocabulary(k)


@pytest.mark.parametrize("k", range(1, MAX_K + 1))
def test_what_is_written_is_read_back(k: int, tmp_path: Path) -> None:
    vocabulary = Vocabulary(k)
    vocabulary.write(tmp_path / "vocab.txt")
    assert Vocabulary.read(tmp_path / "vocab.txt") == vocabulary
    assert vocabulary.sha256 == hashlib.sha256((tmp_path / "vocab.txt").read_bytes()).hexdigest()
    assert len(vocabulary) == len(vocabulary.tokens) == 4**k + 5


def test_specials_and_sizes() -> None:
    tokens = Vocabulary(3).tokens
    assert [tokens[i] for i in (PAD, UNK, CLS, SEP, MASK)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert [Vocabulary(k).padded_size() for k in (1, 3, 6)] == [128, 128, 4224]
    assert Vocabulary(6).padded_size(multiple=1) == 4101


GOOD = Vocabulary(2).tokens
LEXICOGRAPHIC = GOOD[:5] + ["".join(kmer) for kmer in itertools.product("ACGT", repeat=2)]


@pytest.mark.parametrize(
    ("lines", "line", "says"),
    [
        (LEXICOGRAPHIC, 7, "'AC' stands where 'AT' belongs"),
        (GOOD[:-1], 21, "20 tokens, k=2 has 21"),
        ([*GOOD, "NN"], 22, "22 tokens, k=2 has 21"),
        ([], 1, "'' stands where"),
        (GOOD[5:], 1, "'AA' stands where"),
        ([*GOOD[:5], "A" * 8], 6, "k-mers of 8 letters"),
    ],
)
def test_a_file_of_another_order_or_length(lines: list[str], line: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(lines))
    with pytest.raises(FormatError, match=says) as caught:
        Vocabulary.read(path)
    assert caught.value.line == line
    assert str(caught.value).startswith(f"{path}, line {line}: ")


def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="not a vocabulary file"):
        Vocabulary.read(tmp_path / "vocab.txt")
    with pytest.raises(FormatError, match="no such vocabulary file"):
        Vocabulary.read(tmp_path / "absent.txt")
