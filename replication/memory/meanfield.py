"""One stored pattern in a network without end: m = tanh(β' m) with β' = β / (1 + γ' m²/2)."""

import numpy as np
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from replication.memory.law import Law
from replication.sweep.store import Array

# Where the transition turns from continuous to explosive: the m³ term of the equation of state changes its sign.
TRICRITICAL = -2 / 3


def beta_at(m: Array | float, curvature: float) -> Array:
    """The β at which m is a solution: (artanh m / m)(1 + γ' m²/2)."""
    m = np.asarray(m, dtype=float)
    return np.arctanh(m) / m * (1 + curvature * m**2 / 2)


def saddle_node(curvature: float) -> tuple[float, float]:
    """The overlap and the β at which the retrieval state appears while the network is cooled.

    For γ' ≥ -2/3 it grows out of m = 0 at β = 1. Below, it is where β(m) is least: d ln β / dm = 0, that is

        1 / ((1 - m²) artanh m) - 1/m + γ' m / (1 + γ' m²/2) = 0.
    """
    Law(curvature, 1.0)
    if curvature >= TRICRITICAL:
        return 0.0, 1.0

    def slope(m: float) -> float:
        return float(1 / ((1 - m**2) * np.arctanh(m)) - 1 / m + curvature * m / (1 + curvature * m**2 / 2))

    m = float(brentq(slope, 1e-3 * np.sqrt(TRICRITICAL - curvature), 1 - 1e-12, xtol=1e-14))
    return m, float(beta_at(m, curvature))


def overlaps(law: Law) -> list[float]:
    """All solutions m ≥ 0, in order; m = 0 is one of them, stable for β < 1."""
    grid = np.tanh(np.concatenate([np.geomspace(1e-4, 0.1, 200), np.linspace(0.1, 18, 4000)[1:]]))
    beyond = beta_at(grid, law.curvature) - law.beta
    crossed = np.flatnonzero(np.sign(beyond[:-1]) != np.sign(beyond[1:]))
    return [0.0] + [
        float(brentq(lambda m: float(beta_at(m, law.curvature) - law.beta), grid[k], grid[k + 1], xtol=1e-14))
        for k in crossed
    ]


def stable(law: Law) -> list[float]:
    """The solutions at which the dynamics dm/dt = -m + tanh(β' m) comes to rest: those at which β(m) rises."""
    found = overlaps(law)
    kept = [0.0] if law.beta < 1 or (law.beta == 1 and law.curvature > TRICRITICAL) else []
    return kept + [
        m for m in found[1:] if beta_at(m + 1e-7 * (1 - m), law.curvature) > beta_at(m - 1e-7 * m, law.curvature)
    ]


def recall_time(law: Law, start: float, end: float, most: float = 1e7) -> float:
    """Sweeps from one overlap to a larger one by dm/dt = -m + tanh(β' m); infinite where it never gets there."""

    def speed(_: float, m: Array) -> Array:
        return np.asarray(-m + np.tanh(law.effective(m**2) * m))

    def there(_: float, m: Array) -> float:
        return float(m[0] - end)

    there.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(speed, (0, most), [start], events=there, rtol=1e-8, atol=1e-12, method="LSODA")
    return float(found.t_events[0][0]) if len(found.t_events[0]) else np.inf
