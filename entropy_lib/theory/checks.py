"""Refusals that say what was expected; every public formula passes its input through here."""

import operator
from collections.abc import Sequence

import torch
from torch import Tensor

_LIFTED, _KEPT = (torch.float16, torch.bfloat16), (torch.float32, torch.float64)


def checked(tensor: Tensor, name: str, shape: str) -> Tensor:
    """Return `tensor` ready for the formulas, or raise an error that names what is wrong.

    `shape` is the documented shape, such as "(..., N, d)"; its letters give the rank, the least one beside an ellipsis.
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
    open_ended = "..." in shape
    rank = shape.count(",") + 1 - open_ended
    if tensor.ndim < rank or (tensor.ndim > rank and not open_ended):
        raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
    if 0 in (tensor.shape if shape.endswith("...)") else tensor.shape[-rank:]):
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


def checked_counts(counts: int | Sequence[int], axes: int, name: str) -> tuple[int, ...]:
    """Return a whole number from 1 on for each axis, one being repeated, or say what was given instead."""
    try:
        if isinstance(counts, Sequence) and not isinstance(counts, str):
            numbers = tuple(checked_count(count, name) for count in counts)
        else:
            numbers = (checked_count(counts, name),) * axes
    except ValueError:
        numbers = ()
    if len(numbers) != axes:
        wanted = "a pair of whole numbers" if axes == 2 else f"{axes} whole numbers" if axes > 1 else "a whole number"
        raise ValueError(f"{name} must be {wanted} from 1 on, got {counts!r}")
    return numbers


def checked_pair(pair: tuple[int, int], name: str) -> tuple[int, int]:
    """Return two whole numbers from 1 on, or say what was given instead."""
    if not isinstance(pair, Sequence):
        raise ValueError(f"{name} must be a pair of whole numbers from 1 on, got {pair!r}")
    first, second = checked_counts(pair, 2, name)
    return first, second


def checked_size(input_size: tuple[int, int], kernel: Tensor) -> tuple[int, int]:
    """Return `(l, w)` as integers, or say why the kernel cannot slide over such an input."""
    length, width = checked_pair(input_size, "input_size (l, w)")
    checked_fit((length, width), kernel)
    return length, width


def checked_kernel(kernel: Tensor, input_size: Sequence[int], axes: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """A kernel as `(..., out, in, *taps)` and the sides of its input, of which there are as many as `axes` allows.

    A single filter, with as many dimensions as the input, gets one channel on either side.
    """
    if not isinstance(input_size, Sequence) or len(input_size) not in axes or isinstance(input_size, str):
        wanted = " or ".join(map(str, axes))
        raise ValueError(f"input_size must have {wanted} whole numbers from 1 on, got {input_size!r}")
    size = checked_counts(input_size, len(input_size), "input_size")
    taps = ", ".join("pqr"[: len(size)])
    if isinstance(kernel, Tensor) and kernel.ndim in (len(size), len(size) + 1):
        if kernel.ndim > len(size):
            raise ValueError(f"kernel must have shape ({taps}) or (..., out, in, {taps}), got {tuple(kernel.shape)}")
        kernel = kernel[None, None]
    kernel = checked(kernel, "kernel", f"(..., out, in, {taps})")
    checked_fit(size, kernel)
    return kernel, size


def checked_fit(size: tuple[int, ...], kernel: Tensor) -> None:
    """Refuse a kernel that is larger than its input along an axis."""
    taps = kernel.shape[kernel.ndim - len(size) :]
    if any(p > n for p, n in zip(taps, size, strict=True)):
        of_kernel, of_input = ("x".join(map(str, sides)) for sides in (taps, size))
        raise ValueError(f"a {of_kernel} kernel is larger than its {of_input} input")
