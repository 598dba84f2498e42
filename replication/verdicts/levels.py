"""Tests of where a measure lies, how widely it spreads, and which groups differ; and of the benchmark's ratios."""

from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator
from scipy import stats

from replication import paper
from replication.experiments.registry import EXPERIMENTS, benchmark
from replication.statistics import effect, sign_table
from replication.sweep.store import Store
from replication.verdicts.cells import censored, quantified
from replication.verdicts.records import DataName, ExperimentName, check_names, compared, not_tested, scope
from replication.verdicts.verdict import Status, Test, Verdict, share


class Level(Test):
    """The mean of a measure lies within [low, high] in every cell (its whole 95% interval).

    Where a run had not stopped at the horizon the mean is a lower bound: it can leave the interval
    upwards, and lie inside only when there is no upper end.
    """

    kind: Literal["level"]
    experiment: ExperimentName
    data: DataName
    measure: str
    coefficients: tuple[float, ...]
    low: float
    high: float
    by: tuple[str, ...] = ("latent",)
    where: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure], self.by, self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        experiment = EXPERIMENTS[self.experiment]
        table = compared(experiment, store, self.data, self.where, self.by)
        table = table[table.coefficient.isin(self.coefficients)]
        if table.empty:
            return not_tested(self.experiment, self.data)
        groups = [group for _, group in table.groupby([*self.by, "coefficient"])]
        summaries = [effect(group[self.measure].to_numpy()) for group in groups]
        bounds = np.array([censored(group, self.measure).any() for group in groups])
        low, high = self.low, self.high
        inside = np.array([low <= s.low and s.high <= high for s in summaries]) & ~(bounds & np.isfinite(high))
        outside = np.array([s.low > high or (s.high < low and not b) for s, b in zip(summaries, bounds, strict=True)])
        overall = effect(table.groupby("seed")[self.measure].mean().to_numpy())
        note = f"{inside.sum()} of {len(groups)} cells inside [{low:g}, {high:g}], {outside.sum()} outside"
        if bounds.any():
            note += f"; {bounds.sum()} give only a lower bound because runs had not stopped at the horizon"
        status = quantified(inside, outside, "all")
        if status == "undecided":
            widest = max(s.high - s.mean for s in summaries)
            note += f"; the widest interval is ± {widest:.2g}" if np.isfinite(widest) else "; a cell has one seed only"
        covered = scope(experiment, table, self.by, self.where)
        return Verdict(status, note, overall.mean, (overall.low, overall.high), covered)


class Spread(Test):
    """The half-width of the 95% interval that the paper's ten replications would give, relative to the mean.

    Estimated from each cell's standard deviation, so that the answer does not depend on how many
    seeds were run; cells with fewer than three, or with a diverged run, are left out.
    """

    kind: Literal["spread"]
    experiment: ExperimentName
    data: DataName
    measure: str
    threshold: float
    by: tuple[str, ...] = ("latent",)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure], self.by)
        return self

    def decide(self, store: Store) -> Verdict:
        experiment = EXPERIMENTS[self.experiment]
        table = compared(experiment, store, self.data, by=self.by)
        if table.empty:
            return not_tested(self.experiment, self.data)
        groups = [group[self.measure] for _, group in table.groupby([*self.by, "coefficient"])]
        cells = [cell for cell in groups if len(cell) >= 3 and cell.notna().all()]
        covered = scope(experiment, table, self.by)
        if not cells:
            return Verdict("undecided", "no cell has three seeds yet", scope=covered)
        width = stats.t.ppf(0.975, experiment.seeds - 1) / np.sqrt(experiment.seeds)
        relative = np.array([width * cell.std() / abs(cell.mean()) for cell in cells])
        found = float((relative < self.threshold).mean())
        status: Status = "holds" if found >= 0.9 else "partly" if found >= 0.5 else "fails"
        return Verdict(
            status, f"{found:.0%} of {len(relative)} cells below {self.threshold:.0%}", found, scope=covered
        )  # fmt: skip


class Signs(Test):
    """The t-test grid of Figs 3(b)-6(b), recomputed at the grid's dimension or dimensions nearest to the caption's.

    Unknown, and neither agreement nor disagreement, are pairs of which both had not stopped at the
    horizon, and differences of the paper's that fewer seeds than its ten do not show.
    """

    kind: Literal["signs"]
    experiment: ExperimentName
    data: DataName
    measure: str
    paper_measure: Literal["mse", "stopping_epoch"]
    latents: tuple[int, ...]
    threshold: float

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure], ["latent"])
        return self

    def decide(self, store: Store) -> Verdict:
        experiment = EXPERIMENTS[self.experiment]
        caption, theirs = paper.sign_grid(self.data, self.paper_measure)
        table = compared(experiment, store, self.data)
        table = table[table.latent.isin(self.latents)]
        if table.empty:
            wanted = list(self.latents)
            note = f"no records of {self.experiment} on {self.data} at d in {wanted} (caption: {caption})"
            return Verdict("not tested", note)
        agree = unknown = total = 0
        for _, at in table.groupby("latent"):
            groups = dict(iter(at.groupby("coefficient")))
            if set(groups) != set(paper.COEFFICIENTS) or min(map(len, groups.values())) < 2:
                return Verdict("not tested", "needs every λ and at least two seeds", scope=scope(experiment, table))
            ours = sign_table({c: group[self.measure].to_numpy() for c, group in groups.items()})
            late = {c: censored(group, self.measure).any() for c, group in groups.items()}
            few = min(map(len, groups.values())) < experiment.seeds
            for a in theirs.index:
                for b in theirs.columns.drop(a):
                    total += 1
                    if (late[a] and late[b]) or (few and ours.loc[a, b] == "." != theirs.loc[a, b]):
                        unknown += 1
                    else:
                        agree += ours.loc[a, b] == theirs.loc[a, b]
        low, high = agree / total, (agree + unknown) / total
        dimensions = ", ".join(map(str, sorted(table.latent.unique())))
        note = f"{agree} of {total} cells agree, {unknown} unknown, at d = {dimensions} (caption: {caption})"
        covered = scope(experiment, table, where={"latent": list(self.latents)})
        return Verdict(self._status(low, high), note, low, (low, high), covered)

    def _status(self, low: float, high: float) -> Status:
        """From the share of agreement when everything unknown disagrees, and when it agrees."""
        if low >= self.threshold:
            return "holds"
        if high < 0.5:
            return "fails"
        return "partly" if low >= 0.5 and high < self.threshold else "undecided"


class Benchmark(Test):
    """Every row of the benchmark's speed table lies below the threshold: holds; some: partly; none: fails."""

    kind: Literal["benchmark"]
    column: Literal["plain_ratio", "engine_ratio"]
    threshold: float

    def decide(self, store: Store) -> Verdict:
        measured = benchmark("sweep", store)
        if measured is None:
            return Verdict("not tested", "sweep-cpu.json is missing; `python benchmarks/sweep.py` writes it")
        values = pd.DataFrame(measured["speed"])[self.column]
        below = int((values < self.threshold).sum())
        note = f"{below} of {len(values)} rows below {self.threshold:g}; from {values.min():.2g} to {values.max():.2g}"
        made = f"reduced (noise of MNIST's shape, on {measured['provenance']['device']})"
        return Verdict(share(below, len(values)), note, float(values.mean()), scope=made)
