"""Normalisation layers: which directions they erase, and what they do to the others."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from entropy_lib.theory.checks import checked, lifted

Norm = _BatchNorm | nn.LayerNorm | nn.RMSNorm


def norm_entropy_change(module: nn.Module, x: Tensor) -> Tensor:
    r"""Entropy change of a normalisation layer, example by example.

    With γ the layer's weight (1 without one), v the biased variance and :math:`s^2 = v + \varepsilon`:

    - **BatchNorm in evaluation** is a fixed diagonal map, over m pixels and c channels
      :math:`m\sum_c\log(|\gamma_c|/\sqrt{\sigma_c^2+\varepsilon})`;
    - **BatchNorm in training** subtracts the mean of the n values of a channel (examples times pixels), so it erases
      one direction of each channel. On the complement, the deviations from the mean,

      .. math:: \sum_c\Bigl[(n-1)\log\frac{|\gamma_c|}{s_c} + \log\frac{\varepsilon}{v_c+\varepsilon}\Bigr] .

      It mixes the examples: the number is that of the whole batch, and each example gets an equal share of it;
    - **LayerNorm** erases the mean of each vector of d entries. From the deviations to their image

      .. math:: -(d-1)\log s + \log\frac{\varepsilon}{v+\varepsilon}
                + \tfrac12\log\Bigl(\tfrac1d\sum_i\prod_{j\ne i}\gamma_j^2\Bigr) ;

    - **RMSNorm** erases nothing: with :math:`r^2 = \overline{x^2} + \varepsilon`

      .. math:: \sum_i\log|\gamma_i| - \tfrac{d+2}2\log r^2 + \log\varepsilon .

    All are injective on what they do not erase. ε decides: without it the length of the vector is erased as well,
    and where it is small the number is large and negative.

    Args:
        module: `BatchNorm1d`, `2d`, `3d`, `LayerNorm` or `RMSNorm`.
        x: `(batch, ...)`, what goes into it.

    Returns:
        `(batch,)`, in nats; `-inf` without ε, and where a γ is zero (two of a LayerNorm, which has erased one direction
        already). The running statistics are not touched. Half precision is computed and returned in float32.

    Raises:
        TypeError: another module, or `x` is not a real floating-point tensor.
        ValueError: `x` is not finite, or does not have the shape that the layer takes.

    Source: matrix determinant lemma, for :math:`J = (\gamma/s)(I - 11^{\mathsf T}/n - \hat x\hat x^{\mathsf T}/n)`.

    >>> norm = nn.BatchNorm1d(2, eps=0).eval()
    >>> norm.running_var = torch.tensor([4.0, 9.0])
    >>> norm_entropy_change(norm, torch.rand(1, 2)).exp().detach()  # 1/2 x 1/3
    tensor([0.1667])
    """
    x = checked(x, "x", "(batch, ...)")
    if isinstance(module, _BatchNorm):
        return _batch_norm(module, x)
    if isinstance(module, (nn.LayerNorm, nn.RMSNorm)):
        return _vector_norm(module, x)
    raise TypeError(
        f"{type(module).__name__} is none of BatchNorm, LayerNorm, RMSNorm; jacobian_entropy_change takes any map"
    )


def _batch_norm(module: _BatchNorm, x: Tensor) -> Tensor:
    if x.ndim < 2 or x.shape[1] != module.num_features:
        raise ValueError(f"x must have shape (batch, {module.num_features}, ...), got {tuple(x.shape)}")
    log_gamma = _log_gamma(module.weight, x.new_ones(module.num_features))
    pixels = math.prod(x.shape[2:])
    if not module.training and module.running_var is not None:
        deviations = (lifted(module.running_var) + module.eps).log() / 2
        return (pixels * (log_gamma - deviations).sum()).expand(len(x))
    n = len(x) * pixels
    variance = x.transpose(0, 1).flatten(1).var(1, correction=0)
    change = (n - 1) * (log_gamma - (variance + module.eps).log() / 2) + _length(variance, module.eps)
    return (change.sum() / len(x)).expand(len(x))


def _vector_norm(module: nn.LayerNorm | nn.RMSNorm, x: Tensor) -> Tensor:
    """One number for each vector, summed over those of an example."""
    shape = tuple(module.normalized_shape)
    if x.ndim <= len(shape) or tuple(x.shape[-len(shape) :]) != shape:
        raise ValueError(f"x must have shape (batch, ..., {', '.join(map(str, shape))}), got {tuple(x.shape)}")
    vectors = x.flatten(-len(shape))
    d = vectors.shape[-1]
    log_gamma = _log_gamma(module.weight, x.new_ones(shape)).flatten()
    if isinstance(module, nn.LayerNorm):
        variance = vectors.var(-1, correction=0)
        shear = torch.logsumexp(2 * _all_but_one(log_gamma), 0) / 2 - math.log(d) / 2
        change = -(d - 1) / 2 * (variance + module.eps).log() + _length(variance, module.eps) + shear
    else:
        eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps
        square = vectors.square().mean(-1)
        change = log_gamma.sum() - d / 2 * (square + eps).log() + _length(square, eps)
    return change.reshape(len(x), -1).sum(1)


def _all_but_one(logs: Tensor) -> Tensor:
    """For each entry the sum of all others, without a difference, for an entry may be -inf."""
    before = torch.cat([logs.new_zeros(1), logs[:-1]]).cumsum(0)
    after = torch.cat([logs.new_zeros(1), logs.flip(0)[:-1]]).cumsum(0).flip(0)
    return before + after


def _log_gamma(weight: Tensor | None, ones: Tensor) -> Tensor:
    return (ones if weight is None else lifted(weight)).abs().log()


def _length(square: Tensor, eps: float) -> Tensor:
    """log(ε / (v + ε)): what a normalisation leaves of the length of a vector, the only direction in which ε acts."""
    return (math.log(eps) if eps else -math.inf) - (square + eps).log()
