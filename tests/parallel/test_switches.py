"""Nothing that makes a step faster changes what is learned: each switch gives the golden curve's losses."""

from __future__ import annotations

import pytest
from switches import CONTROL, SWITCHES, TOLERANCE, Switch, furthest


@pytest.mark.parametrize(
    "switch", [each for each in SWITCHES if each.tested_steps], ids=lambda switch: switch.name
)
def test_a_switch_gives_the_golden_losses(results, switch: Switch) -> None:
    found = results[f"switches on {switch.layout.num_ranks}"][switch.name]
    assert len(found) == switch.tested_steps
    assert furthest(found) <= TOLERANCE


def test_a_mistake_would_be_seen(results) -> None:
    assert furthest(results["switches on 1"][CONTROL.name]) > 10 * TOLERANCE
