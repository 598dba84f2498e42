"""The paper's two formulas for the change of entropy: Theorem 3 and Corollary 6."""

from torch import Tensor

from entropy_lib.theory.checks import checked, checked_size
from entropy_lib.theory.linalg import log_abs_det


def square_part(weight: Tensor) -> Tensor:
    """The leading min(N, d) x min(N, d) block of `(..., N, d)`: the W of Theorem 3."""
    k = min(weight.shape[-2:])
    return weight[..., :k, :k]


def dense_entropy_change(weight: Tensor) -> Tensor:
    r"""Entropy change that Theorem 3 assigns to a dense layer, in nats.

    .. math:: H(W'X) - H(X) = \log|\det W|, \qquad W = \text{leading square block of the weight}

    The equation holds for N <= d; for N > d the number belongs to W alone.

    Args:
        weight: `(..., N, d)`, N outputs and d inputs, as `torch.nn.Linear.weight` stores it.

    Returns:
        `(...)`; never NaN; `-inf` where a pivot is exactly zero. A singular matrix whose zero pivot is
        lost to rounding gives a finite, strongly negative number. Half precision is computed and
        returned in float32.

    Raises:
        TypeError: `weight` is not a real floating-point tensor.
        ValueError: fewer than two dimensions, an empty one, or entries that are not finite.

    The gradient is :math:`W^{-\mathsf T}` in the square part and zero elsewhere; at a singular
    square part it does not exist.
    Source: Theorem 3 and Eq. 20 of Meni et al.

    >>> dense_entropy_change(torch.tensor([[2.0, 0.0, 7.0], [0.0, 3.0, 9.0]])).exp()
    tensor(6.)
    """
    weight = checked(weight, "weight", "(..., N, d)")
    return log_abs_det(square_part(weight))


def conv_entropy_change(kernel: Tensor, input_size: tuple[int, int]) -> Tensor:
    r"""Entropy change that Corollary 6 assigns to a one-channel convolution, in nats.

    .. math:: \log|\det C'_M| = (l-p+1)(w-q+1)\,\log|c_{11}|

    Args:
        kernel: `(..., p, q)`, the filter; c11 is `kernel[..., 0, 0]`.
        input_size: `(l, w)`, rows and columns of the image.

    Returns:
        `(...)`; `-inf` where c11 is zero. Half precision is computed and returned in float32.

    Raises:
        TypeError: `kernel` is not a real floating-point tensor.
        ValueError: wrong rank, entries that are not finite, or a kernel larger than its input.

    Source: Corollary 6, Eqs. 18 and 22 of Meni et al. The number belongs to the *completed*
    matrix C'_M (`complete_conv`), not to the map X -> C * X; see the chapter on what the theorem
    measures.

    >>> conv_entropy_change(torch.tensor([[2.0, 1.0], [4.0, 3.0], [-2.0, 1.0]]), (4, 4)).exp().round()
    tensor(64.)
    """
    kernel = checked(kernel, "kernel", "(..., p, q)")
    length, width = checked_size(input_size, kernel)
    p, q = kernel.shape[-2:]
    return (length - p + 1) * (width - q + 1) * kernel[..., 0, 0].abs().log()
