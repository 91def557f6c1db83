"""How many processes take part, as launcher and config say: read before anything is started."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dnabert_nemo.errors import ConfigError


@dataclass(frozen=True)
class Launch:
    """Ranks of a run: `devices` on each of `num_nodes` machines, one process each."""

    devices: int
    num_nodes: int

    @property
    def num_ranks(self) -> int:
        return self.devices * self.num_nodes


def launch(devices: int, num_nodes: int, environment: Mapping[str, str] = os.environ) -> Launch:
    """Take the sizes from torchrun or SLURM where one of them started this process, else from the config.

    Raises:
        ConfigError: a config that asks for several processes contradicts the launcher.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        local, world, by = int(environment["LOCAL_WORLD_SIZE"]), int(environment["WORLD_SIZE"]), "torchrun"
    elif "SLURM_NTASKS" in environment and environment.get("SLURM_JOB_NAME") not in ("bash", "interactive"):
        nodes = int(environment["SLURM_NNODES"])
        world, by = int(environment["SLURM_NTASKS"]), "srun"
        local = world // nodes
    else:
        return Launch(devices, num_nodes)
    started = Launch(local, world // local)
    if devices not in (1, started.devices) or num_nodes not in (1, started.num_nodes):
        raise ConfigError(
            f"trainer.devices={devices} and trainer.num_nodes={num_nodes}, but {by} started "
            f"{started.devices} processes "
            f"on each of {started.num_nodes} nodes: make them agree, or leave both keys out"
        )
    return started
