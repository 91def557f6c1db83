"""Data flows left to right and imports point right to left: the order of the rooms, read from their
source.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dnabert_nemo"
ORDER = (
    "genome",
    "kmer",
    "shards",
    "duplicates",
    "data",
    "kernels",
    "megatron",
    "model",
    "training",
    "downstream",
    "bench",
)
WITHOUT_TORCH = {"genome", "kmer", "shards", "duplicates"}
WITH_NEMO_OR_LIGHTNING = {"data", "model", "training", "downstream"}


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield (file, its room or "" at the top, imported module), for every import at any depth of a file."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        room = parts[0] if len(parts) > 1 else ""
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: write imports in full, from dnabert_nemo"
                names = [node.module or ""]
                if node.module == "dnabert_nemo":
                    names = [f"dnabert_nemo.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                yield "/".join(parts), room, name


def importing(*packages: str) -> list[tuple[str, str, str]]:
    """Find the imports of these packages and what is inside them."""
    return [found for found in imports() if found[2].split(".")[0] in packages]


def test_every_room_has_its_place_in_the_order() -> None:
    rooms = {path.parent.name for path in PACKAGE.glob("*/*.py")}
    assert rooms == set(ORDER)


def test_no_import_points_forward() -> None:
    inside = [
        (file, room, name.split(".")[1]) for file, room, name in importing("dnabert_nemo") if "." in name
    ]
    between_rooms = [(file, room, target) for file, room, target in inside if target in ORDER]
    assert len(between_rooms) > 50
    assert [
        f"{file} imports {target}"
        for file, room, target in between_rooms
        if file != "__main__.py" and (room == "" or ORDER.index(target) > ORDER.index(room))
    ] == []


@pytest.mark.parametrize(
    ("packages", "rooms"),
    [
        (("megatron",), {"megatron"}),
        (("nemo", "lightning"), WITH_NEMO_OR_LIGHTNING),
        (("torch",), set(ORDER) - WITHOUT_TORCH),
        (("pytorch_lightning", "transformer_engine", "apex"), set()),
    ],
)
def test_a_library_is_imported_only_where_it_belongs(packages: tuple[str, ...], rooms: set[str]) -> None:
    assert [f"{file} imports {name}" for file, room, name in importing(*packages) if room not in rooms] == []


def light(statement: str) -> float:
    """Run an import in an interpreter of its own; return its seconds, and fail where it brought a heavy
    one.
    """
    program = (
        f"import sys, time; start = time.perf_counter(); {statement}; seconds = time.perf_counter() - start\n"
        "heavy = {'torch', 'nemo', 'lightning', 'megatron'} & sys.modules.keys()\n"
        "print(seconds, *heavy)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    return float(seconds)


def test_the_package_imports_at_once_and_without_torch() -> None:
    assert min(light("import dnabert_nemo") for _ in range(3)) < 0.5


@pytest.mark.parametrize(
    "module",
    [
        "genome.toy",
        "kmer.masking",
        "shards.prepare",
        "shards.reader",
        "command",
        "training.check",
        "training.plan_report",
    ],
)
def test_what_comes_before_training_needs_no_torch(module: str) -> None:
    light(f"import dnabert_nemo.{module}")
