"""The precision each kind of device gets, and why: no device is needed to ask."""

from __future__ import annotations

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.precision import ADA, AMPERE, HOPPER, TURING, VOLTA, check_fp8, choose


@pytest.mark.parametrize(
    ("capability", "name", "reason"),
    [
        (None, "fp32", "a CPU"),
        ((6, 1), "fp32", "no 16-bit tensor cores before Volta"),
        (VOLTA, "fp16", "compute capability 7.0: Volta"),
        (TURING, "fp16", "compute capability 7.5: Volta or Turing"),
        (AMPERE, "bf16", "compute capability 8.0: Ampere"),
        (HOPPER, "bf16", "compute capability 9.0: Ampere or later"),
    ],
)
def test_auto_follows_the_device(capability: tuple[int, int] | None, name: str, reason: str) -> None:
    chosen = choose("auto", capability)
    assert chosen.name == name
    assert reason in str(chosen)


@pytest.mark.parametrize(
    ("asked", "name"),
    [("32", "fp32"), ("32-true", "fp32"), ("bf16-mixed", "bf16"), ("16-mixed", "fp16"), ("16", "fp16")],
)
@pytest.mark.parametrize("capability", [None, VOLTA, HOPPER])
def test_what_was_asked_for_is_taken(capability: tuple[int, int] | None, asked: str, name: str) -> None:
    chosen = choose(asked, capability)
    assert (chosen.name, chosen.reason) == (name, f"trainer.precision={asked}")


@pytest.mark.parametrize(
    ("asked", "capability", "installed", "says"),
    [
        ("tf32", None, True, r"trainer\.precision=tf32 is not known: choose auto or one of 32"),
        ("fp8-mixed", None, True, "needs the fp8 tensor cores .* this is a CPU: choose bf16-mixed"),
        ("fp8-mixed", AMPERE, True, r"this is compute capability 8\.0"),
        ("fp8-mixed", HOPPER, False, "needs Transformer Engine, which is not installed: use the Dockerfile"),
    ],
)
def test_what_cannot_be_had_is_named(asked: str, capability, installed: bool, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        choose(asked, capability, has_transformer_engine=installed)


def test_fp8_is_for_those_who_can(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose("fp8-mixed", ADA, has_transformer_engine=True).name == "fp8"
    monkeypatch.setattr("dnabert_nemo.training.precision.has_transformer_engine", lambda: False)
    check_fp8("bf16-mixed", tokens_per_micro_batch=1000, tensor_size=1)
    with pytest.raises(ConfigError, match="not installed"):
        check_fp8("fp8-mixed", tokens_per_micro_batch=1024, tensor_size=1)
    monkeypatch.setattr("dnabert_nemo.training.precision.has_transformer_engine", lambda: True)
    check_fp8("fp8-mixed", tokens_per_micro_batch=1024, tensor_size=2)
    with pytest.raises(ConfigError, match="takes tokens by 32, and a micro batch has 1000"):
        check_fp8("fp8-mixed", tokens_per_micro_batch=1000, tensor_size=2)
