"""What the pages show of the techniques: what each changes, at which strength it is best, and what predicts what."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from replication.experiments.management.experiment import ENTROPIES
from replication.statistics import effect, holm

# The direction in which the source's words say that a technique moves a quantity: its table and its sections; of
# log-det the paper's. Where it says "moderate", "manages" or nothing there is no arrow.
SOURCE: Mapping[tuple[str, str], int] = {
    ("dropout", "entropy_mask"): 1,
    ("stochastic depth", "entropy_mask"): 1,
    ("dropout", "entropy_hidden"): 1,
    ("augmentation", "entropy_inputs"): 1,
    ("smoothing", "entropy_labels"): 1,
    ("smoothing", "entropy_test"): 1,
    ("entropy", "entropy_test"): 1,
    ("distillation", "entropy_labels"): 1,
    ("log-det", "entropy_map"): 1,
}
# What is said to be gained, and what might predict it.
GAINS = ("test_accuracy", "calibration", "shifted_accuracy")
_RESAMPLED = 2000
# A quantity that fewer techniques move cannot be asked: every resample would have the sign of the same one or two.
_FEWEST = 6


def changes(outcomes: pd.DataFrame, measures: tuple[str, ...]) -> pd.DataFrame:
    """Each measure of each technique at each strength minus that of plain training: mean over seeds, 95% t-interval."""
    keys = ["technique", "strength"]
    plain = outcomes[outcomes.technique == "none"].set_index("seed")
    rows = []
    for key, group in outcomes[outcomes.technique != "none"].groupby(keys, sort=False):
        group = group.set_index("seed")
        shared = group.index.intersection(plain.index)
        for measure in measures:
            found = effect((group[measure] - plain[measure])[shared].to_numpy())
            rows.append([*key, measure, found.mean, found.low, found.high, found.n])
    return pd.DataFrame(rows, columns=[*keys, "measure", "change", "low", "high", "seeds"])


def chosen(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Of each technique the strength with the least mean NLL on the validation split."""
    mean = outcomes.groupby(["technique", "strength"], sort=False).validation_nll.mean().reset_index()
    return mean.loc[mean.groupby("technique", sort=False).validation_nll.idxmin(), ["technique", "strength"]]


def arrows(outcomes: pd.DataFrame) -> pd.DataFrame:
    """What each technique at its chosen strength does to each entropy: 1 up, -1 down, 0 not to be told from nothing.

    Beside it `said`, the source's arrow, 0 where it draws none.
    """
    table = changes(outcomes, ENTROPIES).merge(chosen(outcomes), on=["technique", "strength"])
    moved = np.sign(table.change).where((table.low > 0) | (table.high < 0), 0).astype(int)
    said = [SOURCE.get((row.technique, row.measure), 0) for row in table.itertuples()]
    return table.assign(moved=moved, said=said)


def predictions(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Does a change of an entropy predict a gain? Spearman's correlation over techniques at a strength.

    Asked of the entropies that at least six techniques move.

    Both are changes against plain training, means over seeds, on the test split, on which no strength was chosen.
    The unit is a technique: whole techniques are drawn with replacement for the interval and for a two-sided p, which
    Holm's rule corrects over all rows.
    """
    table = changes(outcomes, (*ENTROPIES, *GAINS)).pivot(
        index=["technique", "strength"], columns="measure", values="change"
    )
    names = table.index.get_level_values("technique")
    blocks = [np.flatnonzero(names == name) for name in names.unique()]
    random = np.random.default_rng(0)
    drawn = [
        np.concatenate([blocks[k] for k in random.integers(0, len(blocks), len(blocks))]) for _ in range(_RESAMPLED)
    ]
    rows = []
    for quantity in (name for name in ENTROPIES if names[table[name] != 0].nunique() >= _FEWEST):
        for gain in GAINS:
            pair = table[[quantity, gain]].to_numpy()
            again = np.array([_ranked(pair[rows_]) for rows_ in drawn])
            again = again[np.isfinite(again)]
            low, high = np.quantile(again, [0.025, 0.975])
            p = min(1.0, 2 * (1 + min((again <= 0).sum(), (again >= 0).sum())) / (1 + len(again)))
            rows.append([quantity, gain, _ranked(pair), low, high, p])
    found = pd.DataFrame(rows, columns=["entropy", "gain", "correlation", "low", "high", "p"])
    return found.assign(holm=holm(found.p.to_numpy()))


def _ranked(pair: np.ndarray) -> float:
    if not (np.ptp(pair, axis=0) > 0).all():
        return np.nan
    return float(stats.spearmanr(*pair.T).statistic)
