"""Bins of ln L, in which values of states of one loss are collected."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from replication.sweep.store import Array

EDGES = np.linspace(-6, 2, 33)


def places(losses: Array) -> Array:
    """The bin of each loss; -1 or the number of bins beyond the ends."""
    with np.errstate(divide="ignore"):  # in single precision a loss may be 0
        return np.searchsorted(EDGES, np.log(losses), side="right") - 1


KEPT = 8  # states of a bin


def listed(states: Mapping[int, Iterable[Array]]) -> dict[str, Array]:
    """States of bins as two arrays, in half precision, and the bin of each."""
    pairs = [(point, state) for point, each in states.items() for state in each]
    return {
        "states": np.array([state for _, state in pairs], dtype=np.float16),
        "points": np.array([point for point, _ in pairs], dtype=np.int16),
    }


@dataclass(frozen=True)
class Visits:
    """Visits to bins by walkers or runs: how many, the sum of their values and of the values' squares.

    Args:
        count, value, square: `(bins, owners)`.
    """

    count: Array
    value: Array
    square: Array

    @classmethod
    def of(cls, losses: Array, values: Array, owners: Array, most: int) -> "Visits":
        """Of visits that are each one loss, one value and one owner, of so many owners at most."""
        at = places(losses)
        within = (at >= 0) & (at < len(EDGES) - 1)
        cells = at[within] * most + owners[within]

        def summed(weights: Array) -> Array:
            return np.bincount(cells, weights[within], (len(EDGES) - 1) * most).reshape(-1, most)

        return cls(summed(np.ones_like(values)), summed(values), summed(values**2))

    def __add__(self, other: "Visits") -> "Visits":
        return Visits(self.count + other.count, self.value + other.value, self.square + other.square)

    def of_all(self) -> pd.DataFrame:
        """Every visit counts alike: their number, mean and mean square in each bin, how many owners had one."""
        count = self.count.sum(1)
        value, square = (each.sum(1) / np.where(count > 0, count, np.nan) for each in (self.value, self.square))
        return _table(count, value, square, (self.count > 0).sum(1))

    def of_owners(self) -> pd.DataFrame:
        """Every owner counts once in each bin, with the mean of its visits; who came lower has passed all above."""
        mine = self.value / np.where(self.count > 0, self.count, np.nan)
        count = (self.count > 0).sum(1)
        known = np.where(count > 0, count, np.nan)
        value, square = (np.nansum(each, axis=1) / known for each in (mine, mine**2))
        return _table(count, value, square, np.logical_or.accumulate(self.count > 0).sum(1))


def of_trial(curve: pd.DataFrame, sampler: bool) -> pd.DataFrame:
    """The means of each bin: of a sampler over all blocks but the warming, of an optimiser in its last one.

    Of a sampler also `effective`, about how many independent states would give the mean value of the bin as exactly.
    """
    last = curve[curve.epoch == curve.epoch.max()].set_index("point")
    if not sampler:
        return last
    blocks = curve[curve.epoch > 0]
    sums = blocks[["value", "square"]].fillna(0).mul(blocks["count"], axis=0).groupby(blocks.point).sum()
    count = blocks["count"].groupby(blocks.point).sum()
    means = sums.div(count.where(count > 0), axis=0)
    return last.assign(**means, count=count, effective=_effective(blocks, means, count))


_PARTS = 4  # of a run; shorter ones than a round trip takes would seem to differ less than they do


def _effective(blocks: pd.DataFrame, means: pd.DataFrame, count: pd.Series) -> pd.Series:
    """The variance between states over that of their mean, which is read from how the means of long parts differ.

    Source: Flegal and Jones, Annals of Statistics 38 (2010).
    """
    part = (blocks.epoch - 1) * _PARTS // blocks.epoch.max()
    sums = (
        blocks.assign(sum=blocks.value.fillna(0) * blocks["count"])
        .groupby([blocks.point, part])[["sum", "count"]]
        .sum()
    )
    sums = sums[sums["count"] > 0]
    apart = (sums["sum"] - sums["count"] * means.value.reindex(sums.index.get_level_values("point")).to_numpy()) ** 2
    number = apart.groupby("point").size()
    error = apart.groupby("point").sum() / count**2 * number / (number - 1).where(number > 1)
    return (means.square - means.value**2) / error.where(error > 0)


def _table(count: Array, value: Array, square: Array, visited: Array) -> pd.DataFrame:
    columns = {"count": count.astype(float), "value": value, "square": square, "visited": visited}
    return pd.DataFrame(columns).rename_axis("point").reset_index()
