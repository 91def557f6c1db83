"""Trimming and filtering give what cutadapt's command gives; settings that cannot work are told."""

from __future__ import annotations

import gzip
import subprocess
import sys
from itertools import islice

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.fastq import ReadSample, kept_reads
from dnabert_nemo.genome.read_filter import ReadFilter

NEXTERA, TRUSEQ = "CTGTCTCTTATACACATCT", "AGATCGGAAGAGC"


@pytest.mark.parametrize(
    "settings",
    [
        {"trim_quality": -1},
        {"trim_quality": 20.5},
        {"trim_quality": True},
        {"trim_quality_5": 94},
        {"min_mean_quality": float("nan")},
        {"min_mean_quality": "20"},
        {"max_unknown_share": 1.5},
        {"min_length": 0},
        {"adapters": "AGATC"},
        {"adapters": None},
        {"adapters": ("",)},
        {"adapters": ("NNN",)},
        {"adapters_2": ("AGA-TC",)},
        {"adapter_max_error_rate": 1.0},
        {"adapter_min_overlap": 0},
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_told_by_name(settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"^{name}=.*: give "):
        ReadFilter(**settings)


def test_cutadapt_is_asked_for_only_where_it_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "cutadapt", None)
    ReadFilter(min_mean_quality=20, min_length=30)
    for settings in ({"trim_quality": 20}, {"adapters": ("AGATC",)}):
        with pytest.raises(ConfigError, match=r"need cutadapt: pip install"):
            ReadFilter(**settings)


def head_of(path, target, num_reads):
    """Write the first reads of a FASTQ file to another."""
    with gzip.open(path, "rb") as source, open(target, "wb") as file:
        file.writelines(islice(source, 4 * num_reads))
    return str(target)


def by_command(*arguments: str, outputs: list) -> list[list[tuple[str, bytes]]]:
    """Run cutadapt; return the names and letters of each of the files it writes."""
    command = [sys.executable, "-m", "cutadapt", "--quiet", *arguments]
    subprocess.run(command, check=True, timeout=120)
    files = []
    for output in outputs:
        lines = output.read_bytes().splitlines()
        names = [line[1:].split()[0].decode() for line in lines[::4]]
        files.append(list(zip(names, lines[1::4], strict=True)))
    return files


@pytest.mark.parametrize("file", ["nextera_100K.fastq.gz", "NA12878.chr22.tiny.fq.gz"])
def test_single_reads_as_the_command_trims_them(data_dir, tmp_path, file):
    reads, output = head_of(data_dir / "fastq" / file, tmp_path / "in.fq", 5000), tmp_path / "out.fq"
    options = [
        "-q",
        "12,22",
        "-a",
        NEXTERA,
        "-a",
        TRUSEQ,
        "-e",
        "0.15",
        "-O",
        "4",
        "-m",
        "35",
        "--max-n",
        "0.04",
    ]
    (wanted,) = by_command(*options, "-o", str(output), reads, outputs=[output])
    given = ReadFilter(
        trim_quality=22,
        trim_quality_5=12,
        adapters=(NEXTERA, TRUSEQ),
        adapter_max_error_rate=0.15,
        adapter_min_overlap=4,
        min_length=35,
        max_unknown_share=0.04,
    )
    sample = ReadSample("s", (reads,))
    tally = sample.tally()
    assert [(read.name, read.letters) for (read,) in kept_reads(sample, given, tally)] == wanted
    assert 0 < tally.num_dropped < tally.num_in and tally.num_adapters > 0
    assert tally.num_bases_kept == sum(len(letters) for _, letters in wanted)


def test_pairs_as_the_command_trims_them(data_dir, tmp_path):
    folder = data_dir / "fastq"
    reads = [
        head_of(folder / f"Sp_log.{side}.fq.gz", tmp_path / f"{side}.fq", 5000) for side in ("left", "right")
    ]
    outputs = [tmp_path / "out1.fq", tmp_path / "out2.fq"]
    options = [
        "-q",
        "20",
        "-a",
        TRUSEQ,
        "-A",
        NEXTERA,
        "-m",
        "30",
        "-o",
        str(outputs[0]),
        "-p",
        str(outputs[1]),
    ]
    wanted = by_command(*options, *reads, outputs=outputs)
    given = ReadFilter(trim_quality=20, adapters=(TRUSEQ,), adapters_2=(NEXTERA,), min_length=30)
    sample = ReadSample("s", (reads[0],), (reads[1],))
    tally = sample.tally()
    pairs = list(kept_reads(sample, given, tally))
    for mate in (0, 1):
        assert [(pair[mate].name, pair[mate].letters) for pair in pairs] == wanted[mate]
    assert 0 < tally.dropped["too_short"] == tally.num_in - len(pairs)


def test_qualities_after_trimming_are_those_of_what_is_left(data_dir):
    sample = ReadSample("s", (str(data_dir / "fastq/NA12878.chr22.tiny.fq.gz"),))
    tally = sample.tally()
    given = ReadFilter(trim_quality=25, trim_quality_5=25, min_mean_quality=34.0)
    lengths = {read.name: len(read.letters) for (read,) in kept_reads(sample, given, tally)}
    assert tally.mean_quality_kept > 34.0 and tally.dropped["low_quality"] > 0
    # once more by hand, from the qualities themselves
    from cutadapt.qualtrim import quality_trim_index

    with gzip.open(sample.files[0], "rt") as file:
        lines = file.read().splitlines()
    total = 0
    for name, qualities in zip(lines[::4], lines[3::4], strict=True):
        start, stop = quality_trim_index(qualities, 25, 25)
        scores = [ord(quality) - 33 for quality in qualities[start:stop]]
        is_kept = bool(scores) and sum(scores) / len(scores) >= 34.0
        assert (name[1:] in lengths) == is_kept
        total += sum(scores) if is_kept else 0
    assert tally.phred_kept == total
