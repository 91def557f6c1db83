"""examples/scan_splice.py as a user calls it, the scores of its rows, and real DNA."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import commands
import numpy as np
import pytest
from omegaconf import OmegaConf
from sklearn.metrics import average_precision_score

from dnabert_nemo.downstream.baselines import dinucleotide_rule
from dnabert_nemo.downstream.baselines_of_report import BASELINES, trained_baselines
from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.prepare import SpliceSettings, prepare_splice
from dnabert_nemo.downstream.report import RULE_ROW
from dnabert_nemo.downstream.scan import Locus, held_out_loci
from dnabert_nemo.downstream.scan_report import FILES, RANDOM_ROW, render_scan, scan_report
from dnabert_nemo.downstream.scan_rows import (
    CHUNK,
    check_model,
    log_odds,
    rule_probabilities,
    rule_scores,
    scan_rows,
    scanned,
)
from dnabert_nemo.downstream.splice_dataset import SpliceDataset, load_splice_dataset
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.alphabet import decode, encode
from dnabert_nemo.shards.splits import SplitSettings

SCRIPT = Path(__file__).parents[2] / "examples" / "scan_splice.py"
WIDTH = 64


@pytest.fixture(scope="module")
def small(
    toy: tuple[Path, Path], prepare: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The toy genome's data set in windows that a small model takes."""
    folder = tmp_path_factory.mktemp("small") / "toy"
    prepare(toy, folder, protocol="hard", window=WIDTH)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .nemo file of a classifier with its first weights, for windows of WIDTH bases and no more."""
    from dnabert_nemo.megatron.sizes import ParallelSizes
    from dnabert_nemo.model import DnabertClassifier

    config = {
        "seed": 1,
        "tokenizer": {"k": 3, "vocab_file": None},
        "num_layers": 1,
        "hidden_size": 16,
        "ffn_hidden_size": 32,
        "num_attention_heads": 2,
        "max_position_embeddings": WIDTH,
        "hidden_dropout": 0.1,
        "attention_dropout": 0.1,
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "sequence_parallel": False,
        "labels": ["donor", "acceptor", "negative"],
        "freeze_encoder": False,
        "optim": {"lr": 1.0},
    }
    model = DnabertClassifier(OmegaConf.create(config))
    model.build(ParallelSizes(), "fp32")
    path = tmp_path_factory.mktemp("model") / "tiny.nemo"
    model.save_to(str(path))
    return path


def run(folder: Path, *overrides: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPT), "--config-name", "scan_splice", *overrides]
    return commands.run(command, cwd=folder, timeout=timeout)


def given(dataset: Path, genome: tuple[Path, Path]) -> list[str]:
    return [f"dataset_path={dataset}", f"input.fasta=[{genome[0]}]", f"input.annotation={genome[1]}"]


def test_from_a_data_set_and_a_model_to_a_report(
    toy: tuple[Path, Path], small: Path, classifier: Path, tmp_path: Path
) -> None:
    asked = ["output_dir=scan", "genes=2", f"restore_from_path={classifier}", "baselines=[weights,one_hot]"]
    done = run(tmp_path, *given(small, toy), *asked)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]
    assert sorted(path.name for path in (tmp_path / "scan").iterdir()) == sorted(FILES)
    report = json.loads((tmp_path / "scan" / "scan.json").read_text())
    names = ["tiny", "position weight matrix, 40 bases", "logistic regression, one-hot of 64 bases", RULE_ROW]
    assert list(report["rows"]) == names
    assert report["counts"]["loci"] == len(report["genes"]) == 2
    assert report["files"]["model tiny"]["name"] == "tiny.nemo"
    assert report["seeds"] == {"genes, bootstrap and baselines": 1, "training of tiny": 1}
    markdown = (tmp_path / "scan" / "scan.md").read_text()
    assert markdown == render_scan(report)
    for name in [*names, RANDOM_ROW]:
        assert sum(line.startswith(f"| {name} |") for line in markdown.splitlines()) == 3 - (
            name == RANDOM_ROW
        )
    assert (tmp_path / "scan" / "precision_recall.png").read_bytes().startswith(b"\x89PNG")
    figures = {name: row["figures"]["mean"]["auprc"] for name, row in report["rows"].items()}
    assert figures[names[2]] > 3 * figures[RULE_ROW] > 3 * report["random"]["mean"]["auprc"]
    low, high = report["rows"][names[2]]["intervals"]["donor"]["auprc"]
    assert 0 <= low <= high <= 1


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["input.fasta=[{gff3}]"], "input.fasta and input.annotation lack toy.fa"),
        (["genes=1000000"], "genes=1000000: there are "),
        (["baselines=[svm]"], "baselines: 'svm' is not known: choose from weights,"),
        (["dataset_path=absent"], "no splice data set, or an unfinished one"),
        (["width=3"], "width"),
        (["restore_from_path=[a/x.nemo,b/x.nemo]"], "two have one name, which rows go by: rename a file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    overrides: list[str], says: str, toy: tuple[Path, Path], small: Path, tmp_path: Path
) -> None:
    asked = [each.format(gff3=toy[1]) for each in overrides]
    done = run(tmp_path, *given(small, toy), "output_dir=scan", *asked)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_a_model_with_fewer_positions_is_told(
    toy: tuple[Path, Path], splice_dir: Path, classifier: Path, tmp_path: Path
) -> None:
    asked = [f"restore_from_path={classifier}", "output_dir=scan", "baselines=null"]
    done = run(tmp_path, *given(splice_dir, toy), *asked)
    assert done.returncode == 2, done.stdout
    [line] = done.stderr.splitlines()
    assert line.startswith("error: restore_from_path: tiny: a sequence of the dataset takes 512 tokens and ")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def dataset(small: Path) -> SpliceDataset:
    return load_splice_dataset(small)


@pytest.fixture(scope="module")
def loci(dataset: SpliceDataset, toy: tuple[Path, Path]) -> list[Locus]:
    found = held_out_loci(dataset, [Genome((toy[0],), (toy[1],))], genes=4, seed=1)
    assert max(map(len, found)) > 100
    return found


def context_of(dataset: SpliceDataset) -> dict[str, Any]:
    return {"dataset": dataset.manifest, "seeds": {}, "command": "", "files": {}, "versions": {}}


def test_a_model_of_other_labels_is_refused() -> None:
    class Other:
        labels = ("enhancer", "none")

    with pytest.raises(ConfigError, match="tells enhancer, none apart, and not donor, acceptor, negative"):
        check_model("other", Other(), WIDTH)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(BASELINES))
def test_baselines_give_codes_what_they_give_letters(
    name: str, dataset: SpliceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dnabert_nemo.downstream.cnn_baseline._MOST_ROUNDS", 1)
    [baseline] = trained_baselines(dataset, [name], seed=1)
    sequences = dataset.splits["test"].sequences[:20]
    codes = np.stack([encode(sequence) for sequence in sequences])
    assert np.array_equal(baseline.probabilities(codes), baseline.probabilities(sequences))


def test_the_rule_gives_codes_what_it_gives_letters() -> None:
    codes = np.random.default_rng(1).integers(0, 4, (300, 10)).astype(np.uint8)
    calls = dinucleotide_rule([decode(each) for each in codes])
    assert len(set(calls.tolist())) == 3
    assert rule_probabilities(codes).argmax(1).tolist() == calls.tolist()


def test_positions_are_scored_in_their_order_whatever_the_chunks(
    loci: list[Locus], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def score(windows: np.ndarray) -> np.ndarray:
        sizes.append(len(windows))
        return rule_probabilities(windows)

    whole = scanned("rule", score, loci, WIDTH)
    assert max(sizes) <= CHUNK
    monkeypatch.setattr("dnabert_nemo.downstream.scan_rows.CHUNK", 7)
    assert np.array_equal(scanned("rule", score, loci, WIDTH), whole)
    is_site = np.concatenate([locus.is_site for locus in loci])
    assert whole.shape == is_site.shape
    assert whole.dtype == np.float32
    assert (whole[is_site] > 0).mean() > 0.8  # sites have their two bases where they are looked for


def test_log_odds_keep_apart_what_is_near_one() -> None:
    found = log_odds(
        np.array([[1 - 1e-12, 1e-12, 0], [1 - 1e-11, 5e-12, 5e-12], [0.5, 0.25, 0.25], [0, 1, 0]])
    )
    assert found[0, 0] > found[1, 0] > found[2, 0] > found[3, 0]
    assert found[2].tolist() == pytest.approx([0, np.log(1 / 3)])
    assert np.isfinite(found).all()


def test_behind_the_rule_are_the_rows_own_scores_of_places_that_have_the_bases(
    dataset: SpliceDataset, loci: list[Locus], tmp_path: Path
) -> None:
    rule = rule_scores(loci, WIDTH) > 0
    is_site = np.concatenate([locus.is_site for locus in loci])
    scores = np.random.default_rng(1).normal(size=is_site.shape).astype(np.float32) + is_site
    folder = scan_report(loci, [("some", scores)], context_of(dataset), seed=1, output_dir=tmp_path / "scan")
    rows = json.loads((folder / "scan.json").read_text())["rows"]
    assert "behind_rule" not in rows[RULE_ROW]
    for at, label in enumerate(("donor", "acceptor")):
        truth, own = is_site[:, at], scores[:, at].astype(np.float64)
        found = rows["some"]["behind_rule"]["figures"][label]["auprc"]
        best = np.lexsort((-own, ~rule[:, at]))
        assert found == pytest.approx(average_precision_score(truth[best], -np.arange(len(best))), rel=1e-6)
        assert found > rows["some"]["figures"][label]["auprc"] > 0


def test_a_report_is_replaced_only_when_asked_and_repeats(
    dataset: SpliceDataset, loci: list[Locus], tmp_path: Path
) -> None:
    def write(name: str, **more: bool) -> Path:
        rows = scan_rows(dataset, loci, {}, [], seed=1)
        return scan_report(loci, rows, context_of(dataset), seed=1, output_dir=tmp_path / name, **more)

    one, other = write("one"), write("other")
    for name in FILES:
        assert (one / name).read_bytes() == (other / name).read_bytes()
    with pytest.raises(ConfigError, match="pass overwrite=true"):
        write("one")
    write("one", overwrite=True)


def test_on_human_genes_what_sees_more_ranks_better(data_dir: Path, tmp_path: Path) -> None:
    stems = [data_dir / "human" / f"human_GRCh38_{name}" for name in ("minig_genes", "mini_chrX")]
    fasta, annotation = ([Path(f"{stem}.{ending}.gz") for stem in stems] for ending in ("fa", "gff3"))
    fractions = {"train": 0.8, "validation": 0.1, "test": 0.1}
    split = SplitSettings(None, ("minigenome",), fractions)
    human = Genome(tuple(fasta), tuple(annotation))
    prepare_splice([human], tmp_path / "hard", SpliceSettings(protocol="hard"), split)
    dataset = load_splice_dataset(tmp_path / "hard")
    loci = held_out_loci(dataset, [human], genes=30, seed=1)
    rows = scan_rows(dataset, loci, {}, ["weights", "one_hot"], seed=1)
    folder = scan_report(loci, rows, context_of(dataset), seed=1, output_dir=tmp_path / "scan")
    report = json.loads((folder / "scan.json").read_text())
    assert report["counts"]["donor"] / report["counts"]["positions"] < 1 / 500
    found = {name: row["figures"]["donor"] for name, row in report["rows"].items()}
    weights, one_hot, rule = found.values()
    behind = {name: report["rows"][name]["behind_rule"]["figures"]["donor"] for name in list(found)[:2]}
    for metric in ("auprc", "top_1k"):
        # those that learned from decoys do not know that a site has its two bases
        assert all(own[metric] > found[name][metric] for name, own in behind.items())
        assert one_hot[metric] > 0.1
        assert weights[metric] > 5 * rule[metric] > 5 * 5 * report["random"]["donor"][metric]
