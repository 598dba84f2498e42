"""The density of states from runs at many temperatures: weighted histograms, all of which see the same one.

    Ω(L) = Σ_r H_r(L) / Σ_r N_r exp(f_r - β_r L),      exp(-f_r) = Σ_L Ω(L) exp(-β_r L).

Source: Ferrenberg and Swendsen, Physical Review Letters 63 (1989).
"""

import numpy as np
from scipy.special import logsumexp

from replication.sweep.store import Array


def entropy(losses: Array, betas: Array, edges: Array, rounds: int = 20_000) -> tuple[Array, Array]:
    """S of each bin of the loss, in nats, relative to all states.

    Args:
        losses: `(sweeps, R)`, those of β = 0 among them.
        betas: `(R,)`, the first of them 0.
        edges: of the bins; a bin that nobody visited has S = -inf.

    Returns:
        The mean loss of each bin and ln of the share of all states that lie in it.

    Raises:
        ValueError: no run at β = 0.
        ArithmeticError: the equations are not solved within so many rounds.
    """
    counts = np.array([np.histogram(each, edges)[0] for each in losses.T])
    sums = np.histogram(losses, edges, weights=losses)[0]
    total = counts.sum(0)
    mean = np.where(total > 0, sums / np.maximum(total, 1), np.nan)
    return mean, joined(counts, mean, betas, rounds)


def joined(counts: Array, mean: Array, betas: Array, rounds: int = 20_000) -> Array:
    """The same from histograms `(R, bins)` and the mean loss of each bin.

    Raises:
        ValueError, ArithmeticError: as `entropy`.
    """
    if betas[0] != 0:
        raise ValueError("shares of all states need a run at β = 0")
    total = counts.sum(0)
    seen = total > 0
    logs, sizes = np.log(total[seen]), np.log(counts.sum(1))
    cost = np.outer(betas, mean[seen])
    # Where f ends is nearly known: df/dβ is the mean loss.
    level = counts[:, seen] @ mean[seen] / counts.sum(1)
    free = np.concatenate([[0.0], np.cumsum(np.diff(betas) * (level[1:] + level[:-1]) / 2)])
    for _ in range(rounds):
        states = logs - logsumexp((sizes + free)[:, None] - cost, axis=0)
        renewed = -logsumexp(states - cost, axis=1)
        renewed -= renewed[0]
        settled = np.abs(renewed - free).max() < 1e-7
        free = renewed
        if settled:
            break
    else:
        raise ArithmeticError(f"the joined histograms have not settled in {rounds} rounds")
    found = np.full(len(total), -np.inf)
    found[seen] = states - logsumexp(states)
    return found


def at_loss(losses: Array, values: Array, edges: Array) -> Array:
    """The mean of a value over states of each bin of the loss, from all temperatures together."""
    sums, counts = (np.histogram(losses, edges, weights=each)[0] for each in (values, np.ones_like(values)))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts)
