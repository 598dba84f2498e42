"""Systems of which the density of states is known, sampled as if it were not."""

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import gammaln

from replication.landscape import systems, wang_landau
from replication.landscape.histogram import entropy
from replication.landscape.systems import System
from replication.landscape.tempering import Ladder, Run, temper, tuned
from replication.sweep.store import Array

LOWEST = 1e-5  # of the ball's losses
_BINS = 80


@dataclass(frozen=True)
class Found:
    """What a run found in bins of the loss, beside what is known.

    Args:
        run: the run.
        loss, entropy: the mean loss of each bin and S there, in nats.
        exact: S as it is known; NaN where it is not.
        dimension: of the ball, else 0.
    """

    run: Run
    loss: Array
    entropy: Array
    exact: Array
    dimension: int = 0

    @cached_property
    def worst(self) -> float:
        """The largest difference of S over bins that were visited, in nats."""
        return float(np.nanmax(np.abs(np.where(np.isfinite(self.entropy), self.entropy - self.exact, np.nan))))

    @cached_property
    def slope_error(self) -> float:
        """By how much the slope of S differs from d/2, as a share of it."""
        return abs(_slope(self.loss, self.entropy, self.dimension) - 1)


def _slope(loss: Array, entropy: Array, dimension: int) -> float:
    """The slope of S(ln L) over d/2, where the ball lies within the box."""
    inside = np.isfinite(entropy) & (loss < 1 / dimension)
    return float(np.polyfit(np.log(loss[inside]), entropy[inside], 1)[0] / (dimension / 2))


def _edges() -> Array:
    """Bins of the ball's loss, even in its logarithm, and one for all above."""
    return np.append(np.geomspace(LOWEST, 0.3, _BINS), 1.0)


def ball(dimension: int, seed: int = 0, sweeps: int = 6000, moves: int = 30, guided: bool = False) -> Found:
    """The ball in the box, down to a loss of 1e-5; along Hamiltonian paths if `guided`."""
    system, random, edges = systems.ball(dimension, guided), np.random.default_rng(seed), _edges()
    ladder = tuned(system, dimension / (2 * LOWEST), _temperatures(dimension), random, 200, moves)
    warm = temper(system, ladder, random, sweeps // 5, moves)
    run = temper(system, ladder, random, sweeps, moves, warm.states)
    mean, found = entropy(run.losses, ladder.betas, edges)
    mean, found = mean[:-1], found[:-1]  # of the last bin a part lies beyond the ball
    lows, highs = edges[:-2], edges[1:-1]
    within = highs < 1 / dimension
    logs = dimension / 2 * np.log(highs) + np.log1p(-((lows / highs) ** (dimension / 2)))
    exact = np.where(within, logs + _ball_share(dimension), np.nan)
    return Found(run, mean, found, exact, dimension)


def _ball_share(dimension: int) -> float:
    """ln of the share of the box [-1, 1]^d that a ball of the radius √d has: π^(d/2) d^(d/2) / (Γ(d/2 + 1) 2^d)."""
    half = dimension / 2
    return float(half * np.log(np.pi * dimension) - gammaln(half + 1) - dimension * np.log(2))


def listed(system: System, coldest: float, count: int, seed: int, sweeps: int = 30_000) -> Found:
    """A system of signs against the list of all of its states."""
    random = np.random.default_rng(seed)
    losses = np.array([system.loss(state, system.data) for state in system.states()])
    values = np.unique(losses)
    edges = np.append(values, values[-1] + 1) - np.diff(values).min() / 2
    ladder = tuned(system, coldest, count, random, 300, system.size)
    run = temper(system, ladder, random, sweeps, system.size).after(sweeps // 10)
    _, found = entropy(run.losses, ladder.betas, edges)
    return Found(run, values, found, np.log([(losses == value).mean() for value in values]))


def perceptron(seed: int = 0) -> Found:
    return listed(systems.perceptron(13, 12, np.random.default_rng(seed)), 60.0, 8, seed)


def ising(seed: int = 0) -> Found:
    return listed(systems.ising(4), 1.0, 8, seed)


def slopes(dimensions: list[int], walks: int = 2, rounds: int = 20, sweeps: int = 1000) -> pd.DataFrame:
    """The ball's slope over d/2 by tempering, and by Wang and Landau's walk in as many moves, tuning included.

    With even bins and with a weight that changes within them; `unvisited` is the share of bins that the last round did
    not see, `trips` how often a walk went from the lowest bin to the highest.
    """
    rows, edges = [], _edges()
    middles = np.sqrt(edges[:-2] * edges[1:-1])
    for dimension in dimensions:
        found = ball(dimension, sweeps=sweeps)
        ratio = _slope(found.loss, found.entropy, dimension)
        rows.append({"way": "tempering", "dimension": dimension, "ratio": ratio})
        # Tuning has six rounds of 200 sweeps, the warming a fifth of what counts.
        total = (6 * 200 + sweeps // 5 + sweeps) * 30 * _temperatures(dimension)
        for even, seed in product((True, False), range(walks)):
            random = np.random.default_rng(seed)
            made = wang_landau.walk(systems.ball(dimension), edges, random, rounds, total // rounds, even)
            seen = np.where(made.entropy > 0, made.entropy, -np.inf)[:-1]
            way = f"Wang-Landau, {'flat' if even else 'sloped'} bins"
            unvisited = float((made.visits == 0).mean())
            ratio = _slope(middles, seen, dimension)
            rows.append(
                {"way": way, "dimension": dimension, "ratio": ratio, "unvisited": unvisited, "trips": made.trips}
            )
    return pd.DataFrame(rows).assign(nats=lambda table: table.dimension / 2 * np.log(edges[1] / edges[0]))


@dataclass(frozen=True)
class Valleys:
    """The share of the coldest states in the wider of two valleys, all walkers having started in the other.

    Args:
        exact, swapping, alone: as the volumes have it, with swaps, and without.
        round_trips: of the run with swaps.
    """

    exact: float
    swapping: float
    alone: float
    round_trips: int


def valleys(dimension: int = 20, width: float = 1.2, seed: int = 0, sweeps: int = 20_000) -> Valleys:
    system, random = systems.valleys(dimension, width), np.random.default_rng(seed)
    ladder = tuned(system, dimension / 2 * 1e3, 14, random, 500, dimension)
    starts = np.full((len(ladder), dimension), 0.5)
    run = temper(system, ladder, random, sweeps, dimension, starts).after(sweeps // 10)
    alone = temper(system, Ladder.of(ladder.betas[-2:]), random, sweeps, dimension, starts[-2:])
    share = width ** (dimension / 2)
    return Valleys(
        share / (1 + share), float(run.values[:, -1].mean()), float(alone.values[:, -1].mean()), run.round_trips
    )


def _temperatures(dimension: int) -> int:
    """As many as let neighbours swap in a quarter to a half of the tries."""
    return max(8, round(6 * np.sqrt(dimension)))
