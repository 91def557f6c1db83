"""Which shard sets a run trains on and how they are read; `module` opens them."""

from __future__ import annotations

from dataclasses import dataclass

from dnabert_nemo.errors import ConfigError
from dnabert_nemo.shards.remote import is_remote


@dataclass(frozen=True)
class DataPaths:
    """Where the shard sets are, all made with one k.

    Args:
        train: folders, of which training is a mixture, or one URL or command, as `RemoteSet` takes it.
        train_weights: of the folders; None: by their tokens.
        streaming: stream the training set where it is a folder, too.

    Raises:
        ConfigError: several sets are to be streamed.
    """

    train: tuple[str, ...]
    validation: str
    test: str | None = None
    train_weights: tuple[float, ...] | None = None
    streaming: bool = False

    def __post_init__(self) -> None:
        if self.is_streamed and len(self.train) > 1:
            raise ConfigError(
                f"model.data.train={list(self.train)}: only one set can be streamed: make them one by "
                "`python -m dnabert_nemo shards merge`, or name folders and leave out model.data.streaming"
            )

    @property
    def is_streamed(self) -> bool:
        """Whether the training set is read front to back."""
        return self.streaming or any(map(is_remote, self.train))
