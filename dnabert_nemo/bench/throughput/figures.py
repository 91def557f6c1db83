"""What follows from the turns of the rows: tokens a second, ratios to a peer, FLOP/s, memory a token."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dnabert_nemo.bench.table import Row, short
from dnabert_nemo.bench.throughput.worker import Turn
from dnabert_nemo.megatron.bert_shape import BertShape
from dnabert_nemo.megatron.flops import flops_per_token

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Measured:
    """A row's turns, or the reason why it has none.

    Args:
        shape: of its model, for FLOPs; None where our formula is not the model's.
        num_micro_batches: of a step.
        mean_attended: tokens that a token attends to in the mean.
        read_share: of the tokens, those for which the last layer is computed.
        head_share: of the tokens, those for which the head is.
    """

    name: str
    turns: tuple[Turn, ...] = ()
    shape: BertShape | None = None
    num_micro_batches: int = 1
    mean_attended: float = 0.0
    read_share: float = 1.0
    head_share: float = 1.0
    reason: str = ""
    num_ranks: int = 1

    @property
    def speeds(self) -> list[float]:
        """Tokens a second of each turn, without padding."""
        return [turn.tokens / turn.seconds for turn in self.turns]

    @property
    def speed(self) -> float | None:
        """Their median."""
        return statistics.median(self.speeds) if self.turns else None

    @property
    def step_seconds(self) -> float | None:
        """The median seconds of a step."""
        return statistics.median(turn.seconds / turn.steps for turn in self.turns) if self.turns else None

    @property
    def peak(self) -> int | None:
        """The most bytes that any turn held."""
        return max(turn.peak for turn in self.turns) if self.turns else None

    @property
    def bytes_a_token(self) -> float | None:
        """The most bytes, for each token without padding of those that are computed at once."""
        if not self.turns or self.num_ranks > 1:  # which share the tokens, or the model
            return None
        return max(turn.peak * turn.steps * self.num_micro_batches / turn.tokens for turn in self.turns)

    @property
    def flops(self) -> float | None:
        """The model's FLOP/s at the median speed; padding is no work, nor what the row leaves out."""
        if self.shape is None or self.speed is None:
            return None
        return self.speed * flops_per_token(self.shape, self.mean_attended, self.read_share, self.head_share)

    def as_json(self) -> dict[str, Any]:
        """Return what was measured, and what follows."""
        return {
            "name": self.name,
            "tokens_per_second": self.speed,
            "step_seconds": self.step_seconds,
            "flops_per_second": self.flops,
            "peak_bytes": self.peak,
            "peak_bytes_a_token": self.bytes_a_token,
            "num_micro_batches": self.num_micro_batches,
            "mean_attended": self.mean_attended,
            "read_share": self.read_share,
            "head_share": self.head_share,
            "num_ranks": self.num_ranks,
            "not_measured": self.reason,
            "turns": [asdict(turn) for turn in self.turns],
        }


def compared(
    name: str, ours: Measured, peer: Measured, *, target_ratio: float | None = None, note: str = ""
) -> Row:
    """Set our tokens a second beside a peer's: medians, also of the rounds' ratios, and the span of these."""
    reason = missing(ours, peer)
    if reason:
        return Row(
            name, ours.speed, "tokens/s", peer.name, peer.speed, target_ratio=target_ratio, note=reason
        )
    ratios = [a / b for a, b in zip(ours.speeds, peer.speeds, strict=True)]
    spread = f"{short(min(ratios))} to {short(max(ratios))} x in {len(ratios)} rounds"
    return Row(
        name,
        ours.speed,
        "tokens/s",
        peer.name,
        peer.speed,
        target_ratio=target_ratio,
        note="; ".join(filter(None, (spread, note))),
        ratios=tuple(ratios),
    )


def memory_compared(name: str, ours: Measured, peer: Measured, *, target_ratio: float = 1.0) -> Row:
    """Set our peak memory a token beside a peer's."""
    reason = missing(ours, peer)
    own, peers = (each and each / 1e3 for each in (ours.bytes_a_token, peer.bytes_a_token))
    return Row(
        name,
        own,
        "kB a token",
        peer.name,
        peers,
        target_ratio=target_ratio,
        lower_is_better=True,
        note=reason or f"{_mega(ours.peak)} and {_mega(peer.peak)} MB, weights and optimizer included",
    )


def missing(*measured: Measured) -> str:
    """Say which of these rows were not measured and why; "" where all were."""
    return "; ".join(f"{each.name}: {NOT_MEASURED}: {each.reason}" for each in measured if not each.turns)


def table(rows: Sequence[Measured], peak_flops: float | None, *, is_ladder: bool = False) -> str:
    """Write the rows as Markdown.

    Args:
        peak_flops: what the device can do, for MFU; None where that is not known.
        is_ladder: each row has what the one above it has, so its gain over that one and the first is shown.
    """
    head = [
        "row",
        "tokens/s",
        "least to most",
        "step, ms",
        "model TFLOP/s",
        "MFU",
        "peak memory, MB",
        "kB a token",
    ] + ["x row above", "x first row"] * is_ladder
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for at, row in enumerate(rows):
        cells = _cells(row, peak_flops)
        if is_ladder:
            cells += [_times(row, rows[at - 1]), _times(row, rows[0])] if at else ["", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cells(row: Measured, peak_flops: float | None) -> list[str]:
    if row.step_seconds is None:
        return [row.name, f"{NOT_MEASURED}: {row.reason}", *[""] * 6]
    flops, a_token = row.flops, row.bytes_a_token
    return [
        row.name,
        _short(row.speed),
        f"{short(min(row.speeds))} to {short(max(row.speeds))}",
        short(1e3 * row.step_seconds),
        _short(flops and flops / 1e12),
        "-" if flops is None or peak_flops is None else f"{100 * flops / peak_flops:.1f} %",
        _mega(row.peak),
        _short(a_token and a_token / 1e3),
    ]


def _times(row: Measured, other: Measured) -> str:
    return "" if row.speed is None or other.speed is None else f"{row.speed / other.speed:.2f}"


def _mega(num_bytes: int | None) -> str:
    return "-" if num_bytes is None else short(num_bytes / 1e6)


def _short(value: float | None) -> str:
    return "-" if value is None else short(value)
