"""As many patterns as spins allow, M = α N: the replica-symmetric equations, and the map to the nominal temperature.

At the inverse temperature β' that its spins feel, a curved network has the states of a Hopfield network:

    m = ∫Dz tanh β'(m + √(α r) z),   q = ∫Dz tanh² β'(m + √(α r) z),   r = q / (1 - β'(1-q))²,

and in them S = m² + α [(1 - β'(1-q)²) / (1 - β'(1-q))² - 1], so that β = β' (1 + (γ'/2) S).

With h = β' m and a = β' √(α r) given, the first two are integrals and the rest is arithmetic, β and α among it: a line
of states at one β needs a root in h alone.

Source: Amit, Gutfreund and Sompolinsky, Annals of Physics 173 (1987) for γ' = 0; the map is derived in the chapter.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import erf, exp, inf, pi, sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from replication.memory.law import Law
from replication.sweep.store import Array

_Z = np.linspace(-8.5, 8.5, 1201)
_DZ = np.exp(-(_Z**2) / 2)
_DZ /= _DZ.sum()


def _moments(h: Array, a: Array | float) -> tuple[Array, Array]:
    """∫Dz tanh(h + a z) and ∫Dz tanh²(h + a z), for each h."""
    t = np.tanh(h[:, None] + np.multiply.outer(np.broadcast_to(a, h.shape), _Z))
    return t @ _DZ, (t * t) @ _DZ


# q of a state without recall, by a; from 40 on 1 - q = √(2/π)/a, to a thousandth.
_A = np.geomspace(1e-2, 1e4, 3600)
_Q = np.where(_A < 40, _moments(np.zeros_like(_A), np.minimum(_A, 40))[1], 1 - sqrt(2 / pi) / _A)


def _others(load: Array | float, q: Array | float, felt: Array | float) -> Any:
    """Σ_{μ>1} m_μ² of states with these q and β'."""
    c = felt * (1 - q)
    return load * (1 - c * (1 - q)) / (1 - c) ** 2


@dataclass(frozen=True)
class State:
    """A solution of the equations: a retrieval state (m > 0), or the spin glass (m = 0)."""

    load: float
    beta_effective: float
    m: float
    q: float

    @property
    def c(self) -> float:
        """β'(1-q), the susceptibility."""
        return self.beta_effective * (1 - self.q)

    @property
    def r(self) -> float:
        """The noise of the other patterns."""
        return self.q / (1 - self.c) ** 2

    @property
    def others(self) -> float:
        """Σ_{μ>1} m_μ², what the patterns that are not recalled have."""
        return float(_others(self.load, self.q, self.beta_effective))

    @property
    def s(self) -> float:
        return self.m**2 + self.others - self.load

    @property
    def s_of_the_code(self) -> float:
        """S as the source's published code has it in its map to the nominal temperature: 1 - q² for (1-q)²."""
        wrong = (1 - self.beta_effective * (1 - self.q**2)) / (1 - self.c) ** 2
        return self.m**2 + self.load * (wrong - 1)

    def beta(self, curvature: float) -> float:
        """The nominal inverse temperature at which a network of this curvature is in this state."""
        return self.beta_effective * float(Law(curvature, 1.0).bracket(self.s))

    @cached_property
    def hopfield_potential(self) -> float:
        """(1/N) ln Z of the Hopfield network at β' in this state."""
        b, alpha, c = self.beta_effective, self.load, self.c
        fields = np.abs(b * (self.m + sqrt(alpha * self.r) * _Z))
        entropy = float((fields + np.log1p(np.exp(-2 * fields))) @ _DZ)
        noise = alpha / 2 * (np.log(1 - c) - b * self.q / (1 - c)) + alpha * b**2 * self.r * (1 - self.q) / 2
        return float(entropy - b * alpha / 2 - b * self.m**2 / 2 - noise)

    def potential(self, curvature: float) -> float:
        """(1/N) ln Z of the curved network in this state: of two at one β the larger is the stable one."""
        if curvature == 0:
            return self.hopfield_potential
        own = self.beta(curvature) / curvature * float(np.log(Law(curvature, 1.0).bracket(self.s)))
        return own - self.beta_effective * self.s / 2 + self.hopfield_potential


# --- Lines of states at one nominal β -----------------------------------------------------------------------


def _state(h: float, a: float) -> State:
    """The retrieval state with these fields."""
    m, q = (float(each[0]) for each in _moments(np.array([h]), a))
    beta = h / m
    return State(_load(a, beta, q), beta, m, q)


def _load(a: Array | float, beta: Array | float, q: Array | float) -> Any:
    """α from a = β' √(α r)."""
    return (a * (1 - beta * (1 - q)) / beta) ** 2 / q


def _recalling(a: float, law: Law) -> State | None:
    """Of the retrieval states at the nominal β that have this a the one with the largest overlap."""
    top = 2 * law.beta * max(1.0, 1 / (1 + law.curvature / 2))
    h = np.geomspace(top, 1e-3 * top, 80)
    m, q = _moments(h, a)
    beta = h / m
    c = beta * (1 - q)
    load = _load(a, beta, q)
    s = m**2 + _others(load, q, beta) - load
    beyond = np.where(c < 1, beta * (1 + law.curvature / 2 * s) - law.beta, np.nan)
    crossed = np.flatnonzero((beyond[:-1] > 0) & (beyond[1:] <= 0))
    if not len(crossed) or np.isnan(beyond[: crossed[0]]).any():
        return None
    first = int(crossed[0])
    found = brentq(lambda x: _state(x, a).beta(law.curvature) - law.beta, h[first + 1], h[first], xtol=1e-13)
    return _state(float(found), a)


@lru_cache(maxsize=4096)
def _fold(law: Law) -> tuple[float, float]:
    """The a at which the load of the retrieval states is greatest, where they end, and this load."""

    def load(a: float) -> float:
        found = _recalling(a, law)
        return found.load if found else 0.0

    grid = np.geomspace(1e-3, min(12 * max(1.0, law.beta), 100), 48)
    loads = [load(float(a)) for a in grid]
    top = int(np.argmax(loads))
    if loads[top] == 0:
        return 0.0, 0.0
    near = grid[max(top - 1, 0)], grid[min(top + 1, len(grid) - 1)]
    best = minimize_scalar(lambda a: -load(a), bounds=near, method="bounded", options={"xatol": 1e-10})
    return (float(best.x), float(-best.fun)) if -best.fun > loads[top] else (float(grid[top]), loads[top])


def capacity(law: Law) -> float:
    """The largest α at which a network has a retrieval state.

    At T = 0, for every curvature, the greatest value of [(erf y - (2y/√π) exp(-y²)) / y]² / 2 over y, which is 0.1379:
    the states at rest are those of the energy, of which the law is a growing function.
    """
    if law.beta == inf:

        def root(y: float) -> float:
            return (erf(y) - 2 * y / sqrt(pi) * exp(-(y**2))) / y

        best = minimize_scalar(lambda y: -root(y), bounds=(0.5, 4), method="bounded", options={"xatol": 1e-12})
        return float(root(best.x) ** 2 / 2)
    return _fold(law)[1]


def end(law: Law) -> State | None:
    """The retrieval state of the largest load; None where there is none of any load."""
    top, _ = _fold(law)
    return _recalling(top, law) if top else None


@lru_cache(maxsize=4096)
def retrieval(load: float, law: Law) -> State | None:
    """The stable retrieval state of the largest overlap; None where there is none."""
    top, most = _fold(law)
    if load > most or not top:
        return None

    def beyond(a: float) -> float:
        found = _recalling(a, law)
        return (found.load if found else 0.0) - load

    if load == 0:
        return _recalling(1e-9, law)
    a = top if beyond(top) <= 0 else float(brentq(beyond, 1e-4 * top, top, xtol=1e-12))
    return _recalling(a, law)


@lru_cache(maxsize=4096)
def glass(load: float, law: Law) -> State:
    """The state that recalls nothing: a spin glass where its spins feel less than T' = 1 + √α, else disorder, q = 0.

    At one load a fixes it: β' = a / (√(α q) + a (1-q)). Of several at one β the stable one of the largest potential.
    """
    if load == 0:
        return State(0.0, law.beta, 0.0, 0.0)
    warm = np.linspace(1e-3, 1 / (1 + sqrt(load)), 200)
    felt = np.concatenate([warm, _A / (sqrt(load) * np.sqrt(_Q) + _A * (1 - _Q))])
    q = np.concatenate([np.zeros_like(warm), _Q])
    bracket = 1 + law.curvature / 2 * (_others(load, q, felt) - load)
    betas = np.where(bracket > 0, felt * bracket, np.nan)
    crossed = np.flatnonzero((betas[:-1] < law.beta) & (betas[1:] >= law.beta))
    shares = {k: (law.beta - betas[k]) / (betas[k + 1] - betas[k]) for k in crossed}
    found = [
        State(load, float(felt[k] + share * (felt[k + 1] - felt[k])), 0.0, float(q[k] + share * (q[k + 1] - q[k])))
        for k, share in shares.items()
    ]
    if not found:
        raise ValueError(f"no state without recall at β = {law.beta:g}, γ' = {law.curvature:g}, α = {load:g}")
    return max(found, key=lambda state: state.potential(law.curvature))


def dominance(law: Law) -> float:
    """The largest α at which the retrieval state has the larger potential: above it retrieval is metastable."""

    def ahead(load: float) -> float:
        state = retrieval(load, law)
        if state is None:
            return -1.0
        return state.potential(law.curvature) - glass(load, law).potential(law.curvature)

    most = capacity(law)
    if ahead(most) > 0:
        return most
    return float(brentq(ahead, 1e-4, most, xtol=1e-8)) if ahead(1e-4) > 0 else 0.0
