"""What tests of runs have in common: planned cells in, effects by seed, one decision, one size."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from replication.experiments.experiment import Experiment
from replication.experiments.owed import Key, Run, owed, unfinished
from replication.experiments.registry import EXPERIMENTS
from replication.statistics import Effect, effect
from replication.sweep.store import Store
from replication.verdicts.cells import Cell, Statistic, effects, pooled
from replication.verdicts.decision import ALPHA, Effects, Quantifier, Region, Side, counted, decided, joined, shared
from replication.verdicts.records import (
    DataName,
    ExperimentName,
    check_names,
    deciding,
    not_tested,
    once,
    paper_values,
    scope,
)
from replication.verdicts.sizes import MOST_SEEDS, half_width, label, seeds_for
from replication.verdicts.verdict import Beside, Test, Verdict

LONGER = "Only longer runs can say more."

Asked = Mapping[Key, set[int]]


class Claimed(BaseModel):
    """Where the sentence says that the effect lies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    above: float = -np.inf
    below: float = np.inf

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.above < self.below or not np.isfinite([self.above, self.below]).any():
            raise ValueError("needs above, below, or above less than below")
        return self


class Contrast(Test):
    """Effects by seed in cells, and a claim on all of them, any, or a share.

    Args:
        experiment, data, measure: whose records, on which data, and what is compared.
        runs: of `plan.yml`; their cells and seeds decide, and nothing else.
        claimed: where each cell's effect lies if the sentence is right.
        margin: what counts as no effect; of ratios, a fraction. Wider than the printed effect it says only what size
            would be noticed.
        printed: the effect that the paper prints, to be compared with.
        statistic: guided minus unguided, or their ratio, whose logarithm is averaged.
        coefficients: values of the treatment, which is λ in most experiments; all above 0 of the runs unless given.
        by: the fields that tell cells apart, beside λ.
        pool: fields over which the mean is taken, seed by seed, before anything is tested.
        some: a cell is met when some λ meets it.
        quantifier: how many of the cells.
        where: values of other fields; a list stands for any of its entries.
        horizon: read the curves up to this epoch alone.
        paper: how many cells the paper's sentence ranges over, where it is more than the fields and λ named here make.
        beside: other readings of the sentence: what they are called, and what they change in the test.
    """

    # Whether effects are of guided networks against others; elsewhere the measure itself, which has no ratio.
    compares: ClassVar[bool] = True

    experiment: ExperimentName
    data: DataName
    measure: str
    runs: tuple[str, ...] = Field(min_length=1)
    claimed: Claimed
    margin: float = 0.0
    printed: float | None = None
    statistic: Statistic = "difference"
    coefficients: tuple[float, ...] | None = None
    by: tuple[str, ...] = ("latent",)
    pool: tuple[str, ...] = ()
    some: bool = False
    quantifier: Quantifier = "all"
    where: dict[str, Any] = Field(default_factory=dict)
    horizon: int | None = None
    paper: int | None = None
    beside: dict[str, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(self.experiment, [self.measure], self.by, self.where)
        if self.statistic == "ratio" and not self.compares:
            raise ValueError(f"statistic must be difference: {type(self).__name__} compares no two networks")
        for run in self.runs:
            try:
                owed(run)
            except KeyError as error:
                raise ValueError(error.args[0]) from None
        for name, changed in self.beside.items():
            try:
                self.read(changed)
            except ValidationError as error:
                raise ValueError(f"beside {name!r}: {error.errors()[0]['msg']}") from error
        return self

    def read(self, changed: Mapping[str, Any]) -> Self:
        """The same test in another reading."""
        return type(self).model_validate(self.model_dump() | {"beside": {}} | dict(changed))

    @property
    def of(self) -> Experiment[Any]:
        return EXPERIMENTS[self.experiment]

    @property
    def planned(self) -> list[Run]:
        return [owed(run) for run in self.runs]

    @property
    def read_columns(self) -> set[str]:
        """What a decision reads of outcomes; tables of all their columns are slow to take apart."""
        about = {"trial", "data", "fingerprint", "protocol", "seed", "scope", "deviation", "diverged"}
        late = {name for name in self.of.measures if name.startswith("censored")}
        return about | late | {self.measure, *self.of.fields, *self.of.cells}

    # --- Cells --------------------------------------------------------------------------------------

    @abstractmethod
    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        """A cell for each that is asked for, from the runs of some seeds; absent ones are open."""

    def asked(self) -> dict[Key, set[int]]:
        """The cells that the plan sets out to run, with their seeds."""
        found: dict[Key, set[int]] = {}
        for run in self.planned:
            for key, seeds in run.cells(self.data, self.by, self.where, self.coefficients):
                found[key] = found.get(key, set()) | seeds
        return found

    def seen(self, table: pd.DataFrame) -> dict[Key, set[int]]:
        """The cells of the plan as far as a table has them, with the seeds that it has."""
        fields = [*self.by, self.of.treatment]
        groups = {key: set(rows.seed) for key, rows in table.groupby(fields)} if len(table) else {}
        return {key: groups[key] for key in self.asked() if key in groups}

    def covered(self, table: pd.DataFrame, cells: Sequence[Cell]) -> str:
        """The scope of the cells that are complete, or of all while none is; what they are compared with left out."""
        asked, fields = self.asked(), (*self.by, self.of.treatment)
        inside = [key in asked for key in zip(*(table[name] for name in fields), strict=True)]
        rows = table[inside] if any(inside) else table
        kept = pd.Series(False, rows.index)
        for cell in [cell for cell in cells if not cell.open] or cells:
            known = {name: value for name, value in self.common(cell).items() if name in rows}
            kept |= (rows[list(known)] == pd.Series(known, dtype=object)).all(axis=1)
        return scope(self.of, rows[kept] if kept.any() else rows, self.by, self.where)

    def common(self, cell: Cell) -> dict[str, Any]:
        """What all networks of a cell have in common, those that its guided ones are compared with left out."""
        return dict(cell.key)

    def keyed(self, key: Key) -> dict[str, Any]:
        return dict(zip((*self.by, self.of.treatment), key, strict=True))

    def tables(self, store: Store) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The outcomes that the plan's runs gave, and those of the seeds that had been seen before it."""
        table = self.of.default(deciding(self.of, Store(store.root, self.horizon), self.data), **self.where)
        table = once(self.of, table[[name for name in table if name in self.read_columns]], self.by)
        made = pd.concat([run.rows(table, self.horizon) for run in self.planned])
        made = made[made[self.of.treatment].isin({key[-1] for key in self.asked()})]
        seeds = table.seed.isin(made.seed)
        # One unguided network serves every cell beside which it stands, whichever run made it.
        return table[table.index.isin(made.index) | (seeds & (table[self.of.treatment] == 0))], table[~seeds]

    # --- Verdict ------------------------------------------------------------------------------------

    def decide(self, store: Store) -> Verdict:
        verdict = self.read_alone(store)
        others = {name: self.read(changed).read_alone(store) for name, changed in self.beside.items()}
        beside = [
            Beside(name, other.status, other.effect, other.interval, other.explored) for name, other in others.items()
        ]
        return replace(verdict, beside=tuple(beside))

    def read_alone(self, store: Store) -> Verdict:
        """The verdict without other readings."""
        ours, before = self.tables(store)
        cells = self.grouped(self.cells(self.asked(), ours))
        if all(cell.values.empty for cell in cells):
            return self._explored(before, cells, store)
        status = self.status(effects(cells), cells)
        ready = [cell for cell in cells if not cell.open and not cell.diverged]
        found = self.size(ready or [cell for cell in cells if len(cell.values)])
        margin = self.scaled_margin
        size = "" if self.printed is None or not ready else label(found, self.scaled(self.printed), margin)
        waits = self._waits(cells, store)
        note = " ".join(self._notes(status, cells, ready, waits))
        return Verdict(
            status, note, self.shown(found.mean), (self.shown(found.low), self.shown(found.high)),
            self.covered(ours, cells), size, self.over_paper(cells), waits=waits,
        )  # fmt: skip

    def status(self, found: Effects, cells: Sequence[Cell], extra: int = 0) -> Any:
        """The decision on effects of these cells, with as many more that were not run; an array for many ledgers."""
        supported, refuted = found.supported(self.region), found.refuted(self.region)
        if self.some:
            supported = counted(supported, refuted)
            groups = self._groups(cells, extra)
            supported, refuted = joined(supported, groups), shared(refuted, groups)
        answer = decided(supported, refuted, self.quantifier)
        return answer if answer.ndim else str(answer)

    def over_paper(self, cells: Sequence[Cell]) -> Any:
        """The decision over all cells of the paper, which stands only if no filling of the open ones changes it."""
        missing = (self.paper or self.paper_cells) - self.judged
        if missing <= 0:
            return self.status(effects(cells), cells)
        # Of a mean nothing is known while a part is; nor of "some λ" while λs are that were not run.
        fewer = self.some and self.paper is not None and self.paper > self.paper_cells
        if self.pool or fewer:
            return "undecided"
        return self.status(effects(cells, missing), cells, missing)

    @property
    def judged(self) -> int:
        """How many of the paper's cells the plan covers."""
        return len(self.asked())

    @property
    def paper_cells(self) -> int:
        """How many cells the paper's sentence ranges over; those of the plan where the paper has no grid."""
        if not self.of.cells:
            return len(self.asked())
        asked = [self.keyed(key) for key in self.asked()]
        values = [
            paper_values(self.of, name, self.where) if name in self.of.cells else {each[name] for each in asked}
            for name in (*self.by, self.of.treatment)
        ]
        return prod(map(len, values))

    def grouped(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells after pooling."""
        if not self.pool:
            return list(cells)
        groups: dict[tuple[Any, ...], list[Cell]] = {}
        for cell in cells:
            groups.setdefault(tuple(v for name, v in cell.key.items() if name not in self.pool), []).append(cell)
        return [
            pooled({name: v for name, v in group[0].key.items() if name not in self.pool}, group)
            for group in groups.values()
        ]

    def _groups(self, cells: Sequence[Cell], extra: int) -> list[list[int]]:
        """Positions of the cells that differ in λ alone; cells that were not run follow, as many λ to each."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, cell in enumerate(cells):
            groups.setdefault(tuple(v for name, v in cell.key.items() if name != self.of.treatment), []).append(place)
        size = len(next(iter(groups.values())))
        more = [list(range(at, at + size)) for at in range(len(cells), len(cells) + extra, size)]
        return [*groups.values(), *more]

    # --- Size ---------------------------------------------------------------------------------------

    @property
    def region(self) -> Region:
        margin = 0.0 if self.coarse else self.scaled_margin
        return Region(self.scaled(self.claimed.above), self.scaled(self.claimed.below), 0.0, margin)

    @property
    def of_change(self) -> bool:
        """Whether the claim is that something lies above, or below, no effect at all."""
        return 0.0 in (bound for bound, _ in self.region.supporting)

    @property
    def coarse(self) -> bool:
        """A margin that the printed effect itself lies within refutes nothing: the claim fails by a contrary effect."""
        return self.printed is not None and abs(self.scaled(self.printed)) <= self.scaled_margin

    @property
    def scaled_margin(self) -> float:
        return float(np.log1p(self.margin)) if self.statistic == "ratio" else self.margin

    def scaled(self, value: float) -> float:
        """A number of the claim on the scale of the effects."""
        if self.statistic == "ratio":
            return float(np.log(value)) if value > 0 else -np.inf
        return value

    def shown(self, effect: float) -> float:
        """An effect in the claim's own measure."""
        return float(np.exp(effect)) if self.statistic == "ratio" else effect

    def size(self, cells: Sequence[Cell]) -> Effect:
        """The mean over cells, seed by seed; the best cell, with an interval that allows for the choice, for `any`."""
        if self.quantifier == "any":
            sign = 1 if np.isfinite(self.claimed.below) else -1
            best = min(cells, key=lambda cell: sign * cell.values.mean())
            chosen, level = best, 1 - 0.05 / len(cells)
        else:
            chosen, level = pooled({}, cells), 0.95
        return interval(chosen, level)

    def _notes(self, status: str, cells: Sequence[Cell], ready: Sequence[Cell], waits: Sequence[str]) -> list[str]:
        arrays = effects(cells)
        supported, refuted = (
            int((p <= ALPHA).sum()) for p in (arrays.supported(self.region), arrays.refuted(self.region))
        )
        notes = [
            f"Of {len(cells)} {combinations(cells)}, {supported or 'none'} {'is' if supported < 2 else 'are'} shown "
            f"to agree with the claim and {refuted or 'none'} to disagree, each at 0.05."
            if len(cells) > 1
            else f"{len(ready[0].values) if ready else 0} seeds."
        ]
        if len(cells) > 1 and (of_which := self._of_which(cells, ready)):
            notes.append(of_which)
        if bounds := sum(cell.only_below or cell.only_above for cell in cells):
            notes.append(f"Runs that had not stopped at the horizon leave only a bound in {bounds}.")
        if diverged := sum(cell.diverged for cell in cells):
            notes.append(f"Pairs that diverged: {diverged}.")
        if waiting := self._waiting(cells, waits):
            notes.append(waiting)
        elif status == "undecided" and (unsure := self._unsure(cells, arrays)):
            notes.append(self._wanted(unsure))
        return notes

    def _of_which(self, cells: Sequence[Cell], ready: Sequence[Cell]) -> str:
        """Which of the cells the effect is one of, where it is not the mean of all; one with a diverged run is not."""
        best = self.quantifier == "any"
        if len(ready) == len(cells):
            return "The effect is that of the best of them." if best else ""
        if not ready:
            return "None of them is complete, and the effect is that of what is there."
        if len(ready) == 1:
            return f"One of them is complete ({named(ready[0])}), and the effect is that of this one."
        alike = named(ready[0], [name for name in ready[0].key if _one(ready, name) and not _one(cells, name)])
        which = f" ({alike})" if alike else ""
        return f"{len(ready)} of them are complete{which}, and the effect is that of {'the best of ' * best}these."

    def _unsure(self, cells: Sequence[Cell], arrays: Effects) -> list[Effect]:
        """The intervals of the cells that are shown neither to agree nor to disagree."""
        shown = np.minimum(arrays.supported(self.region), arrays.refuted(self.region)) <= ALPHA
        return [interval(cell) for cell, known in zip(cells, shown | arrays.silent, strict=True) if not known]

    def _waiting(self, cells: Sequence[Cell], waits: Sequence[str]) -> str:
        missing = sum(cell.missing for cell in cells)
        if not missing:
            return ""
        if waits:
            return f"Comparisons that are planned and still to be run: {missing} ({named_runs(waits)})."
        return f"The runs are made and leave {missing} comparisons without a number."

    def _waits(self, cells: Sequence[Cell], store: Store) -> tuple[str, ...]:
        """The runs that the cells wait for."""
        return unfinished(self.runs, store) if any(cell.missing for cell in cells) else ()

    def _wanted(self, unsure: Sequence[Effect]) -> str:
        """How wide the widest interval is, the margin, and how many seeds would do; longer runs where all are bounds.

        Without a margin: how many would tell an effect as large as this one from the nearest bound of the claim.
        """
        unsure = [each for each in unsure if self._tells(each)]
        if not unsure:
            return LONGER
        widest = max(unsure, key=half_width)
        half = half_width(widest)
        width = f"The {'widest ' if len(unsure) > 1 else ''}interval is ± {self._said(half)} wide"
        if not self.margin:
            # Not always the widest: an effect close to a bound takes more seeds.
            most = max(seeds_for(each, self._gap(each)) for each in unsure)
            return f"{width} and the claim names no margin; if effects are what they seem, {would_do(most)}."
        name, scale = (
            ("printed effect", abs(self.scaled(self.printed or 0))) if self.coarse else ("margin", self.scaled_margin)
        )
        if half <= scale:
            return f"{width}, less than the {name}, {self._said(scale)}, and lies across a bound of the claim."
        return f"{width} and the {name} {self._said(scale)}: {would_do(seeds_for(widest, scale))}."

    def _tells(self, found: Effect) -> bool:
        """Whether more seeds could show something: of bounds, only if they lie where the effect then lies, too."""
        open_below, open_above = not np.isfinite(found.low), not np.isfinite(found.high)
        if open_below == open_above:
            return not open_below

        def beyond(bound: float, side: Side) -> bool:
            return (side == "above") == open_above and (found.mean > bound) == open_above

        shows = all(beyond(*each) for each in self.region.supporting)
        return shows or any(beyond(*each) for each in self.region.refuting)

    def _said(self, size: float) -> str:
        """A margin or the half of an interval: of ratios in percent."""
        return f"{100 * np.expm1(size):.2g}%" if self.statistic == "ratio" else f"{size:.2g}"

    def _gap(self, found: Effect) -> float:
        """How far an effect lies from the nearest bound of the claim."""
        return min(abs(found.mean - bound) for bound, _ in self.region.supporting)

    def _explored(self, before: pd.DataFrame, planned: Sequence[Cell], store: Store) -> Verdict:
        """No planned run is there yet: what earlier seeds say, which decides nothing."""
        cells = [cell for cell in self.grouped(self.cells(self.seen(before), before)) if len(cell.values)]
        waits = self._waits(planned, store)
        waiting = self._waiting(planned, waits)
        if not cells:
            return replace(not_tested(self.experiment, self.data), note=waiting, waits=waits)
        found = self.size(cells)
        note = f"{waiting} The effect is that of seeds seen before the test was written, which decide nothing."
        span = self.shown(found.low), self.shown(found.high)
        covered = self.covered(before, cells)
        return Verdict("undecided", note, self.shown(found.mean), span, covered, explored=True, waits=waits)


def would_do(seeds: float) -> str:
    return f"about {seeds:.0f} seeds would do" if np.isfinite(seeds) else f"more than {MOST_SEEDS:,} seeds are needed"


def named_runs(numbers: Sequence[str]) -> str:
    """Runs as a sentence names them."""
    *first, last = numbers
    return f"runs {', '.join(first)} and {last} of plan.yml" if first else f"run {last} of plan.yml"


def interval(cell: Cell, level: float = 0.95) -> Effect:
    """The mean over a cell's seeds; open to the side on which the cell is a bound."""
    found = effect(cell.values.to_numpy(), cell.floor, level)
    if cell.only_below:
        found = replace(found, low=-np.inf, low90=-np.inf)
    return replace(found, high=np.inf, high90=np.inf) if cell.only_above else found


_SYMBOLS = {"latent": "d", "coefficient": "λ"}
# What fields are called in a sentence.
_FIELDS = {
    "latent": ("latent dimension", "latent dimensions"),
    "coefficient": ("λ", "values of λ"),
    "architecture": ("architecture", "architectures"),
    "layers": ("placement", "placements"),
    "network": ("network", "networks"),
    "curvature": ("curvature", "curvatures"),
    "width": ("width", "widths"),
    "form": ("form of the loss", "forms of the loss"),
}


def named(cell: Cell, fields: Sequence[str] | None = None) -> str:
    """A cell by what its fields are, or some of them."""
    values = {name: value for name, value in cell.key.items() if fields is None or name in fields}
    return ", ".join(f"{_SYMBOLS[name]} = {v}" if name in _SYMBOLS else str(v) for name, v in values.items())


def _one(cells: Sequence[Cell], field: str) -> bool:
    """Whether all cells have one value of a field."""
    return len({cell.key[field] for cell in cells}) == 1


def combinations(cells: Sequence[Cell]) -> str:
    """What several cells are, in words."""
    varied = [name for name in cells[0].key if name in _FIELDS and not _one(cells, name)]
    if not varied:
        return "readings"
    if len(varied) == 1:
        return _FIELDS[varied[0]][1]
    return "combinations of " + " and ".join(_FIELDS[name][0] for name in varied)
