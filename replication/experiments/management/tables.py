"""What the pages show of the techniques: what each changes, at which strength it is best, and what predicts what."""

from collections.abc import Mapping
from itertools import product
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from replication.experiments.management.experiment import ENTROPIES
from replication.statistics import effect, holm

# The direction in which the source's words say that a technique moves a quantity: its table and its sections. Where it
# says "moderate", "manages" or nothing there is no arrow.
SOURCE: Mapping[tuple[str, str], int] = {
    ("dropout", "entropy_mask"): 1,
    ("dropout", "entropy_hidden"): 1,
    ("augmentation", "entropy_inputs"): 1,
    ("smoothing", "entropy_labels"): 1,
    ("smoothing", "entropy_test"): 1,
    ("entropy", "entropy_test"): 1,
    ("distillation", "entropy_labels"): 1,
}
# What is so by what the technique is, and not by training.
BY_DEFINITION = ("entropy_labels", "entropy_mask")
# What is said to be gained, and what might predict it.
GAINS = ("test_accuracy", "calibration", "shifted_accuracy")
_DRAWN = 2000
PLACED = 10_000  # permutations behind a p
# Below this a change is rounding.
_ROUNDING = 1e-9


def changes(outcomes: pd.DataFrame, measures: tuple[str, ...]) -> pd.DataFrame:
    """Each measure of each technique at each strength minus that of plain training: mean over seeds, 95% t-interval.

    Beside it the two-sided p of the t-test; 0 or 1 where all seeds have one change, which then is exact. Where a map is
    singular its entropy is -∞: there is no interval then, and p is the sign test's.
    """
    keys = ["technique", "strength"]
    plain = outcomes[outcomes.technique == "none"].set_index("seed")
    rows = []
    for key, group in outcomes[outcomes.technique != "none"].groupby(keys, sort=False):
        group = group.set_index("seed")
        shared = group.index.intersection(plain.index)
        for measure in measures:
            values = (group[measure] - plain[measure])[shared].to_numpy()
            rows.append([*key, measure, *_change(values), len(values)])
    return pd.DataFrame(rows, columns=[*keys, "measure", "change", "low", "high", "p", "seeds"])


def _change(values: np.ndarray) -> tuple[float, float, float, float]:
    """Mean, the ends of its interval, and p."""
    if not np.isfinite(values).all():
        signs = stats.binomtest(int((values > 0).sum()), len(values))
        return values.mean(), -np.inf, np.inf, signs.pvalue
    found = effect(values)
    if np.ptp(values) < _ROUNDING:
        return found.mean, found.low, found.high, float(abs(found.mean) < _ROUNDING)
    return found.mean, found.low, found.high, float(stats.ttest_1samp(values, 0).pvalue)


def chosen(
    outcomes: pd.DataFrame, by: Literal["validation_nll", "validation_accuracy"] = "validation_nll"
) -> pd.DataFrame:
    """Of each technique the strength with the least mean NLL, or the most mean accuracy, on the validation split."""
    sign = 1 if by == "validation_nll" else -1
    mean = (sign * outcomes.groupby(["technique", "strength"], sort=False)[by].mean()).reset_index()
    return mean.loc[mean.groupby("technique", sort=False)[by].idxmin(), ["technique", "strength"]]


def arrows(outcomes: pd.DataFrame) -> pd.DataFrame:
    """What each technique at its chosen strength does to each entropy: 1 up, -1 down, 0 where no change is shown.

    Shown at 5% over all techniques and entropies together, by Holm's rule. Beside it `said`, the source's arrow, 0
    where it draws none.
    """
    table = changes(outcomes, ENTROPIES).merge(chosen(outcomes), on=["technique", "strength"])
    table["p"] = table.p.where(table.change.abs() >= _ROUNDING, 1.0)
    moved = np.sign(table.change).where(holm(table.p.to_numpy()) < 0.05, 0).astype(int)
    said = [SOURCE.get((row.technique, row.measure), 0) for row in table.itertuples()]
    return table.assign(moved=moved, said=said)


def predictions(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Does a change of an entropy predict a gain? Spearman's rank correlation of the two, against plain training.

    - `correlation` over all techniques and strengths, with a 95% interval from whole techniques that are drawn again
      with replacement, since strengths of one technique resemble each other; NaN where a draw has none;
    - `chosen` over techniques at their chosen strengths, one point each, with the `p` of gains that change places among
      them, and `holm`, corrected over all rows.

    Gains are of the test split, on which no strength was chosen.
    """
    table = changes(outcomes, (*ENTROPIES, *GAINS))
    table["change"] = table.change.where(table.change.abs() >= _ROUNDING, 0.0)
    wide = table.pivot(index=["technique", "strength"], columns="measure", values="change")
    best = wide.loc[wide.index.isin(list(chosen(outcomes).itertuples(index=False, name=None)))]
    moved, gained = (wide[list(names)].to_numpy() for names in (ENTROPIES, GAINS))
    moved_best, gained_best = (best[list(names)].to_numpy() for names in (ENTROPIES, GAINS))
    techniques = wide.index.get_level_values("technique")
    blocks = [np.flatnonzero(techniques == name) for name in techniques.unique()]
    random = np.random.default_rng(0)
    drawn = (np.concatenate([blocks[k] for k in random.integers(0, len(blocks), len(blocks))]) for _ in range(_DRAWN))
    again = np.array([_ranked(moved[rows], gained[rows]) for rows in drawn])
    placed = np.array([_ranked(moved_best, random.permutation(gained_best)) for _ in range(PLACED)])
    low, high = np.quantile(again, [0.025, 0.975], axis=0)  # NaN where a draw has none
    found = _ranked(moved_best, gained_best)
    p = (1 + (np.abs(placed) >= np.abs(found) - _ROUNDING).sum(0)) / (1 + PLACED)
    each = np.stack([_ranked(moved, gained), low, high, found, p], -1).reshape(-1, 5)
    rows = [[*names, *values] for names, values in zip(product(ENTROPIES, GAINS), each, strict=True)]
    columns = ["entropy", "gain", "correlation", "low", "high", "chosen", "p"]
    shown = pd.DataFrame(rows, columns=columns).dropna(subset="chosen")
    return shown.assign(holm=holm(shown.p.to_numpy()))


def _ranked(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column of one with each of the other; NaN where a column is constant."""
    with np.errstate(invalid="ignore"):
        ranks = np.corrcoef(stats.rankdata(np.hstack([first, second]), axis=0), rowvar=False)
    found: np.ndarray = ranks[: first.shape[1], first.shape[1] :]
    return found
