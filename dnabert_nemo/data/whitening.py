"""What a frozen encoder makes of samples, whitened for the head that learns from it, and the head put back.

n samples, H features of one, D of a head's first layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_SHARE = 1e-4  # of the mean variance, added to each: directions with less of it are hardly there
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Whitening:
    """Features of mean 0 and covariance 1: (x - mean) @ matrix.

    Averages over a sequence vary by thousands of times more in some directions than in others, and what tells
    classes apart is rarely in those: the gradient's steps are along them all the same. The matrix is the
    symmetric one (ZCA; Kessy, Lewin and Strimmer 2018, The American Statistician 72:309), which has no free
    signs.

    Args:
        mean: [H], fp32.
        matrix: [H, H], fp32, symmetric.
    """

    mean: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Whitening:
        """Take mean and covariance from the features [n, H] of training samples."""
        exact = features.double()
        mean = exact.mean(0)
        centred = exact - mean
        variances, directions = torch.linalg.eigh(centred.T @ centred / len(exact))
        variances = variances.clamp(min=0)
        scales = (variances + _SHARE * variances.mean() + _NOTHING).rsqrt()
        return cls(mean.float(), ((directions * scales) @ directions.T).float())

    def apply(self, features: Tensor) -> Tensor:
        """Whiten features [n, H], to fp32."""
        return (features.float() - self.mean) @ self.matrix

    def folded(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Turn a layer [D, H], [D] on whitened features into the one on features as they are, in fp32."""
        exact = weight.double() @ self.matrix.double()
        return exact.float(), (bias.double() - exact @ self.mean.double()).float()

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps of it."""
        return {"mean": self.mean, "matrix": self.matrix}


def on_plain_features(
    whole: Mapping[str, Tensor], state: Mapping[str, Tensor] | None, head: str
) -> dict[str, Tensor]:
    """Give whole tensors whose head takes features as they are, as files have it.

    Args:
        state: `Whitening.state` of the features that the head has learned from; None: they were not whitened.
        head: the name of its first layer.
    """
    plain = dict(whole)
    if state is not None and f"{head}.weight" in plain:  # the first rank alone has them
        names = f"{head}.weight", f"{head}.bias"
        folded = Whitening(**state).folded(*(plain[name].cpu() for name in names))
        plain |= zip(names, folded, strict=True)
    return plain
