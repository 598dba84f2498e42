"""Circular convolutions: the Fourier transform makes small matrices of a large one, one for each frequency."""

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from entropy_lib.theory.checks import checked_count, checked_counts, checked_kernel
from entropy_lib.theory.linalg import log_volume


def circular_conv_entropy_change(
    kernel: Tensor,
    input_size: Sequence[int],
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    r"""Exact entropy change of a circular (periodically padded) convolution, in nats.

    With :math:`\hat K(f)` the out x in matrix of the kernel's discrete Fourier transform at
    frequency f,

    .. math:: \tfrac12\sum_f \log\det\bigl(\hat K(f)\hat K(f)^*\bigr) \quad(\text{out} \le \text{in}),

    and :math:`\hat K^*\hat K` for out > in. For out = in this is H(output) - H(input). For
    out < in it is the change under the orthonormal completion, not H(output) - H(input), for out >
    in the change of entropy on the image of the layer, as in :func:`gram_entropy_change`.

    A stride s (the product over the axes) keeps one output in s. Then the s frequencies that fall on one another
    stand side by side, an out x (s in) matrix :math:`s^{-1/2}[\hat K(f), \hat K(f + n/s), \ldots]` in the place of
    :math:`\hat K(f)`, for each frequency f of the smaller map. Where the stride is the kernel's size the image is cut
    into patches, each multiplied by the one matrix of all taps. A transposed convolution is the transpose of the
    convolution with its stored weight, with the same volume change.

    Args:
        kernel: one filter, of as many dimensions as the input (1, 2 or 3), or `(..., out, in / groups, *taps)`.
        input_size: the sides of the input, such as `(l, w)`; multiples of the stride.
        stride, dilation, groups: as in `torch.nn.Conv2d`. With a dilation the taps stand apart, and go around a small
            map.

    Returns:
        A scalar for one filter, else `(...)`; `-inf` where some :math:`\hat K(f)` has a pivot that
        is exactly zero, as for a one-channel kernel that sums to zero (f = 0). A zero that falls on
        another frequency may be lost to rounding and give a finite number.

    Raises:
        TypeError: `kernel` is not a real floating-point tensor.
        ValueError: a shape that does not fit the input, entries that are not finite, a kernel larger than its input, a
            stride that does not divide the input, groups that do not divide the filters, or numbers below 1.

    Source: Sedghi, Gupta & Long (2019) for the block diagonalisation; a stride folds frequencies, as decimation of
    any signal does. A real kernel has :math:`\hat K(-f) = \overline{\hat K(f)}`, so half of the frequencies are
    computed, and so many at a time as fit into a few hundred megabytes.

    >>> circular_conv_entropy_change(torch.tensor([[2.0, 0.5]]), (1, 3)).exp()  # 2 x 2 x 2 + 0.5 x 0.5 x 0.5
    tensor(8.1250)
    >>> circular_conv_entropy_change(torch.tensor([2.0, 0.5]), (3,)).exp()  # the same in one dimension
    tensor(8.1250)
    """
    kernel, size = checked_kernel(kernel, input_size, (1, 2, 3))
    strides, apart = checked_counts(stride, len(size), "stride"), checked_counts(dilation, len(size), "dilation")
    if any(n % s for n, s in zip(size, strides, strict=True)):
        raise ValueError(f"a stride of {stride} does not divide the {'x'.join(map(str, size))} input")
    filters, taps = kernel.ndim - len(size) - 2, tuple(kernel.shape[-len(size) :])
    if kernel.shape[filters] % checked_count(groups, "groups"):
        raise ValueError(f"{groups} groups do not divide {kernel.shape[filters]} filters")
    kernel = kernel.unflatten(filters, (groups, -1)).flatten(filters + 3)  # (..., group, out, in, taps)
    if taps == strides and set(apart) == {1}:  # patches, and the same matrix for each
        return math.prod(size) // math.prod(strides) * log_volume(kernel.flatten(-2)).sum(-1)
    axes = zip(size, taps, strides, apart, strict=True)
    *leading, across = (_phases(n, p, s, d, kernel) for n, p, s, d in axes)
    return _over_frequencies(kernel, reduce(_side_by_side, leading, kernel.new_ones(1, 1, 1)), across)


# Entries of the spectrum that are held at a time.
_FREQUENCY_ENTRIES = 2**24


def _over_frequencies(kernel: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """The sum of log-volumes over all frequencies, those of the leading axes `down`, of the last one `across`."""
    width, aliases = len(across), down.shape[1] * across.shape[1]
    across = across[: width // 2 + 1]
    columns = torch.arange(len(across), device=kernel.device)
    # Columns 0 and w/2 are their own mirror images, every other one stands for two.
    count = torch.where((columns == 0) | (2 * columns == width), 1, 2).to(kernel.dtype)
    matrix = kernel.flatten(-3, -2).mT  # (..., taps, out in)
    matrix = torch.complex(matrix, torch.zeros_like(matrix)) / math.sqrt(aliases)
    rows = max(1, _FREQUENCY_ENTRIES // (len(across) * aliases * kernel.shape[:-1].numel()))
    total = kernel.new_zeros(kernel.shape[:-4])
    for some in down.split(rows):
        # (f down, f across, alias down, alias across, tap down, tap across)
        phases = some[:, None, :, None, :, None] * across[:, None, :, None, :]
        spectrum = (phases.flatten(4).flatten(0, 3) @ matrix).unflatten(-1, kernel.shape[-3:-1])
        spectrum = spectrum.unflatten(-3, (len(some), len(across), aliases))
        spectrum = spectrum.transpose(-3, -2).flatten(-2)  # (..., f down, f across, out, alias in)
        total = total + (log_volume(spectrum) * count).sum((-3, -2, -1))
    return total


def _phases(size: int, taps: int, stride: int, apart: int, like: Tensor) -> Tensor:
    """exp(-2πi f k / size) for frequencies f and taps at k = 0, apart, 2 apart, ..., `(f, alias, tap)`.

    The frequencies f, f + size / stride, ... fall on one another, and share f.
    """
    places = apart * torch.arange(taps, device=like.device)
    turns = torch.outer(torch.arange(size, device=like.device), places) % size
    angle = turns.to(like.dtype) * (-2 * math.pi / size)
    phases: Tensor = torch.polar(torch.ones_like(angle), angle).unflatten(0, (stride, size // stride))
    return phases.transpose(0, 1)


def _side_by_side(one: Tensor, other: Tensor) -> Tensor:
    """Phases over two axes of those over each, `(f, alias, tap)`."""
    joined: Tensor = one[:, None, :, None, :, None] * other[None, :, None, :, None, :]
    return joined.flatten(4).flatten(2, 3).flatten(0, 1)
