"""Factorisations behind the formulas."""

import numpy as np
import torch
from scipy.linalg.lapack import get_lapack_funcs
from torch import Tensor

# Above this size the CPU's LAPACK blocks its row swaps, which are not safe in the threads that torch
# starts over a batch: slogdet of two 160 x 160 matrices is silently wrong (pytorch issue 142815).
_BATCH_LIMIT = 128


def log_abs_det(matrix: Tensor) -> Tensor:
    """log|det| of `(..., n, n)`, `-inf` where a pivot is zero; large CPU batches go one by one."""
    if matrix.ndim > 2 and matrix.shape[-1] > _BATCH_LIMIT and matrix.device.type == "cpu" and matrix.numel():
        one_by_one = [torch.linalg.slogdet(single).logabsdet for single in matrix.flatten(0, -3)]
        return torch.stack(one_by_one).reshape(matrix.shape[:-2])
    result: Tensor = torch.linalg.slogdet(matrix).logabsdet
    return result


def log_volume(matrix: Tensor) -> Tensor:
    """½ log det of the smaller Gram matrix of `(..., m, n)`, through QR of its tall orientation."""
    tall = matrix if matrix.shape[-2] >= matrix.shape[-1] else matrix.mT
    if tall.shape[-2] == tall.shape[-1]:
        return log_abs_det(tall)
    # Without Q it takes about half the time, but has no gradient.
    mode = "reduced" if tall.requires_grad else "r"
    diagonal: Tensor = torch.linalg.qr(tall, mode=mode).R.diagonal(dim1=-2, dim2=-1)
    return diagonal.abs().log().sum(-1)


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of `(..., n, n)` without a graph; entries that are not finite where a pivot is zero.

    On a CPU scipy's LAPACK takes the matrices one by one: at n = 100 it is three times as fast as
    torch's, and not touched by the fault above.
    """
    if matrix.device.type != "cpu" or not matrix.numel():
        result: Tensor = torch.linalg.inv_ex(matrix).inverse
        return result
    matrix = matrix.detach().contiguous()
    n, transposed = matrix.shape[-1], torch.empty_like(matrix)
    factor, solve = get_lapack_funcs(("getrf", "getrs"), dtype=matrix.numpy().dtype)
    identity = np.eye(n, dtype=matrix.numpy().dtype, order="F")
    pairs = zip(matrix.view(-1, n, n).numpy(), transposed.view(-1, n, n).numpy(), strict=True)
    for each, out in pairs:
        # LAPACK reads columns first: it factors the transpose, and its solution lies in memory transposed.
        lu, pivots, info = factor(each.T)
        out[:] = solve(lu, pivots, identity, trans=1)[0].T if info == 0 else np.nan
    return transposed.mT
