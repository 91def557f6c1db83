"""What `inspect` counts, held against the genome the set was made of."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np

from dnabert_nemo.genome.fastq import ReadFilter, ReadSample
from dnabert_nemo.shards.corpus import Corpus, Reads
from dnabert_nemo.shards.head import head_lines
from dnabert_nemo.shards.inspect import inspect_set
from dnabert_nemo.shards.inspect_report import as_json, report_lines
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.reader import ShardSet
from dnabert_nemo.shards.records import file_sha256


def test_counts(shards: Path) -> None:
    found = inspect_set(shards / "train")
    reader = ShardSet.open(shards / "train")
    assert sum(found.contig_stretches.values()) == reader.num_stretches
    by_contig = {name: count for (_, name), count in found.contig_stretches.items()}
    # 40,000 bases are three records, 17,000 two; N cuts them apart, and 20 bases are too few
    assert by_contig["long"] == 3 + 2
    assert by_contig["exact"] == 1
    assert by_contig["read7"] == 1
    assert found.duplicate_keys == {}
    lengths = reader.stretch_tokens + 2
    for low, count in found.stretch_lengths.items():
        assert count == np.count_nonzero((lengths >= low) & (lengths < 2 * low))
    assert sum(found.stretch_lengths.values()) == reader.num_stretches


def test_report(shards: Path) -> None:
    text = "\n".join(report_lines(inspect_set(shards / "train")))
    manifest = ShardSet.open(shards / "train").manifest
    assert f"{manifest.num_bases:,} bases, {manifest.num_tokens:,} tokens" in text
    for base in "ACGT":
        assert f"{base} {manifest.base_counts[base]:,} (2" in text  # about a quarter each
    assert f"soft-masked: 17,000 ({17_000 / manifest.num_bases:.2%})" in text
    assert "not A, C, G, T: 154 letters of the contigs (0." in text  # 50 N, 1 n, N R Y and 100 N
    assert "left out: 20 bases in 1 short stretches, 0 outside" in text
    assert "duplicate keys: none" in text
    assert f"checksums: {len(manifest.shards)} shards" in text
    assert f"and {len(manifest.contigs) - 20} smaller ones" in text
    for component in manifest.components:
        assert f"{component.weight:.4f}" in text
    whole = "\n".join(report_lines(inspect_set(shards / "train"), all_contigs=True))
    assert "smaller ones" not in whole
    assert all(contig.name in whole for contig in manifest.contigs)


def test_json_has_every_count(shards: Path) -> None:
    content = json.loads(json.dumps(as_json(inspect_set(shards / "train"))))
    assert sum(contig["num_stretches"] for contig in content["contigs"]) == content["num_stretches"]
    assert sum(content["stretch_lengths"].values()) == content["num_stretches"]
    assert content["duplicate_keys"] == {}


def test_samples_of_reads_are_counted_whole(prepare: Callable[..., object], tmp_path: Path) -> None:
    for sample, count in (("flight", 30), ("ground", 20)):
        reads = "".join(f"@{sample}{n}\n{'ACGTTGCA' * 10}\n+\n{'I' * 80}\n" for n in range(count))
        (tmp_path / f"{sample}.fq").write_text(reads)
    samples = tuple(
        ReadSample(name, (str(tmp_path / f"{name}.fq"),), labels={"group": name})
        for name in ("flight", "ground")
    )
    corpus = Corpus((Reads("study", samples, ReadFilter(), None, equal_portions=False),))
    prepare(tmp_path / "set", corpus=corpus, validation=(), test=())
    found = inspect_set(tmp_path / "set" / "train")
    assert found.contig_stretches == {("flight", "flight"): 30, ("ground", "ground"): 20}
    text = "\n".join(report_lines(found))
    assert "sample  0.6000  0.6000" in text
    assert "group=ground" in text
    headers = [line for line in head_lines(tmp_path / "set" / "train", 99) if line.startswith(">")]
    assert {header.split(":")[0] for header in headers} >= {">flight29", ">ground0"}
    assert len(headers) == 50


def test_a_key_that_comes_twice(shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(shards / "train", tmp_path / "train"))
    manifest = Manifest.read(folder)
    first, second = (folder / shard.name for shard in manifest.shards[:2])
    with tarfile.open(first) as tar:
        key = tar.getnames()[0].split(".")[0]
    content = BytesIO()
    with tarfile.open(second) as given, tarfile.open(fileobj=content, mode="w") as tar:
        other = given.getnames()[0].split(".")[0]
        for member in given.getmembers():
            file = given.extractfile(member)
            member.name = member.name.replace(other, key)
            tar.addfile(member, file)
    second.write_bytes(content.getvalue())
    changed = replace(manifest.shards[1], sha256=file_sha256(second))
    replace(manifest, shards=(manifest.shards[0], changed, *manifest.shards[2:])).write(folder)

    found = inspect_set(folder)
    assert found.duplicate_keys == {key: (first.name, second.name)}
    assert any(
        f"duplicate keys: {key} in {first.name}, {second.name}" in line for line in report_lines(found)
    )
