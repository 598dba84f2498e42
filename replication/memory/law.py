"""The curved law of a network of spins: maximum entropy when the entropy is Rényi's, and the temperature it makes.

With the energy E(s) = -(N/2) S(s), where S is the sum of squared overlaps less what every state has of it, the law is

    p(s) ∝ [1 + (γ'/2) S(s)]^(N β/γ'),        γ' → 0:  exp(-β E(s)).

Source: Aguilera, Morales, Rosas and Shimazaki, Nature Communications 16 (2025) 6511.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, softmax

from replication.statistics import all_signs
from replication.sweep.store import Array


class VanishingBracket(ArithmeticError):
    """A state at which 1 + (γ'/2) S is not positive, where the law is not defined."""


@dataclass(frozen=True)
class Law:
    """A curvature γ' and an inverse temperature β, which is infinite at T = 0.

    Raises:
        ValueError: γ' ≤ -2, at which the bracket of a recalled pattern vanishes; β not positive.
    """

    curvature: float
    beta: float

    def __post_init__(self) -> None:
        if not self.curvature > -2:
            raise ValueError(f"the curvature γ' must be a number above -2, got {self.curvature}")
        if not self.beta > 0:
            raise ValueError(f"the inverse temperature β must be positive, got {self.beta}")

    def bracket(self, s: Array | float) -> Array:
        """1 + (γ'/2) S.

        Raises:
            VanishingBracket: it is not positive somewhere.
        """
        found = 1 + self.curvature / 2 * np.asarray(s, dtype=float)
        if not (found > 0).all():
            worst = float(np.asarray(s)[found <= 0].flat[0]) if found.ndim else float(np.asarray(s))
            raise VanishingBracket(self.vanishing(worst))
        return found

    def vanishing(self, s: float) -> str:
        return f"1 + (γ'/2) S vanishes or is negative at a state with S = {s:.4g} for γ' = {self.curvature:g}"

    def log_weight(self, s: Array | float, size: int) -> Array:
        """ln p up to a constant, of states with these S in a network of `size` spins, in nats."""
        self.bracket(s)
        x = self.curvature / 2 * np.asarray(s, dtype=float)
        share = np.divide(np.log1p(x), x, out=np.ones_like(x), where=x != 0)  # 1 without curvature
        return np.asarray(size * self.beta / 2 * np.asarray(s) * share)

    def effective(self, s: Array | float) -> Array:
        """β' = β / (1 + (γ'/2) S): the inverse temperature that a spin feels in a state with this S."""
        return self.beta / self.bracket(s)


def one_pattern(law: Law, size: int) -> tuple[Array, Array]:
    """The exact law of the overlap with a single stored pattern.

    Returns:
        The size + 1 overlaps m from -1 to 1, and their probabilities: as many states as have this overlap, times the
        weight of each at S = m² - 1/N.
    """
    if size < 1:
        raise ValueError(f"a network needs at least one spin, got {size}")
    up = np.arange(size + 1)
    m = 2 * up / size - 1
    states = gammaln(size + 1) - gammaln(up + 1) - gammaln(size - up + 1)
    return m, softmax(states + law.log_weight(m**2 - 1 / size, size))


def enumerated(law: Law, patterns: Array) -> tuple[Array, Array]:
    """The exact law of a small network over all of its states.

    Args:
        law: the law.
        patterns: `(M, N)` of ±1, with N up to 20.

    Returns:
        The `(2^N, N)` states and their probabilities.
    """
    count, size = patterns.shape
    states = all_signs(size)
    overlaps = states @ patterns.T / size
    return states, softmax(law.log_weight((overlaps**2).sum(1) - count / size, size))
