"""Tables of sequences as a corpus: their rows become contigs, their groups become parts of the set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.alphabet import decode
from dnabert_nemo.shards.corpus_config import corpus_of
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.reader import ShardSet

Prepare = Callable[..., dict[str, Manifest]]

NO_INPUT = {"fasta": None, "include": None, "exclude": None}
EVEN = {"temperature": 2.0, "proportions": None}


@pytest.fixture
def tables(tmp_path: Path) -> list[str]:
    """One table in Parquet and one in CSV, as the RefSeq sets are, with a column of taxa besides."""
    draw = np.random.Generator(np.random.Philox(5))
    lengths = [300, 200, 400, 900, 100, 100]
    sequences = [decode(draw.integers(0, 4, length, dtype=np.uint8)) for length in lengths]
    sequences[0] = sequences[0].lower()
    columns = {
        "id": ["a1", "a2", "b1", "b2", "b3", "a3"],
        "sequence": sequences,
        "name": ["x"] * 6,
        "description": ["one, two"] * 6,
        "features": ["[]"] * 6,
        "seq_length": [str(length) for length in lengths],
        "taxon": ["viral", "viral", "fungi", "fungi", "fungi", "viral"],
    }
    rows = list(zip(*columns.values(), strict=True))
    text = [",".join(f'"{cell}"' for cell in row) for row in [tuple(columns), *rows[3:]]]
    (tmp_path / "second.csv").write_text("\r\n".join(text))
    first = {name: cells[:3] for name, cells in columns.items()} | {"seq_length": lengths[:3]}
    pq.write_table(pa.table(first), tmp_path / "first.parquet", row_group_size=1)
    return [str(tmp_path / "first.parquet"), str(tmp_path / "second.csv")]


def of_tables(tables: list[str], **columns: str) -> dict:
    section = {"table": tables, **({"columns": columns} if columns else {})}
    return {"corpus": corpus_of(NO_INPUT, {"refseq": section}, EVEN), "validation": (), "test": ()}


def test_one_part_without_a_group_column(prepare: Prepare, tables: list[str], tmp_path: Path) -> None:
    manifest = prepare(tmp_path / "shards", **of_tables(tables))["train"]
    (part,) = manifest.components
    assert (part.name, part.kind, part.weight, part.num_bases) == ("refseq", "taxon", 1.0, 2000)
    assert [entry.name for entry in manifest.contigs] == ["a1", "a2", "b1", "b2", "b3", "a3"]
    assert [file.name for file in manifest.inputs] == ["first.parquet", "second.csv"]
    assert manifest.contigs[0].num_soft_masked == 300


def test_a_part_for_each_group(prepare: Prepare, tables: list[str], tmp_path: Path) -> None:
    manifest = prepare(tmp_path / "shards", **of_tables(tables, group="taxon"))["train"]
    parts = {part.name: part for part in manifest.components}
    assert {name: (part.kind, part.num_bases) for name, part in parts.items()} == {
        "viral": ("taxon", 600),
        "fungi": ("taxon", 1400),
    }
    # three stretches each, two tokens less than bases
    shares = {"viral": 594**0.5, "fungi": 1394**0.5}
    for name, share in shares.items():
        assert parts[name].weight == pytest.approx(share / sum(shares.values()))
    found = ShardSet.open(tmp_path / "shards" / "train", k=3)
    part_of_stretch = np.array(found.component_names)[found.stretch_component]
    assert sorted(zip(part_of_stretch, found.stretch_tokens.tolist(), strict=True)) == [
        *[("fungi", tokens) for tokens in (98, 398, 898)],
        *[("viral", tokens) for tokens in (98, 198, 298)],
    ]


def test_the_same_bytes_from_two_workers(prepare: Prepare, tables: list[str], tmp_path: Path) -> None:
    for workers in (1, 2):
        prepare(tmp_path / str(workers), num_workers=workers, **of_tables(tables, group="taxon"))
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / str(workers)).rglob("*") if path.is_file()}
        for workers in (1, 2)
    )
    assert one == two


def test_what_is_wrong_says_where(prepare: Prepare, tables: list[str], tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"first\.parquet: no column 'group' among 'id', 'sequence'"):
        prepare(tmp_path / "shards", **of_tables(tables, group="group"))
    with pytest.raises(ConfigError, match=r"corpus\.refseq\.columns\.seq is no key there"):
        of_tables(tables, seq="x")
    assert not (tmp_path / "shards").exists()
