"""Replica exchange: one walker at each β of a ladder moves, and neighbours swap.

At β a state is visited with the weight exp(-β L) in the box. At one loss all states have one weight, whatever β: what
is averaged over states of a loss does not depend on the ladder.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.random import Generator
from numpy.typing import ArrayLike

from replication.landscape.moves import accepted, moved, travelled
from replication.landscape.systems import System
from replication.sweep.store import Array

FIRST = 0.3  # the length of a leap times √β before it is tuned
TAKEN = 0.65  # the share of paths that tuning aims at


@dataclass(frozen=True)
class Ladder:
    """The temperatures.

    Args:
        betas: two or more that grow from 0 or more.
        lengths: of a leap on a Hamiltonian path at each β; other moves do not need it.

    Raises:
        ValueError: betas that are no ladder.
    """

    betas: Array
    lengths: Array

    def __post_init__(self) -> None:
        betas = self.betas
        if len(betas) < 2 or betas[0] < 0 or not (np.diff(betas) > 0).all():
            raise ValueError(f"the ladder needs two or more β that grow from 0 or above, got {betas}")

    @classmethod
    def of(cls, betas: ArrayLike) -> "Ladder":
        """With lengths that a harmonic valley would want."""
        betas = np.asarray(betas, dtype=float)
        return cls(betas, FIRST / np.sqrt(np.maximum(betas, 1)))

    def __len__(self) -> int:
        return len(self.betas)


@njit
def _one_by_one(loss, data, half, signs, beta, state, found, moves, random):
    """So many tries to move one parameter; returns the loss and how many were taken."""
    taken = 0
    for _ in range(moves):
        i = int(random.random() * len(state))
        before = state[i]
        state[i] = moved(before, half[i], signs, random)
        other = loss(state, data)
        if not np.isfinite(other):
            return other, 0
        if accepted(-beta * (other - found), random.random()):
            found, taken = other, taken + 1
        else:
            state[i] = before
    return found, taken


@njit
def _all_at_once(gradient, data, half, beta, length, state, found, moves, random):
    """So many tries to follow a path; returns the loss and how many were taken."""
    slope, other, other_slope = np.empty_like(state), np.empty_like(state), np.empty_like(state)
    gradient(state, data, slope)
    taken = 0
    for _ in range(moves):
        reached, odds = travelled(state, found, slope, half, gradient, data, beta, length, random, other, other_slope)
        if not np.isfinite(reached):
            return reached, 0
        if accepted(odds, random.random()):
            state[:], slope[:] = other, other_slope
            found, taken = reached, taken + 1
    return found, taken


@njit
def _temper(
    loss, data, gradient, value, test, half, signs, betas, lengths, states, losses, walkers, sweeps, moves, every,
    random, kept, values, who, swapped, tried, taken,
):  # fmt: skip
    count, size = states.shape
    for sweep in range(sweeps):
        for r in range(count):
            walker = walkers[r]
            state = states[walker]
            if betas[r] == 0:  # an even draw needs no walk
                for i in range(size):
                    even = 2 * random.random() - 1
                    state[i] = (1.0 if even >= 0 else -1.0) if signs else even * half[i]
                losses[walker] = loss(state, data)
            elif gradient is None:
                losses[walker], steps = _one_by_one(
                    loss, data, half, signs, betas[r], state, losses[walker], moves, random
                )
                taken[r] += steps
            else:
                losses[walker], steps = _all_at_once(
                    gradient, data, half, betas[r], lengths[r], state, losses[walker], moves, random
                )
                taken[r] += steps
            if not np.isfinite(losses[walker]):
                return False
        for r in range(sweep % 2, count - 1, 2):
            tried[r] += 1
            gain = (betas[r + 1] - betas[r]) * (losses[walkers[r + 1]] - losses[walkers[r]])
            if accepted(gain, random.random()):
                walkers[r], walkers[r + 1] = walkers[r + 1], walkers[r]
                swapped[r] += 1
        if (sweep + 1) % every:
            continue
        for r in range(count):
            row, walker = sweep // every, walkers[r]
            kept[row, r], who[row, r], values[row, r] = losses[walker], walker, value(states[walker], test)
    return True


@dataclass(frozen=True)
class Run:
    """What a run did.

    Args:
        ladder: the temperatures, `(R,)`.
        losses: after each sweep that is kept, at each β, `(sweeps kept, R)`.
        values: what else the system measures, of the same states.
        walkers: which walker was there.
        swapped: share of the swaps that were tried between neighbours and made, `(R - 1,)`.
        taken: share of the moves that were tried and made at each β, `(R,)`; NaN at β = 0, where there are none.
        states: the walkers' last states, in the order of β.
    """

    ladder: Ladder
    losses: Array
    values: Array
    walkers: Array
    swapped: Array
    taken: Array
    states: Array

    def after(self, burn_in: int) -> "Run":
        """Without the first sweeps."""
        return replace(self, losses=self.losses[burn_in:], values=self.values[burn_in:], walkers=self.walkers[burn_in:])

    def then(self, other: "Run") -> "Run":
        """This run and one that began with its last states, on the same ladder."""
        share = len(self.losses) / (len(self.losses) + len(other.losses))

        def mean(name: str) -> Array:
            return np.asarray(share * getattr(self, name) + (1 - share) * getattr(other, name))

        def joined(name: str, more: Array) -> Array:
            return np.concatenate([getattr(self, name), more])

        # The other run numbers its walkers anew, in the order of β.
        walkers = self.walkers[-1][other.walkers]
        return Run(
            self.ladder, joined("losses", other.losses), joined("values", other.values), joined("walkers", walkers),
            mean("swapped"), mean("taken"), other.states,
        )  # fmt: skip

    @property
    def round_trips(self) -> int:
        """How often a walker went from β = 0 to the coldest end and back, over all walkers."""
        trips = 0
        for walker in range(len(self.ladder)):
            at = np.argmax(self.walkers == walker, axis=1)
            cold = at[(at == 0) | (at == len(self.ladder) - 1)] > 0
            turns = np.flatnonzero(np.diff(cold.astype(int), prepend=2))
            visited = cold[turns]  # the ends in turn
            trips += max(0, len(visited) - int(len(visited) > 0 and visited[0]) - 1) // 2
        return trips


def temper(
    system: System, ladder: Ladder, random: Generator, sweeps: int, moves: int, states: Array | None = None,
    every: int = 1,
) -> Run:  # fmt: skip
    """Run a ladder.

    Args:
        system: what is sampled.
        ladder: at which temperatures.
        random: where the chances come from.
        sweeps, moves: so many sweeps, each of so many moves at each β (an even draw at 0) and one round of swaps.
        states: where walkers start, in the order of β; evenly drawn unless given.
        every: one sweep in so many is kept.

    Raises:
        ValueError: states outside of the box, a number of sweeps that `every` does not divide.
        ArithmeticError: a loss that is not finite.
    """
    if sweeps % every:
        raise ValueError(f"one sweep in {every} cannot be kept of {sweeps}: the last one would be lost")
    betas = ladder.betas
    states = system.uniform(len(betas), random) if states is None else np.array(states, dtype=float)
    if states.shape != (len(betas), system.size) or (np.abs(states) > system.half * (1 + 1e-12)).any():
        raise ValueError(f"{len(betas)} starts of {system.size} parameters within the box are needed")
    losses = np.array([system.loss(state, system.data) for state in states])
    walkers = np.arange(len(betas))
    shape = sweeps // every, len(betas)
    kept, values, who = np.empty(shape), np.empty(shape), np.empty(shape, dtype=np.int64)
    value, test = (system.value, system.test) if system.value else (system.loss, system.data)
    swapped, tried, taken = np.zeros(len(betas) - 1), np.zeros(len(betas) - 1), np.zeros(len(betas))
    finite = np.isfinite(losses).all() and _temper(
        system.loss, system.data, system.gradient, value, test, system.half, system.signs, betas, ladder.lengths,
        states, losses, walkers, sweeps, moves, every, random, kept, values, who, swapped, tried, taken,
    )  # fmt: skip
    if not finite:
        raise ArithmeticError("the loss of a state in the box is not finite")
    shares = np.where(betas > 0, taken / (sweeps * moves), np.nan)
    return Run(ladder, kept, values, who, swapped / np.maximum(tried, 1), shares, states[walkers])


def tuned(
    system: System, coldest: float, count: int, random: Generator, sweeps: int, moves: int, rounds: int = 6
) -> Ladder:
    """A ladder from 0 to the coldest β on which all neighbours swap, and all paths are taken, about equally often.

    The rejections between neighbours, summed along the ladder, are a length; each round spreads the β evenly on it.
    Source: Syed, Bouchard-Côté, Deligiannidis and Doucet, Journal of the Royal Statistical Society B 84 (2022).
    """
    ladder = Ladder.of(np.concatenate([[0.0], np.geomspace(coldest * 1e-6, coldest, count - 1)]))
    states = None
    for _ in range(rounds):
        run = temper(system, ladder, random, sweeps, moves, states, every=sweeps)
        states = run.states
        length = np.concatenate([[0.0], np.cumsum(1 - run.swapped + 1e-3)])
        marks = np.linspace(0, length[-1], count)
        # On a logarithmic scale, which 0 is not on: half of the next one stands for it.
        logs = np.log(np.maximum(ladder.betas, ladder.betas[1] / 2))
        leaps = np.log(ladder.lengths) + 1.5 * (np.nan_to_num(run.taken, nan=TAKEN) - TAKEN)
        renewed = np.interp(marks, length, logs)
        lengths = np.exp(np.interp(renewed, logs, leaps)).clip(max=system.half.min())
        betas = np.exp(renewed)
        betas[0], betas[-1] = 0.0, coldest
        ladder = Ladder(betas, lengths)
    return ladder
