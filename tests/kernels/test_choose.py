"""Which kernels `model.kernels` comes to on which device, and what it refuses."""

from __future__ import annotations

import re
import sys
from dataclasses import asdict, replace

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.kernels.choose import ASKED, Device, Kernels, choose

CPU, VOLTA, AMPERE, HOPPER = None, (7, 0), (8, 0), (9, 0)
BARE: frozenset[str] = frozenset()
TRITON = frozenset({"triton"})
COMPILER = frozenset({"c++"})
IMAGE = frozenset({"triton", "transformer_engine", "apex"})  # what an NGC image has

ON_CPU = Kernels("blocks", "torch", "torch", "torch", "bits")
PLAIN = Kernels("efficient", "torch", "torch", "torch", "torch")
FUSED = Kernels("flash", "triton", "triton", "triton", "torch")


@pytest.fixture(autouse=True)
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton compiles, as in a run; its tests interpret it where there is no GPU."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


# (asked, capability, has, precision) -> kernels
TABLE = [
    (("auto", CPU, BARE, "fp32"), ON_CPU),
    (("auto", CPU, IMAGE, "fp32"), ON_CPU),
    (("auto", CPU, BARE, "bf16"), ON_CPU),
    (("torch", CPU, IMAGE, "fp32"), Kernels()),
    (("torch", CPU, BARE, "bf16"), Kernels()),
    (("inductor", CPU, COMPILER, "fp32"), replace(ON_CPU, layer="compiled")),
    (("auto", VOLTA, BARE, "fp16"), PLAIN),
    (("auto", VOLTA, IMAGE, "fp16"), PLAIN),
    (("auto", VOLTA, TRITON, "fp32"), PLAIN),
    (("torch", VOLTA, IMAGE, "fp16"), PLAIN),
    (("apex", VOLTA, IMAGE, "fp16"), Kernels("efficient", "apex", "torch", "torch", "torch")),
    (("te", VOLTA, IMAGE, "fp16"), Kernels("efficient", "te", "torch", "torch", "torch")),
    (("te", AMPERE, IMAGE, "fp32"), Kernels("efficient", "te", "triton", "triton", "torch")),
    (("auto", AMPERE, BARE, "bf16"), Kernels("flash", "torch", "torch", "torch", "torch")),
    (("auto", AMPERE, TRITON, "bf16"), FUSED),
    (("auto", AMPERE, TRITON, "fp16"), FUSED),
    (("auto", AMPERE, TRITON, "fp32"), Kernels("efficient", "triton", "triton", "triton", "torch")),
    (("auto", AMPERE, IMAGE, "bf16"), FUSED),
    (("torch", AMPERE, IMAGE, "bf16"), Kernels("flash", "torch", "torch", "torch", "torch")),
    (("torch", AMPERE, IMAGE, "fp32"), PLAIN),
    (("triton", AMPERE, TRITON, "bf16"), FUSED),
    (("apex", AMPERE, IMAGE, "bf16"), Kernels("flash", "apex", "triton", "triton", "torch")),
    (("apex", AMPERE, frozenset({"apex"}), "bf16"), Kernels("flash", "apex", "torch", "torch", "torch")),
    (("te", AMPERE, IMAGE, "bf16"), Kernels("te", "te", "triton", "triton", "torch")),
    (("inductor", AMPERE, TRITON, "bf16"), replace(FUSED, layer="compiled")),
    (("graphs", AMPERE, TRITON, "bf16"), replace(FUSED, layer="graphs")),
    (("auto", HOPPER, TRITON, "bf16"), FUSED),
    (("auto", HOPPER, IMAGE, "fp8"), FUSED),
    (("auto", HOPPER, BARE, "fp32"), PLAIN),
    (("te", HOPPER, IMAGE, "fp8"), Kernels("te", "te", "triton", "triton", "torch")),
]


def _named(value: object) -> str | None:
    """Name a case the same in every process, which a set's order is not."""
    if not isinstance(value, tuple):
        return None
    asked, capability, has, precision = value
    return "-".join(map(str, (asked, capability, "+".join(sorted(has)) or "bare", precision)))


@pytest.mark.parametrize(("given", "expected"), TABLE, ids=_named)
def test_a_device_gets_what_it_is_made_for(given, expected: Kernels) -> None:
    asked, capability, has, precision = given
    assert choose(asked, Device(capability, has), precision=precision).kernels == expected


@pytest.mark.parametrize("given", [given for given, _ in TABLE], ids=_named)
def test_each_kernel_has_its_reason_in_the_line_that_is_logged(given) -> None:
    asked, capability, has, precision = given
    choice = choose(asked, Device(capability, has), precision=precision)
    assert choice.reasons.keys() == asdict(choice.kernels).keys()
    for piece, kernel in asdict(choice.kernels).items():
        assert choice.reasons[piece]
        assert f"{piece} {kernel} ({choice.reasons[piece]})" in str(choice)


@pytest.mark.parametrize(
    ("given", "piece", "says"),
    [
        (("auto", AMPERE, BARE, "bf16"), "norm", "Triton is not installed"),
        (("auto", VOLTA, TRITON, "fp16"), "norm", "capability 7.0: Triton's code is for Ampere and later"),
        (("auto", AMPERE, TRITON, "fp32"), "attention", "flash attention takes 16 bit on Ampere and later"),
        (("auto", HOPPER, TRITON, "bf16"), "attention", "capability 9.0, bf16"),
        (("torch", HOPPER, TRITON, "bf16"), "gelu", "model.kernels=torch"),
        (("auto", CPU, BARE, "fp32"), "dropout", "a CPU"),
    ],
)
def test_a_reason_names_what_decided(given, piece: str, says: str) -> None:
    asked, capability, has, precision = given
    assert says in choose(asked, Device(capability, has), precision=precision).reasons[piece]


@pytest.mark.parametrize(
    ("asked", "capability", "has", "says", "remedy"),
    [
        ("fast", CPU, IMAGE, "model.kernels=fast is not known", "choose one of " + ", ".join(ASKED)),
        ("te", HOPPER, TRITON, "model.kernels=te: transformer_engine is not installed", "use an NGC image"),
        ("apex", HOPPER, TRITON, "model.kernels=apex: apex is not installed", "use an NGC image"),
        ("triton", HOPPER, BARE, "model.kernels=triton: triton is not installed", "model.kernels=auto"),
        ("te", CPU, IMAGE, "model.kernels=te needs a GPU, and this is a CPU", "use model.kernels=auto"),
        ("apex", CPU, IMAGE, "model.kernels=apex needs a GPU, and this is a CPU", "use model.kernels=auto"),
        (
            "inductor",
            CPU,
            TRITON,
            "model.kernels=inductor: there is no C++ compiler here",
            "install g++, or name yours in CXX",
        ),
        (
            "inductor",
            VOLTA,
            IMAGE,
            "model.kernels=inductor needs Triton and a GPU of capability 8.0 (Ampere) or later, and this is "
            "capability 7.0",
            "use model.kernels=auto",
        ),
        ("inductor", HOPPER, COMPILER, "capability 9.0 without Triton", "use model.kernels=auto"),
        ("graphs", CPU, IMAGE, "=graphs are CUDA graphs, and this is a CPU", "use model.kernels=auto"),
        ("graphs", VOLTA, TRITON, "model.kernels=graphs needs Triton and a GPU", "use model.kernels=auto"),
        (
            "triton",
            VOLTA,
            TRITON,
            "needs a GPU of capability 8.0 (Ampere) or later, and this is capability 7.0",
            "use model.kernels=auto",
        ),
        (
            "triton",
            CPU,
            TRITON,
            "model.kernels=triton needs a GPU of capability 8.0 (Ampere) or later, and this is a CPU",
            "use model.kernels=auto",
        ),
    ],
)
def test_what_cannot_be_is_told_with_its_remedy(asked, capability, has, says: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as error:
        choose(asked, Device(capability, has), precision="fp32")
    assert remedy in str(error.value)
    assert "\n" not in str(error.value)


def test_triton_is_interpreted_on_a_cpu_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose("triton", Device(CPU, TRITON), precision="fp32").kernels == Kernels(
        "blocks", "triton", "triton", "triton", "bits"
    )
    assert choose("auto", Device(CPU, TRITON), precision="fp32").kernels == ON_CPU


def test_the_apex_of_pypi_is_not_nvidias(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "apex").mkdir()
    (tmp_path / "apex" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "apex", raising=False)
    assert "apex" not in Device.here(CPU).has
    (tmp_path / "apex" / "normalization.py").write_text("")
    assert "apex" in Device.here(CPU).has
    del sys.modules["apex"]  # which looking for its part has imported


def test_a_compiler_is_looked_for_where_inductor_does(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\n")
    mine.chmod(0o755)
    monkeypatch.setenv("CXX", str(mine))
    assert "c++" in Device.here(CPU).has
    monkeypatch.setenv("CXX", str(tmp_path / "none"))
    assert "c++" not in Device.here(CPU).has
