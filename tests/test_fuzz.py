"""Damaged input of every kind, 2,400 files, through all of preparation: a result, or an error and nothing."""

from __future__ import annotations

import bz2
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.prepare import SpliceSettings, prepare_splice
from dnabert_nemo.errors import DnabertError
from dnabert_nemo.genome.fastq import ReadSample
from dnabert_nemo.genome.read_filter import ReadFilter
from dnabert_nemo.genome.tables import TableColumns
from dnabert_nemo.shards.corpus import Assembly, Corpus, Input, Reads, Table
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings

ALL_TRAIN = SplitSettings((), (), {"train": 1, "validation": 0, "test": 0})
EXAMPLES = settings(
    max_examples=600,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
PACKINGS: tuple[Callable[[bytes], bytes], ...] = (bytes, bytes, gzip.compress, bz2.compress)


@st.composite
def damaged(draw: st.DrawFn, texts: list[bytes], letters: bytes) -> bytes:
    """Draw a file: a good one cut, doubled or written over in places, packed or not; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=200))
    content = bytearray(draw(st.sampled_from(texts)))
    pieces = st.one_of(st.binary(max_size=3), st.lists(st.sampled_from(list(letters)), max_size=6).map(bytes))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(["insert", "replace", "delete", "cut", "double"]))
        if kind == "insert":
            content[at:at] = draw(pieces)
        elif kind == "replace":
            new = draw(pieces)
            content[at : at + len(new)] = new
        elif kind == "delete":
            del content[at : at + draw(st.integers(1, 20))]
        elif kind == "cut":
            del content[at:]
        else:
            content += content[at:]
    packed = bytearray(draw(st.sampled_from(PACKINGS))(bytes(content)))
    if draw(st.integers(0, 9)) == 0 and packed:
        packed[draw(st.integers(0, len(packed) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(packed)


def _bases(count: int, seed: int) -> str:
    return "".join(
        "ACGTacgtN"[n]
        for n in np.random.Generator(np.random.Philox(seed)).choice(9, count, p=[0.12] * 8 + [0.04])
    )


FASTA = [
    f">chr1 first\n{_bases(60, 1)}\n{_bases(41, 2)}\n>chr2\n{_bases(30, 3)}\n".encode(),
    f"# a note\r\n>a\r\n{_bases(70, 4)}\r\n\r\n>b|x|y\r\n{_bases(9, 5)}".encode(),
]
FASTQ = ["".join(f"@r{n}/1 x\n{_bases(40, n).upper()}\n+\n{'I' * 40}\n" for n in range(5)).encode()]
CSV = [
    (
        "id,sequence,name,description,features,seq_length\n"
        f'c1,{_bases(50, 6)},n,"one, and\nmore",,50\nc2,{_bases(40, 7)},m,,,40\n'
    ).encode(),
    f"\ufeffsequence\r\n{_bases(45, 8)}\r\n".encode(),
]
GFF3 = [
    b"##gff-version 3\nchr1\tx\tgene\t1\t400\t.\t+\t.\tID=g\nchr1\tx\tmRNA\t1\t400\t.\t+\t.\tID=t;Parent=g\n"
    b"chr1\tx\texon\t10\t60\t.\t+\t.\tParent=t\nchr1\tx\texon\t120\t200\t.\t+\t.\tParent=t\n"
    b"chr1\tx\texon\t300\t390\t.\t+\t.\tParent=t\n"
]


def shards_or_an_error(given_input: Input, folder: Path) -> bool:
    """Prepare shards; tell whether there are any, and check that else there is nothing."""
    output = folder / "shards"
    shutil.rmtree(output, ignore_errors=True)
    before = sorted(folder.iterdir())
    try:
        prepare_shards(
            Corpus((given_input,)),
            Output(str(output)),
            ShardSettings(k=3, seed=1, min_stretch=5, records_per_shard=2),
            ALL_TRAIN,
        )
    except DnabertError as error:
        assert str(error)
        assert "\n" not in str(error)
        assert sorted(folder.iterdir()) == before
        return False
    assert ShardSet.open(output / "train", verify=True).num_tokens > 0
    return True


@pytest.fixture
def outcomes() -> list[bool]:
    """What became of the examples of a test; that both happened is checked where it is used."""
    return []


@given(content=damaged(FASTA, b">ACGTNacgtn\r\n #;*-1"))
@EXAMPLES
def test_fasta(tmp_path: Path, outcomes: list[bool], content: bytes) -> None:
    (tmp_path / "x.fa").write_bytes(content)
    outcomes.append(shards_or_an_error(Assembly("a", (str(tmp_path / "x.fa"),)), tmp_path))
    assert len(outcomes) < 100 or 0 < sum(outcomes) < len(outcomes)


@given(content=damaged(FASTQ, b"@+ACGTNI!#\r\n /12"))
@EXAMPLES
def test_fastq(tmp_path: Path, outcomes: list[bool], content: bytes) -> None:
    (tmp_path / "x.fq").write_bytes(content)
    sample = ReadSample("s", (str(tmp_path / "x.fq"),))
    reads = Reads("study", (sample,), ReadFilter(trim_quality=10, min_mean_quality=5), 3, True)
    outcomes.append(shards_or_an_error(reads, tmp_path))
    assert len(outcomes) < 100 or 0 < sum(outcomes) < len(outcomes)


@given(content=damaged(CSV, b',"\r\nACGTsequence01'))
@EXAMPLES
def test_csv(tmp_path: Path, outcomes: list[bool], content: bytes) -> None:
    (tmp_path / "x.csv").write_bytes(content)
    outcomes.append(shards_or_an_error(Table("t", (str(tmp_path / "x.csv"),), TableColumns()), tmp_path))
    assert len(outcomes) < 100 or 0 < sum(outcomes) < len(outcomes)


@given(content=damaged(GFF3, b"\t\n;=.+-0123456789IDParentchr1exon%#"))
@EXAMPLES
def test_gff3(tmp_path: Path, outcomes: list[bool], content: bytes) -> None:
    output = tmp_path / "splice"
    shutil.rmtree(output, ignore_errors=True)
    bases = _bases(900, 9).upper().replace("N", "A")
    (tmp_path / "x.fa").write_text(f">chr1\n{bases}\n>chr2\n{bases[::-1]}\n")
    (tmp_path / "x.gff3").write_bytes(content)
    try:
        prepare_splice(
            [Genome((tmp_path / "x.fa",), (tmp_path / "x.gff3",))],
            output,
            SpliceSettings(window=20, per_class=5, seed=1),
            ALL_TRAIN,
        )
        outcomes.append(True)
    except DnabertError as error:
        assert "\n" not in str(error)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["x.fa", "x.gff3"]
        outcomes.append(False)
    assert len(outcomes) < 100 or 0 < sum(outcomes) < len(outcomes)
