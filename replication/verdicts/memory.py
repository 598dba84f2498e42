"""Curved associative memories: networks without end, networks against colder ones, and what theory alone decides."""

from functools import cache
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from replication.memory import meanfield, replica
from replication.memory.law import Law
from replication.verdicts.cells import Cell
from replication.verdicts.contrast import Asked, Contrast
from replication.verdicts.mathematics import CHECKS, Decision, holds_if
from replication.verdicts.paired import chosen, pair


class Cooled(Contrast):
    """Curved networks at the first temperature minus Hopfield networks at the second, in each curvature."""

    kind: Literal["cooled"]
    temperatures: tuple[float, float]

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        own, other = self.temperatures
        return [
            pair(self, key, seeds, chosen(table, {"temperature": other, self.of.treatment: 0.0}, seeds),
                 chosen(table, self.keyed(key), seeds))
            for key, seeds in asked.items()
            if self.keyed(key)["temperature"] == own
        ]  # fmt: skip


class Limit(Contrast):
    """The measure in networks without end, in each curvature: a line in 1/N through the sizes, seed by seed, at 0."""

    compares: ClassVar[bool] = False

    kind: Literal["limit"]

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        found = []
        treatment = self.of.treatment
        for value in dict.fromkeys(key[-1] for key in asked):
            mine = {key: seeds for key, seeds in asked.items() if key[-1] == value}
            seeds = set.intersection(*mine.values())
            sizes = [self.keyed(key)["size"] for key in mine]
            wide = chosen(table, {treatment: value}, seeds).pivot(index="seed", columns="size", values=self.measure)
            wide = wide.reindex(columns=sizes).dropna().sort_index()
            line = np.column_stack([np.ones(len(sizes)), 1 / np.array(sizes)])
            ends = pd.Series((np.linalg.pinv(line) @ wide.to_numpy().T)[0], wide.index)
            missing = len(seeds - set(ends.index))
            found.append(Cell({treatment: value}, ends, pd.Series(0.0, ends.index), missing=missing))
        return found


# --- Decided by theory ------------------------------------------------------------------------------------

_GRID = tuple(0.5 * k for k in range(-3, 4))
_BETA = 2.0


@cache
def _phases(curvature: float) -> tuple[float, float]:
    """The capacity at β = 2, and how far the mixed phase extends below it."""
    law = Law(curvature, _BETA)
    most = replica.capacity(law)
    return most, most - replica.dominance(law)


def _falling(values: list[float]) -> bool:
    return all(first > second for first, second in pairwise(values))


@CHECKS.register
def curved_multistability() -> Decision:
    """Stable overlaps at the β halfway between the saddle-node and 1, and at β = 0.99 where there is no saddle-node."""
    below = [round(-0.7 - 0.1 * k, 1) for k in range(12)]
    two = [g for g in below if len(meanfield.stable(Law(g, (1 + meanfield.saddle_node(g)[1]) / 2))) == 2]
    above = [g for g in (-0.6, -0.3, 0.0, 0.5) if len(meanfield.stable(Law(g, 0.99))) == 1]
    note = (
        f"two stable overlaps at one β for {len(two)} of {len(below)} γ' from -0.7 to -1.8, one for γ' of -0.6 and more"
    )
    return holds_if(len(two) == len(below) and len(above) == 4, note)


@CHECKS.register
def curved_speed() -> Decision:
    """Sweeps by dm/dt = -m + tanh β'm, from 0.01 to 0.5 at β = 1.001."""
    sweeps = {g: meanfield.recall_time(Law(g, 1.001), 0.01, 0.5) for g in (-1.5, -1.2, -0.8, 0.0)}
    said = ", ".join(f"{t:.0f} at γ' = {g:g}" if np.isfinite(t) else f"never at γ' = {g:g}" for g, t in sweeps.items())
    return holds_if(_falling(list(sweeps.values())[::-1]), f"sweeps: {said}")


@CHECKS.register
def curved_capacity() -> Decision:
    capacities = [_phases(g)[0] for g in _GRID]
    first, last = (f"{capacities[k]:.3f} at γ' = {_GRID[k]}" for k in (0, -1))
    return holds_if(_falling(capacities), f"at β = 2 the replica capacity falls from {first} to {last}")


@CHECKS.register
def curved_mixed_phase() -> Decision:
    widths = {g: _phases(g)[1] for g in _GRID if g >= 0}
    values = list(widths.values())
    note = f"at β = 2 the mixed phase is {values[0]:.3f} wide in α at γ' = 0 and {values[-1]:.3f} at γ' = {_GRID[-1]}"
    return holds_if(_falling(values), note)


@CHECKS.register
def curved_both() -> Decision:
    """A curvature with a larger capacity and a narrower mixed phase than Hopfield's at the same β."""
    capacity, width = _phases(0.0)
    both = [g for g in _GRID if _phases(g)[0] > capacity and _phases(g)[1] < width]
    note = f"of {len(_GRID)} γ' from {_GRID[0]} to {_GRID[-1]} at β = 2 {len(both) or 'none'} has both"
    return holds_if(bool(both), note)
