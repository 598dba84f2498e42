"""Refusals that say what was expected; every public formula passes its input through here."""

import operator

import torch
from torch import Tensor

_LIFTED, _KEPT = (torch.float16, torch.bfloat16), (torch.float32, torch.float64)


def checked(tensor: Tensor, name: str, shape: str) -> Tensor:
    """Return `tensor` ready for the formulas, or raise an error that names what is wrong.

    `shape` is the documented shape, such as "(..., N, d)"; its last letters give the least rank.
    Half-precision input is lifted to float32: no factorisation exists below it, and a
    log-determinant of several hundred nats would keep no decimals.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor of shape {shape}, got {type(tensor).__name__}")
    if tensor.dtype not in (*_LIFTED, *_KEPT):
        raise TypeError(f"{name} must be a real floating-point tensor of 16, 32 or 64 bits, got {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {tensor.layout}; .to_dense() makes one")
    if tensor.is_meta:
        raise TypeError(f"{name} is on the meta device, where tensors have no numbers")
    rank = shape.count(",") + 1 - shape.startswith("(...")
    if tensor.ndim < rank or (tensor.ndim > rank and not shape.startswith("(...")):
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if 0 in tensor.shape[-rank:]:
        raise ValueError(f"{name} has an empty dimension: {tuple(tensor.shape)}")
    if not _finite(tensor):
        raise ValueError(f"{name} holds NaN or infinite entries; entropy changes need finite weights")
    return lifted(tensor)


def lifted(tensor: Tensor) -> Tensor:
    """Half precision as float32, anything else as it is."""
    return tensor.float() if tensor.dtype in _LIFTED else tensor


def _finite(tensor: Tensor) -> bool:
    """Whether all entries are finite; true where numbers cannot be read, under `torch.compile` and vmap."""
    if torch.compiler.is_compiling():
        return True
    finite = torch.isfinite(tensor.detach()).all()
    try:
        return bool(finite)
    except RuntimeError:  # vmap has no one answer for all of its tensors
        return True


def checked_count(count: int, name: str) -> int:
    """Return a whole number from 1 on, or say what was given instead."""
    try:
        number = operator.index(count)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be a whole number from 1 on, got {count!r}")
    return number


def checked_pair(pair: tuple[int, int], name: str) -> tuple[int, int]:
    """Return two whole numbers from 1 on, or say what was given instead."""
    try:
        first, second = pair
        return checked_count(first, name), checked_count(second, name)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a pair of whole numbers from 1 on, got {pair!r}") from None


def checked_size(input_size: tuple[int, int], kernel: Tensor) -> tuple[int, int]:
    """Return `(l, w)` as integers, or say why the kernel cannot slide over such an input."""
    length, width = checked_pair(input_size, "input_size (l, w)")
    p, q = kernel.shape[-2:]
    if p > length or q > width:
        raise ValueError(f"a {p}x{q} kernel is larger than its {length}x{width} input")
    return length, width
