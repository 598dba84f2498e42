"""Guided networks against others, paired by seed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import pandas as pd
from pydantic import model_validator

from replication.experiments.owed import Key
from replication.sweep.store import Store
from replication.verdicts.cells import Cell, paired, pooled
from replication.verdicts.contrast import Asked, Contrast
from replication.verdicts.records import DataName


class Paired(Contrast):
    """Guided minus unguided, or their ratio, in each cell of `by` and λ."""

    kind: Literal["paired"]

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        treatment = self.of.treatment
        free, groups = table[table[treatment] == 0], dict(iter(table.groupby([*self.by, treatment])))
        return [self._cell(key, seeds, free, groups.get(key, table[:0])) for key, seeds in asked.items()]

    def _cell(self, key: Key, seeds: set[int], free: pd.DataFrame, group: pd.DataFrame) -> Cell:
        guided = group[group.seed.isin(seeds)]
        return pair(self, key, seeds, self.of.unguided_beside(guided, free), guided)


class FewerDimensions(Contrast):
    """A guided network minus the unguided one of the next larger latent dimension, for each dimension and λ."""

    kind: Literal["fewer_dimensions"]

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        sizes = sorted({latent for latent, _ in asked})
        larger = dict(zip(sizes, sizes[1:], strict=False))
        found = []
        for (latent, c), seeds in asked.items():
            if latent in larger:
                base = table[(table.latent == larger[latent]) & (table.coefficient == 0)]
                found.append(pair(self, (latent, c), seeds, base, chosen(table, self.keyed((latent, c)), seeds)))
        return found

    @property
    def paper_cells(self) -> int:
        return len(self.asked())


class Versus(Contrast):
    """Guidance of one kind against guidance of another, such as two placements or two forms of the loss, in each λ.

    The field in which they differ is among those of `by`; the first of its two values is set against the second.
    """

    kind: Literal["versus"]
    field: str
    values: tuple[str, str]

    @model_validator(mode="after")
    def _in_cells(self) -> Self:
        if self.field not in self.by:
            raise ValueError(f"field must be one of by, {', '.join(self.by)}, got {self.field!r}")
        planned = {self.keyed(key)[self.field] for key in self.asked()}
        if unplanned := set(self.values) - planned:
            raise ValueError(
                f"no run has {self.field} {min(unplanned, key=str)!r}; planned: {', '.join(sorted(map(str, planned)))}"
            )
        return self

    @property
    def judged(self) -> int:
        """Two kinds make one cell."""
        return sum(self.keyed(key)[self.field] == self.values[0] for key in self.asked())

    @property
    def paper_cells(self) -> int:
        """Those of the plan, unless `paper` says how many pairs of kinds the sentence is about."""
        return self.judged

    def common(self, cell: Cell) -> dict[str, Any]:
        return {name: value for name, value in cell.key.items() if name != self.field}

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        first, second = self.values
        return [
            pair(self, key, seeds, chosen(table, self.keyed(key) | {self.field: second}, seeds),
                 chosen(table, self.keyed(key), seeds))
            for key, seeds in asked.items()
            if self.keyed(key)[self.field] == first
        ]  # fmt: skip


class NeedForDimension(Paired):
    """Two cells, both over all architectures and λ: the gain on hard images, and that gain minus the one on easy ones.

    A seed's gain on one set is set against its gain on the other.
    """

    kind: Literal["need_for_dimension"]  # type: ignore[assignment]
    easy: DataName

    def over_paper(self, cells: Sequence[Cell]) -> Any:
        """Two architectures of nine and two λ of six leave it open."""
        return "undecided"

    def on(self, data: str) -> Paired:
        given = self.model_dump(exclude={"kind", "easy", "beside"})
        return Paired.model_validate(given | {"kind": "paired", "data": data, "pool": (*self.by, "coefficient")})

    def tables(self, store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
        hard, easy = self.on(self.data).tables(store), self.on(self.easy).tables(store)
        return pd.concat([hard[0], easy[0]]), pd.concat([hard[1], easy[1]])

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        hard, easy = (self._gain(name, table[table.data == name], bool(asked)) for name in (self.data, self.easy))
        both = pooled({}, [hard, replace(easy, values=-easy.values)])  # half of the difference
        return [
            replace(hard, key={"gain": "the gain on hard images"}),
            replace(both, key={"gain": "that gain minus the one on easy images"}, values=2 * both.values),
        ]

    def _gain(self, data: str, table: pd.DataFrame, planned: bool) -> Cell:
        test = self.on(data)
        cells = test.grouped(test.cells(test.asked() if planned else test.seen(table), table))
        return cells[0] if cells else Cell.absent({}, 0)


def chosen(table: pd.DataFrame, key: dict[str, object], seeds: set[int]) -> pd.DataFrame:
    """The runs of one cell."""
    kept = table.seed.isin(seeds)
    for name, value in key.items():
        kept &= table[name] == value
    return table[kept]


def pair(test: Contrast, key: Key, seeds: set[int], base: pd.DataFrame, guided: pd.DataFrame) -> Cell:
    """The pairs of one cell; planned seeds that have none are missing."""
    named = test.keyed(key)
    if base.empty or guided.empty:
        return Cell.absent(named, len(seeds))
    cell = paired(named, base, guided, test.measure, test.statistic)
    return replace(cell, missing=len(seeds - set(cell.values.index)))
