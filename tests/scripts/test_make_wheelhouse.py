"""scripts/make_wheelhouse.sh with a stand-in for Python: what pip is asked for, what is left, what is told.

What it truly fetches takes a network and minutes, and is not tried here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import requires
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPO = Path(__file__).parents[2]
PACKAGE = "dnabert_nemo-0.1.0-py3-none-any.whl"

# "Builds" and "downloads" the wheels that WHEELS has, and logs what pip is asked for.
PYTHON = f"""#!/usr/bin/env bash
echo "$*" >>"$PIP_LOG"
dest="$(sed -E 's/.*--(wheel-dir|dest) ([^ ]+).*/\\2/' <<<"$*")"
case "$*" in
    *"import sys, pip"*) exit "${{NO_PIP:-0}}" ;;
    *"pip wheel"*package*) cp "$WHEELS/{PACKAGE}" "$dest" ;;
    *"pip wheel"*antlr4*) cp "$WHEELS"/antlr4*.whl "$dest" ;;
    *"pip download"*)
        [[ -z "${{PIP_FAILS:-}}" ]] || {{ echo "ERROR: No matching distribution found" >&2; exit 1; }}
        stand_ins="$(sed -E 's/.*--find-links ([^ ]*stand-ins).*/\\1/' <<<"$*")"
        cp -n "$WHEELS"/*.whl "$stand_ins"/*.whl "$dest" ;;
    *) exec "{sys.executable}" "$@" ;;
esac
"""


def write_wheel(folder: Path, name: str, *needs: str) -> None:
    stem = f"{name}-1.0"
    lines = [
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0",
        *(f"Requires-Dist: {each}" for each in needs),
    ]
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", "\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def wheelhouse() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheelhouse", REPO / "scripts" / "wheelhouse.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    """A registry of a few wheels, one of which is for another Python."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "dnabert_nemo", "torch>=2.6", "nemo_toolkit[core]", "numpy")
    (folder / "dnabert_nemo-1.0-py3-none-any.whl").rename(folder / PACKAGE)
    write_wheel(
        folder, "nemo_toolkit", "cuda-bindings", "torch", 'hydra; extra == "core"', 'asr; extra == "asr"'
    )
    write_wheel(folder, "hydra", "antlr4_python3_runtime", 'old; python_version < "3.12"')
    for name in ("antlr4_python3_runtime", "numpy", "old", "asr"):
        write_wheel(folder, name)
    return folder


@pytest.fixture
def make(tmp_path: Path, wheels: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the script in a folder of its own, with the stand-in."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    (tmp_path / "here").mkdir()

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        given = {"PYTHON": str(python), "WHEELS": str(wheels), "PIP_LOG": str(tmp_path / "pip.log")}
        return subprocess.run(
            ["bash", str(REPO / "scripts" / "make_wheelhouse.sh"), *arguments],
            cwd=tmp_path / "here",
            env={"PATH": os.environ["PATH"], **given, **environment},
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


def names(folder: Path) -> set[str]:
    return {path.name.split("-")[0] for path in folder.glob("*.whl")}


def test_a_wheelhouse_has_what_is_needed_on_that_python(make, tmp_path: Path) -> None:
    done = make("3.12")
    assert done.returncode == 0, done.stderr
    house = tmp_path / "here" / "wheelhouse"
    needed = {"dnabert_nemo", "nemo_toolkit", "numpy", "hydra", "antlr4_python3_runtime"}
    assert names(house) == needed
    assert names(house / "stand-ins") == {"cuda_bindings"}  # which only NeMo's speech models use
    assert "5 wheels, " in done.stdout
    assert "bash wheelhouse/install.sh" in done.stdout
    assert 'found" == "3.12"' in (house / "install.sh").read_text()
    assert list((tmp_path / "here").iterdir()) == [house]
    assert make("3.11").returncode == 0  # again, for another
    assert names(house) == needed | {"old"}


def test_pip_is_told_the_python_and_that_the_image_has_torch(make, tmp_path: Path, monkeypatch) -> None:
    assert make("3.13", "house").returncode == 0
    [download] = [line for line in (tmp_path / "pip.log").read_text().splitlines() if "pip download" in line]
    for wanted in (
        "--python-version 3.13",
        "--only-binary :all:",
        "manylinux_2_28_x86_64",
        "manylinux2014_x86_64",
    ):
        assert wanted in download
    assert "manylinux_2_29" not in download


def test_stand_ins_are_those_of_torch_and_cuda(wheelhouse: ModuleType, tmp_path: Path) -> None:
    pins = (REPO / "constraints.txt").read_text()
    written = wheelhouse.stand_ins(pins + "nvidia-nccl-cu12==2.1\n", tmp_path)
    replaced = set(re.findall(r"^(\S+)==\S+\+image$", written, re.M))
    assert {"torch", "triton", "cuda-bindings", "cuda-pathfinder", "nvidia-nccl-cu12"} <= replaced
    assert not replaced & {"torchmetrics", "pytorch-lightning", "nv-one-logger-core", "numpy"}
    assert {name.replace("_", "-") for name in names(tmp_path)} == replaced
    assert written.count("\n") >= pins.count("\n")


def test_nothing_but_torch_brings_triton_or_cudas_libraries(wheelhouse: ModuleType) -> None:
    """By what is installed here: the packages this one reaches when it stops at torch."""
    reached, asked = set(), set()
    to_visit = [("dnabert-nemo", "")]
    while to_visit:
        name, extra = to_visit.pop()
        if (name, extra) in reached:
            continue
        reached.add((name, extra))
        for text in requires(name) or []:
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({"extra": extra}):
                continue
            other = canonicalize_name(needed.name)
            if wheelhouse.OF_THE_IMAGE.fullmatch(other):
                asked.add(other)
            else:
                to_visit += [(other, each) for each in ("", *needed.extras)]
    assert len(reached) > 80
    assert asked == {"torch", "cuda-bindings"}


def test_what_is_missing_is_named(make, wheels: Path, tmp_path: Path) -> None:
    (wheels / "numpy-1.0-py3-none-any.whl").unlink()
    done = make("3.12")
    assert done.returncode == 2
    assert (
        "error: numpy, which dnabert-nemo needs on Python 3.12, was not fetched: run this with" in done.stderr
    )
    assert list((tmp_path / "here").iterdir()) == []


def test_what_is_there_stays_until_another_is_whole(make, tmp_path: Path) -> None:
    assert make("3.12").returncode == 0
    house = tmp_path / "here" / "wheelhouse"
    before = sorted(house.rglob("*"))
    done = make("3.12", PIP_FAILS="1")
    assert done.returncode == 2
    assert "No matching distribution found" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: there are not all wheels for Python 3.12")
    assert sorted(house.rglob("*")) == before
    assert list((tmp_path / "here").iterdir()) == [house]


@pytest.mark.parametrize(
    ("arguments", "environment", "says"),
    [
        ([], {}, "Python version '': give that of the image, such as 3.12"),
        (["py3"], {}, "Python version 'py3': give"),
        (["3.10"], {}, "Python 3.10: dnabert_nemo needs 3.11 or later"),
        (["3.12", "a", "b"], {}, "give a Python version and a folder"),
        (["3.12"], {"NO_PIP": "1"}, "no Python with pip (tried: "),
        (["3.12"], {"PYTHON": "/absent/python"}, "/absent/python"),
        (["3.12", "/proc/wheelhouse"], {}, "cannot write to /proc: name another folder"),
        (
            ["3.12", "/proc/self/cmdline/wheelhouse"],
            {},
            "cannot make /proc/self/cmdline: name another folder",
        ),
        (["3.12", "full"], {}, "full is there and is no wheelhouse: name another folder"),
    ],
)
def test_what_cannot_work_is_said(
    make, tmp_path: Path, arguments: list[str], environment: dict[str, str], says: str
) -> None:
    (tmp_path / "here" / "full").mkdir()
    done = make(*arguments, **environment)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["full"]


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"PYTHON": "/absent/python"}, "/absent/python cannot be run"),
        ({"PYTHON": sys.executable}, "these wheels are for Python 3.99 and"),
    ],
)
def test_the_installer_looks_before_it_installs(
    make, tmp_path: Path, environment: dict[str, str], says: str
) -> None:
    assert make("3.99").returncode == 0
    done = subprocess.run(
        ["bash", str(tmp_path / "here" / "wheelhouse" / "install.sh")],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_the_installer_is_clean() -> None:
    """As `make check` holds the script it is written by."""
    shellcheck = shutil.which("shellcheck", path=Path(sys.executable).parent)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed: the dev extra has it")
    text = (REPO / "scripts" / "make_wheelhouse.sh").read_text()
    installer = text.partition("<<'END'\n")[2].partition("\nEND\n")[0]
    done = subprocess.run([shellcheck, "-"], input=installer, capture_output=True, text=True)
    assert done.stdout == ""
