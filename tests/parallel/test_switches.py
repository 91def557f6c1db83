"""Nothing that makes a step faster changes what is learned: each switch gives the golden curve's losses."""

from __future__ import annotations

from itertools import pairwise

import pytest
from switches import SWITCHES, TOLERANCE, Switch, furthest


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_gives_the_golden_losses(results, switch: Switch) -> None:
    found = results[f"switches on {switch.layout.num_ranks}"][switch.name]
    assert len(found) == switch.tested_steps
    assert furthest(found) <= TOLERANCE


def test_a_wrong_token_would_be_seen(results) -> None:
    """The losses of two steps differ by far more than the tolerance, so do those of other samples."""
    found = results["switches on 1"][SWITCHES[0].name]
    assert min(abs(one - other) for one, other in pairwise(found)) > 10 * TOLERANCE
