"""The square matrices behind the formulas: W' (Eq. 6), C_M (Eq. 14) and C'_M (Eq. 17)."""

import torch
from torch import Tensor

from entropy_lib.theory.checks import checked, checked_size


def complete_dense(weight: Tensor) -> Tensor:
    r"""The square completion W' of a weight matrix (Eq. 6).

    .. math::
        W' = \begin{pmatrix} W & W_{N\times(d-N)} \\ 0 & I_{d-N} \end{pmatrix}\ (N < d), \qquad
        W' = \begin{pmatrix} W & 0 \\ W_{(N-d)\times d} & I_{N-d} \end{pmatrix}\ (N > d)

    Args:
        weight: `(..., N, d)`.

    Returns:
        `(..., n, n)` with n = max(N, d): the weight in the first N rows and d columns, ones on
        what is left of the diagonal. det W' = det W.

    Raises:
        TypeError, ValueError: as :func:`dense_entropy_change`.

    >>> complete_dense(torch.tensor([[2.0, 7.0]]))
    tensor([[2., 7.],
            [0., 1.]])
    """
    weight = checked(weight, "weight", "(..., N, d)")
    rows, columns = weight.shape[-2:]
    n = max(rows, columns)
    completed = torch.eye(n, dtype=weight.dtype, device=weight.device).repeat(*weight.shape[:-2], 1, 1)
    completed[..., :rows, :columns] = weight
    return completed


def conv_matrix(kernel: Tensor, input_size: tuple[int, int]) -> Tensor:
    r"""The matrix C_M of a valid cross-correlation, :math:`Z_F = C_M X_F` (Eqs. 11, 14, 15).

    Row (i, j) holds the taps that the output pixel (i, j) sees:
    :math:`(C_M)_{(i,j),(i+k,\,j+m)} = c_{km}`, every other entry is zero.

    Args:
        kernel: `(..., p, q)`.
        input_size: `(l, w)`.

    Returns:
        `(..., (l-p+1)(w-q+1), lw)`; images are flattened row by row.

    Raises:
        TypeError, ValueError: as :func:`conv_entropy_change`; an input of more than 16,384 pixels.

    >>> conv_matrix(torch.tensor([[2.0, 1.0]]), (1, 3))
    tensor([[2., 1., 0.],
            [0., 2., 1.]])
    """
    kernel, (length, width), k, m = _offsets(kernel, input_size)
    p, q = kernel.shape[-2:]
    index = _tap_index(k, m, p, q)[: length - p + 1, : width - q + 1]
    return _fill(kernel, index.reshape(-1, length * width))


def complete_conv(kernel: Tensor, input_size: tuple[int, int]) -> Tensor:
    r"""The square completion C'_M (Eqs. 16 and 17), upper triangular.

    Each block B_j of C_M becomes the square :math:`B'_j` by q-1 rows :math:`(0\;\; I_{q-1})`;
    the resulting wide matrix becomes square by (p-1)w rows :math:`(0\;\; I_{(p-1)w})`.

    Args:
        kernel: `(..., p, q)`.
        input_size: `(l, w)`.

    Returns:
        `(..., lw, lw)` with determinant :math:`c_{11}^{(l-p+1)(w-q+1)}`.

    Raises:
        TypeError, ValueError: as :func:`conv_matrix`.

    >>> complete_conv(torch.tensor([[2.0, 1.0]]), (1, 3))
    tensor([[2., 1., 0.],
            [0., 2., 1.],
            [0., 0., 1.]])
    """
    kernel, (length, width), k, m = _offsets(kernel, input_size)
    p, q = kernel.shape[-2:]
    index = _tap_index(k, m, p, q)
    # The rows that Eq. 16 adds below each B_j, then those that Eq. 17 adds below all.
    index[:, width - q + 1 :] = torch.where((k >= 0) & (k < p) & (m == 0), _ONE, _ZERO)[:, width - q + 1 :]
    index[length - p + 1 :] = torch.where((k == 0) & (m == 0), _ONE, _ZERO)[length - p + 1 :]
    return _fill(kernel, index.reshape(length * width, length * width))


# A matrix of as many entries takes two gigabytes in double precision, and its index as much again.
_ENTRIES = 2**28

# Where an entry of the matrix is no tap, its index counts back from the end of [taps, 0, 1].
_ZERO, _ONE = -2, -1


def _offsets(kernel: Tensor, input_size: tuple[int, int]) -> tuple[Tensor, tuple[int, int], Tensor, Tensor]:
    """The checked arguments, and column pixel minus row pixel, down (k) and across (m), over `(l, w, l, w)`."""
    kernel = checked(kernel, "kernel", "(..., p, q)")
    length, width = checked_size(input_size, kernel)
    if (length * width) ** 2 > _ENTRIES:
        raise ValueError(
            f"the matrix of a {length}x{width} input has {length * width:,} rows and columns, more than memory holds; "
            "conv_entropy_change and the exact measures need no matrix"
        )
    i, a = torch.arange(length).view(-1, 1, 1, 1), torch.arange(length).view(1, 1, -1, 1)
    j, b = torch.arange(width).view(1, -1, 1, 1), torch.arange(width).view(1, 1, 1, -1)
    k, m = torch.broadcast_tensors(a - i, b - j)
    return kernel, (length, width), k, m


def _tap_index(k: Tensor, m: Tensor, p: int, q: int) -> Tensor:
    """Flat index of c_km where it exists, else of zero."""
    return torch.where((k >= 0) & (k < p) & (m >= 0) & (m < q), k * q + m, _ZERO)


def _fill(kernel: Tensor, index: Tensor) -> Tensor:
    """Put the kernel's taps, zeros and ones where `index` says; differentiable and batched."""
    constants = kernel.new_tensor([0.0, 1.0]).expand(*kernel.shape[:-2], 2)
    return torch.cat([kernel.flatten(-2), constants], -1)[..., index.to(kernel.device)]
