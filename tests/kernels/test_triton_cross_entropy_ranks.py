"""A vocabulary that several ranks share has the losses and the gradient of the whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import entropy_ranks
import parity
import pytest

NUM_RANKS = 4


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Start the ranks once; return what each found."""
    folder = tmp_path_factory.mktemp("entropy")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={NUM_RANKS}",
    ]
    process = subprocess.Popen(
        [*torchrun, entropy_ranks.__file__, str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = process.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail(f"{process.communicate()[0]}\nthe ranks were still running after 240 s")
    assert process.returncode == 0, printed
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


@pytest.mark.parametrize("dtype", parity.DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("num_ranks", [2, 4])
@pytest.mark.parametrize("function", ["masked_cross_entropy", "torch_masked_cross_entropy"])
def test_ranks_that_share_the_vocabulary_find_what_one_does(
    found: list[dict[str, Any]], function: str, num_ranks: int, dtype: Any
) -> None:
    name = f"{function} on {num_ranks}, {str(dtype).removeprefix('torch.')}"
    assert len(found) == NUM_RANKS
    for rank in found:
        assert rank[name]["losses"] <= parity.tolerance(parity.DTYPES[0])
        assert rank[name]["gradient"] <= parity.tolerance(dtype)
        assert rank[name]["padding"] == 0
        assert rank[name]["evaluated"]
        assert rank[name]["unknown"]
        assert rank[name]["none"] == [0]
