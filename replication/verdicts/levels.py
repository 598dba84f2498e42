"""Where a measure lies, what it goes with, how λ divides it into groups, and how widely it spreads; and the benchmark's
ratios."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator
from scipy import stats

from replication import paper
from replication.experiments.owed import unfinished
from replication.experiments.registry import benchmark
from replication.sweep.store import Store
from replication.verdicts.cells import Cell, effects, level
from replication.verdicts.contrast import Asked, Contrast, named_runs
from replication.verdicts.decision import ALPHA, LEAST_SEEDS, decided
from replication.verdicts.paired import chosen
from replication.verdicts.records import check_names, paper_values
from replication.verdicts.verdict import Test, Verdict, share


class Level(Contrast):
    """The measure itself, in each cell of `by` and λ."""

    compares: ClassVar[bool] = False

    kind: Literal["level"]

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        found = []
        for key, seeds in asked.items():
            runs = chosen(table, self.keyed(key), seeds)
            cell = level(self.keyed(key), runs, self.measure)
            found.append(replace(cell, missing=len(seeds - set(cell.values.index))))
        return found


class Association(Contrast):
    """Spearman's rank correlation of the measure with another one over the networks of a seed, guided and unguided.

    Args:
        against: the other measure.
    """

    compares: ClassVar[bool] = False

    kind: Literal["association"]
    against: str

    @model_validator(mode="after")
    def _check_against(self) -> Self:
        check_names(self.experiment, [self.against])
        return self

    @property
    def read_columns(self) -> set[str]:
        return super().read_columns | {self.against}

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        seeds = set.union(*asked.values()) if asked else set()
        guided = [chosen(table, self.keyed(key), planned) for key, planned in asked.items()]
        rows = pd.concat([table[(table[self.of.treatment] == 0) & table.seed.isin(seeds)], *guided])
        whole = rows.groupby("seed").filter(lambda networks: len(networks) == len(self.asked()) + 1)
        values = {seed: self._correlation(networks) for seed, networks in whole.groupby("seed")}
        found = pd.Series(values, dtype=float).dropna()  # a network that diverged has no rank
        missing = len(seeds - set(found.index))
        return [Cell({}, found, 0 * found, diverged=int(rows.diverged.sum()), missing=missing)]

    def _correlation(self, networks: pd.DataFrame) -> float:
        return float(stats.spearmanr(networks[self.measure], networks[self.against]).statistic)

    def over_paper(self, cells: Sequence[Cell]) -> Any:
        """Each of the paper's architectures would be a cell more."""
        return self.status(effects(cells, (self.paper or 1) - len(cells)), cells)


class Step(Contrast):
    """Two groups of λ: the share of the range of the measure, on a logarithmic scale, that one step of λ crosses.

    Seven values in two groups cross nearly all of it in one step, in the right place; seven that rise evenly cross a
    sixth in each. Above one half the step is the largest, and larger than all others together.
    """

    compares: ClassVar[bool] = False

    kind: Literal["step"]
    step: tuple[float, float]

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        found = []
        for latent in dict.fromkeys(latent for latent, _ in asked):
            seeds = set.union(*(each for (other, _), each in asked.items() if other == latent))
            rows = table[(table.latent == latent) & table.seed.isin(seeds)]
            shares = self._shares(rows)
            complete = {c for other, c in asked if other == latent} >= set(paper.COEFFICIENTS) - {0.0}
            missing = len(seeds - set(shares.index)) if complete else len(seeds)
            lost = int(rows.diverged.sum())
            found.append(Cell({"latent": latent}, shares, pd.Series(0.0, shares.index), diverged=lost, missing=missing))
        return found

    def _shares(self, rows: pd.DataFrame) -> pd.Series:
        """By seed, of those that have every λ and no divergence."""
        logs = np.log(rows.pivot(index="seed", columns="coefficient", values=self.measure))
        whole = logs.reindex(columns=list(paper.COEFFICIENTS)).dropna()
        below, above = self.step
        return (whole[above] - whole[below]) / (whole.max(axis=1) - whole.min(axis=1))

    @property
    def paper_cells(self) -> int:
        return len(paper_values(self.of, "latent", self.where))

    def over_paper(self, cells: Sequence[Cell]) -> Any:
        """A cell is a dimension, with all its λ."""
        missing = self.paper_cells - len(cells)
        return self.status(effects(cells, missing), cells, missing)


class Spread(Contrast):
    """The half-width of the 95% interval that the paper's ten replications would give, relative to the mean.

    Estimated from each cell's standard deviation, so that the answer does not depend on how many seeds were run. The
    λs of one latent dimension start from the same weights: a dimension counts once, with the median over its λ, and has
    the p-values of the χ² test of a variance.
    """

    compares: ClassVar[bool] = False

    kind: Literal["spread"]

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if not 0 < self.claimed.below < np.inf:
            raise ValueError(f"claimed must say below which width, above 0, got {self.claimed.below:g}")
        return self

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        raise NotImplementedError("a spread is one number for all seeds")

    def read_alone(self, store: Store) -> Verdict:
        asked, (ours, _) = self.asked(), self.tables(store)
        width = stats.t.ppf(0.975, self.of.seeds - 1) / np.sqrt(self.of.seeds)
        rows, latents = [], {key[0] for key in asked}
        waiting, diverged = set(), set()
        for key, seeds in asked.items():
            runs = chosen(ours, self.keyed(key), seeds)
            if len(runs) < max(len(seeds), LEAST_SEEDS):
                waiting.add(key[0])
            elif runs.diverged.any():
                diverged.add(key[0])
            else:
                rows.append((key[0], len(runs), width * runs[self.measure].std() / runs[self.measure].mean()))
        if waiting:
            waits = unfinished(self.runs, store)
            named = f" for {named_runs(waits)}" if waits else ""
            note = f"Of {len(latents)} latent dimensions {len(waiting)} wait{named}."
            return Verdict("undecided", note, waits=waits)
        if diverged:
            return Verdict("undecided", f"A run diverged at d = {', '.join(map(str, sorted(diverged)))}.")
        table = pd.DataFrame(rows, columns=["latent", "seeds", "relative"]).groupby("latent").median()
        freedom = table.seeds.to_numpy() - 1
        square = freedom * (table.relative.to_numpy() / self.claimed.below) ** 2
        supported, refuted = stats.chi2.cdf(square, freedom), stats.chi2.sf(square, freedom)
        status = str(decided(supported, refuted, self.quantifier))
        shown = ", ".join(f"{value:.1%} at {latent}" for latent, value in table.relative.items())
        small = int((supported <= ALPHA).sum())
        note = f"{small} of {len(latents)} latent dimensions shown to be below {self.claimed.below:.0%}: {shown}"
        return Verdict(status, note, float(table.relative.median()))  # type: ignore[arg-type]


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
