"""Stopping rules, applied to stored curves after the fact."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Stop:
    """Where a rule ends a run. `censored` means that the horizon came first."""

    epoch: int
    best_epoch: int
    censored: bool


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after `patience` epochs in a row without an improvement of the monitored value.

    An improvement is a fall by more than `min_delta`, or by more than the fraction `min_delta` of
    the best value so far when `relative`. These are the semantics of Keras' callback; the paper
    names a patience of 7 and nothing else.
    """

    patience: int = 7
    min_delta: float = 0.0
    relative: bool = False

    def __call__(self, values: np.ndarray[Any, Any]) -> Stop:
        """Apply the rule to values at the epochs 1, 2, ...; NaN is never an improvement."""
        best, best_epoch = np.inf, 0
        for epoch, value in enumerate(values, start=1):
            margin = self.min_delta * best if self.relative and np.isfinite(best) else self.min_delta
            if value < best - margin:
                best, best_epoch = value, epoch
            elif epoch - best_epoch >= self.patience:
                return Stop(epoch, best_epoch, censored=False)
        return Stop(len(values), best_epoch, censored=True)
