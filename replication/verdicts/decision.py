"""From effects by seed to a decision, on arrays: a thousand made-up ledgers are decided by the lines that decide ours.

The last axis of an array of effects holds seeds (NaN: not run), the one before it cells; whatever stands before these
is carried along. Effects of ratios are logarithms.
"""

from dataclasses import dataclass
from math import ceil
from typing import Any, Literal

import numpy as np
from scipy import stats

from replication.sweep.store import Array

LEAST_SEEDS = 5
ALPHA = 0.05
Decided = Literal["holds", "partly", "fails", "undecided"]
Quantifier = Literal["all", "any"] | float
Side = Literal["below", "above"]


@dataclass(frozen=True)
class Region:
    """Where a claim says that an effect lies: between two bounds, one of which may be infinite.

    `margin` is what counts as no effect. Where the claim is that something lies above (or below) no effect at all, an
    effect that exceeds it by less than the margin refutes the claim, too.
    """

    above: float = -np.inf
    below: float = np.inf
    none: float = 0.0
    margin: float = 0.0

    @property
    def supporting(self) -> list[tuple[float, Side]]:
        """All of these must be shown for a claim to hold."""
        return [(bound, side) for bound, side in self._sides() if np.isfinite(bound)]

    @property
    def refuting(self) -> list[tuple[float, Side]]:
        """One of these, shown, refutes it."""
        other: dict[Side, Side] = {"above": "below", "below": "above"}
        towards = {"above": 1, "below": -1}
        return [
            (bound + (towards[side] * self.margin if bound == self.none else 0), other[side])
            for bound, side in self.supporting
        ]

    def _sides(self) -> tuple[tuple[float, Side], tuple[float, Side]]:
        return (self.above, "above"), (self.below, "below")


@dataclass(frozen=True)
class Effects:
    """Effects `(..., cells, seeds)` and what stands between them and a conclusion.

    Args:
        values: NaN where a seed has no pair.
        rounding: the standard deviation that rounding alone gives each value; 0 where nothing was rounded.
        only_below: `(..., cells)`, cells whose effects are upper bounds: they cannot show that an effect lies above.
        only_above: cells whose effects are lower bounds.
        silent: cells that decide nothing, because a run diverged or a seed that was planned is missing.
    """

    values: Array
    rounding: Array
    only_below: Array
    only_above: Array
    silent: Array

    def p(self, bound: float, side: Side) -> Array:
        """One-sided p-values that a cell's mean effect lies on a side of a bound, `(..., cells)`.

        A t-test whose spread is at least what rounding gives. Rounded values have ties and steps, so the sign test must
        say so as well. Fewer than five seeds, a bound on the wrong side and a silent cell give 1.
        """
        known = ~np.isnan(self.values)
        count = known.sum(-1)
        enough = (count >= LEAST_SEEDS) & ~self.silent & ~(self.only_below if side == "above" else self.only_above)
        filled = np.where(known, self.values, 0.0)
        n = np.maximum(count, 2)
        mean = filled.sum(-1) / n
        spread = np.sqrt((np.where(known, self.values - mean[..., None], 0.0) ** 2).sum(-1) / (n - 1))
        floor = np.sqrt((np.where(known, self.rounding, 0.0) ** 2).sum(-1) / n)
        beyond = (mean - bound) * (1 if side == "above" else -1)
        error = np.maximum(spread, floor) / np.sqrt(n)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(beyond == 0, 0.0, beyond / error)
        p = stats.t.sf(t, n - 1)
        right = np.where(known, self.values > bound if side == "above" else self.values < bound, False).sum(-1)
        signs = stats.binom.sf(right - 1, n, 0.5)
        return np.asarray(np.where(enough & ((floor == 0) | (signs <= ALPHA)), p, 1.0))

    def supported(self, region: Region) -> Array:
        """p-values that a cell's effect lies in the region: of its sides the one that is shown least."""
        return np.asarray(np.max([self.p(bound, side) for bound, side in region.supporting], axis=0))

    def refuted(self, region: Region) -> Array:
        """p-values that it lies outside, on one side or the other."""
        each = [self.p(bound, side) for bound, side in region.refuting]
        return np.asarray(np.minimum(1.0, len(each) * np.min(each, axis=0)))


def at_least(needed: int, p: Array) -> Array:
    """p-value that at least so many of the cells on the last axis are as their own p-values say.

    (n - k + 1) times the k-th smallest of n: the largest for all of them (an intersection-union test), n times the
    smallest for any of them, and the partial conjunction in between.
    Source: Benjamini and Heller, "Screening for partial conjunction hypotheses", Biometrics 64 (2008).
    """
    cells = p.shape[-1]
    return np.asarray(np.minimum(1.0, (cells - needed + 1) * np.sort(p, axis=-1)[..., needed - 1]))


def needed(quantifier: Quantifier, cells: int) -> int:
    named: dict[Any, int] = {"all": cells, "any": 1}
    return named[quantifier] if isinstance(quantifier, str) else max(1, ceil(quantifier * cells - 1e-9))


def counted(supported: Array, refuted: Array) -> Array:
    """What supports a claim: an effect that is there and shown to be too small to count supports nothing."""
    return np.asarray(np.where(refuted <= ALPHA, 1.0, supported))


def decided(supported: Array, refuted: Array, quantifier: Quantifier) -> Array:
    """Whether a claim on `all`, `any` or a share of its cells holds, from each cell's two p-values.

    A cell that was not run has 1 for both: then a claim holds, or fails, only if it does so however that cell comes
    out. A claim on all cells that fails is met `partly` where it holds for at least half of them.
    """
    supported = counted(supported, refuted)
    cells = supported.shape[-1]
    enough = needed(quantifier, cells)
    holds = at_least(enough, supported) <= ALPHA
    # As many cells against it as leave too few for it.
    fails = at_least(cells - enough + 1, refuted) <= ALPHA
    half = at_least(ceil(cells / 2), supported) <= ALPHA
    partly = fails & half & (quantifier == "all") & (cells > 1)
    return np.select([partly, fails, holds], ["partly", "fails", "holds"], "undecided")


def joined(p: Array, groups: list[list[int]]) -> Array:
    """p-values of groups of cells, `(..., groups)`: that *some* cell of the group is as its p-value says."""
    return np.stack([at_least(1, p[..., group]) for group in groups], axis=-1)


def shared(p: Array, groups: list[list[int]]) -> Array:
    """p-values of groups of cells: that *every* cell of the group is as its p-value says."""
    return np.stack([at_least(len(group), p[..., group]) for group in groups], axis=-1)
