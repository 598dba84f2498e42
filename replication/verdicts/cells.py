"""Cells: effects by seed in one combination of fields and λ, and what stands between them and a conclusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from replication.sweep.store import Array
from replication.verdicts.decision import LEAST_SEEDS, Effects

Statistic = Literal["difference", "ratio"]
# Times until something is reached; the horizon plus one where it never is.
_REACHED = ("epochs_to_quality", "sweeps_to_recall")
# The standard deviation that rounding to a whole number gives.
ROUNDED = 12**-0.5


def whole(measure: str) -> bool:
    """Whether a measure is a number of epochs; that of a stop may be by a rule with a tolerance."""
    return measure.startswith("stopping_epoch") or measure in ("best_epoch", *_REACHED)


@dataclass(frozen=True)
class Cell:
    """One combination of fields and λ.

    A run that has not stopped at the horizon gives a bound: a censored unguided run makes the effect an upper bound,
    which can show that it lies below something, not above; a censored guided run makes it a lower bound.

    Args:
        key: the fields and their values.
        values: effects by seed; of ratios, their logarithms.
        rounding: the standard deviation that rounding gives each.
        only_below, only_above: the effects are upper or lower bounds.
        diverged: pairs of which a run diverged.
        missing: seeds that were planned and have no pair yet.
    """

    key: Mapping[str, Any]
    values: pd.Series
    rounding: pd.Series
    only_below: bool = False
    only_above: bool = False
    diverged: int = 0
    missing: int = 0

    @property
    def floor(self) -> float:
        """The least spread that its values can have: that of their rounding."""
        return float(np.sqrt((self.rounding**2).mean()))

    @property
    def open(self) -> bool:
        """It decides nothing yet: a planned seed is missing, or there are fewer than five."""
        return bool(self.missing) or len(self.values) < LEAST_SEEDS

    @classmethod
    def absent(cls, key: Mapping[str, Any], missing: int) -> "Cell":
        none = pd.Series(dtype=float)
        return cls(key, none, none, missing=missing)


def paired(
    key: Mapping[str, Any], base: pd.DataFrame, guided: pd.DataFrame, measure: str, statistic: Statistic
) -> Cell:
    """Two groups of runs, paired by seed: guided minus base, or the logarithm of their ratio."""
    needed = ["seed", "diverged", "horizon", *dict.fromkeys((measure, *_late(measure)))]
    base, guided = base[needed].set_index("seed"), guided[needed].set_index("seed")
    both = base.index.intersection(guided.index).sort_values()
    base, guided = base.loc[both], guided.loc[both]
    first, second = _even(guided, measure), _even(base, measure)
    unit = ROUNDED if whole(measure) else 0.0
    if statistic == "ratio":
        values = np.log(first) - np.log(second)
        rounding = unit * np.sqrt(1 / first**2 + 1 / second**2)
    else:
        values, rounding = first - second, pd.Series(unit * 2**0.5, first.index)
    diverged = int((base.diverged.astype(bool) | guided.diverged.astype(bool)).sum())
    known = values.notna()  # a measure that is not there, as of a shorter run, is a missing pair
    return Cell(
        key,
        values[known],
        rounding[known],
        bool(censored(base, measure).any()),
        bool(censored(guided, measure).any()),
        diverged,
    )


def level(key: Mapping[str, Any], runs: pd.DataFrame, measure: str) -> Cell:
    """One group of runs and the measure itself; a run that has not stopped gives a lower bound."""
    runs = runs.set_index("seed").sort_index()
    rounding = pd.Series(ROUNDED if whole(measure) else 0.0, runs.index)
    late = bool(censored(runs, measure).any())
    values = _even(runs, measure)
    known = values.notna()
    return Cell(key, values[known], rounding[known], only_above=late, diverged=int(runs.diverged.sum()))


def _late(measure: str) -> list[str]:
    """The column that says of a stopping epoch whether it is one."""
    return [measure.replace("stopping_epoch", "censored")] if measure.startswith("stopping_epoch") else []


def censored(table: pd.DataFrame, measure: str) -> pd.Series:
    """Which runs' measures are only a lower bound because the horizon came first."""
    if late := _late(measure):
        return table[late[0]].astype(bool)
    if measure in _REACHED:
        return table[measure] > table.horizon
    return pd.Series(False, table.index)


def _even(runs: pd.DataFrame, measure: str) -> pd.Series:
    """The measure of each run; where some had not stopped, none counts as later than the shortest of these.

    A bound stays one, and bounds are alike: else a run that goes on for longer would spread the values of its cell, and
    a claim would be less sure for knowing more.
    """
    values, late = runs[measure].astype(float), censored(runs, measure)
    return values.clip(upper=values[late].min()) if late.any() else values


def pooled(key: Mapping[str, Any], cells: Sequence[Cell]) -> Cell:
    """One cell of several: their mean, seed by seed.

    By the seeds that all of them share. Networks of different architectures share nothing that a seed could bring
    along: where each cell has enough seeds and too few are common, the first of each is taken with the first of the
    others, and so on.
    """
    common = sorted(set.intersection(*(set(cell.values.index) for cell in cells)))
    if common and (len(common) >= LEAST_SEEDS or min(len(cell.values) for cell in cells) < LEAST_SEEDS):
        values, rounding = ([getattr(cell, name).loc[common] for cell in cells] for name in ("values", "rounding"))
    else:
        length = min(len(cell.values) for cell in cells)
        values, rounding = (
            [getattr(cell, name).iloc[:length].reset_index(drop=True) for cell in cells]
            for name in ("values", "rounding")
        )
    squares = pd.concat([each**2 for each in rounding], axis=1).sum(axis=1)
    return Cell(
        key, pd.concat(values, axis=1).mean(axis=1), np.sqrt(squares) / len(cells),
        any(cell.only_below for cell in cells), any(cell.only_above for cell in cells),
        sum(cell.diverged for cell in cells), sum(cell.missing for cell in cells),
    )  # fmt: skip


def effects(cells: Sequence[Cell], extra: int = 0) -> Effects:
    """The cells as arrays, with some more that were not run."""
    width = max((len(cell.values) for cell in cells), default=0)

    def rows(name: str) -> Array:
        filled = np.full((len(cells) + extra, max(width, 1)), np.nan)
        for row, cell in zip(filled, cells, strict=False):
            row[: len(cell.values)] = getattr(cell, name)
        return filled

    def flags(each: list[bool]) -> Array:
        return np.array(each + [True] * extra)

    return Effects(
        rows("values"), rows("rounding"),
        flags([cell.only_below for cell in cells]), flags([cell.only_above for cell in cells]),
        flags([cell.open or cell.diverged > 0 for cell in cells]),
    )  # fmt: skip
