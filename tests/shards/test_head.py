"""The first records are the bases of the genome at the places they name."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

from dnabert_nemo.shards.head import head_lines


def contigs(paths: list[Path]) -> dict[str, str]:
    found = {}
    for path in paths:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for entry in content.decode().split(">")[1:]:
            header, *lines = entry.splitlines()
            found[header.split()[0]] = "".join(lines)
    return found


HEADER = re.compile(r">(\S+):(\d+)-(\d+)\(\+\) record=(\d{8}) component=\S+ tokens=(\d+) soft_masked=(\d+) ")


def check(lines: list[str], genome: dict[str, str]) -> None:
    for header, letters in zip(lines[::2], lines[1::2], strict=True):
        name, start, end, _, tokens, soft_masked = HEADER.match(header).groups()
        expected = genome[name][int(start) : int(end)]
        assert letters == re.sub("[^ACGTacgt]", lambda other: "n" if other[0].islower() else "N", expected)
        assert int(tokens) == len(expected) - 2
        assert int(soft_masked) == sum(map(str.islower, expected))


def test_all_records_spell_the_genome(shards: Path, genome: list[Path]) -> None:
    lines = list(head_lines(shards / "train", num_records=1000))
    check(lines, contigs(genome))
    assert any(line.islower() for line in lines)


def test_soft_masked_bases_of_neighbouring_stretches(soft_shards: Path) -> None:
    lines = list(head_lines(soft_shards / "train", num_records=1000))
    check(lines, contigs([soft_shards.parent / "soft.fa"]))
    letters = "".join(lines[1::2])
    assert "a" in letters
    assert "A" not in letters


def test_letters_that_are_no_base_are_n(
    genome: list[Path], prepare: Callable[..., object], tmp_path: Path
) -> None:
    prepare(tmp_path / "unk", non_acgt="unk")
    lines = list(head_lines(tmp_path / "unk" / "train", num_records=1000))
    check(lines, contigs(genome))
    assert any("N" in line for line in lines[1::2])


def test_as_many_as_asked_for(shards: Path) -> None:
    lines = list(head_lines(shards / "train", num_records=1, num_bases=30))
    assert len({HEADER.match(header).group(4) for header in lines[::2]}) == 1
    assert {len(letters) for letters in lines[1::2]} == {30}
    assert list(head_lines(shards / "train", num_records=0)) == []
