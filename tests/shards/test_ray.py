"""Shards written by the nodes of a Ray cluster are the ones that one process writes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dnabert_nemo.errors import ConfigError, FormatError
from dnabert_nemo.shards.manifest import Manifest
from dnabert_nemo.shards.workers import WorkerSettings, workers

ray = pytest.importorskip("ray")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers cannot import a test


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of a head without processors and two worker nodes of one each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 * 1024 * 1024)
    yield cluster.address
    cluster.shutdown()


def _where(job: int) -> tuple[int, str, int]:
    return job, ray.get_runtime_context().get_node_id(), os.getpid()


def _fails(job: int) -> None:
    raise FormatError(f"{job}.fa", "no such file: check the path", line=job)


def test_both_nodes_work_and_results_keep_their_order(address: str) -> None:
    with workers(WorkerSettings("ray", 2, address)) as run:
        found = list(run(_where, range(40)))
    assert [job for job, _, _ in found] == list(range(40))
    assert len({node for _, node, _ in found}) == 2
    assert os.getpid() not in {process for _, _, process in found}


def test_the_same_bytes_as_one_process(
    address: str, prepare: Callable[..., dict[str, Manifest]], shards: Path, tmp_path: Path
) -> None:
    prepare(tmp_path / "by_ray", executor="ray", num_workers=2, ray_address=address)
    files = sorted(path.relative_to(shards) for path in shards.rglob("*") if path.is_file())
    assert (
        sorted(p.relative_to(tmp_path / "by_ray") for p in (tmp_path / "by_ray").rglob("*") if p.is_file())
        == files
    )
    for file in files:
        assert (tmp_path / "by_ray" / file).read_bytes() == (shards / file).read_bytes()


def test_an_error_of_a_task_is_the_error_itself(address: str) -> None:
    with (
        pytest.raises(FormatError, match=r"^3\.fa, line 3: no such file: check the path$"),
        workers(WorkerSettings("ray", 2, address)) as run,
    ):
        list(run(_fails, [3]))


def test_no_cluster_there() -> None:
    with (
        pytest.raises(ConfigError, match=r"ray_address=127.0.0.1:1: no Ray cluster answers .* start one"),
        workers(WorkerSettings("ray", 2, "127.0.0.1:1")),
    ):
        pytest.fail("there is none")
