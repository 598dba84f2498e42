"""Single-spin dynamics of the exact law: a spin is drawn, and turned with the probability that the law prescribes.

Turning spin i changes S by -(4/N)(s_i h_i - α) with h_i = Σ_μ ξ_i^μ m_μ, so that the odds are exactly

    p(s')/p(s) = [1 + (γ'/2)(S + ΔS)]^(Nβ/γ') / [1 + (γ'/2) S]^(Nβ/γ'),

and a step costs as many operations as there are patterns. The N m_μ are kept as whole numbers: nothing drifts.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
from numba import njit
from numpy.random import Generator

from replication.memory.law import Law, VanishingBracket
from replication.sweep.store import Array


@dataclass(frozen=True)
class Course:
    """What a network did, block by block of some sweeps; means over the sweeps of each.

    Args:
        overlap: m_1, with the first pattern; of a glass, with the state at the start.
        others: Σ_{μ>1} m_μ², what the other patterns have; of a glass nothing.
        s: S.
        effective: β', the inverse temperature that the spins felt; infinite at T = 0.
    """

    overlap: Array
    others: Array
    s: Array
    effective: Array


@njit(cache=True)
def odds(s: float, change: float, beta: float, curvature: float, size: int) -> float:
    """The probability that a move which changes S by `change` is made (Glauber's rule); -1 if the bracket vanishes."""
    before, after = 1 + curvature / 2 * s, 1 + curvature / 2 * (s + change)
    if before <= 0 or after <= 0:
        return -1.0
    if change == 0:
        return 0.5
    if beta == np.inf:
        return 1.0 if change > 0 else 0.0
    x = curvature / 2 * change / before
    log = size * beta / 2 * change / before * (np.log1p(x) / x if x != 0 else 1.0)
    if log > 0:
        return 1 / (1 + np.exp(-log))
    return np.exp(log) / (1 + np.exp(log))


@njit(cache=True)
def _sums(rows, spins):
    """N m_μ of every pattern."""
    found = np.zeros(rows.shape[1], np.int32)
    for i in range(len(spins)):
        for mu in range(rows.shape[1]):
            found[mu] += spins[i] * rows[i, mu]
    return found


@njit(cache=True)
def _with_patterns(rows, spins, sums, beta, curvature, blocks, sweeps, random, course):
    """Run by the overlaps; `rows` are the patterns (N, M), `sums` N m_μ. Returns S where the bracket vanished."""
    size, count = rows.shape
    square = 0
    for mu in range(count):
        square += np.int64(sums[mu]) ** 2
    for block in range(blocks):
        for _ in range(sweeps):
            for _ in range(size):
                i = int(random.random() * size)
                field = 0
                for mu in range(count):
                    field += rows[i, mu] * sums[mu]
                move = 4 * (count - spins[i] * field)
                chance = odds(square / size**2 - count / size, move / size**2, beta, curvature, size)
                if chance < 0:
                    return square / size**2 - count / size
                if random.random() < chance:
                    twice = np.int32(2 * spins[i])
                    for mu in range(count):
                        sums[mu] -= twice * rows[i, mu]
                    spins[i] = -spins[i]
                    square += move
            s, first = square / size**2 - count / size, sums[0] / size
            course[block, 0] += first / sweeps
            course[block, 1] += (square / size**2 - first**2) / sweeps
            course[block, 2] += s / sweeps
            course[block, 3] += beta / (1 + curvature / 2 * s) / sweeps
    return np.nan


@njit(cache=True)
def _with_couplings(couplings, start, spins, beta, curvature, blocks, sweeps, random, course):
    """Run by the fields of a symmetric matrix with an empty diagonal; a turned spin costs N, a kept one nothing."""
    size = len(spins)
    fields = couplings @ spins.astype(np.float64)
    s = 0.0
    for i in range(size):
        s += spins[i] * fields[i] / size
    for block in range(blocks):
        for _ in range(sweeps):
            for _ in range(size):
                i = int(random.random() * size)
                change = -4.0 * spins[i] * fields[i] / size
                chance = odds(s, change, beta, curvature, size)
                if chance < 0:
                    return s
                if random.random() < chance:
                    for j in range(size):
                        fields[j] -= 2 * couplings[i, j] * spins[i]
                    spins[i] = -spins[i]
                    s += change
            first = 0.0
            for i in range(size):
                first += spins[i] * start[i] / size
            course[block, 0] += first / sweeps
            course[block, 2] += s / sweeps
            course[block, 3] += beta / (1 + curvature / 2 * s) / sweeps
    return np.nan


def run(law: Law, patterns: Array, spins: Array, random: Generator, blocks: int, sweeps: int = 1) -> Course:
    """Let a network with stored patterns run; `spins` is where it starts and, afterwards, where it is.

    Args:
        law: curvature and inverse temperature.
        patterns: `(M, N)` of ±1; the first is the one to be recalled.
        spins: `(N,)` of ±1, changed in place.
        random: where the chances come from.
        blocks, sweeps: blocks of so many sweeps, each of N steps.

    Raises:
        ValueError: patterns or spins that are not ±1, none of them, or of different length.
        VanishingBracket: the bracket vanished at a state or at a move from it.
    """
    patterns, state = _signs(patterns, "patterns", 2), _signs(spins, "spins", 1)
    if patterns.shape[1] != len(state):
        raise ValueError(f"the patterns have {patterns.shape[1]} spins and the state has {len(state)}")
    rows = np.ascontiguousarray(patterns.T)
    sums = _sums(rows, state)
    course = np.zeros((blocks, 4))
    at = _with_patterns(rows, state, sums, law.beta, law.curvature, blocks, sweeps, random, course)
    return _finished(law, at, spins, state, course)


def run_couplings(law: Law, couplings: Array, spins: Array, random: Generator, blocks: int, sweeps: int = 1) -> Course:
    """Let a network with any symmetric couplings run, where S = Σ_ij J_ij s_i s_j / N; as :func:`run`.

    Raises:
        ValueError: a matrix that is not symmetric, has a diagonal or another size; spins that are not ±1.
        VanishingBracket: as :func:`run`.
    """
    state = _signs(spins, "spins", 1)
    if couplings.shape != (len(state), len(state)):
        raise ValueError(f"{len(state)} spins need a square matrix of couplings, got {couplings.shape}")
    if not np.allclose(couplings, couplings.T) or np.diag(couplings).any():
        raise ValueError("the couplings must be symmetric, with zeros on the diagonal")
    course = np.zeros((blocks, 4))
    start = state.copy()
    at = _with_couplings(couplings, start, state, law.beta, law.curvature, blocks, sweeps, random, course)
    return _finished(law, at, spins, state, course)


def _finished(law: Law, at: float, spins: Array, state: Array, course: Array) -> Course:
    if not np.isnan(at):
        raise VanishingBracket(law.vanishing(at))
    spins[:] = state
    overlap, others, s, effective = course.T
    if law.beta == inf:
        effective = np.full_like(overlap, inf)
    return Course(overlap, others, s, effective)


def _signs(values: Array, name: str, dimensions: int) -> Array:
    values = np.asarray(values)
    if values.ndim != dimensions or not values.size:
        raise ValueError(f"{name} must be a non-empty array of {dimensions} dimensions, got the shape {values.shape}")
    if not (np.abs(values) == 1).all():
        raise ValueError(f"{name} must be +1 or -1, got {values[np.abs(values) != 1].flat[0]}")
    return values.astype(np.int8)
