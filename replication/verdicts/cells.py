"""Cells: paired effects by seed in one combination of fields and λ, and the verdict over several of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from replication.experiments.experiment import Experiment
from replication.statistics import Side, detectable, effect, holm, p_one_sided
from replication.verdicts.records import missing_cells, scope
from replication.verdicts.verdict import Status, Verdict

Statistic = Literal["difference", "ratio"]
Quantifier = Literal["all", "any"] | float
OPPOSITE: Mapping[Side, Side] = {"below": "above", "above": "below"}


@dataclass(frozen=True)
class Cell:
    """One combination of fields and λ: paired effects by seed, and what they can decide.

    A run that has not stopped at the horizon gives a bound: a censored unguided run makes the effect
    an upper bound, which can support "below" and contradict "above" but not the other way round; a censored
    guided run makes it a lower bound. A cell with a diverged run decides nothing.
    """

    name: str
    values: pd.Series
    upper_bound: bool = False
    lower_bound: bool = False
    diverged: int = 0

    @classmethod
    def of(cls, name: str, base: pd.DataFrame, guided: pd.DataFrame, measure: str, statistic: Statistic) -> "Cell":
        """Pair two groups of runs by seed."""
        base, guided = base.set_index("seed"), guided.set_index("seed")
        both = base.index.intersection(guided.index)
        base, guided = base.loc[both], guided.loc[both]
        values = guided[measure] / base[measure] if statistic == "ratio" else guided[measure] - base[measure]
        diverged = int((base.diverged.astype(bool) | guided.diverged.astype(bool)).sum())
        return cls(name, values, bool(censored(base, measure).any()), bool(censored(guided, measure).any()), diverged)

    def p(self, threshold: float, side: Side) -> float:
        """One-sided p-value that the effect lies on this side, 1 where a bound or a divergence forbids it."""
        blocked = self.lower_bound if side == "below" else self.upper_bound
        return 1.0 if blocked or self.diverged else p_one_sided(self.values.to_numpy(), threshold, side)


def censored(table: pd.DataFrame, measure: str) -> pd.Series:
    """Which runs' measures are only a lower bound because the horizon came first."""
    if measure == "stopping_epoch":
        return table.censored.astype(bool)
    if measure == "epochs_to_quality":
        return table.epochs_to_quality > table.horizon
    return pd.Series(False, table.index)


def quantified(supported: np.ndarray, contradicted: np.ndarray, quantifier: Quantifier) -> Status:
    """Join the cells' results: `all`, `any`, or at least a share of them must support."""
    named = {"all": len(supported), "any": 1}
    needed = named[quantifier] if isinstance(quantifier, str) else np.ceil(quantifier * len(supported))
    if supported.sum() >= needed:
        return "holds"
    if len(supported) - contradicted.sum() < needed:
        # Enough cells speak against it that the rest cannot rescue it.
        return "partly" if supported.any() else "fails"
    return "undecided"


def over(
    cells: Sequence[Cell],
    claimed: Side,
    threshold: float,
    quantifier: Quantifier,
    experiment: Experiment[Any],
    table: pd.DataFrame,
    otherwise: Verdict,
    by: Sequence[str] = ("latent",),
    where: Mapping[str, Any] | None = None,
) -> Verdict:
    """Decide a claim from its cells; the reported effect is the mean over cells, or the best cell for `any`."""
    cells = [cell for cell in cells if len(cell.values)]
    if not cells:
        return otherwise
    supported = holm([cell.p(threshold, claimed) for cell in cells]) < 0.05
    contradicted = holm([cell.p(threshold, OPPOSITE[claimed]) for cell in cells]) < 0.05
    status = quantified(supported, contradicted, quantifier)
    notes = [f"{supported.sum()} of {len(cells)} cells support, {contradicted.sum()} contradict"]
    if bounds := sum(cell.upper_bound or cell.lower_bound for cell in cells):
        notes.append(f"{bounds} give only a bound because runs had not stopped at the horizon")
    if diverged := sum(cell.diverged for cell in cells):
        notes.append(f"{diverged} pairs diverged")
    if status == "fails" and quantifier != "all" and (missing := missing_cells(experiment, table, where)):
        status = "undecided"
        notes.append(f"only {' and '.join(missing)} were run, the others may still support it")
    if status == "undecided":
        notes.append(_power(cells))
    if quantifier == "any":
        best = (min if claimed == "below" else max)(cells, key=lambda cell: cell.values.mean())
        # The best of many is reported with an interval that allows for the choice.
        summary = effect(best.values.to_numpy(), level=1 - 0.05 / len(cells))
        notes.append(f"effect of the best cell ({best.name})")
    else:
        summary = effect(pd.concat([cell.values for cell in cells], axis=1).mean(axis=1).to_numpy())
    covered = scope(experiment, table, by, where)
    return Verdict(status, "; ".join(notes), summary.mean, (summary.low, summary.high), covered)


def _power(cells: Sequence[Cell]) -> str:
    """The shift that the noisiest cell would have shown, at the level that Holm asks of its first cell."""
    free = [cell.values.to_numpy() for cell in cells if not (cell.upper_bound or cell.lower_bound or cell.diverged)]
    shifts = [detectable(values, alpha=0.05 / len(cells)) for values in free if len(values) > 1 and np.ptp(values) > 0]
    if not shifts:
        return "too few seeds, or only bounds, to state a power"
    return f"a shift of {max(shifts):.2g} would be found with power 0.8 in the noisiest cell"
