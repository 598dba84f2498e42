"""Elementwise activations: what they do to volume, and what those cost that fold the line."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from entropy_lib.theory.checks import checked

Slope = Callable[[Any, Tensor], Tensor]


def activation_entropy_change(module: nn.Module, x: Tensor) -> Tensor:
    r"""Volume change of an elementwise activation :math:`\varphi`, example by example.

    .. math:: \sum_i \log|\varphi'(x_i)|

    Its mean over data is H(output) - H(input) for the injective ones: `LeakyReLU` and `ELU` (slope and α positive),
    `Sigmoid`, `Tanh`, `Softplus` (as far as torch's is one: it is cut off at a threshold). `GELU` and `SiLU` are **not
    injective**: they fall and rise again, so that two inputs share each value below zero, and the mean is an upper
    bound. It is too high by the entropy of the branch that the input came from, :func:`branch_entropy`, at most log 2
    for each output below zero. `ReLU`, `ReLU6` and `Hardtanh` are flat on a side, where whole intervals fall onto a
    point: `-inf` wherever a unit lies there, since no density is left.

    Args:
        module: one of these; other activations have :func:`jacobian_entropy_change`.
        x: `(batch, ...)`, what goes into it.

    Returns:
        `(batch,)`, in nats. Half precision is computed and returned in float32.

    Raises:
        TypeError: a module that is none of these, or `x` is not a real floating-point tensor.
        ValueError: `x` is not finite; a slope or an α that is not positive.

    The logarithms are computed without the slopes, which underflow where a unit saturates. Source: change of variables.

    >>> activation_entropy_change(nn.LeakyReLU(0.5), torch.tensor([[-1.0, -2.0, 3.0]])).exp()  # 1/2 x 1/2 x 1
    tensor([0.2500])
    """
    known = activation(module)
    return known.log_slope(module, checked(x, "x", "(batch, ...)")).flatten(1).sum(1)


def branch_entropy(module: nn.Module, x: Tensor, log_density: Callable[[Tensor], Tensor]) -> Tensor:
    r"""What is not known of the input once the output of a folding activation is: from which branch it came.

    .. math::
        \sum_i H(B_i \mid Y_i = \varphi(x_i)), \qquad
        P(B_i = b \mid y) \propto \frac{f(x_b)}{|\varphi'(x_b)|}

    Its mean over data is what :func:`activation_entropy_change` is too high by, where the coordinates are independent
    with the given density; where they are not, it is at least that.

    Args:
        module: `GELU` or `SiLU`; an injective one has one branch, and gives zeros.
        x: `(batch, ...)`.
        log_density: the logarithm of a coordinate's density f, elementwise.

    Returns:
        `(batch,)`, in nats, from 0 to log 2 for each output below zero.

    Raises:
        TypeError, ValueError: as :func:`activation_entropy_change`; a module that is flat on a side, which has no
            finite number of branches.

    Source: the lemma of the chapter on activations.

    >>> branch_entropy(nn.SiLU(), torch.tensor([[1.0], [-0.1]]), lambda x: -x.square() / 2)  # 1 has no twin
    tensor([0.0000, 0.0035])
    """
    known = activation(module)
    if known.flat:
        raise ValueError(
            f"{type(module).__name__} is flat on a side: a whole interval shares one value, not two points"
        )
    x = checked(x, "x", "(batch, ...)")
    if not known.folds:
        return torch.zeros_like(x).flatten(1).sum(1)
    twin = _twin(module, x)
    odds = (log_density(x) - known.log_slope(module, x)) - (log_density(twin) - known.log_slope(module, twin))
    return torch.where(x < 0, binary_entropy(odds), 0).flatten(1).sum(1)


def binary_entropy(odds: Tensor) -> Tensor:
    """Entropy of a coin with these log-odds, in nats."""
    return softplus(-odds) * odds.sigmoid() + softplus(odds) * (-odds).sigmoid()


@dataclass(frozen=True)
class Activation:
    """What is known of an elementwise activation.

    Args:
        log_slope: the logarithm of the derivative's absolute value, of the module and its input, elementwise.
        folds: two inputs share each value below zero.
        flat: intervals share one value.
    """

    log_slope: Slope
    folds: bool = False
    flat: bool = False


def activation(module: nn.Module) -> Activation:
    """What is known of a module.

    Raises:
        TypeError: it is no activation that the library knows.
        ValueError: its slope is not positive on a side.
    """
    for kind, known in ACTIVATIONS.items():
        if isinstance(module, kind):
            for name in ("negative_slope", "alpha"):
                if not getattr(module, name, 1) > 0:
                    raise ValueError(f"{name} must be positive, got {getattr(module, name)}")
            return known
    names = ", ".join(kind.__name__ for kind in ACTIVATIONS)
    raise TypeError(f"{type(module).__name__} is none of {names}; jacobian_entropy_change takes any map")


def _leaky_relu(module: nn.LeakyReLU, x: Tensor) -> Tensor:
    return torch.where(x < 0, x.new_tensor(math.log(module.negative_slope)), 0)


def _elu(module: nn.ELU, x: Tensor) -> Tensor:
    return torch.where(x < 0, math.log(module.alpha) + x, 0)


def _sigmoid(module: nn.Module, x: Tensor) -> Tensor:
    return logsigmoid(x) + logsigmoid(-x)


def log_slope_of_tanh(x: Tensor) -> Tensor:
    """log(1 - tanh² x), without the difference."""
    return 2 * (math.log(2) - x - softplus(-2 * x))


def _tanh(module: nn.Module, x: Tensor) -> Tensor:
    return log_slope_of_tanh(x)


def _softplus(module: nn.Softplus, x: Tensor) -> Tensor:
    scaled = module.beta * x
    return torch.where(scaled > module.threshold, 0, logsigmoid(scaled))


def _silu(module: nn.Module, x: Tensor) -> Tensor:
    return logsigmoid(x) + (1 + x * (-x).sigmoid()).abs().log()


def _gelu(module: nn.GELU, x: Tensor) -> Tensor:
    if module.approximate == "tanh":  # x σ(2u)
        u, du = _bent(x)
        return logsigmoid(2 * u) + (1 + 2 * x * (-2 * u).sigmoid() * du).abs().log()
    # Φ(x) + x φ(x). Below zero both underflow; φ(x) times a factor of moderate size does not.
    normal = -x.square() / 2 - math.log(2 * math.pi) / 2
    below = x.clamp(max=0)
    mills = torch.special.erfcx(below * -math.sqrt(0.5)) * math.sqrt(math.pi / 2)
    above = x.clamp(min=0)
    rising = torch.special.ndtr(above) + above * normal.exp()
    return torch.where(x < 0, normal + (mills + below).abs().log(), rising.log())


def _bent(x: Tensor) -> tuple[Tensor, Tensor]:
    """The cubic in the approximation of GELU by tanh, and its derivative."""
    scale = math.sqrt(2 / math.pi)
    return scale * (x + 0.044715 * x**3), scale * (1 + 3 * 0.044715 * x**2)


def _relu(module: nn.Module, x: Tensor) -> Tensor:
    return _inside(x, 0, math.inf)


def _hardtanh(module: nn.Hardtanh, x: Tensor) -> Tensor:
    return _inside(x, module.min_val, module.max_val)


def _inside(x: Tensor, low: float, high: float) -> Tensor:
    return torch.where((x > low) & (x < high), x.new_zeros(()), -math.inf)


ACTIVATIONS: Mapping[type[nn.Module], Activation] = {
    nn.LeakyReLU: Activation(_leaky_relu),
    nn.ELU: Activation(_elu),
    nn.Sigmoid: Activation(_sigmoid),
    nn.Tanh: Activation(_tanh),
    nn.Softplus: Activation(_softplus),
    nn.GELU: Activation(_gelu, folds=True),
    nn.SiLU: Activation(_silu, folds=True),
    nn.ReLU: Activation(_relu, flat=True),
    nn.Hardtanh: Activation(_hardtanh, flat=True),  # and ReLU6
}


# Left of this every folding activation is zero in double precision.
_FAR = -1024.0


def _twin(module: nn.Module, x: Tensor) -> Tensor:
    """The other input with the same value, where that is below zero; with the gradient of the implicit function."""
    values = module(x.detach().double())
    turn = _turn(module)
    right = x.detach() < turn  # where the twin lies
    lower = torch.where(right, turn, _FAR).double()
    upper = torch.where(right, 0.0, turn).double()
    for _ in range(64):
        middle = (lower + upper) / 2
        # The function falls on the left branch and rises on the right one.
        beyond = (module(middle) > values) == right
        lower, upper = torch.where(beyond, lower, middle), torch.where(beyond, middle, upper)
    twin = ((lower + upper) / 2).to(x.dtype)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return twin
    # One step of Newton's, which is zero, has the derivative φ'(x) / φ'(twin).
    with torch.enable_grad():
        point = twin.clone().requires_grad_()
        (slope,) = torch.autograd.grad(module(point).sum(), point)
    moved = module(x)
    return twin + torch.where(x < 0, (moved - moved.detach()) / torch.where(x < 0, slope, 1), 0)


def _turn(module: nn.Module) -> float:
    """Where a folding activation is least: the zero of its derivative between -3 and 0."""
    lower, upper = -3.0, 0.0
    for _ in range(60):
        middle = torch.tensor((lower + upper) / 2, dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(module(middle), middle)
        at = float(middle.detach())
        lower, upper = (lower, at) if slope > 0 else (at, upper)
    return upper
