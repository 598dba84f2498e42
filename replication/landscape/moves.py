"""How a state moves: one parameter flipped or shifted at random, or all of them along a Hamiltonian path.

The walls of the box are mirrors.
"""

import numpy as np
from numba import njit

# Widths of shifts, as shares of the box's half-width, between which each is drawn evenly in the logarithm. The mixture
# never changes: shifts that adapt to what was seen would spoil detailed balance.
WIDEST, NARROWEST = 1.0, 1e-4


@njit(cache=True)
def reflected(value: float, half: float) -> tuple[float, int]:
    """A value beyond the walls of [-half, half], mirrored at them until it is within; and -1 if that is odd, else 1."""
    place = (value + half) % (4 * half)
    return (place - half, 1) if place <= 2 * half else (3 * half - place, -1)


@njit(cache=True)
def moved(value, half, signs, random):
    """Where a parameter goes; as likely as the way back."""
    if signs:
        return -value
    scale = WIDEST * (NARROWEST / WIDEST) ** random.random()
    return reflected(value + scale * half * random.normal(), half)[0]


@njit(cache=True)
def accepted(log_odds: float, chance: float) -> bool:
    """Metropolis' rule."""
    return chance < np.exp(min(0.0, log_odds))


# Leaps of a path, and by how much their length varies from path to path, so that no orbit closes.
LEAPS, VARIED = 5, 0.2


@njit(cache=True)
def travelled(state, found, slope, half, gradient, data, beta, length, random, other, other_slope):
    """A Hamiltonian path: from a state with the loss `found` into `other`, and the log odds with which it is taken.

    Momenta are drawn afresh; the walls are mirrors. `slope` is the gradient at the state, `other_slope` becomes that at
    the end. Returns the loss there and the odds.
    Source: Duane, Kennedy, Pendleton and Roweth, Physics Letters B 195 (1987).
    """
    size = len(state)
    momentum = np.empty(size)
    for i in range(size):
        momentum[i] = random.standard_normal()
    before = beta * found + (momentum**2).sum() / 2
    step = length * (1 + VARIED * (2 * random.random() - 1))
    other[:], other_slope[:] = state, slope
    reached = found
    for _ in range(LEAPS):
        for i in range(size):
            momentum[i] -= step * beta * other_slope[i] / 2
            other[i], turned = reflected(other[i] + step * momentum[i], half[i])
            momentum[i] *= turned
        reached = gradient(other, data, other_slope)
        for i in range(size):
            momentum[i] -= step * beta * other_slope[i] / 2
    return reached, before - beta * reached - (momentum**2).sum() / 2
