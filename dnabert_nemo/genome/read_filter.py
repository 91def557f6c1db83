"""What is cut off a read and what a read must be to be kept; `fastq` asks it about every read of a sample.

Qualities are Phred scores. Trimming and adapters are cutadapt's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dnaio import SequenceRecord

from dnabert_nemo.errors import ConfigError

Reason = Literal["too_short", "low_quality", "too_many_unknown"]
REASONS: tuple[Reason, ...] = ("too_short", "low_quality", "too_many_unknown")  # in the order they are judged
KEPT = len(REASONS)

PHRED_BASE = 33  # the quality character '!' stands for 0
_MAX_PHRED = 93  # '~', the last character there is
_ADAPTER_LETTERS = frozenset("ACGTURYSWKMBDHVN")


@dataclass(frozen=True)
class ReadFilter:
    """Settings of trimming and filtering; by default nothing is cut off and every read with a base is kept.

    A read is trimmed by quality, then of its adapter, then judged: length, mean quality, unknown letters.

    Raises:
        ConfigError: if a setting is out of its range, or cutadapt is needed and not installed.
    """

    trim_quality: int = 0  # Phred, at the 3' end, BWA's algorithm as in `cutadapt -q`; 0: off
    trim_quality_5: int = 0  # the same at the 5' end
    min_mean_quality: float = 0.0  # arithmetic mean of the Phred scores that are left
    max_unknown_share: float = 1.0  # of letters other than A, C, G and T, such as N
    min_length: int = 1  # bases that are left
    adapters: tuple[str, ...] = ()  # 3' adapters: the best match and what follows it are cut off
    adapters_2: tuple[str, ...] = ()  # those of the second mates
    adapter_max_error_rate: float = 0.1  # errors per aligned adapter base
    adapter_min_overlap: int = 3  # adapter bases that must be there

    def __post_init__(self) -> None:
        for name in ("trim_quality", "trim_quality_5"):
            self._check(name, 0, _MAX_PHRED, "a whole Phred score", whole=True)
        self._check("min_mean_quality", 0, _MAX_PHRED, "a Phred score")
        self._check("max_unknown_share", 0, 1, "a share of the letters")
        self._check("min_length", 1, 1 << 40, "a whole number of bases", whole=True)
        self._check("adapter_max_error_rate", 0, 0.999, "errors a base")
        self._check("adapter_min_overlap", 1, 1 << 40, "a whole number of bases", whole=True)
        for name in ("adapters", "adapters_2"):
            self._check_adapters(name)
        if self.trim_quality or self.trim_quality_5 or self.adapters or self.adapters_2:
            _cutadapt()

    def _check(self, name: str, low: float, high: float, what: str, *, whole: bool = False) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not is_number or not low <= value <= high:
            limits = f"of at least {low}" if high == 1 << 40 else f"from {low} to {high}"
            raise ConfigError(f"{name}={value}: give {what} {limits}")

    def _check_adapters(self, name: str) -> None:
        adapters = getattr(self, name)
        if not isinstance(adapters, tuple | list):
            raise ConfigError(f"{name}={adapters}: give a list of sequences, such as {name}=[AGATCGGAAGAGC]")
        for adapter in adapters:
            letters = set(str(adapter).upper())
            if not letters <= _ADAPTER_LETTERS or letters <= {"N"}:
                raise ConfigError(f"{name}=[{adapter}]: give sequences of A, C, G, T and other IUPAC letters")

    def trimmer(self, mate: int) -> Callable[[SequenceRecord], tuple[int, int, bool]] | None:
        """Return the function that finds the part [start, stop) to keep of a read of mate 0 or 1.

        It also says whether there was an adapter. None: nothing is to be cut off such a read.
        """
        adapters = (self.adapters, self.adapters_2)[mate]
        by_quality = self.trim_quality > 0 or self.trim_quality_5 > 0
        if not adapters and not by_quality:
            return None
        qualtrim = _cutadapt()[0].quality_trim_index
        find = self._adapters(adapters).match_to if adapters else None
        front, back = self.trim_quality_5, self.trim_quality

        def trim(record: SequenceRecord) -> tuple[int, int, bool]:
            start, stop = qualtrim(record.qualities, front, back) if by_quality else (0, len(record))
            match = None if find is None else find(record.sequence[start:stop])
            return (start, stop, False) if match is None else (start, start + match.rstart, True)

        return trim

    def _adapters(self, sequences: tuple[str, ...]) -> Any:
        adapters = _cutadapt()[1]
        return adapters.MultipleAdapters(
            [
                adapters.BackAdapter(
                    sequence,
                    max_errors=self.adapter_max_error_rate,
                    min_overlap=self.adapter_min_overlap,
                )
                for sequence in sequences
            ]
        )

    def verdict(self, num_bases: int, phred: int, num_unknown: int) -> int:
        """Judge a trimmed read by its bases, the sum of their Phred scores, and its unknown letters.

        Returns the place in REASONS of the first that holds, or KEPT. A pair's is the lesser of its mates'.
        """
        if num_bases < self.min_length:
            return 0
        if phred < self.min_mean_quality * num_bases:
            return 1
        return 2 if num_unknown > self.max_unknown_share * num_bases else KEPT


def _cutadapt() -> tuple[Any, Any]:
    """Import cutadapt's quality trimming and its adapters."""
    try:
        from cutadapt import adapters, qualtrim
    except ImportError:
        raise ConfigError(
            "trim_quality and adapters need cutadapt: pip install dnabert_nemo[fastq], or leave both unset"
        ) from None
    return qualtrim, adapters
