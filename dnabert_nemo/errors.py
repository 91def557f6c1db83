"""The errors a user can cause: each message says what is wrong, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class DnabertError(Exception):
    """Something the user can put right; commands print it on one line and end with exit code 2."""


class ConfigError(DnabertError):
    """A config key, or a combination of keys, that cannot work; the message names the override to change."""


class FormatError(DnabertError):
    """An input file that is not what it should be; the message starts with the file and any known line."""

    def __init__(self, path: str | Path, problem: str, *, line: int | None = None) -> None:
        self.path, self.line = Path(path), line
        self.problem = problem
        super().__init__(f"{path}{'' if line is None else f', line {line}'}: {problem}")

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers hand their errors over by pickle, which would call the class with the finished message.
        return _format_error, (self.path, self.problem, self.line)


def _format_error(path: Path, problem: str, line: int | None) -> FormatError:
    return FormatError(path, problem, line=line)


class FetchError(DnabertError):
    """A file that cannot be fetched, or is not what it should be; the message names its address."""


class ShardError(DnabertError):
    """A shard set that is unfinished, damaged, or made for another model."""


class TrainingError(DnabertError):
    """A run that cannot go on, as its figures are no numbers any more; all ranks raise it, one tells."""


class CheckpointError(DnabertError):
    """A checkpoint or .nemo file that is damaged, incomplete, unsafe or of another shape."""
