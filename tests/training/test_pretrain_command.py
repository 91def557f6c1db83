"""examples/pretrain.py on bad input: one line on stderr, exit code 2, soon, and nothing written."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest


def seconds_of_children() -> float:
    """Return what the processes that this one started, and that have ended, took of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["model.data.train=shards"], "no value for model.data.validation: pass model.data.validation=VALUE"),
        (["model.hiden_size=64"], "model.hiden_size is no key of this config"),
        (["trainer.max_step=5"], "trainer.max_step is no key of this config"),
        (["--config-name=dnabert_huge"], "dnabert_huge"),
        (["model.data.train=[unclosed"], "cannot read 'model.data.train=[unclosed' on the command line"),
        (
            ["DATA", "trainer.devices=3", "model.global_batch_size=4"],
            "model.global_batch_size=4 is not a multiple of model.micro_batch_size=1 x 3 data-parallel ranks",
        ),
        (
            ["DATA", "model.tensor_model_parallel_size=2", "model.pipeline_model_parallel_size=2"],
            "model.tensor_model_parallel_size=2 x model.pipeline_model_parallel_size=2 needs a multiple of "
            "4 ranks",
        ),
        (["DATA", "model.tokenizer.k=6"], "made with k=3, the model has k=6"),
        (["model.data.train=here", "model.data.validation=there"], "here: unfinished or not a shard set"),
        (["DATA", "restore_from_path=last.nemo"], "restore_from_path=last.nemo: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    pretrain, data_overrides: list[str], overrides: list[str], says: str, tmp_path: Path
) -> None:
    given = [each for one in overrides for each in (data_overrides if one == "DATA" else [one])]
    before = seconds_of_children()
    process = pretrain(tmp_path, *given, fresh=True)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    [line] = err.splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert out == ""
    assert list(tmp_path.iterdir()) == []
    assert seconds_of_children() - before < 5, "less than NeMo and Megatron take to be imported"
