"""A small convolutional network from scratch, the other thing that a pre-trained model has to beat.

n sequences of L bases, C classes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import matthews_corrcoef
from torch import Tensor, nn

from dnabert_nemo.downstream.learned_baselines import Labelled, Windows, middle_codes
from dnabert_nemo.genome.alphabet import BASES, NOT_A_BASE

_CHANNELS, _WIDTHS, _POOL, _HIDDEN, _DROPOUT = 48, (15, 9, 9), 4, 64, 0.3
_BATCH, _RATE, _DECAY = 64, 1e-3, 1e-4
_STEPS = 50  # of a round at the least; else a pass over the sequences
_MOST_ROUNDS, _PATIENCE = 12, 3  # rounds, and those without a better validation MCC before it ends
_MOST_DRAWN = 100_000  # sequences in all rounds, about: a minute on two cores


class SmallCnn(nn.Module):
    """Three convolutions, each with pooling by four and ReLU; what is left keeps its place to the end.

    A sequence is an image one base high, since on a CPU torch has channels last for images alone: a step
    takes 0.6 of the time that it takes with convolutions along a line.
    """

    def __init__(self, length: int, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = len(BASES)
        for width in _WIDTHS:
            layers += [nn.Conv2d(channels, _CHANNELS, (1, width), padding=(0, width // 2))]
            layers += [nn.MaxPool2d((1, _POOL), ceil_mode=True), nn.ReLU()]
            channels, length = _CHANNELS, -(-length // _POOL)
        layers += [nn.Flatten(), nn.Linear(channels * length, _HIDDEN), nn.ReLU(), nn.Dropout(_DROPOUT)]
        self.layers = nn.Sequential(*layers, nn.Linear(_HIDDEN, num_classes))
        self.layers.to(memory_format=torch.channels_last)
        self.register_buffer("one_hot", torch.eye(NOT_A_BASE + 1, len(BASES)), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        """Map codes [n, L], NOT_A_BASE among them, to logits [n, C]."""
        channels_last = self.one_hot[codes].transpose(1, 2)
        logits: Tensor = self.layers(channels_last[:, :, None])
        return logits


class ConvolutionalNetwork:
    """The network and its training: AdamW, early stopping on validation's MCC."""

    name = "convolutional network, from scratch"

    def fit(self, train: Labelled, validation: Labelled, seed: int) -> None:
        """Train until validation no longer gains; the best round is kept."""
        torch.manual_seed(seed)
        codes, labels = self._codes(train.sequences), torch.from_numpy(np.asarray(train.labels))
        num_classes = int(max(train.labels.max(), validation.labels.max())) + 1
        self._model = SmallCnn(codes.shape[1], num_classes).to(self._device)
        optimizer = torch.optim.AdamW(self._model.parameters(), lr=_RATE, weight_decay=_DECAY)
        best, since, weights = -np.inf, 0, self._model.state_dict()
        batches = _batches(len(labels), seed)
        steps = max(_STEPS, -(-len(labels) // _BATCH))
        for _ in range(min(_MOST_ROUNDS, max(_PATIENCE, _MOST_DRAWN // (steps * _BATCH)))):
            self._model.train()
            for batch in islice(batches, steps):
                loss = F.cross_entropy(
                    self._model(codes[batch].to(self._device)), labels[batch].to(self._device)
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            called = self.probabilities(validation.sequences).argmax(1)
            reached = matthews_corrcoef(validation.labels, called)
            since += 1
            if reached > best:
                best, since, weights = reached, 0, copy.deepcopy(self._model.state_dict())
            if since == _PATIENCE:
                break
        self._model.load_state_dict(weights)

    def probabilities(self, sequences: Windows) -> NDArray[np.float64]:
        """Return the probability of each class, [n, C]."""
        self._model.eval()
        with torch.inference_mode():
            found = [
                F.softmax(self._model(batch.to(self._device)), dim=1).double().cpu()
                for batch in self._codes(sequences).split(16 * _BATCH)
            ]
        return torch.cat(found).numpy()

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @staticmethod
    def _codes(sequences: Windows) -> Tensor:
        return torch.from_numpy(middle_codes(sequences, len(sequences[0]))).long()


def _batches(count: int, seed: int) -> Iterator[Tensor]:
    """Yield indices of a batch, all of them in a new order again and again."""
    drawn = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=drawn).split(_BATCH)
