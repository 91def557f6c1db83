"""What a model of DNA has to beat: a position weight matrix and logistic regressions, by scikit-learn.

Each learns from labelled sequences of one task, of any number of classes C, and gives probabilities [n, C];
`cnn_baseline` has the small network. n sequences, L bases of one, w of them in the middle.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import matthews_corrcoef
from sklearn.naive_bayes import CategoricalNB
from sklearn.preprocessing import MaxAbsScaler
from threadpoolctl import threadpool_limits

from dnabert_nemo.genome.alphabet import BASES, NOT_A_BASE, encode
from dnabert_nemo.kmer.ids import kmer_ids
from dnabert_nemo.kmer.vocabulary import NUM_SPECIALS, UNK

STRENGTHS = (0.01, 0.1, 1.0)  # inverse of the penalty, of which validation chooses
_STEPS = 300  # of the regression's solver at most


Windows = Sequence[str] | NDArray[np.uint8]  # n sequences of one length, or their codes [n, L]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Sequences and their classes."""

    sequences: Sequence[str]  # [n]
    labels: NDArray[np.int64]  # [n], of 0 .. C - 1

    def __len__(self) -> int:
        return len(self.sequences)


class Baseline(Protocol):
    """Something that learns to tell sequences apart."""

    @property
    def name(self) -> str:
        """As a report has it."""
        ...

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> None:
        """Learn; what is to be chosen is chosen on `validation`."""
        ...

    def probabilities(self, sequences: Windows) -> NDArray[np.float64]:
        """Return the probability of each class, [n, C]."""
        ...


def middle_codes(sequences: Windows, width: int) -> NDArray[np.uint8]:
    """Return the codes of the `width` bases in the middle of sequences of one length: uint8 [n, w].

    Raises:
        ValueError: they are not of one length, or shorter.
    """
    lengths = {len(sequence) for sequence in sequences}
    if len(lengths) != 1 or min(lengths) < width:
        raise ValueError(f"sequences of {min(lengths)} to {max(lengths)} bases, where all have to be alike")
    first = (min(lengths) - width) // 2
    if isinstance(sequences, np.ndarray):
        return np.ascontiguousarray(sequences[:, first : first + width])
    return np.stack([encode(sequence[first : first + width]) for sequence in sequences])


class PositionWeights:
    """A weight for each base at each place around the middle, as of a position weight matrix.

    The classes' logarithms of base frequencies at each place, added up, are a naive Bayes classifier; with
    one count more of each base, so that none is impossible (Stormo 2000, Bioinformatics 16:16).
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.name = f"position weight matrix, {width} bases"

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> None:
        """Count bases; nothing is chosen or drawn."""
        self._model: Any = CategoricalNB(min_categories=NOT_A_BASE + 1, alpha=1.0)
        self._model.fit(middle_codes(train.sequences, self.width), train.labels)

    def probabilities(self, sequences: Windows) -> NDArray[np.float64]:
        """Return the probability of each class, [n, C]."""
        found: NDArray[np.float64] = self._model.predict_proba(middle_codes(sequences, self.width))
        return found


class _Logistic(ABC):
    """A logistic regression on features of a sequence, its penalty chosen by validation's MCC."""

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> None:
        """Fit one regression for each of STRENGTHS until one does worse, and keep the best."""
        self._scaler = MaxAbsScaler()
        features = self._scaler.fit_transform(self._features(train.sequences))
        held_out = self._scaler.transform(self._features(validation.sequences))
        best = -np.inf
        for strength in STRENGTHS:
            model = LogisticRegression(C=strength, max_iter=_STEPS, random_state=seed)
            with threadpool_limits(1):  # products so thin gain nothing by threads, which wait for one another
                model.fit(features, train.labels)
            reached = matthews_corrcoef(validation.labels, model.predict(held_out))
            if reached < best:
                break  # the weaker the penalty, the longer it takes, and a weaker one fits closer still
            if reached > best:
                best, self._model = reached, model

    def probabilities(self, sequences: Windows) -> NDArray[np.float64]:
        """Return the probability of each class, [n, C]."""
        features = self._scaler.transform(self._features(sequences))
        found: NDArray[np.float64] = self._model.predict_proba(features)
        return found

    @abstractmethod
    def _features(self, sequences: Windows) -> Any:
        """Return the features of n sequences, [n, features], dense or sparse."""


class OneHotLogistic(_Logistic):
    """On which base stands where, in the middle of the sequence; what is no base has no feature."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.name = f"logistic regression, one-hot of {width} bases"

    def _features(self, sequences: Windows) -> NDArray[np.float32]:
        codes = middle_codes(sequences, self.width)
        one_hot = np.eye(NOT_A_BASE + 1, len(BASES), dtype=np.float32)[codes]
        return one_hot.reshape(len(codes), -1)


class PairLogistic(_Logistic):
    """On which two bases stand at which two places in the middle, neighbours or not.

    Of all classifiers with the training windows' frequencies of those pairs it is the one of maximum entropy
    (Berger, Della Pietra and Della Pietra 1996, Computational Linguistics 22:39), but for its penalty: what
    one place says may hang on another, which a weight matrix does not know (Yeo and Burge 2004, Journal of
    Computational Biology 11:377, whose models are of the sequences of sites, by such pairs too).
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.name = f"logistic regression, pairs of {width} bases"

    def _features(self, sequences: Windows) -> csr_matrix:
        codes = middle_codes(sequences, self.width).astype(np.int32)
        first, second = np.triu_indices(self.width, 1)
        pair = codes[:, first] * len(BASES) + codes[:, second]
        is_known = (codes[:, first] < len(BASES)) & (codes[:, second] < len(BASES))
        columns = pair + np.arange(len(first), dtype=np.int32) * len(BASES) ** 2
        ends = np.concatenate([[0], np.cumsum(is_known.sum(1))])
        ones = np.ones(ends[-1], dtype=np.float32)
        return csr_matrix((ones, columns[is_known], ends), shape=(len(codes), len(first) * len(BASES) ** 2))


class KmerLogistic(_Logistic):
    """On how often each k-mer comes in the whole sequence, wherever it stands; logarithms of 1 + counts."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.name = f"logistic regression, counts of {k}-mers"

    def _features(self, sequences: Windows) -> csr_matrix:
        codes = (encode(each) if isinstance(each, str) else each for each in sequences)
        ids = [kmer_ids(of_one, self.k, keep_unknown=True) for of_one in codes]
        ids = [of_one[of_one != UNK].astype(np.int64) - NUM_SPECIALS for of_one in ids]
        ends = np.cumsum([0, *map(len, ids)])
        shape = (len(ids), len(BASES) ** self.k)
        counts = csr_matrix((np.ones(ends[-1], dtype=np.float32), np.concatenate(ids), ends), shape=shape)
        counts.sum_duplicates()
        return counts.log1p()
