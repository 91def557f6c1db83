"""What the interpreter runs, the compiler takes: every kernel becomes machine code of Ampere and Hopper."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dnabert_nemo import kernels

CAPABILITIES = (80, 90)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Compile all kernels, without what earlier runs left in Triton's cache."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("compiled.py")), *map(str, CAPABILITIES)],
        env={**os.environ, "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def launched_kernels() -> Iterator[str]:
    """Yield the kernels that the package launches: Triton's functions called as `kernel[grid](...)`."""
    for path in Path(kernels.__file__).parent.glob("triton_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
                assert isinstance(node.func.value, ast.Name)
                yield f"{path.stem}.{node.func.value.id}"


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_kernel_compiles(compiled: list[dict[str, Any]], capability: int) -> None:
    expected = set(launched_kernels())
    assert len(expected) == 8
    assert {line["kernel"] for line in compiled if line["capability"] == capability} == expected


def test_a_tile_of_the_models_own_size_stays_in_registers_and_shared_memory(
    compiled: list[dict[str, Any]],
) -> None:
    own = [line for line in compiled if line["columns"] == 768]
    assert own
    assert [line for line in own if line["spilled"] or line["shared"] > 48 * 1024] == []
