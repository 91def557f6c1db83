"""Runs every command of docs/parallelism.md and holds what it prints against what the page says it prints."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from dnabert_nemo.__main__ import main

PAGE = (Path(__file__).parents[2] / "docs" / "parallelism.md").read_text(encoding="utf-8")
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
COMMAND = re.compile(r"\$ python -m dnabert_nemo (?P<arguments>(?:[^\n]*\\\n)*[^\n]*)\n(?P<prints>.*)", re.S)
RECOMPUTATION = re.findall(r"^\| (`?)([^|`]*)\1 \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", PAGE, re.M)


@pytest.mark.parametrize("block", [text for _, text in FENCED], ids=lambda text: text.splitlines()[0][:90])
def test_commands_print_what_the_page_says(block: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = COMMAND.fullmatch(block)
    assert found is not None, "a block of this page is one command and what it prints"
    code = main(shlex.split(found["arguments"].replace("\\\n", " ")))
    out, err = capsys.readouterr()
    assert out + err == found["prints"]
    assert code == (2 if err else 0)


def test_the_table_of_recomputation(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(RECOMPUTATION) == 7
    for _, overrides, *said in RECOMPUTATION:
        global_batch = ["model.global_batch_size=32"] if "micro_batch_size=4" in overrides else []
        keys = [f"model.{override}" for override in overrides.split()]
        assert main(["plan", "--json", "trainer.devices=8", *keys, *global_batch]) == 0
        [rank] = json.loads(capsys.readouterr().out)["ranks"]
        printed = [f"{round(rank[key] / 1e6):,}" for key in ("activations", "recomputed", "total")]
        assert printed == said, overrides


def test_all_of_the_page_is_read() -> None:
    assert {language for language, _ in FENCED} == {"console"}
    assert len(FENCED) >= 6
