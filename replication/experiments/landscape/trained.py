"""Optimisers on their way down: what networks are worth in each bin of the loss."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import gcd

import numpy as np
import pandas as pd

from replication.experiments.landscape.bins import EDGES, KEPT, Visits, listed, places
from replication.experiments.landscape.config import LandscapeConfig
from replication.landscape.optimisers import Problem, Snapshot, train
from replication.sweep.store import Array

_EVERY = 10  # epochs between two measurements, or fewer


class _Path:
    """All runs on one problem up to now."""

    def __init__(self, runs: int):
        self.runs, self.best, self.stopped = runs, np.full((2, runs), -np.inf), np.full(runs, np.nan)
        none = np.zeros((len(EDGES) - 1, runs))
        self.visits = Visits(none, none, none)
        self.states: dict[int, list[Array]] = defaultdict(list)

    def see(self, snapshot: Snapshot, k: int) -> None:
        loss, value = snapshot.loss[k], snapshot.value[k]
        for run, point in enumerate(places(loss)):
            inside = 0 <= point < len(EDGES) - 1 and not self.visits.count[point, run]
            if inside and len(self.states[point]) < KEPT:  # the first runs that come here, as they come
                self.states[point].append(snapshot.states[k, run])
        self.visits += Visits.of(loss, value, np.arange(self.runs), self.runs)
        held = np.array([snapshot.held[k], -snapshot.validation[k]])
        better = (held[0] > self.best[0]) | ((held[0] == self.best[0]) & (held[1] > self.best[1]))
        self.best, self.stopped = np.where(better, held, self.best), np.where(better, value, self.stopped)

    def table(self, lowest: float) -> pd.DataFrame:
        """The bins; `stopped`: the mean test value where the validation value was best, of runs that came so low."""
        low = self.visits.count[EDGES[:-1] < lowest].sum(0) > 0
        return self.visits.of_owners().assign(stopped=self.stopped[low].mean() if low.any() else np.nan)


def followed(
    problems: Sequence[Problem], layers: tuple[int, ...], config: LandscapeConfig, seeds: Sequence[int],
    lowest: float, tick: Callable[[], object],
) -> tuple[list[tuple[int, pd.DataFrame]], Mapping[str, Array]]:  # fmt: skip
    """For each problem and each block of epochs the bins of all epochs up to its end; and states of the first problem.

    Early stopping is told of runs that went below `lowest` in ln L. Block 0 holds the start.
    """
    tables, every = [], gcd(_EVERY, config.sweeps)
    paths = [_Path(config.count) for _ in problems]
    snapshots = train(
        problems,
        seeds,
        layers,
        config.way,
        config.start,
        config.count,
        config.horizon * config.sweeps,
        config.moves,
        every,
    )
    for number, snapshot in enumerate(snapshots):
        for k, path in enumerate(paths):
            path.see(snapshot, k)
        block, rest = divmod(number * every, config.sweeps)
        if rest == 0:
            tables += [(k, path.table(lowest).assign(epoch=block)) for k, path in enumerate(paths)]
            if block:
                tick()
    return tables, listed(paths[0].states)
