"""Checksums as coreutils computes them, and the lists that servers have of them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.errors import FormatError
from dnabert_nemo.genome import checksums
from dnabert_nemo.genome.checksums import Checksum, checksums_of, read_checksums


@pytest.fixture(params=["program", "python"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "python":
        monkeypatch.setattr(checksums, "_has_program", lambda: False)
    elif shutil.which("sum") is None:
        pytest.skip("no sum here")


@pytest.mark.usefixtures("either")
@given(st.binary(max_size=3000))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_sum_that_coreutils_prints(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    printed = subprocess.run(["sum", "-r", "x"], cwd=tmp_path, capture_output=True, check=True).stdout.split()
    assert checksums_of(tmp_path / "x", ["sum", "sha256", "md5"]) == {
        "sum": Checksum("sum", f"{printed[0].decode()} {printed[1].decode()}").value,
        "sha256": hashlib.sha256(content).hexdigest(),
        "md5": hashlib.md5(content).hexdigest(),
    }


def test_a_program_that_sums_otherwise_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sum").write_text("#!/bin/sh\necho 1 2\n")
    (tmp_path / "sum").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    checksums._has_program.cache_clear()
    (tmp_path / "x").write_bytes(b"\x01\x01")  # 1, turned right to 32768, and 1
    assert checksums_of(tmp_path / "x", ["sum"]) == {"sum": "32769 1"}
    checksums._has_program.cache_clear()


@pytest.mark.parametrize("program", ["sum", "md5sum", "sha256sum"])
def test_lists_as_programs_print_them(program: str, tmp_path: Path) -> None:
    for name, content in (("a.fa.gz", b"\x01\x01"), ("b.fa.gz", b"x" * 5000)):
        (tmp_path / name).write_bytes(content)
    printed = subprocess.run([program, "a.fa.gz", "./b.fa.gz"], cwd=tmp_path, capture_output=True, text=True)
    found = read_checksums(printed.stdout + "\n", "http://x")
    assert list(found) == ["a.fa.gz", "b.fa.gz"]
    for name, checksum in found.items():
        assert checksums_of(tmp_path / name, [checksum.kind]) == {checksum.kind: checksum.value}
    assert {checksum.kind for checksum in found.values()} == {program.removesuffix("sum") or "sum"}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", None, "no checksum in it"),
        ("1 1 a\n<html>\n", 2, "no list of checksums"),
        ("1 1 a\n<html> is not it\n", 2, "no list of checksums"),
        ("123456 1 a\n", 1, "no list of checksums"),
        ("1 1 a\n2 1 x/a\n", 2, "a is listed twice, with different checksums"),
    ],
)
def test_other_text_is_no_list(text: str, line: int | None, says: str) -> None:
    with pytest.raises(FormatError, match=says) as caught:
        read_checksums(text, "http://x/CHECKSUMS")
    assert caught.value.line == line
    assert str(caught.value).startswith("http://x/CHECKSUMS")


@given(st.text(max_size=80) | st.text("01 a\n", max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_list_or_an_error(text: str) -> None:
    try:
        assert read_checksums(text, "http://x")
    except FormatError:
        return
