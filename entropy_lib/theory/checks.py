"""Refusals that say what was expected; every public formula passes its input through here."""

import torch
from torch import Tensor


def checked(tensor: Tensor, name: str, shape: str) -> Tensor:
    """Return `tensor` ready for the formulas, or raise an error that names what is wrong.

    `shape` is the documented shape, such as "(..., N, d)"; its last letters give the least rank.
    Half-precision input is lifted to float32: no factorisation exists below it, and a
    log-determinant of several hundred nats would keep no decimals.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape {shape}, got {type(tensor).__name__}")
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be a real floating-point tensor, got {tensor.dtype}")
    rank = shape.count(",") + 1 - shape.startswith("(...")
    if tensor.ndim < rank or (tensor.ndim > rank and not shape.startswith("(...")):
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if 0 in tensor.shape[-rank:]:
        raise ValueError(f"{name} has an empty dimension: {tuple(tensor.shape)}")
    if not _finite(tensor):
        raise ValueError(f"{name} holds NaN or infinite entries; entropy changes need finite weights")
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _finite(tensor: Tensor) -> bool:
    """Whether all entries are finite; true where numbers cannot be read, under `torch.compile` and vmap."""
    if torch.compiler.is_compiling():
        return True
    finite = torch.isfinite(tensor.detach()).all()
    try:
        return bool(finite)
    except RuntimeError:  # vmap has no one answer for all of its tensors, and meta tensors have none
        return True


def checked_size(input_size: tuple[int, int], kernel: Tensor) -> tuple[int, int]:
    """Return `(l, w)` as integers, or say why the kernel cannot slide over such an input."""
    try:
        length, width = (int(n) for n in input_size)
    except (TypeError, ValueError):
        raise ValueError(f"input_size must be a pair (l, w) of integers, got {input_size!r}") from None
    p, q = kernel.shape[-2:]
    if p > length or q > width:
        raise ValueError(f"a {p}x{q} kernel is larger than its {length}x{width} input")
    return length, width
