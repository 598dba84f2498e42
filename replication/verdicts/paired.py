"""Tests of guided networks against unguided ones, paired by seed."""

from dataclasses import replace
from typing import Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from replication.experiments.experiment import Experiment
from replication.experiments.registry import EXPERIMENTS
from replication.statistics import Side, effect, p_one_sided
from replication.sweep.store import Store
from replication.verdicts.cells import Cell, Quantifier, Statistic, over
from replication.verdicts.records import DataName, ExperimentName, check_names, compared, not_tested, scope
from replication.verdicts.verdict import Test, Verdict


class Paired(Test):
    """Guided against unguided in each cell of `by` and λ.

    A cell supports the claim when the mean paired difference (or ratio) lies on the claimed side
    of the threshold with Holm-adjusted one-sided p < 0.05 over the cells; it contradicts it when
    the mean lies on the other side, also with adjusted p < 0.05. `quantifier` asks for `all`
    cells, `any`, or a share. With `choose_by`, λ is the best by that (validation) measure in each
    `by` cell, and one cell is left for each.
    """

    kind: Literal["paired"]
    experiment: ExperimentName
    data: DataName
    measure: str
    claimed: Side
    threshold: float
    statistic: Statistic = "difference"
    coefficients: tuple[float, ...] | None = None  # all λ > 0 unless given
    quantifier: Quantifier = "all"
    by: tuple[str, ...] = ("latent",)
    where: dict[str, Any] = Field(default_factory=dict)
    choose_by: str | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure, *filter(None, [self.choose_by])], self.by, self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        experiment = EXPERIMENTS[self.experiment]
        table = compared(experiment, store, self.data, self.where, self.by)
        cells = []
        for key, guided in table[table.coefficient != 0].groupby(list(self.by)):
            base = experiment.unguided_beside(guided, table)
            for c, runs in self._chosen(experiment, guided).groupby("coefficient"):
                name = ", ".join(f"{n} {v}" for n, v in zip((*self.by, "λ"), (*key, f"{c:g}"), strict=True))
                cells.append(Cell.of(name, base, runs, self.measure, self.statistic))
        otherwise = not_tested(self.experiment, self.data)
        verdict = over(
            cells, self.claimed, self.threshold, self.quantifier, experiment, table, otherwise, self.by, self.where
        )
        if self.choose_by and cells:
            names = " | ".join(cell.name for cell in cells)
            return replace(verdict, note=f"{verdict.note}; chosen on validation: {names}")
        return verdict

    def _chosen(self, experiment: Experiment[Any], guided: pd.DataFrame) -> pd.DataFrame:
        """The λ that the claim is about."""
        asked = guided.coefficient > 0 if self.coefficients is None else guided.coefficient.isin(self.coefficients)
        guided = guided[asked]
        return guided[guided.coefficient == best(experiment, guided, self.choose_by)] if self.choose_by else guided


def best(experiment: Experiment[Any], guided: pd.DataFrame, measure: str) -> float:
    """The λ whose mean over seeds is best by a measure; NaN without any."""
    scores = guided.groupby("coefficient")[measure].mean()
    if scores.empty:
        return float("nan")
    return float(scores.idxmin() if experiment.measures[measure] == "lower" else scores.idxmax())


class FewerDimensions(Test):
    """Is a guided network of some latent dimension as good as the unguided one of the next larger?"""

    kind: Literal["fewer_dimensions"]
    experiment: ExperimentName
    data: DataName
    measure: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure], ["latent"])
        return self

    def decide(self, store: Store) -> Verdict:
        experiment = EXPERIMENTS[self.experiment]
        table = compared(experiment, store, self.data)
        sizes = sorted(table.latent.unique())
        cells = [
            Cell.of(
                f"{small} for {large}, λ {c:g}",
                table[(table.latent == large) & (table.coefficient == 0)], runs, self.measure, "difference",
            )
            for small, large in zip(sizes, sizes[1:], strict=False)
            for c, runs in table[(table.latent == small) & (table.coefficient > 0)].groupby("coefficient")
        ]  # fmt: skip
        return over(cells, "below", 0.0, "any", experiment, table, not_tested(self.experiment, self.data))


class GainDifference(Test):
    """The gain on one data set minus that on another, paired by seed, each with the λ that its validation split picks.

    On each set the architectures that were run are averaged.
    """

    kind: Literal["gain_difference"]
    experiment: ExperimentName
    data: tuple[DataName, DataName]
    measure: str
    choose_by: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure, self.choose_by], ["architecture", "layers"])
        return self

    def decide(self, store: Store) -> Verdict:
        experiment, by = EXPERIMENTS[self.experiment], ("architecture",)
        tables = [compared(experiment, store, name, {"layers": "first"}, by) for name in self.data]
        gains = []
        for name, table in zip(self.data, tables, strict=True):
            if not (table.coefficient > 0).any():
                return not_tested(self.experiment, name)
            each = [self._gain(experiment, group) for _, group in table.groupby("architecture")]
            gains.append(pd.concat(each, axis=1).mean(axis=1))
        difference = (gains[0] - gains[1]).dropna()
        p = p_one_sided(difference.to_numpy(), 0.0, "above")
        against = p_one_sided(difference.to_numpy(), 0.0, "below")
        summary = effect(difference.to_numpy())
        note = (
            f"gain of {gains[0].mean():+.4f} on {self.data[0]}, of {gains[1].mean():+.4f} on {self.data[1]}; "
            f"{len(difference)} seeds"
        )
        return Verdict(
            "holds" if p < 0.05 else "fails" if against < 0.05 else "undecided",
            f"{note}, p = {p:.2g}", summary.mean, (summary.low, summary.high), scope(experiment, tables[0], by),
        )  # fmt: skip

    def _gain(self, experiment: Experiment[Any], group: pd.DataFrame) -> pd.Series:
        """Paired gain by seed of the λ > 0 that is best by another measure."""
        chosen = best(experiment, group[group.coefficient > 0], self.choose_by)
        by_seed = group.pivot(index="seed", columns="coefficient", values=self.measure)
        return by_seed[chosen] - by_seed[0.0]
