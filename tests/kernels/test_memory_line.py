"""What attention keeps and takes grows with the packed tokens, no faster; the table says where it would."""

from __future__ import annotations

import os
import subprocess
import sys

import memory_line
import pytest
from memory_line import Way, is_at_most_linear, line, measure


def test_the_table_tells_lines_from_parabolas() -> None:
    tokens = [2048, 4096, 8192]
    assert is_at_most_linear(line(tokens, [10, 20, 40]))
    assert is_at_most_linear(line(tokens, [60, 70, 90]))
    assert not is_at_most_linear(line(tokens, [10, 40, 160]))
    assert not is_at_most_linear(line(tokens, [100, 130, 300]))  # what does not grow hides the slope at first
    assert line(tokens, [10, 20, 40]) == pytest.approx((1, 1, 2))


@pytest.mark.parametrize("way", memory_line.ways(), ids=str)
def test_what_autograd_keeps_is_a_line(way: Way) -> None:
    """Segments of one length, twice as many: twice as much, or nothing."""
    once, twice = (memory_line.measure_here(way, [200] * count).kept for count in (10, 20))
    assert twice == pytest.approx(2 * once, rel=0.01, abs=64)


@pytest.mark.skipif(memory_line.device().type == "cuda", reason="blocks are a CPU's")
def test_blocks_keep_no_tensor_but_their_input_and_need_no_more_for_longer_segments() -> None:
    short, long = (measure(Way("blocks", 0.1), [8192 // count] * count) for count in (16, 2))
    assert short.kept == long.kept == 0
    assert long.peak < 1.3 * short.peak
    assert measure(Way("segments", 0.1), [2048] * 2).peak > 4 * 2048 * 2048 * 4  # torch's keeps all scores


def test_the_table_holds() -> None:
    done = subprocess.run(
        [sys.executable, memory_line.__file__, "--most", "8192", "--mix-only"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MORE THAN LINEAR" not in done.stdout
    assert len(done.stdout.splitlines()) == 4 + len(memory_line.ways())
