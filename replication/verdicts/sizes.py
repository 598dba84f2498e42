"""An effect against the effect that the paper prints."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from scipy import stats

from replication.statistics import Effect

Label = Literal[
    "opposite", "equivalent to none", "smaller than printed", "consistent with the printed", "larger than printed",
    "cannot tell",
]  # fmt: skip
LABELS: tuple[Label, ...] = get_args(Label)


def label(found: Effect, printed: float, margin: float) -> Label:
    """The first that applies; effects, the printed one and the margin are differences from no effect.

    Where the margin is no smaller than the printed effect, equivalence to none cannot be told from the printed one.
    """
    if printed < 0:
        found = replace(found, low=-found.high, high=-found.low, low90=-found.high90, high90=-found.low90)
        printed = -printed
    if found.high < 0:
        return "opposite"
    if margin < printed and -margin < found.low90 and found.high90 < margin:
        return "equivalent to none"
    if found.high < printed:
        return "smaller than printed"
    if found.low > printed:
        return "larger than printed"
    return "consistent with the printed" if found.low > 0 else "cannot tell"


MOST_SEEDS = 10_000  # of which it is said how many would do


def half_width(found: Effect) -> float:
    """Half of the 95% interval, which lies evenly about the mean; of a bound's one end is known."""
    return min(found.high - found.mean, found.mean - found.low)


def seeds_for(found: Effect, margin: float) -> float:
    """How many seeds would narrow the 95% interval to the margin on each side, at the spread that was seen."""
    half = half_width(found)
    if not np.isfinite(half) or margin <= 0:
        return np.inf
    error = half / stats.t.ppf(0.975, found.n - 1) * np.sqrt(found.n)
    for seeds in range(2, MOST_SEEDS):
        if stats.t.ppf(0.975, seeds - 1) * error / np.sqrt(seeds) <= margin:
            return seeds
    return np.inf
