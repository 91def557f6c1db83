"""What the throughput benchmark measures and on what: its config, checked before anything is made.

Imports no torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from dnabert_nemo.command import listed
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import Choice, Device, choose
from dnabert_nemo.kmer.vocabulary import Vocabulary
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.training import precision

PARTS = ("ablation", "peers", "scaling", "ranks", "inference", "loader")
PEERS = ("original", "sdpa", "compile", "modernbert")
PRESETS = ("auto", "cpu", "gpu")
MARKDOWN, JSON = "throughput.md", "throughput.json"
PLOTS = ("ablation.png", "peers.png", "length.png", "hidden.png", "micro_batch.png", "ranks.png")
FILES = (MARKDOWN, JSON, *PLOTS)
POSITIONS = 512  # of all samples but those of the length sweep
_MASKED = (3, 4, 5, 6)  # ks that the original DNABERT has a mask for
HEAD = 64  # size of an attention head in the hidden sweep


@dataclass(frozen=True)
class Turns:
    """How a group is measured.

    Args:
        rounds: turns that each row has.
        steps: of a turn.
        settle: steps before these that do not count.
        warmup: steps before the first round.
    """

    rounds: int
    steps: int = 1
    settle: int = 0
    warmup: int = 1


@dataclass(frozen=True)
class Batch:
    rows: int
    micro_batch_size: int
    tokens_per_row: int
    samples: int
    peer_samples: int
    num_steps: int


@dataclass(frozen=True)
class Scaling:
    turns: Turns
    layers: int
    tokens: int
    lengths: tuple[int, ...]
    peer_longest: int
    hidden: tuple[int, ...]
    hidden_tokens: int
    micro_batches: tuple[int, ...]


@dataclass(frozen=True)
class Ranks:
    turns: Turns
    sizes: tuple[int, ...]
    rows: int
    tokens_per_row: int


@dataclass(frozen=True)
class Inference:
    turns: Turns
    sequences: int
    batch: int


@dataclass(frozen=True)
class Loader:
    genome_bases: int
    rows: int
    micro_batch_size: int
    tokens_per_row: int
    steps: int
    workers: tuple[int, ...] | None
    repeats: int
    wait_workers: int
    wait_steps: int


@dataclass(frozen=True)
class Here:
    """What is measured on.

    Args:
        gpu: the name of the first GPU, None for a CPU.
        num_gpus: of this machine.
    """

    gpu: str | None
    num_gpus: int
    capability: tuple[int, int] | None

    @classmethod
    def found(cls) -> Here:
        """Look for GPUs."""
        import torch  # here, so that a config that cannot work is told of at once

        if not torch.cuda.is_available():
            return cls(None, 0, None)
        return cls(
            torch.cuda.get_device_name(0), torch.cuda.device_count(), torch.cuda.get_device_capability(0)
        )

    @property
    def is_gpu(self) -> bool:
        return self.gpu is not None


@dataclass(frozen=True)
class Settings:
    """A preset of the config, on this machine."""

    here: Here
    preset: str
    seed: int
    precision: str
    threads: int
    ks: tuple[int, ...]
    peers: tuple[str, ...]
    model: Mapping[str, Any]
    genome_bases: int
    batch: Batch
    turns: Turns
    other_turns: Turns
    scaling: Scaling
    ranks: Ranks
    inference: Inference
    loader: Loader

    def shape(self, k: int, **changes: Any) -> BertShape:
        """Return the model's shape for k, with some of its sizes changed."""
        vocabulary = Vocabulary(k)
        given = {"max_position_embeddings": POSITIONS, **self.model, **changes}
        return BertShape(len(vocabulary), vocabulary.padded_size(), **given)

    @property
    def kernels(self) -> Choice:
        """What `model.kernels=auto` means here."""
        return choose("auto", Device.here(self.here.capability), precision=self.precision)

    @property
    def peak_flops(self) -> float | None:
        """The FLOP/s of the GPU by its datasheet; None on a CPU, and for a GPU that is not known."""
        if self.here.gpu is None:
            return None
        from dnabert_nemo.model.utilisation import peak_flops  # here, as its room brings NeMo

        return peak_flops(self.here.gpu, self.precision)


def parts(names: object) -> list[str]:
    """Return the parts that are asked for, in our order.

    Raises:
        ConfigError: one is not known, or there is none.
    """
    return _chosen("rows", names, PARTS)


def settings(config: Mapping[str, Any], here: Here) -> Settings:
    """Read the config's preset for this machine.

    Raises:
        ConfigError: a value cannot work, by the name of its key.
    """
    preset = config["preset"]
    if preset not in PRESETS:
        raise ConfigError(f"preset={preset}: choose from {', '.join(PRESETS)}")
    if preset == "auto":
        preset = "gpu" if here.is_gpu else "cpu"
    if preset == "gpu" and not here.is_gpu:
        raise ConfigError("preset=gpu: torch finds no GPU here: pass preset=cpu, or leave it auto")
    if preset == "cpu" and here.is_gpu:
        raise ConfigError(
            "preset=cpu: torch finds a GPU here, and would use it: set CUDA_VISIBLE_DEVICES= to nothing"
        )
    given = config[preset]
    chosen = precision.choose(_asked(preset, given["precision"]), here.capability)
    made = Settings(
        here=here,
        preset=preset,
        seed=_count("seed", config["seed"], 0),
        precision=chosen.name,
        threads=os.cpu_count() or 1
        if given["threads"] is None
        else _count(f"{preset}.threads", given["threads"]),
        ks=_counts(f"{preset}.ks", given["ks"], 1),
        peers=tuple(_chosen("peers", config["peers"], PEERS, least=0)),
        model=given["shape"],
        genome_bases=_count(f"{preset}.genome_bases", given["genome_bases"]),
        batch=_read(Batch, f"{preset}.batch", given["batch"]),
        turns=_turns(f"{preset}.turns", given["turns"]),
        other_turns=_turns(f"{preset}.other_turns", given["other_turns"]),
        scaling=_read(Scaling, f"{preset}.scaling", given["scaling"]),
        ranks=_read(Ranks, f"{preset}.ranks", given["ranks"]),
        inference=_read(Inference, f"{preset}.inference", given["inference"]),
        loader=_read(Loader, f"{preset}.loader", given["loader"]),
    )
    _check(made)
    return made


def _chosen(key: str, names: object, known: Sequence[str], *, least: int = 1) -> list[str]:
    """Return those of `known` that a list, or one name in its place, asks for."""
    asked = list(listed(names) or ())
    if names is None or len(asked) < least or set(asked) - set(known):
        raise ConfigError(f"{key}={names}: choose from {', '.join(known)}")
    return [name for name in known if name in asked]


def _asked(preset: str, name: str) -> str:
    """Turn fp32, bf16 or fp16 into Lightning's name."""
    lightnings = {"auto": "auto", "fp32": "32", "bf16": "bf16-mixed", "fp16": "16-mixed"}
    if name not in lightnings:
        raise ConfigError(f"{preset}.precision={name}: choose from {', '.join(lightnings)}")
    return lightnings[name]


def _read(kind: Any, key: str, given: Mapping[str, Any]) -> Any:
    """Read whole numbers, lists of them and turns by the names and types of a dataclass."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{key}={given}: give its keys, or leave it as it is")
    values: dict[str, Any] = {}
    for field in fields(kind):
        value, name = given[field.name], f"{key}.{field.name}"
        if field.type == "Turns":
            values[field.name] = _turns(name, value)
        elif field.type == "int":
            values[field.name] = _count(name, value)
        elif value is None and "None" in str(field.type):
            values[field.name] = None
        else:
            values[field.name] = _counts(name, value, 0 if field.name == "workers" else 1)
    return kind(**values)


def _counts(key: str, value: object, least: int) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{key}={value}: give a list of whole numbers")
    return tuple(_count(key, each, least) for each in value)


def _turns(key: str, given: Mapping[str, Any]) -> Turns:
    least = {"rounds": 1, "steps": 1, "settle": 0, "warmup": 0}
    if not isinstance(given, Mapping):
        raise ConfigError(f"{key}={given}: give {', '.join(least)}")
    return Turns(**{name: _count(f"{key}.{name}", given[name], least[name]) for name in least})


def _count(key: str, value: object, least: int = 1) -> int:
    if type(value) is not int or value < least:
        raise ConfigError(f"{key}={value}: give a whole number of at least {least}")
    return value


def _check(made: Settings) -> None:
    preset, batch, scaling, ranks = made.preset, made.batch, made.scaling, made.ranks
    if not made.ks or set(made.ks) - set(_MASKED):
        known = ", ".join(map(str, _MASKED))
        raise ConfigError(
            f"{preset}.ks={list(made.ks)}: DNABERT, the peer, masks k = {known}: choose of these"
        )
    shape = made.shape(made.ks[0])
    divide = [
        ("shape.num_attention_heads", shape.num_attention_heads, "shape.hidden_size", shape.hidden_size),
        ("batch.micro_batch_size", batch.micro_batch_size, "batch.rows", batch.rows),
        ("batch.peer_samples", batch.peer_samples, "batch.samples", batch.samples),
        *(("the length", each, "scaling.tokens", scaling.tokens) for each in scaling.lengths),
        *((f"a head of {HEAD}", HEAD, "scaling.hidden", each) for each in scaling.hidden),
        (f"a sample of {POSITIONS}", POSITIONS, "scaling.hidden_tokens", scaling.hidden_tokens),
        *(("ranks.sizes", each, "ranks.rows", ranks.rows) for each in ranks.sizes),
    ]
    for what, part, key, whole in divide:
        if whole % part:
            raise ConfigError(
                f"{preset}.{key}={whole} is not a multiple of {part} ({what}): change one of them"
            )
    for key, tokens in (("batch", batch.tokens_per_row), ("ranks", ranks.tokens_per_row)):
        if tokens < POSITIONS:
            raise ConfigError(f"{preset}.{key}.tokens_per_row={tokens}: a full sample has {POSITIONS}")
