"""How many processes take part, as launcher and config say: read before anything is started."""

from __future__ import annotations

import os
import threading
import time
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


def end_with_first_rank(environment: Mapping[str, str] = os.environ) -> None:
    """See to it that a process which Lightning started beside the user's own ends soon after that one.

    It would wait in a collective else: on GPUs until NCCL gives up, ten minutes later. torchrun and srun see
    to their processes themselves.
    """
    by_another = "TORCHELASTIC_RUN_ID" in environment or "SLURM_NTASKS" in environment
    if by_another or "LOCAL_RANK" not in environment:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
