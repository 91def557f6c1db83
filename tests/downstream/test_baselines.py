"""The GT/AG rule: what it calls, and how well it does on real human genes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.downstream.baselines import centre, dinucleotide_rule
from dnabert_nemo.downstream.genomes import Genome
from dnabert_nemo.downstream.metrics import score
from dnabert_nemo.downstream.prepare import SpliceSettings, prepare_splice
from dnabert_nemo.downstream.splice_dataset import LABELS, load_splice_dataset
from dnabert_nemo.shards.splits import SplitSettings


def test_only_the_two_middle_bases_count() -> None:
    sequences = ["AAGTAA", "TTAGTT", "GTCCAG", "AGTGTA", "GT", "GTCAAGGT"]
    calls = [LABELS[call] for call in dinucleotide_rule(sequences)]
    assert calls == ["donor", "acceptor", "negative", "negative", "donor", "negative"]
    assert [centre(sequence) for sequence in sequences] == ["GT", "AG", "CC", "TG", "GT", "AA"]


def test_on_human_genes_the_rule_alone_stands_above_the_published_model(
    data_dir: Path, tmp_path: Path
) -> None:
    human = data_dir / "human"
    manifest = prepare_splice(
        [Genome(tuple(sorted(human.glob("*.fa.gz"))), tuple(sorted(human.glob("*.gff3.gz"))))],
        tmp_path / "human",
        SpliceSettings(),
        SplitSettings(("19",), ("minigenome",), {"train": 0.8, "validation": 0.1, "test": 0.1}),
    )
    assert manifest["annotated"] == {"donor": 3132, "acceptor": 3072, "negative": 0}
    assert manifest["counts"]["test"] == {"donor": 1047, "acceptor": 1047, "negative": 1047}
    assert manifest["centre_shares"]["donor"]["GT"] == pytest.approx(0.983, abs=0.002)
    assert manifest["centre_shares"]["acceptor"]["AG"] == pytest.approx(0.997, abs=0.002)
    splits = load_splice_dataset(tmp_path / "human").splits.values()
    labels = np.concatenate([part.labels for part in splits])
    calls = dinucleotide_rule([sequence for part in splits for sequence in part.sequences])
    card = score(labels, calls, seed=1)["card"]
    # intron midpoints as negatives gave .9644 and .9618; places uniform over gene bodies differ by little
    assert card["donor"]["accuracy"] == pytest.approx(0.9644, abs=0.006)
    assert card["acceptor"]["accuracy"] == pytest.approx(0.9618, abs=0.006)
    assert card["mean"]["mcc"] == pytest.approx(0.9276, abs=0.01)
