"""Factorisations behind the formulas."""

import torch
from torch import Tensor

# Above this size the CPU's LAPACK blocks its row swaps, which are not safe in the threads that torch
# starts over a batch: slogdet of two 160 x 160 matrices is silently wrong (pytorch issue 142815).
_BATCH_LIMIT = 128


def log_abs_det(matrix: Tensor) -> Tensor:
    """log|det| of `(..., n, n)`, `-inf` where a pivot is zero; large CPU batches go one by one."""
    if matrix.ndim > 2 and matrix.shape[-1] > _BATCH_LIMIT and matrix.device.type == "cpu" and matrix.numel():
        one_by_one = [torch.linalg.slogdet(single).logabsdet for single in matrix.flatten(0, -3)]
        return torch.stack(one_by_one).reshape(matrix.shape[:-2])
    return torch.linalg.slogdet(matrix).logabsdet
