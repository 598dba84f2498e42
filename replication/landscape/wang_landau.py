"""The textbook way to the density of states: a walk that is repelled by what it has seen.

A state is visited with the weight 1/Ω of its bin, as far as Ω is known; each visit raises ln Ω there by a gain that is
halved again and again.
Source: Wang and Landau, Physical Review Letters 86 (2001).
"""

import numpy as np
from numba import njit
from numpy.random import Generator

from replication.landscape.moves import accepted, moved
from replication.landscape.systems import System
from replication.sweep.store import Array


@njit
def _walk(loss, data, half, signs, edges, state, entropy, visits, gain, moves, random):
    size, bins = len(state), len(entropy)
    found = loss(state, data)
    at = np.searchsorted(edges, found, side="right") - 1
    for _ in range(moves):
        i = int(random.random() * size)
        before = state[i]
        state[i] = moved(before, half[i], signs, random)
        there = np.searchsorted(edges, loss(state, data), side="right") - 1
        if 0 <= there < bins and accepted(entropy[at] - entropy[there], random.random()):
            at = there
        else:
            state[i] = before
        entropy[at] += gain
        visits[at] += 1


def walk(
    system: System, edges: Array, random: Generator, rounds: int, moves: int, gain: float = 1.0
) -> tuple[Array, Array]:
    """ln Ω of each bin up to a constant, and how often each was visited in the last round."""
    state = system.uniform(1, random)[0]
    while not edges[0] <= system.loss(state, system.data) < edges[-1]:
        state = system.uniform(1, random)[0]
    entropy, visits = np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    for _ in range(rounds):
        visits[:] = 0
        _walk(system.loss, system.data, system.half, system.signs, edges, state, entropy, visits, gain, moves, random)
        gain /= 2
    return entropy, visits
