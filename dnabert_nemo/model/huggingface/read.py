"""A folder of HuggingFace's BertForMaskedLM or MegatronBertForMaskedLM as what goes into a .nemo file.

The original DNABERT's folders are such: BertForMaskedLM with vocab.txt of k-mers, k = 3..6.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_safetensors

from dnabert_nemo.errors import CheckpointError, ConfigError
from dnabert_nemo.kmer.vocabulary import SPECIAL_TOKENS, Vocabulary
from dnabert_nemo.megatron import plain_tensors
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.model.huggingface.names import KINDS, TIED, TOKEN_TYPES, Kind, their_tensors, to_ours
from dnabert_nemo.model.huggingface.tokenizer import read_vocabulary
from dnabert_nemo.model.model_config import LANGUAGE_MODEL, checked_shape
from dnabert_nemo.model.nemo_file import NemoFile
from dnabert_nemo.model.provenance import versions

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_DTYPES = {"torch.float32", "torch.bfloat16", "torch.float16"}  # of a .nemo file
_KINDS = "give a folder of BertForMaskedLM or MegatronBertForMaskedLM"
_SIZES = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "num_attention_heads": "num_attention_heads",
    "max_position_embeddings": "max_position_embeddings",
}
_DEFAULTS = {
    "hidden_dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
    "layernorm_epsilon": ("layer_norm_eps", 1e-12),
    "init_method_std": ("initializer_range", 0.02),
}
# What only one value of can be computed here: what a key may be, and what it is where it is missing.
_FIXED: dict[str, Any] = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
# Of the task of telling the next sentence, or counted by any program: no part of the masked language model.
_LEFT_OUT = re.compile(
    r"bert\.pooler\.dense\.(weight|bias)|cls\.seq_relationship\.(weight|bias)"
    r"|bert\.embeddings\.(position_ids|token_type_ids)"
)


@dataclass(frozen=True)
class Imported:
    """A model read from a folder, and what was done to it on the way, in words."""

    file: NemoFile
    notes: tuple[str, ...]


def read_folder(folder: Path) -> Imported:
    """Read a folder of config.json, vocab.txt or tokenizer.json, and model.safetensors or pytorch_model.bin.

    Raises:
        CheckpointError: a file is missing or damaged, or the model is one that ours cannot compute.
        FormatError: the vocabulary is not of k-mers.
    """
    settings = _settings(folder)
    words = read_vocabulary(folder)
    kind = _kind(folder, settings)
    for key, value in _FIXED.items():
        if settings.get(key, value) != value:
            raise CheckpointError(
                f"{folder}: its config.json has {key}={settings[key]!a:.60}, and this package computes "
                f"{key}={value} alone: {_KINDS} that has it"
            )
    vocabulary = Vocabulary(next(len(word) for word in words if word not in SPECIAL_TOKENS))
    config = _config(folder, settings, vocabulary.k, kind.block_type)
    try:
        shape = checked_shape(config)
    except ConfigError as error:
        problem = str(error)
        for ours, theirs in (_SIZES | {key: theirs for key, (theirs, _) in _DEFAULTS.items()}).items():
            problem = re.sub(rf"\b{ours}=", f"{theirs}=", problem)
        raise CheckpointError(f"{folder}: its config.json {problem}: {_KINDS}") from error
    if settings.get("vocab_size") != len(words):
        raise CheckpointError(
            f"{folder}: its config.json has vocab_size={settings.get('vocab_size')!a:.40} and its vocabulary "
            f"{len(words)} words: give the vocabulary that belongs to it"
        )
    name, content = _content(folder)
    theirs, notes = _checked(folder, name, _tensors(folder, name, content), shape)
    row_of = {word: row for row, word in enumerate(words)}
    rows = torch.tensor([row_of[token] for token in vocabulary.tokens])
    if not torch.equal(rows, torch.arange(len(rows))):
        notes.append("vocabulary: its rows were put in this package's order")
    weights = {f"bert.{key}": tensor for key, tensor in to_ours(theirs, shape, rows).items()}
    config["provenance"] = {
        "versions": versions(),
        "imported_from": {
            "model_type": kind.model_type,
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "notes": list(notes),
        },
    }
    return Imported(NemoFile(config, vocabulary, weights), tuple(notes))


def _settings(folder: Path) -> dict[str, Any]:
    try:
        settings = json.loads((folder / "config.json").read_bytes())
        if not isinstance(settings, dict):
            raise ValueError("no mapping")
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{folder}: its config.json is missing or damaged ({error}): {_KINDS}"
        ) from error
    return settings


def _kind(folder: Path, settings: Mapping[str, Any]) -> Kind:
    """Find the class by its model type; the oldest files have the name of the class alone."""
    model_type, classes = settings.get("model_type"), settings.get("architectures")
    for kind in KINDS.values():
        if model_type == kind.model_type or (model_type is None and classes == [kind.architecture]):
            return kind
    raise CheckpointError(f"{folder}: its model_type is {model_type!a:.60}: {_KINDS}")


def _config(folder: Path, settings: Mapping[str, Any], k: int, block_type: str) -> dict[str, Any]:
    for key in _SIZES.values():
        if key not in settings:
            raise CheckpointError(f"{folder}: its config.json has no {key}: {_KINDS}")
    return {
        "target": LANGUAGE_MODEL,
        "seed": 0,
        "tokenizer": {"k": k, "vocab_file": None},
        "transformer_block_type": block_type,
        **{ours: settings[theirs] for ours, theirs in _SIZES.items()},
        **{ours: settings.get(theirs, default) for ours, (theirs, default) in _DEFAULTS.items()},
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "sequence_parallel": False,
    }


def _content(folder: Path) -> tuple[str, bytes]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            try:
                return name, (folder / name).read_bytes()
            except OSError as error:
                raise CheckpointError(
                    f"{folder}: its {name} cannot be read ({error.strerror}): make it readable"
                ) from error
    parts = " in parts, which are not read" if any(folder.glob("*.index.json")) else ""
    raise CheckpointError(
        f"{folder}: holds no {' or '.join(WEIGHTS)}{parts}: save it again with "
        'save_pretrained(folder, max_shard_size="100GB")'
    )


def _tensors(folder: Path, name: str, content: bytes) -> dict[str, torch.Tensor]:
    try:
        return load_safetensors(content) if name.endswith(".safetensors") else plain_tensors.load(content)
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{folder}: its {name} is damaged ({error!s:.200}): give one of transformers"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{folder}: its {name} {error}: give one of transformers") from error


def _checked(
    folder: Path, name: str, found: dict[str, torch.Tensor], shape: BertShape
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Return the tensors of the language model, all there and of the right shape, and notes on the others."""
    # names of BERT's first release in TensorFlow, which old files keep
    found = {re.sub(r"LayerNorm\.(gamma|beta)$", _new_name, key): value for key, value in found.items()}
    left_out = sorted(key for key in found if _LEFT_OUT.fullmatch(key))
    found = {key: value for key, value in found.items() if key not in left_out}
    where = f"{folder}: its {name}"
    token_types = found.get(TOKEN_TYPES)
    num_token_types = len(token_types) if token_types is not None and token_types.dim() else 1
    wanted = their_tensors(shape, max(num_token_types, 1))
    for copy, of in TIED.items():
        found.setdefault(of, found.get(copy, torch.empty(0)))
        if copy in found and not torch.equal(found.pop(copy), found[of]):
            raise CheckpointError(
                f"{where} has another {copy} than {of}, and here they are one: untied models are not read"
            )
    for key, size in wanted.items():
        if key not in found or (key in TIED.values() and not found[key].numel()):
            raise CheckpointError(f"{where} lacks {key}: {_KINDS}")
        if tuple(found[key].shape) != size or not found[key].is_floating_point():
            raise CheckpointError(
                f"{where} has {key} as {found[key].dtype} {list(found[key].shape)}, and config.json says "
                f"numbers {list(size)}: give the two of one model"
            )
    for key in sorted(found.keys() - wanted.keys()):
        raise CheckpointError(f"{where} has {key!a:.100}, which is no part of this model: {_KINDS}")
    notes = []
    if wide := sorted({str(value.dtype) for value in found.values()} - _DTYPES):
        found = {key: value if str(value.dtype) in _DTYPES else value.float() for key, value in found.items()}
        notes.append(f"numbers: {', '.join(wide)} was turned into torch.float32")
    if found[TOKEN_TYPES][0].any():
        notes.append("token types: type 0 was added to the positions, the others were left out")
    if left_out:
        notes.append(f"left out, as the masked language model has no use for them: {', '.join(left_out)}")
    return found, notes


def _new_name(old: re.Match[str]) -> str:
    return "LayerNorm." + {"gamma": "weight", "beta": "bias"}[old[1]]
