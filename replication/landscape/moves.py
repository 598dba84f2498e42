"""How one parameter moves: flipped if it is a sign, else shifted at random and mirrored at the walls of its box."""

import numpy as np
from numba import njit

# Widths of shifts, as shares of the box's half-width, between which each is drawn evenly in the logarithm. The mixture
# never changes: shifts that adapt to what was seen would spoil detailed balance.
WIDEST, NARROWEST = 1.0, 1e-4


@njit(cache=True)
def reflected(value: float, half: float) -> float:
    """A value beyond the walls of [-half, half], mirrored at them as often as it takes."""
    place = (value + half) % (4 * half)
    return (place if place <= 2 * half else 4 * half - place) - half


@njit(cache=True)
def moved(value, half, signs, random):
    """Where a parameter goes; as likely as the way back."""
    if signs:
        return -value
    scale = WIDEST * (NARROWEST / WIDEST) ** random.random()
    return reflected(value + scale * half * random.normal(), half)


@njit(cache=True)
def accepted(log_odds: float, chance: float) -> bool:
    """Metropolis' rule."""
    return chance < np.exp(min(0.0, log_odds))
