"""`python -m dnabert_nemo plan`: a run from its config, without data or torch, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dnabert_nemo.__main__ import main
from dnabert_nemo.command import CONF
from dnabert_nemo.data.packing import NUM_ENDS, StepShape
from dnabert_nemo.data.sampling import SamplingPlan
from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.check import check_pretraining
from dnabert_nemo.training.plan import _lengths, plan
from dnabert_nemo.training.plan_report import check_fit, memory_of


def test_the_published_model_on_one_gpu_and_on_eight() -> None:
    """86,139,776 parameters of 2 + 4 + 12 bytes, the 12 shared by eight; a row of 8,192 tokens on each."""
    [alone] = plan("dnabert_86m", []).ranks
    [of_eight] = plan("dnabert_86m", ["trainer.devices=8"]).ranks
    assert alone.parameters == of_eight.parameters == 86_139_776
    assert (alone.weights, alone.gradients) == (172_279_552, 344_559_104)
    assert (alone.optimizer, of_eight.optimizer) == (1_033_677_312, 129_209_664)
    assert (of_eight.optimizer_shared, of_eight.optimizer_whole) == (129_209_664, 1_033_677_312)
    # T H = 6,291,456; a layer 34 T H, 16 T and 4 T N. The last of 1,168 masked places M: both inputs of its
    # first LayerNorm and its keys and values are whole, 2 x 4 T H and 8 T; 28 M H and 8 M, 4 M N: in and out
    # of the second LayerNorm 4, two dropouts 2, queries 2, their input 2, projection 2, MLP 16; its weights
    # of QKV apart. Then ids, positions and dropout of the embedding; at M the last LayerNorm, and the head
    layer = 34 * 6_291_456 + 16 * 8192 + 4 * 8192 * 12
    last = 8 * 6_291_456 + 8 * 8192 + 1_168 * (28 * 768 + 8 + 4 * 12) + 6 * 768 * 768
    ends = 16 * 8192 + 6_291_456 + 1_168 * (2 * 768 + 8) + 1_168 * (8 * 768 + 4 * 128 + 16)
    assert alone.activations == of_eight.activations == 11 * layer + last + ends
    assert of_eight.total == 172_279_552 + 344_559_104 + 129_209_664 + 11 * layer + last + ends
    planned = plan("dnabert_86m", ["trainer.devices=8"])
    assert (planned.tokens, planned.micro_batches, planned.bubble) == (65_536, 1, 0)
    [unshared] = plan("dnabert_86m", ["trainer.devices=8", "model.optim.name=fused_adam"]).ranks
    assert unshared.optimizer == 1_033_677_312


def test_ranks_are_numbered_by_stage_and_hold_its_layers() -> None:
    layout = ["model.pipeline_model_parallel_size=2", "model.pipeline_model_parallel_layout=[1,2,3,6]"]
    planned = plan(
        "dnabert_86m",
        [
            "trainer.devices=8",
            *layout,
            "model.virtual_pipeline_model_parallel_size=2",
            "trainer.precision=32",
        ],
    )
    assert planned.precision == "fp32"
    assert [(rank.first_rank, rank.last_rank, rank.layers) for rank in planned.ranks] == [
        (0, 3, (1, 3)),
        (4, 7, (2, 6)),
    ]
    assert planned.bubble == pytest.approx(1 / (2 * 2))
    assert planned.ranks[1].copied_parameters == 128 * 768


def test_the_fifteen_billion_are_what_their_config_says() -> None:
    text = (CONF / "dnabert_15b.yaml").read_text()
    planned = plan("dnabert_15b", [])
    assert f"# {planned.parameters:,} parameters on {planned.num_ranks} GPUs of 80 GB" in text
    assert f"{planned.largest.total / 1e9:.1f} GB in all" in text
    assert f"{planned.tokens:,} tokens" in text
    without = plan("dnabert_15b", ["model.sequence_parallel=false"]).largest.total
    assert f"without sequence_parallel it is {without / 1e9:.1f} GB" in text
    assert "it fits" in check_fit(planned, memory_of("80GB"))


@pytest.mark.parametrize("mix", ["dnabert", "full"])
def test_lengths_are_those_that_are_drawn(mix) -> None:
    drawn = SamplingPlan(np.array([10**6]), 510, 1, mix).samples(0, 20_000)["length"] + NUM_ENDS
    mean, attended = _lengths(StepShape(8, 1, 8192, 512), mix)
    assert mean == pytest.approx(drawn.mean(), rel=0.01)
    assert attended == pytest.approx((drawn.astype(float) ** 2).sum() / drawn.sum(), rel=0.01)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.tensor_model_parallel_size=8", "trainer.devices=8"],
        ["model.tensor_model_parallel_size=2"],
        ["model.sequence_parallel=true"],
        ["model.pipeline_model_parallel_size=5", "trainer.devices=5"],
        ["trainer.devices=3"],
        ["trainer.devices=auto", "trainer.num_nodes=two"],
        ["trainer.precision=tf32"],
        ["model.context_parallel_size=3", "trainer.devices=3"],
        ["model.activations_checkpoint_granularity=some"],
        ["model.data.length_mix=none"],
        ["model.data.mask.probability=2"],
        ["model.data.sequence_length=513"],
    ],
)
def test_it_refuses_what_the_run_would(config, overrides: list[str]) -> None:
    with pytest.raises(ConfigError) as of_plan:
        plan("dnabert_86m", overrides)
    with pytest.raises(ConfigError) as of_run:
        check_pretraining(config(*overrides))
    assert str(of_plan.value) == str(of_run.value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config-name", "splice"], "--config-name splice is no config of pre-training"),
        (["--config-name", "dnabert_huge"], "dnabert_huge"),
        (["model.hiden_size=64"], "model.hiden_size is no key of this config"),
        (["model.num_layers=[1"], "cannot read 'model.num_layers=[1' on the command line"),
        (["model.num_layers=???"], "no value for model.num_layers: pass model.num_layers=VALUE"),
        (["--device-memory", "80"], "--device-memory 80: give a size such as 80GB or 80GiB"),
        (["model.transformer_block_type=mid_ln"], "model.transformer_block_type=mid_ln is not known"),
        (["model.micro_batch_size=${rows_that_fit:32}"], "32: give a size such as 80GB or 80GiB"),
        (["model.micro_batch_size=${no_key}"], "Interpolation key 'no_key' not found"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], says: str, capsys) -> None:
    assert main(["plan", *arguments]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert out == ""


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([], "pass model.activations_checkpoint_granularity=full"),
        (["model.tensor_model_parallel_size=2", "trainer.devices=2"], "pass model.sequence_parallel=true"),
        (["model.data.tokens_per_row=512"], "raise model.tensor_model_parallel_size"),
        (
            ["model.data.tokens_per_row=512", "model.optim.name=fused_adam", "trainer.devices=2"],
            "pass model.optim.name=distributed_fused_adam",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_a_remedy(overrides: list[str], says: str, capsys) -> None:
    assert main(["plan", "--device-memory", "1GB", *overrides]) == 2
    out, err = capsys.readouterr()
    assert "parameters" in out  # the plan is there to be looked at
    assert re.match(r"error: a rank of stage 0 needs [\d.]+ of 1\.0 GB: ", err)
    assert says in err


def test_json_is_the_plan_in_bytes(capsys) -> None:
    assert main(["plan", "--json", "--device-memory", "80GiB", "trainer.devices=2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["shape"]["num_layers"] == 12
    assert found["ranks"][0]["weights"] == 172_279_552


def test_a_size_is_read_in_its_unit() -> None:
    assert memory_of("80GB") == 80 * 10**9
    assert memory_of("1.5GiB") == 3 * 2**29


def test_a_config_of_ones_own_is_planned(tmp_path: Path, capsys) -> None:
    (tmp_path / "wide.yaml").write_text(
        "defaults: [dnabert_86m, _self_]\nname: wide\nmodel: {hidden_size: 1536}\n"
    )
    assert main(["plan", "--json", "--config-dir", str(tmp_path), "--config-name", "wide"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["parameters"] > 2 * 86_139_776) == ("wide", True)


def test_it_takes_a_second_or_two_and_no_torch_whatever_launcher_it_runs_under() -> None:
    program = (
        "import sys; from dnabert_nemo.__main__ import main; code = main(sys.argv[1:])\n"
        "print(*({'torch', 'nemo', 'lightning', 'megatron'} & sys.modules.keys()), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "plan", "trainer.devices=8"],
        env={**os.environ, "SLURM_NTASKS": "3", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "plan"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == ""
    assert "\n8 ranks: " in done.stdout
