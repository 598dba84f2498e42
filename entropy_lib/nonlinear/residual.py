"""Residual blocks x + f(x): exactly, by the power series, or by an unbiased estimator."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from entropy_lib.nonlinear.jacobian import Map, followed, row_jacobians
from entropy_lib.theory.checks import checked, checked_count
from entropy_lib.theory.linalg import log_abs_det


class ResidualChange(NamedTuple):
    """What :func:`residual_entropy_change` found, and how far to trust it.

    Args:
        change: `(batch,)`, in nats.
        error: `(batch,)`: 0 where it is exact, a bound on the rest of the series (`inf` where it need not converge), or
            the standard error of the estimate (`inf` where a vector grew, and f is no contraction).
        method: `"exact"`, `"series"` or `"estimate"`.
    """

    change: Tensor
    error: Tensor
    method: str


# Up to here the whole Jacobian costs less than an estimate of three decimals.
_EXACT_UP_TO = 256
_SAMPLES = 64
# Terms of the series that every sample has, and the chance that it goes on after each later one.
_CERTAIN, _ON = 2, 0.5


def residual_entropy_change(f: Map, x: Tensor, terms: int | None = None, samples: int | None = None) -> ResidualChange:
    r"""Volume change of a residual block :math:`x + f(x)`, example by example.

    .. math::
        \log|\det(I + J_f)| = \sum_{k\ge1} \frac{(-1)^{k+1}}k \operatorname{tr} J_f^k

    the series where the spectral radius of :math:`J_f` is below 1. If f is a contraction, with Euclidean Lipschitz
    constant L < 1, the block is injective, the mean over data is H(output) - H(input), and lies between
    :math:`d\log(1-L)` and :math:`d\log(1+L)`. Otherwise the mean is an upper bound.

    Args:
        f: the branch, from `(batch, d)` to `(batch, d)`, row by row.
        x: `(batch, d)`.
        terms: take so many terms of the series, with exact traces; the rest is at most
            :math:`d\rho^{K+1}/((K+1)(1-\rho))` with :math:`\rho` the spectral norm of :math:`J_f` at x.
        samples: estimate the series with so many random vectors (Hutchinson), broken off at random and reweighted so
            that the mean is right (Russian roulette). A sample costs three backward passes on average, whatever d is.
            Without terms and samples the determinant is taken for d up to 256, and 64 samples above.

    Returns:
        A tuple `(change, error, method)` that says which it was: :class:`ResidualChange`.

    Raises:
        TypeError: `x` is not a real floating-point tensor, or f returns no tensor.
        ValueError: f changes the shape; both `terms` and `samples`, or one that is no whole number from 1 on (a
            standard error takes two samples).

    The estimate's variance is finite where the spectral norm is below :math:`\sqrt{1/2}`. A vector that grew under
    :math:`J_f` proves that f is no contraction there; that none grew proves nothing. Rows share the lengths of their
    series, so that their errors are not independent. Differentiable as
    :func:`jacobian_entropy_change`. Source: Behrmann et al. (2019) and Chen et al. (2019), Residual Flows.

    >>> change, error, method = residual_entropy_change(lambda x: x / 2, torch.rand(1, 3))
    >>> change.exp(), method  # 3/2 x 3/2 x 3/2
    (tensor([3.3750]), 'exact')
    """
    x = checked(x, "x", "(batch, d)")
    if terms is not None and samples is not None:
        raise ValueError("give terms, for the series, or samples, for the estimate, not both")
    if samples is not None or (terms is None and x.shape[1] > _EXACT_UP_TO):
        return _estimate(f, x, _SAMPLES if samples is None else checked_count(samples, "samples"))
    jacobian = row_jacobians(f, x)
    if jacobian.shape[1] != jacobian.shape[2]:
        raise ValueError(f"f must keep the shape (batch, d): {tuple(x.shape)} to ({len(x)}, {jacobian.shape[1]})")
    if terms is not None:
        return _series(jacobian, checked_count(terms, "terms"))
    identity = torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    return ResidualChange(log_abs_det(identity + jacobian), x.new_zeros(len(x)), "exact")


def _series(jacobian: Tensor, terms: int) -> ResidualChange:
    power, change = jacobian, jacobian.new_zeros(len(jacobian))
    for k in range(1, terms + 1):
        change = change + (-1) ** (k + 1) / k * power.diagonal(dim1=1, dim2=2).sum(1)
        power = power @ jacobian
    norm = torch.linalg.matrix_norm(jacobian.detach(), 2)
    rest = jacobian.shape[1] * norm ** (terms + 1) / ((terms + 1) * (1 - norm))
    return ResidualChange(change, torch.where(norm < 1, rest, math.inf), "series")


def _estimate(f: Map, x: Tensor, samples: int) -> ResidualChange:
    """The mean of independent samples, each of its own vectors and its own length."""
    if samples < 2:
        raise ValueError(f"samples must be at least 2, for a standard error, got {samples}")
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        point, y = followed(f, x)
        if y.shape != x.shape:
            raise ValueError(f"f must keep the shape (batch, d): {tuple(x.shape)} to {tuple(y.shape)}")
        if not y.requires_grad:  # it depends on nothing
            return ResidualChange(x.new_zeros(len(x)), x.new_zeros(len(x)), "exact")
        drawn = [_sample(point, y, keep) for _ in range(samples)]
    values = torch.stack([value for value, _ in drawn])
    grew = torch.stack([grown for _, grown in drawn]).any(0)
    error = values.detach().std(0) / math.sqrt(samples)
    return ResidualChange(values.mean(0), torch.where(grew, math.inf, error), "estimate")


def _sample(x: Tensor, y: Tensor, keep: bool) -> tuple[Tensor, Tensor]:
    """One unbiased value of the series for each row, and whether a vector grew in it."""
    start = torch.randint(0, 2, x.shape, device=x.device).to(x.dtype) * 2 - 1
    vector, value, weight, k = start, x.new_zeros(len(x)), 1.0, 1
    grew = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    while True:
        before = vector.detach().norm(dim=1)
        (vector,) = torch.autograd.grad(y, x, vector, retain_graph=True, create_graph=keep, materialize_grads=True)
        grew = grew | (vector.detach().norm(dim=1) > before)
        value = value + (-1) ** (k + 1) / k / weight * (vector * start).sum(1)
        if k >= _CERTAIN:
            if torch.rand(()) >= _ON:
                return value, grew
            weight *= _ON
        k += 1
