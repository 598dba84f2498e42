"""The textbook way to the density of states: a walk that is repelled by what it has seen.

A state is visited with the weight 1/Ω, as far as Ω is known; each visit raises ln Ω of its bin by a gain that is halved
again and again. The weight is the same in all of a bin, or goes evenly from one bin's middle to the next.
Source: Wang and Landau, Physical Review Letters 86 (2001).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.random import Generator

from replication.landscape.moves import accepted, moved
from replication.landscape.systems import System
from replication.sweep.store import Array


@njit(cache=True)
def _height(found, at, entropy, middles, even):
    """ln Ω of a loss in bin `at`."""
    if even or len(entropy) < 2:
        return entropy[at]
    return np.interp(np.log(found), middles, entropy)


@njit
def _walk(loss, data, half, signs, edges, middles, even, state, entropy, visits, gain, moves, random):
    """Counts in `visits`; returns how often it came from the lowest bin, by way of the highest, back to the lowest."""
    size, bins = len(state), len(entropy)
    found = loss(state, data)
    at = np.searchsorted(edges, found, side="right") - 1
    trips, going_up = 0, False
    for _ in range(moves):
        i = int(random.random() * size)
        before = state[i]
        state[i] = moved(before, half[i], signs, random)
        other = loss(state, data)
        there = np.searchsorted(edges, other, side="right") - 1
        within = 0 <= there < bins
        if within and accepted(
            _height(found, at, entropy, middles, even) - _height(other, there, entropy, middles, even), random.random()
        ):
            found, at = other, there
        else:
            state[i] = before
        entropy[at] += gain
        visits[at] += 1
        if at == 0 and not going_up:
            going_up = True
        if at == bins - 1 and going_up:
            trips, going_up = trips + 1, False
    return trips


@dataclass(frozen=True)
class Walk:
    """What a walk found.

    Args:
        entropy: ln Ω of each bin, up to a constant; 0 where it never was.
        visits: how often it was in each bin in its last round.
        trips: how often it went from the lowest bin to the highest, in all rounds.
    """

    entropy: Array
    visits: Array
    trips: int


def walk(system: System, edges: Array, random: Generator, rounds: int, moves: int, even: bool = True) -> Walk:
    """So many rounds of so many moves; the gain is 1 nat in the first and half of it in each that follows.

    Args:
        system: what is sampled.
        edges: of the bins of the loss; what lies beyond them is refused.
        random: where the chances come from.
        rounds, moves: how long.
        even: one weight for all of a bin; else the logarithm goes evenly in ln L between the middles of bins.
    """
    state = system.uniform(1, random)[0]
    while not edges[0] <= system.loss(state, system.data) < edges[-1]:
        state = system.uniform(1, random)[0]
    entropy, visits = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    middles = np.zeros(len(visits)) if even else np.log(edges[:-1] * edges[1:]) / 2
    gain, trips = 1.0, 0
    for _ in range(rounds):
        visits[:] = 0
        trips += _walk(
            system.loss, system.data, system.half, system.signs, edges, middles, even, state, entropy, visits, gain,
            moves, random,
        )  # fmt: skip
        gain /= 2
    return Walk(entropy, visits, trips)
