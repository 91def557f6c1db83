"""Fixtures every test may use: the real data where it is present, and a toy genome made once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# The tests speak of the change they are run on, so they draw the same examples each time. `make search` looks
# for new ones; what it found are tests of their own.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("search", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Triton decides when it is first imported, be it by megatron-core, whether its kernels are compiled for a GPU
# or interpreted, which is how their tests run where there is none.
if not any(Path("/dev").glob("nvidia[0-9]*")):
    os.environ.setdefault("TRITON_INTERPRET", "1")


class ByWhatIsShared(LoadFileScheduling):
    """Keeps the tests of a file in one process, where several share the suite, and those of `parallel` too.

    They share what is made once for them, which for `parallel` is minutes of training on ranks.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid))
        return str(file.parent if file.parent.name == "parallel" else file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return ByWhatIsShared(config, log)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real DNA, or a skip with the reason where it is not on this machine."""
    path = os.environ.get("DNABERT_NEMO_DATA")
    if not path:
        pytest.skip("DNABERT_NEMO_DATA is not set: it names the folder of real genomes this test reads")
    return Path(path)
