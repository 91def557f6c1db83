"""The k-mer vocabulary in DNABERT's order: five specials, then all k-mers; `ids` numbers bases by it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import BASES

PAD, UNK, CLS, SEP, MASK = range(5)
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NUM_SPECIALS = len(SPECIAL_TOKENS)
MAX_K = 7  # the largest k whose ids fit in the uint16 of a shard


def check_k(k: int) -> None:
    """Refuse a k outside 1..7.

    Raises:
        ValueError: k is out of range.
    """
    if not 1 <= k <= MAX_K:
        raise ValueError(f"k={k} is not in 1..{MAX_K}")


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one k, 1 to 7: the specials, then the 4^k k-mers in the order A, T, C, G.

    Raises:
        ValueError: k is out of range.
    """

    k: int

    def __post_init__(self) -> None:
        check_k(self.k)

    def __len__(self) -> int:
        return NUM_SPECIALS + (1 << 2 * self.k)

    @cached_property
    def tokens(self) -> list[str]:
        """The tokens; the index is the id."""
        return [*SPECIAL_TOKENS, *map("".join, product(BASES, repeat=self.k))]

    @cached_property
    def sha256(self) -> str:
        """The sha256, in hex, of the file that `write` writes."""
        return hashlib.sha256(self._text.encode()).hexdigest()

    def padded_size(self, multiple: int = 128) -> int:
        """Return the number of embedding rows: the tokens, rounded up to a multiple."""
        return -(-len(self) // multiple) * multiple

    def write(self, path: str | Path) -> None:
        """Write one token a line, as DNABERT's vocab.txt."""
        Path(path).write_text(self._text, encoding="ascii", newline="\n")

    @staticmethod
    def read(path: str | Path) -> Vocabulary:
        """Read and check a vocabulary file; its first k-mer tells k, and a final newline may be missing.

        Raises:
            FormatError: the file is missing, is no text, or is not the one vocabulary there is for its k.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except FileNotFoundError:
            raise FormatError(path, "no such vocabulary file: check the path") from None
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(
                path, f"not a vocabulary file ({error}): give a text of one token a line"
            ) from None
        k = len(lines[NUM_SPECIALS]) if len(lines) > NUM_SPECIALS else 1
        if not 1 <= k <= MAX_K:
            problem = f"k-mers of {k} letters, this package takes 1 to {MAX_K}: give a vocabulary of such a k"
            raise FormatError(path, problem, line=NUM_SPECIALS + 1)
        vocabulary = Vocabulary(k)
        expected = vocabulary.tokens
        for number, (found, token) in enumerate(zip(lines, expected, strict=False), start=1):
            if found != token:
                problem = f"{found[:40]!a} stands where {token!r} belongs: give {_ORDER}"
                raise FormatError(path, problem, line=number)
        if len(lines) != len(expected):
            problem = f"{len(lines)} tokens, k={k} has {len(expected)}: give {_ORDER}"
            raise FormatError(path, problem, line=min(len(lines), len(expected)) + 1)
        return vocabulary

    @cached_property
    def _text(self) -> str:
        return "\n".join(self.tokens) + "\n"


_ORDER = (
    f"the tokens in DNABERT's order, {' '.join(SPECIAL_TOKENS)} and then the k-mers in the order A, T, C, G"
)
