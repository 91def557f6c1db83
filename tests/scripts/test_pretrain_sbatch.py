"""scripts/slurm/pretrain.sbatch with stand-ins for srun and scontrol: what it starts, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm" / "pretrain.sbatch"


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch script on two nodes of four GPUs each."""
    stand_ins = {
        # ends at once, or when it is told to, with the training's code
        "srun": 'told() { echo "$1" >told; exit "${ENDS_IF_TOLD:-75}"; }; trap "told USR1" USR1; '
        'trap "told TERM" TERM; printf "%s\\n" "$@" >srun; '
        'for ((n = 0; n < ${STEP_SECONDS:-0} * 20; n++)); do sleep 0.05; done; exit "${STEP_ENDS:-0}"',
        "scontrol": 'echo "$*" >scontrol',
    }
    for name, does in stand_ins.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/usr/bin/env bash\n{does}\n")
        path.chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.defpath}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": "17",
        "SLURM_NTASKS": "8",
        "SLURM_CPUS_PER_TASK": "8",
    }


def test_one_process_a_gpu_with_the_users_overrides_last(cluster: dict[str, str], tmp_path: Path) -> None:
    command = ["bash", str(SCRIPT), "dnabert_k6", "trainer.max_steps=10"]
    subprocess.run(command, env=cluster, check=True, timeout=30)
    started = (tmp_path / "srun").read_text().splitlines()
    assert started[:2] == ["--kill-on-bad-exit=1", "--cpus-per-task=8"]
    assert started[2:4] == [f"{tmp_path}/.venv/bin/python", f"{tmp_path}/examples/pretrain.py"]
    assert started[4:6] == ["--config-name", "dnabert_k6"]
    assert started[-2:] == ["model.global_batch_size=8", "trainer.max_steps=10"]


def test_in_a_container(cluster: dict[str, str], tmp_path: Path) -> None:
    subprocess.run(["bash", str(SCRIPT)], env={**cluster, "CONTAINER": "a.sqsh"}, check=True, timeout=30)
    started = (tmp_path / "srun").read_text().splitlines()
    assert "--container-image=a.sqsh" in started
    assert started[started.index("python") + 1] == "/opt/dnabert_nemo/examples/pretrain.py"
    assert started[started.index("--config-name") + 1] == "dnabert_86m"


def test_a_failed_training_fails_the_job(cluster: dict[str, str]) -> None:
    assert (
        subprocess.run(["bash", str(SCRIPT)], env={**cluster, "STEP_ENDS": "3"}, timeout=30).returncode == 3
    )


@pytest.mark.parametrize(
    ("sent", "code", "queued"), [("USR1", 75, True), ("USR1", 0, False), ("TERM", 75, False)]
)
def test_a_signal_is_passed_on_and_only_want_of_time_puts_the_job_back(
    cluster: dict[str, str], tmp_path: Path, sent: str, code: int, queued: bool
) -> None:
    with subprocess.Popen(
        ["bash", str(SCRIPT)], env={**cluster, "STEP_SECONDS": "20", "ENDS_IF_TOLD": str(code)}
    ) as job:
        while not (tmp_path / "srun").exists():
            assert job.poll() is None
        job.send_signal(getattr(signal, f"SIG{sent}"))
        assert job.wait(timeout=30) == code, "the job waits for the training to end, and ends as it does"
    assert (tmp_path / "told").read_text() == f"{sent}\n"
    assert (tmp_path / "scontrol").exists() == queued
    if queued:
        assert (tmp_path / "scontrol").read_text() == "requeue 17\n"


def test_slurm_sees_every_directive() -> None:
    lines = SCRIPT.read_text().splitlines()
    first_command = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    directives = [n for n, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert max(directives) < first_command, "sbatch reads none after the first command"
    of_the_cluster = [n for n, line in enumerate(lines) if re.match("# -{4}", line)]
    assert of_the_cluster[1] - of_the_cluster[0] - 1 == 4, "the user changes four lines"
