"""A .nemo file's language model as a folder that `AutoModelForMaskedLM` and `AutoTokenizer` open."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file

from dnabert_nemo.errors import CheckpointError
from dnabert_nemo.kmer.vocabulary import PAD
from dnabert_nemo.megatron import checkpoint_folder
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.model.huggingface.names import kind_of, to_theirs
from dnabert_nemo.model.huggingface.tokenizer import write_tokenizer
from dnabert_nemo.model.model_config import LANGUAGE_MODEL
from dnabert_nemo.model.nemo_file import NemoFile

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_folder(folder: Path, file: NemoFile, source: str) -> None:
    """Write config, weights without vocabulary padding, and tokenizer to a folder, which appears whole.

    Args:
        folder: replaced where it is there already.
        source: where `file` came from, for messages.

    Raises:
        CheckpointError: the file holds no masked language model, or the folder cannot be written; then what
            was there before is untouched.
    """
    if file.config["target"] != LANGUAGE_MODEL:
        raise CheckpointError(
            f"{source}: holds a {file.config['target']}, and HuggingFace has a class for the masked language "
            "model alone: give the .nemo file that pretrain.py wrote"
        )
    shape = BertShape.of(file.config)
    ours = {name.removeprefix("bert."): tensor for name, tensor in file.weights.items()}
    theirs = to_theirs(ours, shape)
    config = config_of(shape, dtype=str(next(iter(ours.values())).dtype).removeprefix("torch."))
    target = folder.resolve()  # of a link, or of "."
    aside = target.with_name(target.name + ".unfinished")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        save_file(theirs, aside / WEIGHTS, metadata={"format": "pt"})
        (aside / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="ascii", newline="\n")
        write_tokenizer(aside, file.vocabulary, shape.max_position_embeddings)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(aside, ignore_errors=True)
        why = checkpoint_folder.reason(error, target)
        raise CheckpointError(f"{folder}: could not be written: {why}: put that right") from error


def config_of(shape: BertShape, dtype: str) -> dict[str, Any]:
    """Say in HuggingFace's words what the model is."""
    kind = kind_of(shape)
    return {
        "architectures": [kind.architecture],
        "model_type": kind.model_type,
        "vocab_size": shape.vocab_size,
        "hidden_size": shape.hidden_size,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_attention_heads,
        "intermediate_size": shape.ffn_hidden_size,
        "hidden_act": "gelu",  # the one with erf
        "hidden_dropout_prob": shape.hidden_dropout,
        "attention_probs_dropout_prob": shape.attention_dropout,
        "max_position_embeddings": shape.max_position_embeddings,
        "position_embedding_type": "absolute",
        "type_vocab_size": 2,
        "initializer_range": shape.init_method_std,
        "layer_norm_eps": shape.layernorm_epsilon,
        "pad_token_id": PAD,
        "tie_word_embeddings": True,
        "torch_dtype": dtype,
    }
