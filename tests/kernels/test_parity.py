"""Every kernel on every shape and type is as near to its definition in fp64 as its numbers allow."""

from __future__ import annotations

import parity
import pytest
import torch


@pytest.mark.parametrize("dtype", parity.DTYPES, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("case", parity.CASES, ids=str)
def test_outputs_and_gradients_are_those_of_the_definition(case: parity.Case, dtype: torch.dtype) -> None:
    found = case.measure(dtype, parity.device())
    assert case.holds(found, dtype), f"{found}, at most {case.tolerances(dtype)}"


def test_the_table_fails_where_a_kernel_is_another_function(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tanh_form(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.gelu(x + bias, approximate="tanh")

    monkeypatch.setattr(parity, "CASES", [parity.bias_gelu_parity((130, 129), "")])
    assert parity.main() == 0
    assert "TOO FAR" not in capsys.readouterr().out
    monkeypatch.setattr(parity, "bias_gelu", tanh_form)
    assert parity.main() == 1
    assert "float32" in capsys.readouterr().out.split("TOO FAR")[0]
