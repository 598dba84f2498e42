"""Rows of entropy landscapes as the chapter reads them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from replication.experiments.landscape import tasks
from replication.experiments.landscape.bins import EDGES, of_trial
from replication.experiments.landscape.config import EVEN, TEMPERING
from replication.experiments.landscape.equilibrium import FINE, VALUES
from replication.experiments.landscape.experiment import LANDSCAPE, counted
from replication.experiments.landscape.tasks import SPIRALS, TASKS
from replication.landscape.histogram import joined
from replication.sweep.store import Array, Store

# The draws of the points for which networks and ways are compared; those with more points are others.
DRAWS = list(range(8))
MIDDLES = (EDGES[:-1] + EDGES[1:]) / 2


def down(store: Store, **where: object) -> pd.DataFrame:
    """A of each trial that has these values and each bin of ln L, with the share of its runs that came so low."""
    trials = LANDSCAPE.default(counted(store), **where)
    curves = store.curves(LANDSCAPE.name)
    curves = dict(iter(curves[curves.trial.isin(trials.trial)].groupby("trial")))
    frames = [
        of_trial(curves[row.trial], row.way == TEMPERING)[["value", "visited"]]
        .assign(data=row.data, seed=row.seed, width=row.width, way=row.way, start=row.start, runs=row.count)
        .reset_index()
        for row in trials.itertuples()
    ]
    table = pd.concat(frames, ignore_index=True)
    return table.assign(log_loss=MIDDLES[table.point], arrived=table.visited / table.runs)


def size(width: int, depth: int) -> int:
    """Parameters of a network for spirals."""
    problem = TASKS[SPIRALS].draw(0, 2)
    return tasks.system(problem, tasks.widths(problem, width, depth)).size


@dataclass(frozen=True)
class Density:
    """The entropy landscape that one run found, in nats.

    Args:
        entropy: S of the middle of each fine bin of ln L.
        both: S of ln L and value, `(bins, values)`; -inf where nobody was.
        values: the mean value of each bin.
    """

    entropy: Array
    both: Array
    values: Array

    @property
    def likeliest(self) -> Array:
        """The value at which S is greatest, by bin of ln L; NaN where nobody was."""
        return np.where(np.isfinite(self.entropy), HEIGHTS[self.both.argmax(1)], np.nan)

    @property
    def slope(self) -> Array:
        """dS/d ln L, from lines through seven bins; NaN at the ends."""
        found = np.full(len(self.entropy), np.nan)
        for k in range(3, len(found) - 3):
            part = slice(k - 3, k + 4)
            if np.isfinite(self.entropy[part]).all():
                found[k] = np.polyfit(LOGS[part], self.entropy[part], 1)[0]
        return found


LOGS = (FINE[:-1] + FINE[1:]) / 2
HEIGHTS = (VALUES[:-1] + VALUES[1:]) / 2


def density(store: Store, **where: object) -> Density:
    """Of the one run of the sampler that has these values and started evenly."""
    trials = LANDSCAPE.default(counted(store), **where)
    (file,) = trials.file[(trials.way == TEMPERING) & (trials.start == EVEN)]
    kept = store.artefacts(file, LANDSCAPE.name)
    entropy = joined(kept["counts"], kept["mean"], kept["betas"]) - np.log(np.diff(FINE))
    both, total = kept["both"].astype(float), kept["both"].sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.log(both / total[:, None] / np.diff(VALUES))
        values = both @ HEIGHTS / total
    return Density(entropy, np.where(both > 0, entropy[:, None] + shares, -np.inf), values)


_SHOWN = 4  # states of a bin, of the eight that are kept


def borders(store: Store, seed: int, width: int) -> dict[str, Any]:
    """For the figure that moves: of some bins of ln L states in equilibrium, and what Adam from Glorot's start found.

    The spirals of one seed; where both kept as many states.
    """
    problem = TASKS[SPIRALS].draw(seed, 40)
    layers = tasks.widths(problem, width, 3)
    system = tasks.system(problem, layers)
    assert system.value
    trials = LANDSCAPE.default(counted(store), data=SPIRALS, width=width, depth=3, examples=40, seed=seed)
    curves = store.curves(LANDSCAPE.name)
    kept, means = {}, {}
    for kind, way, start in (("equilibrium", TEMPERING, EVEN), ("trained", "Adam", "Glorot")):
        (row,) = trials[(trials.way == way) & (trials.start == start)].itertuples()
        kept[kind] = store.artefacts(row.file, LANDSCAPE.name)
        means[kind] = of_trial(curves[curves.trial == row.trial], way == TEMPERING).value
    levels = []
    for point in range(len(EDGES) - 2, -1, -1):
        chosen = {kind: each["states"][each["points"] == point][:_SHOWN].astype(float) for kind, each in kept.items()}
        if all(len(states) == _SHOWN for states in chosen.values()):
            level: dict[str, Any] = {"from": EDGES[point + 1], "to": EDGES[point]}
            for kind, states in chosen.items():
                level[kind] = {
                    "states": states.round(4).tolist(),
                    "accuracies": [system.value(state, system.test) for state in states],
                    "mean": float(means[kind][point]),
                }
            levels.append(level)
    points = np.column_stack([problem.train[0].round(3), problem.train[1]]).tolist()
    return {"widths": list(layers), "points": points, "levels": levels}
