"""scripts/install.sh with a stand-in for Python: what is made, when it is made anew, what is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

# Answers for its version, "makes" an environment with a copy of itself in it, "installs" by a line in a log.
PYTHON = """#!/usr/bin/env bash
case "$*" in
    *version_info*) exit "${TOO_OLD:-0}" ;;
    *"import ensurepip"*) exit "${NO_VENV:-0}" ;;
    *"import pip"*) exit 0 ;;
    "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    "-m pip install"*) echo "${@: -1}" >>"$PIP_LOG"; exit "${PIP_FAILS:-0}" ;;
    --version) echo "Python 3.11.0" ;;
    *) exit 1 ;;
esac
"""


class Clone:
    """A copy of what install.sh reads, and a stand-in Python in front of every other."""

    def __init__(self, folder: Path) -> None:
        self.repo, self.log = folder / "repo", folder / "pip.log"
        (self.repo / "scripts").mkdir(parents=True)
        for name in ("scripts/install.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(REPO / name, self.repo / name)
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name in ("python3.11", "python3.12", "python3"):
            (self.bin / name).write_text(PYTHON)
            (self.bin / name).chmod(0o755)

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "scripts/install.sh", *arguments],
            cwd=self.repo,
            env={"PATH": f"{self.bin}:{os.defpath}", "PIP_LOG": str(self.log), **environment},
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def installed(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_once_is_enough(clone: Clone) -> None:
    assert clone.install().returncode == 0
    assert clone.installed == ["."]
    again = clone.install()
    assert (again.returncode, again.stdout) == (0, "")
    assert clone.installed == ["."]


def test_an_extra_is_added_and_covers_less(clone: Clone) -> None:
    for extra in ("", "dev", "test", ""):
        assert clone.install(*[extra] * bool(extra)).returncode == 0
    assert clone.installed == [".", ".[dev]"]


def test_new_pins_are_installed(clone: Clone) -> None:
    clone.install()
    with (clone.repo / "constraints.txt").open("a") as file:
        file.write("another==1\n")
    assert clone.install().returncode == 0
    assert clone.installed == [".", "."]


def test_an_interrupted_installation_starts_over(clone: Clone) -> None:
    assert clone.install(PIP_FAILS="1").returncode == 1
    (clone.repo / ".venv" / "half-written").touch()
    done = clone.install()
    assert done.returncode == 0
    assert "replacing" in done.stdout
    assert not (clone.repo / ".venv" / "half-written").exists()
    assert clone.installed == [".", "."]


@pytest.mark.parametrize("left", [".venv/pyvenv.cfg", ".venv/lib/python3.11/site-packages/pip/__init__.py"])
def test_half_an_environment_is_made_anew(clone: Clone, left: str) -> None:
    (clone.repo / left).parent.mkdir(parents=True)
    (clone.repo / left).touch()
    assert clone.install().returncode == 0
    assert not (clone.repo / left).exists()
    assert clone.installed == ["."]


def test_a_copied_environment_is_made_anew(clone: Clone, tmp_path: Path) -> None:
    clone.install()
    clone.repo = clone.repo.rename(tmp_path / "elsewhere")
    assert "copied" in clone.install().stdout
    assert clone.installed == [".", "."]


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ([], {"TOO_OLD": "1"}, "no Python 3.11 or later"),
        ([], {"PYTHON": "/absent/python"}, "/absent/python"),
        ([], {"NO_VENV": "1"}, "has no venv"),
        (["tests"], {}, "unknown extra 'tests'"),
    ],
)
def test_what_cannot_work_is_said(
    clone: Clone, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    done = clone.install(*arguments, **environment)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert not (clone.repo / ".venv").exists()
