"""How many ranks a run has, from what torchrun and SLURM put into the environment."""

from __future__ import annotations

import pytest

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.launch import Launch, launch

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "0"}
SLURM = {"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "pretrain", "SLURM_PROCID": "0"}


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environment", "expected"),
    [
        (1, 1, {}, Launch(1, 1)),
        (2, 3, {}, Launch(2, 3)),
        (1, 1, {"WORLD_SIZE": "8"}, Launch(1, 1)),  # not torchrun's doing
        (1, 1, TORCHRUN, Launch(4, 2)),
        (4, 2, TORCHRUN, Launch(4, 2)),
        (1, 1, SLURM, Launch(8, 2)),
        (8, 1, SLURM, Launch(8, 2)),
        (1, 1, SLURM | {"SLURM_JOB_NAME": "interactive"}, Launch(1, 1)),
        (2, 1, SLURM | {"SLURM_JOB_NAME": "bash"}, Launch(2, 1)),
        (1, 1, SLURM | TORCHRUN, Launch(4, 2)),  # torchrun on the nodes of a SLURM job
    ],
)
def test_the_launcher_says_so(
    devices: int, num_nodes: int, environment: dict[str, str], expected: Launch
) -> None:
    assert launch(devices, num_nodes, environment) == expected


@pytest.mark.parametrize(
    ("devices", "num_nodes", "environment", "by"),
    [(2, 1, TORCHRUN, "torchrun"), (4, 3, TORCHRUN, "torchrun"), (4, 1, SLURM, "srun")],
)
def test_a_config_that_contradicts_it_is_refused(
    devices: int, num_nodes: int, environment: dict[str, str], by: str
) -> None:
    with pytest.raises(
        ConfigError, match=rf"trainer\.devices={devices} and .*={num_nodes}, but {by} started"
    ):
        launch(devices, num_nodes, environment)


def test_ranks_are_devices_of_all_nodes() -> None:
    assert Launch(4, 2).num_ranks == 8
