"""Packing: the plan's next samples in order, first fit into the rows of a step; `masked_kmers` is next."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from dnabert_nemo.data.sampling import MIN_TOKENS
from dnabert_nemo.errors import ConfigError

NUM_ENDS = 2  # CLS and SEP, which every sample carries around its k-mers


@dataclass(frozen=True)
class StepShape:
    """How the tokens of one optimizer step are laid out.

    global_batch_size counts the rows over all data-parallel ranks, micro_batch_size those of a forward pass;
    tokens_per_row is what a row holds, and max_positions the tokens of a full sample with CLS and SEP.
    """

    global_batch_size: int
    micro_batch_size: int
    tokens_per_row: int = 8192
    max_positions: int = 512

    @property
    def max_tokens(self) -> int:
        """K-mer tokens of a full sample."""
        return self.max_positions - NUM_ENDS

    def check(self, data_parallel_size: int) -> None:
        """Raise ConfigError, naming the override, where rows cannot be shared out or cannot hold a sample."""
        keys = {name: f"{_KEYS[name]}={value}" for name, value in asdict(self).items()}
        for name in ("global_batch_size", "micro_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{keys[name]} must be 1 or more")
        if self.global_batch_size % (self.micro_batch_size * data_parallel_size):
            raise ConfigError(
                f"{keys['global_batch_size']} is not a multiple of {keys['micro_batch_size']} x "
                f"{data_parallel_size} data-parallel ranks: change one of them"
            )
        if self.max_tokens < MIN_TOKENS:
            raise ConfigError(
                f"{keys['max_positions']} is too few for the shortest sample, {MIN_TOKENS} k-mers between "
                f"CLS and SEP: make it {MIN_TOKENS + NUM_ENDS} or more"
            )
        if self.tokens_per_row < self.max_positions:
            raise ConfigError(
                f"{keys['tokens_per_row']} is less than {keys['max_positions']}, so a full sample fits no "
                f"row: make it {self.max_positions} or more"
            )


_KEYS = {
    "global_batch_size": "model.global_batch_size",
    "micro_batch_size": "model.micro_batch_size",
    "tokens_per_row": "model.data.tokens_per_row",
    "max_positions": "model.max_position_embeddings",
}


def pack_step(lengths: Iterable[int], num_rows: int, tokens_per_row: int) -> tuple[list[list[int]], int]:
    """Put samples into rows in order, each into the first row that holds it, until one fits no row.

    Args:
        lengths: tokens of each sample, CLS and SEP included, none above tokens_per_row; the step also ends
            where they end.
        num_rows: rows of the step over all ranks.
        tokens_per_row: tokens a row holds.

    Returns:
        For each row the offsets of its samples in `lengths`, and how many samples the step consumed.
    """
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    # A tree over the rows: node n, above nodes 2 n and 2 n + 1, has the most free tokens of any row below.
    # So the first that fits of hundreds of rows is found in a few turns.
    first_leaf = 1 << (num_rows - 1).bit_length()
    most_free = [0] * first_leaf + [tokens_per_row] * num_rows + [0] * (first_leaf - num_rows)
    for node in range(first_leaf - 1, 0, -1):
        most_free[node] = max(most_free[2 * node : 2 * node + 2])
    consumed = 0
    for length in lengths:
        if length > most_free[1]:
            break
        node = 1
        while node < first_leaf:
            node *= 2
            if length > most_free[node]:
                node += 1
        rows[node - first_leaf].append(consumed)
        consumed += 1
        most_free[node] -= length
        while node > 1:
            most, node = max(most_free[node], most_free[node ^ 1]), node // 2
            if most_free[node] == most:
                break
            most_free[node] = most
    return rows, consumed
