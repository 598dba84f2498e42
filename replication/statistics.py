"""The few statistics that verdicts and figures use, on top of scipy and statsmodels."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial import KDTree
from scipy.special import digamma


def all_signs(size: int) -> np.ndarray:
    """Every vector of so many ±1, `(2^size, size)`.

    Raises:
        ValueError: more than 20 signs.
    """
    if size > 20:
        raise ValueError(f"2^{size} states cannot be listed; at most 20 signs can")
    return 1 - 2 * ((np.arange(2**size)[:, None] >> np.arange(size)) & 1)


@dataclass(frozen=True)
class Effect:
    """Mean of effects by seed with its two-sided 95% t-interval, and the 90% one that tests of equivalence use."""

    mean: float
    low: float
    high: float
    low90: float
    high90: float
    n: int


def effect(values: np.ndarray, rounding: float = 0.0, level: float = 0.95) -> Effect:
    """Mean and t-intervals of a sample; one value alone has the interval (-inf, inf).

    The sample's standard deviation counts as at least what rounding alone gives. `level` replaces the 95%.

    Raises:
        ValueError: an empty sample.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0:
        raise ValueError("an effect needs at least one value")
    mean, n = float(values.mean()), len(values)
    if n == 1:
        return Effect(mean, -np.inf, np.inf, -np.inf, np.inf, 1)
    error = max(float(values.std(ddof=1)), rounding) / np.sqrt(n)
    half, half90 = (float(stats.t.ppf((1 + each) / 2, n - 1)) * error for each in (level, 0.9))
    return Effect(mean, mean - half, mean + half, mean - half90, mean + half90, n)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm-adjusted p-values; NaN stays NaN and does not count.

    As `statsmodels.stats.multitest.multipletests`, which collects garbage at every call: with a ledger's worth of
    tables in memory that took half of the time of deciding it.
    """
    given = np.asarray(p_values, dtype=float)
    adjusted = np.full_like(given, np.nan)
    order = np.argsort(given)[: (~np.isnan(given)).sum()]  # NaN is sorted to the end
    stepped = given[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.maximum.accumulate(stepped).clip(max=1)
    return adjusted


def sign_table(samples: dict[float, np.ndarray], alpha: float = 0.01, corrected: bool = False) -> pd.DataFrame:
    """The grids of Figs 3(b)-6(b): two-sided two-sample t-tests between every pair of groups.

    "+" where the row's mean is significantly higher than the column's, "-" where it is lower, "."
    where neither; with `corrected`, p-values are Holm-adjusted over all pairs of the table.
    """
    names = list(samples)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    p_values = np.array([_two_sample(samples[a], samples[b]) for a, b in pairs])
    if corrected:
        p_values = holm(p_values)
    grid = pd.DataFrame(".", names, names)
    for (a, b), p in zip(pairs, p_values, strict=True):
        if p < alpha:
            higher = np.mean(samples[a]) > np.mean(samples[b])
            grid.loc[a, b], grid.loc[b, a] = "+-" if higher else "-+"
    return grid


def _two_sample(a: np.ndarray, b: np.ndarray) -> float:
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return 1.0 if np.mean(a) == np.mean(b) else 0.0
    with warnings.catch_warnings():
        # Networks that end alike are what the test is asked about, not a mistake.
        warnings.filterwarnings("ignore", "Precision loss occurred", RuntimeWarning)
        return float(stats.ttest_ind(a, b).pvalue)


def agreement(ours: pd.DataFrame, theirs: pd.DataFrame) -> float:
    """Share of off-diagonal cells in which two sign tables say the same."""
    off = ~np.eye(len(ours), dtype=bool)
    return float((ours.to_numpy() == theirs.to_numpy())[off].mean())


def estimated_entropy(points: np.ndarray, neighbour: int = 4) -> float:
    """Differential entropy of a sample `(n, d)`, in nats, from the distance to each point's k-th neighbour.

    ψ(n) - ψ(k) + d · mean log 2ε, with ε the distance in the largest coordinate. The points may not coincide.
    Source: Kozachenko and Leonenko (1987), in the form of Kraskov, Stögbauer and Grassberger (2004).
    """
    count, dimension = points.shape
    distances = KDTree(points).query(points, neighbour + 1, p=np.inf)[0][:, -1]
    return float(digamma(count) - digamma(neighbour) + dimension * np.log(2 * distances).mean())
