"""conf/hardware/: each preset on each pre-training config, told what its device is, and its micro batches."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from dnabert_nemo.__main__ import main
from dnabert_nemo.command import CONF, composed
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.genome.toy import write_toy_genome
from dnabert_nemo.kernels.choose import Device
from dnabert_nemo.kernels.choose import choose as choose_kernels
from dnabert_nemo.shards.corpus import Corpus
from dnabert_nemo.shards.prepare import prepare_shards
from dnabert_nemo.shards.publish import Output
from dnabert_nemo.shards.settings import ShardSettings
from dnabert_nemo.shards.splits import SplitSettings
from dnabert_nemo.training.check import check_but_data, check_pretraining
from dnabert_nemo.training.launch import Launch
from dnabert_nemo.training.micro_batch import divisors
from dnabert_nemo.training.plan import plan
from dnabert_nemo.training.precision import AMPERE, HOPPER, VOLTA, choose

CONFIGS = sorted(path.stem for path in CONF.glob("dnabert_*.yaml"))
# hardware: compute capability, precision, attention, the other kernels
PRESETS = {
    "volta": (VOLTA, "fp16", "efficient", "torch"),
    "ampere": (AMPERE, "bf16", "flash", "triton"),
    "hopper": (HOPPER, "bf16", "flash", "triton"),
    "cpu": (None, "fp32", "blocks", "torch"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, toy_shards: Path) -> dict[int, list[str]]:
    """Name shard sets of k = 3 and of k = 6."""
    folder = tmp_path_factory.mktemp("six")
    fasta, _ = write_toy_genome(folder, seed=1, num_chromosomes=2, chromosome_length=20_000)
    prepare_shards(
        Corpus.of_fasta(fasta),
        Output(str(folder / "shards")),
        ShardSettings(k=6, seed=1, min_stretch=64, records_per_shard=64),
        SplitSettings(validation=("2",), test=(), fractions={"train": 1, "validation": 0, "test": 0}),
    )
    sets = {3: toy_shards, 6: folder / "shards"}
    return {
        k: [f"model.data.{split}={at / split}" for split in ("train", "validation")] for k, at in sets.items()
    }


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM", "TORCHELASTIC"))]:
        monkeypatch.delenv(name)


def test_all_are_tried() -> None:
    assert len(CONFIGS) >= 5
    assert {path.stem for path in CONF.glob("hardware/*.yaml")} == PRESETS.keys()


@pytest.mark.parametrize("hardware", PRESETS)
@pytest.mark.parametrize("name", CONFIGS)
def test_a_preset_is_what_its_device_takes(name: str, hardware: str, data: dict[int, list[str]]) -> None:
    k = composed(name, []).model.tokenizer.k
    cfg = composed(name, [f"hardware={hardware}", *data[k]])
    check_pretraining(cfg)
    capability, precision, attention, others = PRESETS[hardware]
    assert str(cfg.trainer.precision) != "auto"
    assert choose(str(cfg.trainer.precision), capability).name == precision
    assert choose("auto", capability).name == precision  # what no preset would come to
    here = Device(capability, frozenset({"triton"}))
    kernels = choose_kernels(cfg.model.kernels, here, precision=precision).kernels
    assert kernels.attention == attention
    assert {kernels.norm, kernels.gelu, kernels.cross_entropy} == {others}


def test_micro_batches_are_the_largest_that_are_planned_to_fit() -> None:
    def rows(*overrides: str, name: str = "dnabert_86m") -> int:
        return plan(name, overrides).step.micro_batch_size

    assert [rows(f"hardware={each}") for each in PRESETS] == [8, 8, 8, 1]
    many = "model.global_batch_size=64"
    assert [rows(f"hardware={each}", many) for each in PRESETS] == [8, 8, 16, 1]
    # as many as divide what is left for each of the ranks
    assert rows("hardware=volta", "trainer.devices=8") == 1
    assert rows("hardware=hopper", "trainer.devices=2", "model.global_batch_size=24") == 12
    full = ["model.activations_checkpoint_granularity=full", "model.activations_checkpoint_method=uniform"]
    assert rows("hardware=volta", many, *full, "model.activations_checkpoint_num_layers=1") == 32
    assert rows("hardware=volta", "model.hidden_size=6144") == 1  # which does not fit either
    # what is said outright holds
    assert rows("hardware=volta", "model.micro_batch_size=2") == 2
    assert rows("hardware=hopper", name="dnabert_15b") == 1


@pytest.mark.parametrize("hardware", ["volta", "ampere", "hopper"])
def test_the_figures_it_states_are_the_plans(hardware: str) -> None:
    text = (CONF / "hardware" / f"{hardware}.yaml").read_text()
    stated = re.findall(r"with (\d+)(?: rows the 86M model takes)? ([\d.]+)", text)
    assert len(stated) == 2
    for rows, gigabytes in stated:
        each = ["model.global_batch_size=64", f"model.micro_batch_size={rows}"]
        planned = plan("dnabert_86m", [f"hardware={hardware}", *each]).largest.total
        assert f"{planned / 1e9:.1f}" == gigabytes


def test_under_a_launcher_its_ranks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = composed("dnabert_86m", ["hardware=ampere"])
    assert cfg.model.micro_batch_size == 8
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert cfg.model.micro_batch_size == 2
    assert plan("dnabert_86m", ["hardware=ampere", "trainer.devices=2"]).step.micro_batch_size == 4


@pytest.mark.parametrize(
    "override",
    [
        "model.num_attention_heads=7",
        "model.tensor_model_parallel_size=5",
        "model.global_batch_size=0",
        "model.global_batch_size=many",
        "model.tokenizer.k=9",
        "trainer.devices=3",
    ],
)
def test_what_is_wrong_is_told_as_without_it(override: str) -> None:
    def told(*overrides: str) -> str:
        cfg = composed("dnabert_86m", [override, *overrides])
        with pytest.raises(ConfigError) as refused:
            check_but_data(cfg, Launch(cfg.trainer.devices, cfg.trainer.num_nodes))
        return str(refused.value)

    assert told("hardware=hopper") == told()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("hardware=pascal", "no config 'hardware/pascal': choose ampere, cpu, hopper, volta"),
        ("+hardware=volta", "hardware is chosen twice: write hardware=NAME once, without +"),
    ],
)
def test_one_that_cannot_be_had_is_one_line(
    override: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", override]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_divisors() -> None:
    assert divisors(12) == [1, 2, 3, 4, 6, 12]
    assert divisors(1) == [1]
    assert divisors(0) == []
