"""What follows from turns: made-up ones, whose speeds, ratios, memory and FLOP/s are known."""

from __future__ import annotations

import pytest

from dnabert_nemo.bench.table import markdown
from dnabert_nemo.bench.throughput.figures import Measured, compared, memory_compared, missing, table
from dnabert_nemo.bench.throughput.worker import Turn
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.flops import flops_per_token

SHAPE = BertShape(69, 128, num_layers=2, hidden_size=32, ffn_hidden_size=64, num_attention_heads=2)


def measured(name: str, seconds: list[float], tokens: float = 1000, peak: int = 10**6) -> Measured:
    """Make a row of turns of two steps and `tokens`."""
    return Measured(name, tuple(Turn(each, 2, tokens, peak) for each in seconds), SHAPE, 5, 300.0, 0.5, 0.25)


OURS = measured("ours", [1.0, 2.0, 1.25])
PEER = measured("peer", [4.0, 5.0, 4.0], peak=3 * 10**6)
ABSENT = Measured("absent", reason="out of memory")


def test_a_row_goes_by_its_medians() -> None:
    assert OURS.speeds == [1000, 500, 800]
    assert OURS.speed == 800
    assert OURS.step_seconds == 0.625
    assert OURS.flops == pytest.approx(800 * flops_per_token(SHAPE, 300.0, 0.5, 0.25))
    # 500 tokens in a step, 100 of them at once
    assert OURS.bytes_a_token == 10**4
    assert (ABSENT.speed, ABSENT.step_seconds, ABSENT.flops, ABSENT.bytes_a_token) == (None, None, None, None)


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """Of 4, 1 and 4, where the medians, 800 and 250 tokens a second, are 3.2 apart."""
    row = compared("training", OURS, measured("peer", [4.0, 2.0, 5.0]))
    assert (row.value, row.peer_value, row.ratio) == (800, 250, 4.0)
    assert row.note == "1 to 4 x in 3 rounds"


def test_a_ratio_has_its_span_and_its_target() -> None:
    row = compared("training", OURS, PEER, target_ratio=3.0, note="quiet")
    assert row.ratio == 800 / 250
    assert row.is_met is True
    assert row.note == "2.5 to 4 x in 3 rounds; quiet"
    assert compared("training", OURS, PEER, target_ratio=3.5).is_met is False


def test_a_target_that_only_some_rounds_reach_says_so() -> None:
    """The rounds' ratios are 4, 2.5 and 3.2."""
    written = {
        target: compared("training", OURS, PEER, target_ratio=target).targets()
        for target in (2.0, 3.0, 3.5, 5.0)
    }
    assert written == {
        2.0: ">= 2 x, met",
        3.0: ">= 3 x, met (in 2 of 3 rounds)",
        3.5: ">= 3.5 x, missed (in 1 of 3 rounds)",
        5.0: ">= 5 x, missed",
    }


def test_memory_may_not_be_more_than_the_peers() -> None:
    row = memory_compared("memory", OURS, PEER)
    assert (row.value, row.peer_value, row.is_met) == (10.0, 30.0, True)
    assert memory_compared("memory", PEER, OURS).is_met is False


def test_what_was_not_measured_says_so_and_meets_nothing() -> None:
    for row in (compared("training", OURS, ABSENT, target_ratio=3.0), memory_compared("m", ABSENT, PEER)):
        assert row.is_met is None
        assert row.ratio is None
        assert row.note == "absent: not measured: out of memory"
    assert "| m | not measured | <= 1 x |" in markdown([memory_compared("m", ABSENT, PEER)])
    assert missing(OURS, PEER) == ""


def test_the_table_shows_the_gain_of_each_row() -> None:
    lines = table([PEER, ABSENT, OURS], 1e9, is_ladder=True).splitlines()
    assert {line.count("|") for line in lines} == {11}
    assert lines[3] == "| absent | not measured: out of memory |  |  |  |  |  |  |  |  |"
    tflops = 250 * flops_per_token(SHAPE, 300.0, 0.5, 0.25) / 1e12
    assert lines[2].startswith(
        f"| peer | 250 | 200 to 250 | 2,000 | {tflops:.2e} | {1e5 * tflops:.1f} % | 3 | 30 |"
    )
    assert lines[4].endswith("|  | 3.20 |")
    assert table([PEER], None).count("| - |") == 1
