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
    """All solutions m ≥ 0, in order; 0 is one of them. With m = tanh x, β(x) = (x/m)(1 + γ'm²/2)."""

    def beyond(x: Array | float) -> Array:
        m = np.tanh(x)
        return np.asarray(x / m * (1 + law.curvature * m**2 / 2) - law.beta)

    # Beyond m = 1 the curve is a line, β = x (1 + γ'/2): its root is the last one.
    grid = np.concatenate(
        [np.geomspace(1e-3, 1, 2000), np.linspace(1, 20 + 2 * law.beta / (1 + law.curvature / 2), 8000)[1:]]
    )
    signs = np.sign(beyond(grid))
    crossed = np.flatnonzero(signs[:-1] != signs[1:])
    return [0.0] + [
        float(np.tanh(brentq(lambda x: float(beyond(x)), grid[k], grid[k + 1], xtol=1e-14))) for k in crossed
    ]


def stable(law: Law) -> list[float]:
    """The solutions at which the dynamics dm/dt = -m + tanh(β' m) comes to rest: from the last one every other."""
    return overlaps(law)[::-2][::-1]


def recall_time(law: Law, start: float, end: float, most: float = 1e7) -> float:
    """Sweeps from one overlap to a larger one by dm/dt = -m + tanh(β' m); infinite where it never gets there."""

    def speed(_: float, m: Array) -> Array:
        return np.asarray(-m + np.tanh(law.effective(m**2) * m))

    def there(_: float, m: Array) -> float:
        return float(m[0] - end)

    there.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(speed, (0, most), [start], events=there, rtol=1e-8, atol=1e-12, method="LSODA")
    return float(found.t_events[0][0]) if len(found.t_events[0]) else np.inf
