"""Two steps of make_wheelhouse.sh: stand-ins for what an image has, and what the wheels need of each other.

wheelhouse.py stand-ins CONSTRAINTS FOLDER
    Write an empty wheel for each pinned package that a GPU image brings itself, at the local version
    `+image`, and print CONSTRAINTS with these versions: so pip resolves the rest, and fetches none of them.
wheelhouse.py close FOLDER PYTHON_VERSION
    Delete what the package does not need on that Python, and fail where something is missing. Stand-ins stay
    in FOLDER/stand-ins for what an image may lack and the package does without.
"""

from __future__ import annotations

import re
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

PACKAGE = "dnabert-nemo"
OF_THE_IMAGE = re.compile(r"torch|triton|pytorch-triton|(cuda|nvidia)-.+")
MUST_BE_THERE = "torch"  # of these; NeMo asks for cuda-bindings too, which only its speech models use


def stand_ins(constraints: str, folder: Path) -> str:
    """Write the stand-ins for what is pinned in `constraints`; return these as they are with them."""
    lines = []
    for line in constraints.splitlines():
        name, _, version = line.partition("==")
        if version and OF_THE_IMAGE.fullmatch(canonicalize_name(name)):
            version = f"{version}+image"
            _write_empty_wheel(folder, canonicalize_name(name), version)
            line = f"{name}=={version}"
        lines.append(line)
    return "\n".join(lines)


def _write_empty_wheel(folder: Path, name: str, version: str) -> None:
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        info = f"{stem}.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: stand-in\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")


def close(folder: Path, python_version: str) -> None:
    """Delete the wheels that `PACKAGE` does not reach, and keep the stand-ins for what it does.

    Raises:
        SystemExit: one that it reaches is not there.
    """
    wheels: dict[str, Path] = {_name(path): path for path in folder.glob("*.whl")}
    environment = {
        "python_version": python_version,
        "python_full_version": f"{python_version}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
    }
    reached: set[tuple[str, str]] = set()  # with an extra
    stand_ins = set()
    to_visit = [(PACKAGE, "")]
    while to_visit:
        name, extra = to_visit.pop()
        if (name, extra) in reached:
            continue
        reached.add((name, extra))
        for text in _metadata(wheels[name]).get_all("Requires-Dist") or []:
            needed = Requirement(text)
            if needed.marker and not needed.marker.evaluate({**environment, "extra": extra}):
                continue
            other = canonicalize_name(needed.name)
            if OF_THE_IMAGE.fullmatch(other):
                stand_ins.add(other)
            elif other in wheels:
                to_visit += [(other, each) for each in ("", *needed.extras)]
            else:
                sys.exit(f"{other}, which {name} needs on Python {python_version}, was not fetched")
    kept = folder / "stand-ins"
    kept.mkdir()
    for name, path in wheels.items():
        if name in stand_ins - {MUST_BE_THERE}:
            path.rename(kept / path.name)
        elif (name, "") not in reached:
            path.unlink()


def _name(wheel: Path) -> str:
    return canonicalize_name(wheel.name.split("-")[0])


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (each for each in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", each))
        return Parser().parsestr(opened.read(name).decode())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stand-ins", constraints, folder]:
            print(stand_ins(Path(constraints).read_text(), Path(folder)))
        case ["close", folder, python_version]:
            close(Path(folder), python_version)
        case _:
            sys.exit(__doc__)
