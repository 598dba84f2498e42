"""The grids of t-tests in Figs 3(b)-6(b), cell by cell against ours."""

from dataclasses import replace
from itertools import combinations, product
from typing import Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator
from scipy import stats

from replication import paper
from replication.sweep.store import Store
from replication.verdicts.cells import Cell, paired
from replication.verdicts.contrast import LONGER, Asked, Contrast, named_runs, would_do
from replication.verdicts.decision import ALPHA, needed
from replication.verdicts.paired import chosen
from replication.verdicts.sizes import MOST_SEEDS
from replication.verdicts.verdict import Status, Verdict

PAPERS_ALPHA = 0.01


class Signs(Contrast):
    """The share of a grid's cells in which our runs say what the paper's do.

    A cell of ours has a sign where a paired t-test says so at the paper's level, and is blank only where the mean
    lies within the margin of no difference by two one-sided tests: a blank that few seeds leave is unknown. Unknown,
    too, are pairs of which both had not stopped at the horizon. The claim is on the share over all dimensions, or with
    a number for `quantifier` on the share of the dimensions that reach the threshold.
    """

    kind: Literal["signs"]
    paper_measure: Literal["mse", "stopping_epoch"]
    signs_alone: bool = False  # leave out the pairs that the paper leaves blank

    @model_validator(mode="after")
    def _share(self) -> Self:
        if not 0 < self.claimed.above < 1 or np.isfinite(self.claimed.below):
            raise ValueError("claimed must say above which share of the grid, between 0 and 1, and nothing else")
        return self

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        """A pair of λ in each latent dimension: the row's runs over the column's."""
        seeds = {latent: asked[latent, c] for latent, c in asked}
        at = {
            (d, c): chosen(table, {"latent": d, "coefficient": c}, seeds[d]) for d in seeds for c in paper.COEFFICIENTS
        }
        found = []
        for d, (a, b) in product(seeds, combinations(paper.COEFFICIENTS, 2)):
            cell = paired({"latent": d, "row": a, "column": b}, at[d, b], at[d, a], self.measure, "ratio")
            cell = replace(cell, missing=len(seeds[d] - set(cell.values.index)))
            swapped = {"latent": d, "row": b, "column": a}
            bounds = {"only_below": cell.only_above, "only_above": cell.only_below}
            found += [cell, replace(cell, key=swapped, values=-cell.values, **bounds)]
        return found

    def read_alone(self, store: Store) -> Verdict:
        asked, (ours, _) = self.asked(), self.tables(store)
        caption, _ = paper.sign_grid(self.data, self.paper_measure)
        cells = self.cells(asked, ours)
        waits = self._waits(cells, store)
        if all(cell.open for cell in cells):
            note = (
                f"Still to be run: {named_runs(waits)}." if waits else "The runs are made and leave no pair complete."
            )
            return Verdict("undecided", note, waits=waits)
        table, signs = self.compared(cells), self.compared(cells, blanks=False)
        agree, unknown, cells_ = table.sum()
        low, high = agree / cells_, (agree + unknown) / cells_
        known = table[table.unknown < table.cells]
        shown = ", ".join(
            f"{row.agree} of {row.cells} at d = {row.Index}" + (f" ({row.unknown} not sure)" if row.unknown else "")
            for row in known.itertuples()
        )
        note = f"Entries of the table that agree with the paper's, whose caption says d = {caption}: {shown}."
        if not self.signs_alone and len(known):
            both, signs = known.sum(), signs.loc[known.index].sum()
            kinds = {"signs": signs, "blanks": both - signs}
            note += f" {' and '.join(f'{of.agree} of the {of.cells} {kind}' for kind, of in kinds.items())} agree."
        status = self.judge(table)
        if waiting := ", ".join(str(d) for d in sorted({cell.key["latent"] for cell in cells if cell.missing})):
            note += (
                f" Still to be run: d = {waiting} ({named_runs(waits)})." if waits else f" Incomplete: d = {waiting}."
            )
        elif status == "undecided":
            note += f" {self._would_tell(cells)}"
        return Verdict(status, note, low, (low, high), self.covered(ours, cells), waits=waits)

    def compared(self, cells: list[Cell], blanks: bool = True) -> pd.DataFrame:
        """How many cells of the grid agree and how many are unknown, by dimension, with the paper's blanks or not."""
        _, theirs = paper.sign_grid(self.data, self.paper_measure)
        compared = [
            (cell.key["latent"], self.agrees(cell, sign))
            for cell in cells
            if (sign := theirs.loc[cell.key["row"], cell.key["column"]]) != "." or (blanks and not self.signs_alone)
        ]
        answers = pd.DataFrame(compared, columns=["latent", "agrees"]).groupby("latent").agrees
        return pd.DataFrame(
            {
                "agree": answers.apply(lambda a: a.eq(True).sum()),
                "unknown": answers.apply(lambda a: a.isna().sum()),
                "cells": answers.size(),
            }
        )

    def agrees(self, cell: Cell, theirs: str) -> bool | None:
        """Whether ours says what theirs does; None where it cannot say."""
        ours = self.sign(cell)
        return None if ours is None else theirs in ours

    def sign(self, cell: Cell) -> str | None:
        """What our runs say: a sign, a blank, both where a difference is sure and too small to count, or nothing."""
        values, n = cell.values.to_numpy(), len(cell.values)
        if cell.open or cell.diverged or (cell.only_below and cell.only_above):
            return None
        error = max(float(values.std(ddof=1)), cell.floor) / np.sqrt(n)
        t = _ratio(values.mean(), error)
        differs = 2 * stats.t.sf(abs(t), n - 1) < PAPERS_ALPHA
        half = stats.t.ppf(0.95, n - 1) * error
        margin = np.log1p(self.margin)
        # One of a pair that had not stopped: the effect is a bound, which can say on which side it lies and no more.
        blank = not (cell.only_below or cell.only_above) and abs(values.mean()) + half < margin
        side = "+" if t > 0 else "-"
        side_of = int((values > 0).sum() if t > 0 else (values < 0).sum())
        agreed = cell.floor == 0 or stats.binom.sf(side_of - 1, n, 0.5) <= ALPHA
        sure = differs and agreed and not (cell.only_below and side == "+") and not (cell.only_above and side == "-")
        return (side if sure else "") + ("." if blank else "") or None

    def _would_tell(self, cells: list[Cell]) -> str:
        """How many seeds would make every pair that is not sure a sign or a blank; longer runs where all are bounds."""
        unsure = [
            cell for cell in cells
            if not (self.sign(cell) or cell.open or cell.diverged or cell.only_below or cell.only_above)
        ]  # fmt: skip
        if not unsure:
            lost = sum(cell.diverged for cell in cells if cell.key["row"] < cell.key["column"])
            bounds = any(cell.only_below or cell.only_above for cell in cells)
            return " ".join([f"Pairs that diverged: {lost}."] * bool(lost) + [LONGER] * (bounds or not lost))
        return f"If differences are what they seem, {would_do(max(map(self._seeds_to_tell, unsure)))}."

    def _seeds_to_tell(self, cell: Cell) -> float:
        mean = abs(cell.values.mean())
        spread = max(float(cell.values.std()), cell.floor)
        n = np.arange(2, MOST_SEEDS)
        signed = stats.t.ppf(1 - PAPERS_ALPHA / 2, n - 1) * spread / np.sqrt(n) < mean
        blank = mean + stats.t.ppf(0.95, n - 1) * spread / np.sqrt(n) < np.log1p(self.margin)
        told = n[signed | blank]
        return float(told[0]) if len(told) else np.inf

    def judge(self, table: pd.DataFrame) -> Status:
        """From the share of agreement when everything unknown disagrees, and when it agrees; by dimension if asked."""
        least, most = table.agree, table.agree + table.unknown
        if not isinstance(self.quantifier, str):
            wanted = needed(self.quantifier, len(table))
            if (least / table.cells >= self.claimed.above).sum() >= wanted:
                return "holds"
            return "fails" if (most / table.cells >= self.claimed.above).sum() < wanted else "undecided"
        low, high = least.sum() / table.cells.sum(), most.sum() / table.cells.sum()
        if low >= self.claimed.above:
            return "holds"
        if high < 0.5:
            return "fails"
        return "partly" if low >= 0.5 and high < self.claimed.above else "undecided"


def _ratio(mean: float, error: float) -> float:
    return float(mean / error) if error else float(np.sign(mean)) * np.inf if mean else 0.0
