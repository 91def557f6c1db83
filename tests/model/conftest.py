"""Small NeMo models of one process, as a run leaves them when it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dnabert_nemo.data.batch import MicroBatch
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.model import DnabertClassifier, DnabertModel

CONFIG = {
    "seed": 1,
    "tokenizer": {"k": 3, "vocab_file": None},
    "num_layers": 2,
    "hidden_size": 32,
    "ffn_hidden_size": 64,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "hidden_dropout": 0.1,
    "attention_dropout": 0.1,
    "tensor_model_parallel_size": 1,
    "pipeline_model_parallel_size": 1,
    "sequence_parallel": False,
    "data": {"train": "/somewhere/only/this/machine/has"},
    "optim": {"lr": 1.0},
}


@pytest.fixture
def new_model() -> Callable[..., DnabertModel]:
    """Make a masked language model with its first weights."""

    def make(**changed: Any) -> DnabertModel:
        model = DnabertModel(OmegaConf.create(CONFIG | changed))
        model.build(ParallelSizes(), "fp32")
        return model

    return make


@pytest.fixture
def new_classifier() -> Callable[..., DnabertClassifier]:
    """Make a classifier of three classes, its stage not yet built."""

    def make(**changed: Any) -> DnabertClassifier:
        own = {"labels": ["donor", "acceptor", "none"], "freeze_encoder": False}
        return DnabertClassifier(OmegaConf.create(CONFIG | own | changed))

    return make


@pytest.fixture
def nemo(new_model, tmp_path: Path) -> Path:
    """The .nemo file of a masked language model."""
    new_model().save_to(str(tmp_path / "files" / "tiny.nemo"))
    return tmp_path / "files" / "tiny.nemo"


@pytest.fixture
def batch() -> MicroBatch:
    """Two segments of random tokens, to be predicted everywhere."""
    ids, none = torch.randint(5, 69, (80,), generator=torch.Generator().manual_seed(1)), torch.empty(0)
    positions = torch.cat([torch.arange(64), torch.arange(16)])
    return MicroBatch(ids, positions, (64, 16), torch.arange(80), ids, none, none, none, 80, 2)


@pytest.fixture
def logits(batch: MicroBatch) -> Callable[[DnabertModel], torch.Tensor]:
    """Return the logits [80, 69] of a model, without dropout."""

    def of(model: DnabertModel) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(batch)[:, :69]

    return of
