"""Recomputation that cannot be is told from the config alone; what it gives is in tests/parallel."""

from __future__ import annotations

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.megatron.recompute import Recompute


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("all",), "granularity=all is not known: choose null, selective or full"),
        (("selective", "uniform"), "activations_checkpoint_method=uniform goes with .*=full alone"),
        ((None, None, 2), "activations_checkpoint_num_layers=2 goes with .*=full alone"),
        (("full",), "activations_checkpoint_method=None: choose uniform or block"),
        (("full", "block"), "activations_checkpoint_num_layers=None: give a whole number"),
        (("full", "uniform", 0), "activations_checkpoint_num_layers=0: give a whole number"),
    ],
)
def test_what_does_not_go_together_is_named(values: tuple, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Recompute(*values)


def test_layers_of_every_run_are_looked_at() -> None:
    Recompute().check((6, 6))
    Recompute("full", "uniform", 2).check((6, 2))
    Recompute("full", "block", 5).check((6, 5))
    with pytest.raises(ConfigError, match="num_layers=2: a pipeline rank's run has 5 layers: give a divisor"):
        Recompute("full", "uniform", 2).check((6, 5))
    with pytest.raises(ConfigError, match="num_layers=6: a pipeline rank's run has 5 layers: give at most"):
        Recompute("full", "block", 6).check((6, 5))


def test_it_is_read_from_a_config() -> None:
    full = {"activations_checkpoint_granularity": "full", "activations_checkpoint_method": "uniform"}
    assert Recompute.of(full | {"activations_checkpoint_num_layers": 1}) == Recompute("full", "uniform", 1)
    assert Recompute.of({}) == Recompute()
