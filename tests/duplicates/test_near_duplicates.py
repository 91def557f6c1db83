"""Planted duplicates are found on either strand and strangers are not; the same bytes every time."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.duplicates.deduplicate import deduplicate
from dnabert_nemo.duplicates.report import DuplicateReport
from dnabert_nemo.duplicates.settings import DuplicateSettings
from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.genome.alphabet import decode, reverse_complement
from dnabert_nemo.genome.bed import read_bed
from dnabert_nemo.shards.workers import WorkerSettings

WINDOW = 2_000


def bases(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, count, dtype=np.uint8)


def mutated(codes: np.ndarray, share: float) -> np.ndarray:
    rng = np.random.default_rng(99)
    hit = rng.random(len(codes)) < share
    return np.where(hit, (codes + rng.integers(1, 4, len(codes))) % 4, codes).astype(np.uint8)


def write_fasta(path: Path, contigs: dict[str, np.ndarray | str]) -> Path:
    texts = {name: codes if isinstance(codes, str) else decode(codes) for name, codes in contigs.items()}
    path.write_text("".join(f">{name}\n{text}\n" for name, text in texts.items()))
    return path


def settings(**changed: object) -> DuplicateSettings:
    return DuplicateSettings(**{"window": WINDOW, "k": 15, "max_similarity": 0.5} | changed)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "groups.tsv", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], Path, DuplicateReport]:
    """Two files with a planted copy of each kind, and what came of them."""
    folder = tmp_path_factory.mktemp("planted")
    first, odd = bases(10_000, 1), bases(7_300, 2)
    contigs = {
        "first": first,
        "odd": decode(odd) + "NNNN" + decode(bases(300, 3)) + "N" + "ACGT" * 5,
        "strangers": bases(9_000, 4),
    }
    others = {
        "other_strand": reverse_complement(first[2_000:4_000]),
        "mutated": mutated(first[4_000:6_000], 0.02),
        "whole_contig": reverse_complement(mutated(odd, 0.02)),
        "lower": decode(first[6_000:8_000]).lower(),
        "unrelated": bases(4_000, 5),
    }
    files = [write_fasta(folder / "a.fa", contigs), write_fasta(folder / "b.fa", others)]
    report = deduplicate(files, folder / "out", settings())
    return files, folder / "out", report


def test_every_planted_copy_is_dropped_and_nothing_else(
    planted: tuple[list[Path], Path, DuplicateReport],
) -> None:
    _, folder, report = planted
    rows = rows_of(folder)
    dropped = {row["contig"] for row in rows if row["status"] == "dropped"}
    assert dropped == {"other_strand", "mutated", "whole_contig", "lower"}
    assert {row["contig"] for row in rows if row["status"] == "kept"} == {"first", "odd"}
    assert (report.num_exact, report.num_near, report.num_groups) == (2, 5, 7)
    assert report.num_kept == report.num_windows - 7
    assert sum(row["contig"] == "whole_contig" for row in rows) == 4


def test_the_table_says_where_how_and_how_alike(planted: tuple[list[Path], Path, DuplicateReport]) -> None:
    _, folder, _ = planted
    rows = rows_of(folder)
    by_group: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        by_group.setdefault(row["group"], []).append(row)
    assert list(by_group) == [str(number) for number in range(7)]
    for kept, *others in by_group.values():
        assert (kept["status"], kept["kind"], kept["similarity"], kept["file"]) == (
            "kept",
            ".",
            "1.0000",
            "a.fa",
        )
        assert all(other["status"] == "dropped" for other in others)
    [exact] = [row for row in rows if row["contig"] == "other_strand"]
    assert (exact["kind"], exact["strand"], exact["similarity"]) == ("exact", "-", "1.0000")
    assert by_group[exact["group"]][0]["start"] == "2000"
    [near] = [row for row in rows if row["contig"] == "mutated"]
    assert (near["kind"], near["strand"], near["file"]) == ("near", "+", "b.fa")
    assert 0.5 < float(near["similarity"]) < 0.7
    assert {row["strand"] for row in rows if row["contig"] == "whole_contig"} == {"-"}


def test_the_regions_kept_are_the_input_less_what_was_dropped(
    planted: tuple[list[Path], Path, DuplicateReport],
) -> None:
    _, folder, report = planted
    kept = {name: regions.tolist() for name, regions in read_bed(folder / "kept.bed").items()}
    assert kept == {
        "first": [[0, 10_000]],
        "odd": [[0, 7_300], [7_304, 7_604]],
        "strangers": [[0, 9_000]],
        "unrelated": [[0, 4_000]],
    }
    assert report.num_kept_bases == sum(end - start for regions in kept.values() for start, end in regions)
    of_files = [read_bed(folder / "kept" / f"{name}.bed") for name in ("a.fa", "b.fa")]
    assert [sorted(regions) for regions in of_files] == [["first", "odd", "strangers"], ["unrelated"]]
    assert report.num_short_bases == 20
    assert report.num_not_bases == 5


def test_the_same_bytes_whatever_the_workers_and_again(
    planted: tuple[list[Path], Path, DuplicateReport], tmp_path: Path
) -> None:
    files, folder, _ = planted
    deduplicate(files, tmp_path / "out", settings(), worker_settings=WorkerSettings(num_workers=2))
    assert content(tmp_path / "out") == content(folder)


def test_the_report_says_by_which_measure(planted: tuple[list[Path], Path, DuplicateReport]) -> None:
    _, folder, report = planted
    written = json.loads((folder / "report.json").read_text())
    assert written["num_near"] == report.num_near
    assert written["settings"]["k"] == 15
    assert "seconds" not in written
    assert [file["name"] for file in written["inputs"]] == ["a.fa", "b.fa"]
    text = (folder / "report.md").read_text()
    for said in (
        "97.3 % identical bases",
        "1 - (1 - s^3)^23, that is 0.954",
        "224 B x 380 M = 85 GB",
        "| dropped: similar | 5 |",
    ):
        assert said in text.replace("\n", " ")
    assert report.key_bytes_per_window == 224
    assert set(report.seconds) == {"list", "keys", "exact", "candidates", "pack", "compare", "groups"}


@pytest.mark.parametrize("seed", range(3))
def test_two_in_a_hundred_mutated_is_found_whatever_the_seed(seed: int, tmp_path: Path) -> None:
    window = bases(10_000, seed)
    other = reverse_complement(mutated(window, 0.02))
    path = write_fasta(
        tmp_path / "a.fa", {"one": window, "other": other, "stranger": bases(10_000, 50 + seed)}
    )
    report = deduplicate([path], tmp_path / "out", settings(window=10_000, seed=seed))
    [kept, dropped] = rows_of(tmp_path / "out")
    assert (kept["contig"], dropped["contig"], dropped["strand"]) == ("one", "other", "-")
    assert float(dropped["similarity"]) == pytest.approx(0.59, abs=0.04)
    assert report.num_kept == 2
    assert not (tmp_path / "out" / "kept").exists()


def test_whole_reads_with_a_long_one_among_them(tmp_path: Path) -> None:
    chromosome = bases(400_000, 1)
    reads = {f"read{number}": bases(100 + number, 10 + number) for number in range(50)}
    contigs = {
        "short": chromosome[1_000:1_200],
        "long": chromosome,
        **reads,
        "again": mutated(reads["read7"], 0.01),
        "long_again": reverse_complement(mutated(chromosome, 0.01)),
    }
    report = deduplicate([write_fasta(tmp_path / "a.fa", contigs)], tmp_path / "out", settings(window=None))
    dropped = {row["contig"]: row for row in rows_of(tmp_path / "out") if row["status"] == "dropped"}
    assert set(dropped) == {"again", "long_again"}
    assert dropped["long_again"]["strand"] == "-"
    assert report.num_windows == 54


def test_a_copy_of_a_near_duplicate_goes_with_its_group(tmp_path: Path) -> None:
    window = bases(3_000, 1)
    near = mutated(window, 0.01)
    contigs = {"near": near[:2_990], "copy": reverse_complement(near[:2_990]), "longest": window}
    deduplicate([write_fasta(tmp_path / "a.fa", contigs)], tmp_path / "out", settings(window=3_000))
    kept, *others = rows_of(tmp_path / "out")
    assert (kept["contig"], kept["status"]) == ("longest", "kept")
    assert [(row["contig"], row["kind"], row["strand"]) for row in others] == [
        ("near", "near", "+"),
        ("copy", "exact", "-"),
    ]
    assert others[0]["similarity"] == others[1]["similarity"] != "1.0000"


def test_a_chain_is_one_group_and_its_end_is_counted(tmp_path: Path) -> None:
    steps = [bases(3_000, 1)]
    for seed in range(3):
        shifted = np.concatenate([steps[-1][700:], bases(700, 20 + seed)])
        steps.append(shifted)
    path = write_fasta(tmp_path / "a.fa", {f"step{number}": codes for number, codes in enumerate(steps)})
    report = deduplicate([path], tmp_path / "out", settings(window=3_000, recall=0.999))
    assert [row["contig"] for row in rows_of(tmp_path / "out")] == ["step0", "step1", "step2", "step3"]
    assert report.num_chained == 2


def test_contigs_of_one_name_in_two_files_have_a_bed_each(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    files = [
        write_fasta(tmp_path / "a.fa", {"1": bases(3_000, 1)}),
        write_fasta(tmp_path / "x" / "a.fa", {"1": bases(2_500, 2)}),
    ]
    report = deduplicate(files, tmp_path / "out", settings())
    assert not report.has_one_bed
    assert not (tmp_path / "out" / "kept.bed").exists()
    found = {path.read_text() for path in (tmp_path / "out" / "kept").iterdir()}
    assert found == {"1\t0\t3000\n", "1\t0\t2500\n"}
    assert "no kept.bed" in (tmp_path / "out" / "report.md").read_text().replace("\n", " ")


def test_the_vertebrates_share_windows_at_15_and_are_refused_at_7(data_dir: Path, tmp_path: Path) -> None:
    files = sorted((data_dir / "vertebrates").glob("*.fa.gz"))
    with pytest.raises(ConfigError, match=r"share \.54 of their canonical 7-mers; use k >= 11"):
        settings(window=10_000, k=7)
    report = deduplicate(files, tmp_path / "out", settings(window=10_000), names="header")
    assert report.num_near > 40  # baboon and macaque, most of them
    assert report.num_kept > 0.95 * report.num_windows
    assert {row["similarity"] > "0.4" for row in rows_of(tmp_path / "out")} == {True}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"k": 33}, "k=33: give a whole number from 3 to 32"),
        ({"window": 29}, "window=29 is under two k-mers: pass window=30"),
        ({"window": 0}, "window=0: give a whole number"),
        ({"max_similarity": 0}, "max_similarity=0: give a number above 0"),
        ({"max_similarity": 1.2}, "max_similarity=1.2: give a number above 0 and at most 1"),
        ({"max_similarity": 0.01}, "max_similarity=0.01 is too low"),
        ({"recall": 1.0}, "recall=1.0"),
        ({"min_stretch": 10}, "min_stretch=10 is shorter than one k-mer"),
        ({"k": 7}, "use k >= 9, where chance is below a tenth of the threshold"),
    ],
)
def test_what_cannot_work_is_refused_before_any_file_is_opened(changed: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(**changed)
    assert says in str(refused.value)


def test_windows_of_any_length_are_refused_by_the_longest_two(tmp_path: Path) -> None:
    contigs = {"a": bases(60_000, 1), "b": bases(50_000, 2), "c": bases(300, 3)}
    path = write_fasta(tmp_path / "a.fa", contigs)
    with pytest.raises(ConfigError, match="two unrelated 50,000-base windows share"):
        deduplicate([path], tmp_path / "out", settings(window=None, k=9))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", ["-", "fifo"])
def test_a_pipe_is_refused_as_it_cannot_be_read_again(given: str, tmp_path: Path) -> None:
    path = given
    if given == "fifo":
        path = str(tmp_path / "fifo")
        os.mkfifo(path)
    with pytest.raises(ConfigError, match="write it to a file first"):
        deduplicate([path], tmp_path / "out", settings())


def test_a_file_given_twice_and_one_without_a_window(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "a.fa", {"a": "ACGTACGTNN", "b": "NNNN"})
    with pytest.raises(FormatError, match="given twice"):
        deduplicate([path, path], tmp_path / "out", settings())
    with pytest.raises(FormatError, match="no stretch of 64 bases of A, C, G, T in it: lower min_stretch"):
        deduplicate([path], tmp_path / "out", settings())
    assert [left.name for left in tmp_path.iterdir()] == ["a.fa"]


def _run_and_wait(path: Path, out: Path, wait: Callable[..., None]) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr("dnabert_nemo.duplicates.deduplicate.find_candidates", wait)
    deduplicate([path], out, settings())


def _killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_run_leaves_nothing_that_looks_finished_and_can_be_run_again(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "a.fa", {"a": bases(9_000, 1)})
    out = tmp_path / "out"
    process = multiprocessing.get_context("fork").Process(target=_run_and_wait, args=(path, out, _killed))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()
    assert (tmp_path / "out.unfinished" / "scratch").is_dir()
    deduplicate([path], out, settings())
    assert sorted(left.name for left in tmp_path.iterdir()) == ["a.fa", "out"]
    assert sorted(content(out)) == ["groups.tsv", "kept.bed", "report.json", "report.md"]


def test_what_is_there_is_replaced_only_when_told_and_only_if_ours(tmp_path: Path) -> None:
    path = write_fasta(tmp_path / "a.fa", {"a": bases(9_000, 1)})
    out = tmp_path / "out"
    deduplicate([path], out, settings())
    with pytest.raises(ConfigError, match="overwrite=true"):
        deduplicate([path], out, settings())
    before = content(out)
    deduplicate([path], out, settings(), overwrite=True)
    assert content(out) == before
    shutil.copy(path, out / "genome.fa")
    with pytest.raises(ConfigError, match=r"genome\.fa"):
        deduplicate([path], out, settings(), overwrite=True)
