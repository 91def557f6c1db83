"""The rows of a micro batch: the counts a step allows, and the most of them a device is planned to hold."""

from __future__ import annotations

import copy

from omegaconf import DictConfig, OmegaConf

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.training.launch import Launch, launch

USED = 0.8  # of a device's memory, by the plan, which counts neither CUDA's own nor what fragments


def divisors(number: int) -> list[int]:
    """Return the whole numbers that divide this one, smallest first."""
    return [each for each in range(1, number + 1) if number % each == 0]


def rows_that_fit(memory: str, *, _root_: DictConfig) -> int:
    """Return the most rows in a micro batch for which a rank needs at most 80 % of its device, by the plan.

    They divide the rows of a data rank, whatever the number of ranks. One, where even one is too many or the
    config cannot work: then the config's check says why.

    Args:
        memory: of the device, such as 32GB.
    """
    from dnabert_nemo.training.check import check_but_data, sizes_of  # which imports this
    from dnabert_nemo.training.plan import plan_of
    from dnabert_nemo.training.plan_report import memory_of

    room = USED * memory_of(str(memory))
    cfg = copy.deepcopy(_root_)
    cfg.model.micro_batch_size = 1
    started = _started(cfg)
    try:
        check_but_data(cfg, started)
    except ConfigError:  # which the run's own check says
        return 1
    for rows in reversed(divisors(cfg.model.global_batch_size // sizes_of(cfg).data(started.num_ranks))):
        cfg.model.micro_batch_size = rows
        if plan_of(cfg, started.num_ranks).largest.total <= room:
            return rows
    return 1


def _started(cfg: DictConfig) -> Launch:
    """The ranks of a run; the config's, where it is of another run than the launcher's, as to plan one."""
    try:
        return launch(cfg.trainer.devices, cfg.trainer.num_nodes)
    except ConfigError:
        return Launch(cfg.trainer.devices, cfg.trainer.num_nodes)


def know_rows_that_fit() -> None:
    """Let configs say `${rows_that_fit:32GB}`, as those of conf/hardware/ do."""
    OmegaConf.register_new_resolver("rows_that_fit", rows_that_fit, replace=True)
