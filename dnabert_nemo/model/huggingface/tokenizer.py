"""The tokenizer's files of a HuggingFace folder: written for our vocabulary, and the words of one read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome.alphabet import BASES
from dnabert_nemo.kmer.vocabulary import CLS, MAX_K, NUM_SPECIALS, SEP, SPECIAL_TOKENS, Vocabulary

_NAMES = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")


def write_tokenizer(folder: Path, vocabulary: Vocabulary, max_positions: int) -> None:
    """Write the files from which AutoTokenizer makes ids of k-mers with spaces between them."""
    vocabulary.write(folder / "vocab.txt")
    specials = dict(zip(_NAMES, SPECIAL_TOKENS, strict=True))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # which takes tokenizer.json as it is
        "model_max_length": max_positions,
        **specials,
    }
    _dump(folder / "tokenizer_config.json", settings)
    _dump(folder / "special_tokens_map.json", specials)
    _dump(folder / "tokenizer.json", _tokenizer(vocabulary))


def read_vocabulary(folder: Path) -> list[str]:
    """Read the words of a folder in the order of their ids.

    Raises:
        FormatError: there are none, or they are not those of a k-mer vocabulary, in whatever order.
    """
    path = folder / "vocab.txt"
    if path.is_file():
        try:
            words = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise FormatError(path, f"not a vocabulary file ({error}): {_WANTED}") from None
    elif (path := folder / "tokenizer.json").is_file():
        words = _words_of_json(path)
    else:
        raise FormatError(folder / "vocab.txt", f"no such vocabulary file: {_WANTED}")
    words = [word.removesuffix("\r") for word in words]
    k = next((k for k in range(1, MAX_K + 1) if len(words) == NUM_SPECIALS + 4**k), None)
    if k is None:
        problem = f"{len(words)} words, and no vocabulary of specials and k-mers has as many: {_WANTED}"
        raise FormatError(path, problem)
    expected = set(Vocabulary(k).tokens)
    for number, word in enumerate(words, start=1):
        if word not in expected:
            raise FormatError(path, f"{word[:40]!a} is no {k}-mer, or there twice: {_WANTED}", line=number)
        expected.remove(word)
    return words


_WANTED = f"give a folder whose vocab.txt has {' '.join(SPECIAL_TOKENS)} and the k-mers of A, C, G and T"


def _words_of_json(path: Path) -> list[str]:
    try:
        ids: dict[str, int] = json.loads(path.read_bytes())["model"]["vocab"]
        if sorted(ids.values()) != list(range(len(ids))):
            raise ValueError("its ids are not 0, 1, ...")
        return sorted(ids, key=ids.__getitem__)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(path, f"no vocabulary in it ({error!r:.80}): {_WANTED}") from None


def _tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    """Describe it as `tokenizers` reads it: words between spaces, CLS before them and SEP after."""
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, token in enumerate(SPECIAL_TOKENS)
    ]
    cls, sep = SPECIAL_TOKENS[CLS], SPECIAL_TOKENS[SEP]
    first = [
        {"SpecialToken": {"id": cls, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"SpecialToken": {"id": sep, "type_id": 0}},
    ]
    second = [{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": sep, "type_id": 1}}]
    ids = {cls: CLS, sep: SEP}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        # a lower-case base is soft-masked and still that base
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Replace", "pattern": {"String": base.lower()}, "content": base} for base in BASES
            ],
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": first,
            "pair": first + second,
            "special_tokens": {
                token: {"id": token, "ids": [number], "tokens": [token]} for token, number in ids.items()
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": False},
        "model": {
            "type": "WordPiece",
            "unk_token": SPECIAL_TOKENS[1],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {token: number for number, token in enumerate(vocabulary.tokens)},
        },
    }


def _dump(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii", newline="\n")
