"""Kinds of layers: how a layer's weight is read, the amount that the paper's losses act on, and its exact measure.

A new kind of layer is one entry of `KINDS`. Whoever guides or measures a model asks :func:`kind_of` what a module is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from entropy_lib.theory.change import square_part
from entropy_lib.theory.circular import circular_conv_entropy_change
from entropy_lib.theory.exact import gram_entropy_change
from entropy_lib.theory.linalg import log_abs_det
from entropy_lib.weights import Unreadable, adapted, holds

Form = Literal["log", "reciprocal"]
Size = tuple[int, int]
Bring = Callable[[nn.Module, Tensor], Tensor]


# --- Penalties: the summands of the losses, without λ ----------------------------------------------


def dense_penalty(weight: Tensor, form: Form, eps: float) -> Tensor:
    """The summand of Eq. 21 or 24 without λ, `(..., N, d) -> (...)`.

    Unchecked, for training loops in which a diverged weight is an outcome and not an error.
    """
    square = square_part(weight)
    if form == "log":
        return -log_abs_det(square)
    with torch.no_grad():
        singular = log_abs_det(square).isneginf()
    # At a singular matrix |det| has gradient 0 (rank < k - 1) or a kink with subgradient 0, where
    # slogdet gives NaN: such matrices are taken out of the graph and keep the value 1/eps.
    identity = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    regular = log_abs_det(torch.where(singular[..., None, None], identity, square))
    # The bound keeps e^L and its gradient finite; the loss there is 1e-35 and its gradient zero.
    return torch.where(singular, 1 / eps, 1 / (regular.clamp(max=80).exp() + eps))


def conv_penalty(kernel: Tensor, form: Form, eps: float) -> Tensor:
    """The summand of Eq. 23 or 25 without λ, `(..., p, q) -> (...)`; unchecked, as :func:`dense_penalty`."""
    first = kernel[..., 0, 0].abs()
    return -first.log() if form == "log" else 1 / (first + eps)


# --- Kinds ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kind:
    """What the library knows of a kind of layer.

    Args:
        name: `dense` or `conv`, as columns and messages say it.
        shape: of its weight, in the orientation of the output, the filters first.
        penalty: `(weight, form, eps)` to one number for each filter.
        neutral: a weight of the same shape at which penalty and gradient are finite, where λ is 0.
        exact: of a module, its stored weight and the map that it sees: the volume change in nats for each dimension.
    """

    name: str
    shape: str
    penalty: Callable[[Tensor, Form, float], Tensor]
    neutral: Callable[[Tensor], Tensor]
    exact: Callable[[nn.Module, Tensor, Size], float]

    @property
    def rank(self) -> int:
        return self.shape.count(",") + 1


def _eye(weight: Tensor) -> Tensor:
    return torch.eye(*weight.shape[-2:], dtype=weight.dtype, device=weight.device)


def _dense_exact(module: nn.Module, weight: Tensor, size: Size) -> float:
    return float(gram_entropy_change(weight)) / min(weight.shape)


def conv_exact(
    kernel: Tensor,
    input_size: Sequence[int],
    groups: int = 1,
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
) -> float:
    """Circular log-det of a kernel `(out, in / groups, *taps)`, for each of the dimensions that go through.

    With stride one these are the pixels times the channels, of whichever side has fewer.
    """
    steps = math.prod(stride)
    channels = min(kernel.shape[0], groups * kernel.shape[1] * steps)
    total = circular_conv_entropy_change(kernel.detach(), input_size, stride, dilation, groups).item()
    return total / float(math.prod(input_size) // steps * channels)


def circular_exact(module: Any, weight: Tensor, size: Sequence[int]) -> float:
    """Circular log-det of any convolution, of its stored weight, for each dimension that goes through."""
    return _transposed_exact(module, weight, size) if module.transposed else _conv_exact(module, weight, size)


def _conv_exact(module: Any, weight: Tensor, size: Sequence[int]) -> float:
    """On the map that the layer sees, with the columns that its stride needs to end evenly."""
    sides = [-(-max(n, taps) // s) * s for n, taps, s in zip(size, weight.shape[2:], module.stride, strict=True)]
    return conv_exact(weight, sides, module.groups, module.stride, module.dilation)


def _transposed_exact(module: Any, weight: Tensor, size: Sequence[int]) -> float:
    """A transposed convolution is the transpose of the convolution with its stored weight: their volumes are equal."""
    return _conv_exact(module, weight, [n * s for n, s in zip(size, module.stride, strict=True)])


DENSE = Kind("dense", "(N, d)", dense_penalty, _eye, _dense_exact)
CONV = Kind("conv", "(out, in, p, q)", conv_penalty, torch.ones_like, _conv_exact)
TRANSPOSED = replace(CONV, exact=_transposed_exact)


def as_stored(module: nn.Module, weight: Tensor) -> Tensor:
    return weight


def _turned(module: nn.Module, weight: Tensor) -> Tensor:
    return weight.mT


def _outputs_first(module: nn.Module, weight: Tensor) -> Tensor:
    """A transposed convolution stores `(in, out / groups, p, q)`."""
    groups: int = module.groups  # type: ignore[assignment]
    turned: Tensor = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    return turned


# A module's type, the kind of layer that it is, and how its stored weight is brought to the kind's shape.
KINDS: Mapping[type[nn.Module], tuple[Kind, Bring]] = {
    nn.Linear: (DENSE, as_stored),
    nn.Conv2d: (CONV, as_stored),
    nn.ConvTranspose2d: (TRANSPOSED, _outputs_first),
}
# Kinds of other libraries, by the full name of their type: they are not imported for it.
FOREIGN: Mapping[str, tuple[Kind, Bring]] = {
    "transformers.pytorch_utils.Conv1D": (DENSE, _turned),  # GPT-2's dense layer, stored (in, out)
}

# Stacks: one parameter that holds several matrices one below the other. They are named, in their order.
_RECURRENT = ("weight_ih", "weight_hh")
STACKS: Mapping[type[nn.Module], tuple[tuple[str, ...], str]] = {
    nn.LSTM: (_RECURRENT, "ifgo"),
    nn.LSTMCell: (_RECURRENT, "ifgo"),
    nn.GRU: (_RECURRENT, "rzn"),
    nn.GRUCell: (_RECURRENT, "rzn"),
    nn.MultiheadAttention: (("in_proj_weight",), "qkv"),
}

_REASONS: Mapping[type[nn.Module], str] = {
    nn.Embedding: "a lookup table picks rows, it multiplies nothing",
    nn.EmbeddingBag: "a lookup table picks rows, it multiplies nothing",
    nn.Bilinear: "its output is not linear in its inputs",
    nn.Conv1d: "the paper's formula is of 2-D convolutions",
    nn.Conv3d: "the paper's formula is of 2-D convolutions",
    nn.ConvTranspose1d: "the paper's formula is of 2-D convolutions",
    nn.ConvTranspose3d: "the paper's formula is of 2-D convolutions",
}


def stack_of(module: nn.Module, parameter: str) -> str:
    """The names of the matrices that a parameter stacks, such as `ifgo`; empty for one that stacks none."""
    for kind, (prefixes, parts) in STACKS.items():
        if isinstance(module, kind) and parameter.startswith(prefixes):
            return parts
    return ""


def known(module: nn.Module) -> tuple[Kind, Bring] | None:
    """What a module is, and how its stored weight is brought to the kind's shape; None for any other module."""
    own = (found for layer, found in KINDS.items() if isinstance(module, layer))
    names = (f"{layer.__module__}.{layer.__qualname__}" for layer in type(module).__mro__)
    foreign = (FOREIGN[name] for name in names if name in FOREIGN)
    return next(own, None) or next(foreign, None)


def kind_of(module: nn.Module) -> Kind:
    """What a module is.

    Raises:
        Unreadable: no kind of layer that the library knows; the message says why.
    """
    found = known(module)
    if found is None:
        raise Unreadable(reason(module))
    return found[0]


def reason(module: nn.Module) -> str:
    """Why a module has no entropy change that the library could read."""
    name = type(module).__name__
    if adapted(module):
        return adapted(module)
    for layer, why in _REASONS.items():
        if isinstance(module, layer):
            return f"{name}: {why}"
    for layer, (prefixes, parts) in STACKS.items():
        if isinstance(module, layer):
            named = [key for key, _ in module.named_parameters(recurse=False) if key.startswith(prefixes)]
            shown = ", ".join(f"{key}[{part}]" for key in named[:2] for part in parts)
            return f"{name} stacks several matrices in one weight; name one of them: {shown}"
    if not holds(module, "weight"):
        return f"{name} has no weight tensor" + (", a quantised one perhaps" if hasattr(module, "weight") else "")
    return f"{name} is no kind of layer that is known; a parameter of it may be named, such as its .weight"
