"""What a plan says that a rank holds, against ranks that are built and measured, and against the paper."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.recompute import Recompute
from dnabert_nemo.megatron.sizes import ParallelSizes
from dnabert_nemo.training.plan_memory import (
    Activations,
    States,
    most_in_flight,
    parameters_of_stage,
)

BASE = BertShape(69, 128)
LAYOUTS = [
    ParallelSizes(tensor, pipeline, virtual=virtual)
    for tensor, pipeline, virtual in product((1, 2, 4), (1, 2, 3, 6), (1, 2))
    if pipeline > 1 or virtual == 1
] + [
    ParallelSizes(2, 4, layout=(2, 4, 4, 2)),
    ParallelSizes(1, 2, virtual=2, layout=(1, 2, 3, 6)),
    ParallelSizes(1, 12, context=2),
]


@pytest.mark.parametrize("block_type", ["pre_ln", "post_ln"])
@pytest.mark.parametrize("sizes", LAYOUTS, ids=str)
def test_the_ranks_of_a_model_hold_all_of_it(sizes: ParallelSizes, block_type: str) -> None:
    """What tensor ranks split counts once each, what they have alike once, the embedding's copy never."""
    shape = BertShape(69, 128, transformer_block_type=block_type)
    stages = [parameters_of_stage(shape, sizes, stage) for stage in range(sizes.pipeline)]
    assert sum(sizes.tensor * each.split + each.alike for each in stages) == shape.num_parameters()
    copies = sum(sizes.tensor * each.copied for each in stages)
    assert copies == (128 * 768 if sizes.pipeline > 1 else 0)


def test_the_published_model_by_hand() -> None:
    assert parameters_of_stage(BASE, ParallelSizes(), 0).total == 86_139_776
    # 6 layers of 7,087,872 and, first, (128 + 512) x 768; last, the LayerNorm, the head and the copy
    first, last = (parameters_of_stage(BASE, ParallelSizes(pipeline=2), stage) for stage in (0, 1))
    assert first.total == 6 * 7_087_872 + 491_520
    assert last.total == 6 * 7_087_872 + 1_536 + (590_592 + 1_536 + 128) + 98_304
    half = parameters_of_stage(BASE, ParallelSizes(tensor=2), 0)
    # of a layer 9,216 - 2,304 - 3,072 + 768 = 4,608 numbers are on both ranks, the rest is halved
    assert half.alike == 12 * 4_608 + 512 * 768 + 1_536 + 590_592 + 1_536
    assert 2 * half.split + half.alike == 86_139_776


def test_states_by_hand() -> None:
    n = 86_139_776
    assert States.of(n, "fp32").total == 16 * n
    assert States.of(n, "bf16") == States.of(n, "fp16")
    alone, eight = States.of(n, "bf16"), States.of(n, "bf16", 8)
    assert (alone.weights, alone.gradients, alone.optimizer) == (2 * n, 4 * n, 12 * n)
    assert (eight.weights, eight.gradients, eight.optimizer) == (2 * n, 4 * n, 129_209_664)


def activations(shape: BertShape, **changed: Any) -> Activations:
    given: dict[str, Any] = {
        "sizes": ParallelSizes(),
        "recompute": Recompute(),
        "precision": "bf16",
        "tokens": 8192,
        "masked_share": 0.15,
    }
    return Activations(shape, **(given | changed))


@pytest.mark.parametrize("tensor", [1, 2, 4])
def test_a_layer_is_that_of_the_paper(tensor: int) -> None:
    """Korthikanti et al. 2022, table 2, at 16 bits: s b h (10 + 24 / t) without the scores, and with sequence
    parallelism 34 / t, with a few numbers a token.
    """
    unit = 8192 * 768
    few = 4 * 8192 * 12 + 16 * 8192
    plain = activations(BASE, sizes=ParallelSizes(tensor))
    assert 0 <= plain.layer - unit * (10 + 24 / tensor) <= few
    if tensor > 1:
        shared = activations(BASE, sizes=ParallelSizes(tensor, sequence_parallel=True))
        assert 0 <= shared.layer - unit * 34 / tensor <= few
    selective = activations(BASE, sizes=ParallelSizes(tensor), recompute=Recompute("selective"))
    assert 0 <= selective.layers(1) - unit * (10 + 24 / tensor) <= few
    full = activations(BASE, sizes=ParallelSizes(tensor), recompute=Recompute("full", "uniform", 1))
    assert full.layers(12) == 12 * 2 * unit


@pytest.mark.parametrize(
    ("pipeline", "virtual", "micro_batches"), [(4, 1, 16), (4, 1, 2), (4, 3, 16), (2, 4, 8)]
)
def test_micro_batches_in_flight(pipeline: int, virtual: int, micro_batches: int) -> None:
    """Equal runs: min(p - stage, m) under 1F1B; interleaved, L (1 + (p - 1) / (p v)) layers on the first
    stage (Korthikanti et al. 2022, section 4.2.3).
    """
    for stage in range(pipeline):
        most, passes = most_in_flight([12] * virtual, stage, pipeline, micro_batches)
        assert most == 12 * passes
        if virtual == 1:
            assert passes == min(pipeline - stage, micro_batches)
    if virtual > 1:
        most, _ = most_in_flight([12] * virtual, 0, pipeline, micro_batches)
        assert most == pytest.approx(12 * virtual * pipeline * (1 + (pipeline - 1) / (pipeline * virtual)))


def test_uneven_runs_in_flight() -> None:
    """Two ranks, two runs each: rank 0 passes runs 0 0 1 1 0 forward, then each second run answered makes
    room for a first one: of five passes in flight four are of that.
    """
    assert most_in_flight([10, 1], 0, 2, 4) == (4 * 10 + 1, 5)
    assert most_in_flight([1, 10], 1, 2, 4) == (1 + 1 + 10, 3)


def case(num_ranks: int, rank: int, **changed: Any) -> dict[str, Any]:
    given = {"sizes": {}, "precision": "fp32", "recompute": (), "shape": {}, "optimizer": None}
    return {"num_ranks": num_ranks, "rank": rank, **given, **changed}


NO_DROPOUT = {"hidden_dropout": 0.0, "attention_dropout": 0.0}
TP2_PP2 = {"tensor": 2, "pipeline": 2}
UNEVEN = {"pipeline": 2, "virtual": 2, "layout": (1, 2, 3, 2)}
MEASURED = [
    case(1, 0, optimizer="fused_adam"),
    case(1, 0, recompute=("selective",)),
    case(1, 0, recompute=("full", "uniform", 2)),
    case(1, 0, recompute=("full", "block", 3)),
    case(1, 0, shape=NO_DROPOUT),
    case(1, 0, shape={"transformer_block_type": "post_ln"}),
    case(1, 0, precision="bf16", optimizer="fused_adam"),
    case(2, 1, precision="bf16", optimizer="distributed_fused_adam", recompute=("selective",)),
    case(2, 0, optimizer="distributed_fused_adam"),
    *(case(4, rank, sizes=TP2_PP2) for rank in (0, 2)),
    *(case(4, rank, sizes={**TP2_PP2, "sequence_parallel": True}, precision="bf16") for rank in (0, 2)),
    *(case(2, rank, sizes=UNEVEN) for rank in (0, 1)),
    *(case(2, rank, sizes=UNEVEN, shape={"transformer_block_type": "post_ln"}) for rank in (0, 1)),
    case(4, 2, sizes={"pipeline": 4, "layout": (1, 3, 3, 1)}, recompute=("full", "block", 1)),
    case(2, 0, sizes={"context": 2}),
    case(2, 0, sizes={"context": 2}, shape=NO_DROPOUT),
    case(2, 1, sizes={"context": 2}, recompute=("selective",)),
    case(
        8,
        4,
        sizes={"tensor": 4, "pipeline": 2, "sequence_parallel": True},
        precision="bf16",
        shape=NO_DROPOUT,
    ),
]


def named(asked: dict[str, Any]) -> str:
    """Name a case by what is not the default in it."""
    parts = [str(part) for part in asked.values() if part not in ({}, (), None)]
    return " ".join(parts)


@pytest.fixture(scope="module")
def measured() -> list[dict[str, Any]]:
    """What each of MEASURED holds; all are built in one process."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("planned_ranks.py"))],
        input=json.dumps(MEASURED),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    [line] = [line for line in done.stdout.splitlines() if line.startswith("MEASURED ")]
    return list(json.loads(line.removeprefix("MEASURED ")))


@pytest.mark.parametrize("at", range(len(MEASURED)), ids=lambda at: named(MEASURED[at]))
def test_a_rank_holds_what_is_planned(measured: list[dict[str, Any]], at: int) -> None:
    """Parameters exactly; activations to 1 %; gradients and optimizer to 1 %, what Megatron pads."""
    asked, found = MEASURED[at], measured[at]
    sizes, precision = ParallelSizes(**asked["sizes"]), asked["precision"]
    shape = BertShape(69, 128, 8, 64, 256, 4, 64, **asked["shape"])
    stage = asked["rank"] // (asked["num_ranks"] // sizes.pipeline)
    parameters = parameters_of_stage(shape, sizes, stage).total
    assert found["parameters"] == parameters
    planned = activations(
        shape,
        sizes=sizes,
        recompute=Recompute(*asked["recompute"]),
        precision=precision,
        tokens=512,
        masked_share=found["masked"] * sizes.context / 512,
        accelerator="cpu",
    ).runs(stage)
    assert list(planned) == pytest.approx(found["runs"], rel=0.01)
    if asked["optimizer"] is not None:
        shards = asked["num_ranks"] if asked["optimizer"] == "distributed_fused_adam" else 1
        states = States.of(parameters, precision, shards)
        assert states.gradients == pytest.approx(found["gradients"], rel=0.01)
        assert states.optimizer == pytest.approx(found["optimizer"], rel=0.01)
