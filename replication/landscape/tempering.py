"""Replica exchange: one walker at each β of a ladder moves one parameter at a time, and neighbours swap.

At β a state is visited with the weight exp(-β L) in the box. At one loss all states have one weight, whatever β: what
is averaged over states of a loss does not depend on the ladder.
"""

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.random import Generator

from replication.landscape.moves import accepted, moved
from replication.landscape.systems import System
from replication.sweep.store import Array


@njit
def _temper(
    loss, data, value, test, half, signs, betas, states, losses, walkers, sweeps, moves, random, kept, values, who,
    swapped, tried,
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
                if not np.isfinite(losses[walker]):
                    return False
                continue
            for _ in range(moves):
                i = int(random.random() * size)
                before = state[i]
                state[i] = moved(before, half[i], signs, random)
                found = loss(state, data)
                if not np.isfinite(found):
                    return False
                if accepted(-betas[r] * (found - losses[walker]), random.random()):
                    losses[walker] = found
                else:
                    state[i] = before
        for r in range(sweep % 2, count - 1, 2):
            tried[r] += 1
            gain = (betas[r + 1] - betas[r]) * (losses[walkers[r + 1]] - losses[walkers[r]])
            if accepted(gain, random.random()):
                walkers[r], walkers[r + 1] = walkers[r + 1], walkers[r]
                swapped[r] += 1
        for r in range(count):
            kept[sweep, r] = losses[walkers[r]]
            who[sweep, r] = walkers[r]
            values[sweep, r] = value(states[walkers[r]], test)
    return True


@dataclass(frozen=True)
class Run:
    """What a run did.

    Args:
        betas: the ladder, from β = 0 up, `(R,)`.
        losses: after each sweep at each β, `(sweeps, R)`.
        values: what else the system measures, of the same states.
        walkers: which walker was there.
        swapped: share of the swaps that were tried between neighbours and made, `(R - 1,)`.
        states: the walkers' last states, in the order of β.
    """

    betas: Array
    losses: Array
    values: Array
    walkers: Array
    swapped: Array
    states: Array

    def after(self, burn_in: int) -> "Run":
        """Without the first sweeps."""
        return replace(self, losses=self.losses[burn_in:], values=self.values[burn_in:], walkers=self.walkers[burn_in:])

    @property
    def round_trips(self) -> int:
        """How often a walker went from β = 0 to the coldest end and back, over all walkers."""
        trips = 0
        for walker in range(len(self.betas)):
            at = np.argmax(self.walkers == walker, axis=1)
            cold = at[(at == 0) | (at == len(self.betas) - 1)] > 0
            turns = np.flatnonzero(np.diff(cold.astype(int), prepend=2))
            visited = cold[turns]  # the ends in turn
            trips += max(0, len(visited) - int(len(visited) > 0 and visited[0]) - 1) // 2
        return trips


def temper(
    system: System, betas: Array, random: Generator, sweeps: int, moves: int, states: Array | None = None
) -> Run:
    """Run a ladder.

    Args:
        system: what is sampled.
        betas: at least two, growing.
        random: where the chances come from.
        sweeps, moves: so many sweeps, each of so many moves at each β (an even draw at 0) and one round of swaps.
        states: where walkers start, in the order of β; evenly drawn unless given.

    Raises:
        ValueError: fewer than two β, β that do not grow from 0 or more, states outside of the box.
        ArithmeticError: a loss that is not finite.
    """
    betas = np.asarray(betas, dtype=float)
    if len(betas) < 2 or betas[0] < 0 or not (np.diff(betas) > 0).all():
        raise ValueError(f"the ladder needs two or more β that grow from 0 or above, got {betas}")
    states = system.uniform(len(betas), random) if states is None else np.array(states, dtype=float)
    if states.shape != (len(betas), system.size) or (np.abs(states) > system.half * (1 + 1e-12)).any():
        raise ValueError(f"{len(betas)} starts of {system.size} parameters within the box are needed")
    losses = np.array([system.loss(state, system.data) for state in states])
    walkers = np.arange(len(betas))
    kept, values = np.empty((sweeps, len(betas))), np.empty((sweeps, len(betas)))
    who = np.empty((sweeps, len(betas)), dtype=np.int64)
    value, test = (system.value, system.test) if system.value else (system.loss, system.data)
    swapped, tried = np.zeros(len(betas) - 1), np.zeros(len(betas) - 1)
    finite = np.isfinite(losses).all() and _temper(
        system.loss, system.data, value, test, system.half, system.signs, betas, states, losses, walkers, sweeps, moves,
        random, kept, values, who, swapped, tried,
    )  # fmt: skip
    if not finite:
        raise ArithmeticError("the loss of a state in the box is not finite")
    return Run(betas, kept, values, who, swapped / np.maximum(tried, 1), states[walkers])


def tuned(
    system: System, coldest: float, count: int, random: Generator, sweeps: int, moves: int, rounds: int = 6
) -> Array:
    """A ladder from 0 to the coldest β on which all neighbours swap about equally often.

    The rejections between neighbours, summed along the ladder, are a length; each round spreads the β evenly on it.
    Source: Syed, Bouchard-Côté, Deligiannidis and Doucet, Journal of the Royal Statistical Society B 84 (2022).
    """
    betas = np.concatenate([[0.0], np.geomspace(coldest * 1e-6, coldest, count - 1)])
    states = None
    for _ in range(rounds):
        run = temper(system, betas, random, sweeps, moves, states)
        states = run.states
        length = np.concatenate([[0.0], np.cumsum(1 - run.swapped + 1e-3)])
        marks = np.linspace(0, length[-1], count)
        # On a logarithmic scale, which 0 is not on: half of the next one stands for it.
        logs = np.log(np.maximum(betas, betas[1] / 2))
        betas = np.exp(np.interp(marks, length, logs))
        betas[0], betas[-1] = 0.0, coldest
    return betas
