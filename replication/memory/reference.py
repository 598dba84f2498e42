"""Two memories that hold many more patterns, at T = 0: dense ones with a third power, and modern ones with a softmax.

    dense:   E = -(1/N^(n-1)) Σ_μ (ξ^μ·s)^n,  n = 3;      modern:   s ← sign Σ_μ ξ^μ softmax_μ(β ξ·s).

Sources: Krotov and Hopfield (2016), of which the first compares the energies of a turned and an unturned spin; Ramsauer
et al. (2021), with signs instead of real numbers.
"""

import numpy as np
from scipy.special import softmax

from replication.sweep.store import Array


def dense(patterns: Array, spins: Array, random: np.random.Generator, sweeps: int, power: int = 3) -> Array:
    """Where a dense memory comes to rest: spin by spin, each where its energy is lower."""
    state, (_, size) = spins.astype(float), patterns.shape
    sums = patterns @ state
    for i in random.permuted(np.tile(np.arange(size), (sweeps, 1)), axis=1).ravel():
        without = sums - patterns[:, i] * state[i]
        up, down = ((without + sign * patterns[:, i]) ** power for sign in (1, -1))
        state[i] = 1.0 if up.sum() >= down.sum() else -1.0
        sums = without + patterns[:, i] * state[i]
    return state


def modern(patterns: Array, spins: Array, steps: int, beta: float = 1.0) -> Array:
    """Where a modern Hopfield network is after some steps of all spins at once."""
    state = spins.astype(float)
    for _ in range(steps):
        state = np.where(patterns.T @ softmax(beta * (patterns @ state)) >= 0, 1.0, -1.0)
    return state
