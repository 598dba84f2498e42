"""What can be said of one step or block of a network: a number, what kind of statement it is, or why there is none."""

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from entropy_lib.layers import circular_exact, known
from entropy_lib.nonlinear.activations import ACTIVATIONS, activation, activation_entropy_change
from entropy_lib.nonlinear.attention import attention_entropy_change
from entropy_lib.nonlinear.jacobian import jacobians_between, row_jacobians
from entropy_lib.nonlinear.norms import norm_entropy_change
from entropy_lib.nonlinear.recurrent import state_changes
from entropy_lib.trace import Segment, Step
from entropy_lib.weights import Unreadable, read


class Statement(StrEnum):
    EXACT = "exact"
    ESTIMATE = "estimate"
    BOUND = "upper bound"
    NONE = "none"


@dataclass(frozen=True)
class Finding:
    """What is said of one row over one batch.

    Args:
        statement: with what right.
        change: in nats, one number for all examples or `(batch,)`.
        linear: the part of it that is a linear layer's, likewise.
        lost: dimensions, likewise.
        gap: by how much the change may be too high, likewise.
        why: what the number leaves out, or why there is none.
        alone: it is of another map than the one from the layer's input to its output, and joins no chain.
    """

    statement: Statement
    change: float | Tensor = math.nan
    linear: float | Tensor = 0.0
    lost: float | Tensor = 0.0
    gap: float | Tensor = 0.0
    why: str = ""
    alone: bool = False


def _none(why: str, lost: float = math.nan) -> Finding:
    return Finding(Statement.NONE, linear=math.nan, lost=lost, why=why)


_PENDING = _none("depends on the data, which data=… gives")
_NO_FORMULA = _none("no formula; its block is measured as a whole")
_UNCHANGED = Finding(Statement.EXACT, 0.0)

_NOT_INJECTIVE = "not known to be injective"

# Sides of a matrix that is made for one row, and entries of all that are held for it.
_DENSE, _ENTRIES = 1024, 2**24


def finding(segment: Segment, modules: Mapping[str, nn.Module]) -> Finding:
    """What can be said of a segment; `modules` hold the numbers."""
    if segment.x is None:
        return _none("several tensors come in")
    if not _of_examples(segment):
        return _none("its rows are not the examples")
    if segment.changed:
        return _none("changes in place what comes in, so that it is gone")
    if not segment.y.is_floating_point():
        return _none("what comes out are no real numbers")
    if not segment.x.is_floating_point():
        return _none("what comes in are no real numbers, and have no density", 0.0)
    if len(segment.steps) == 1:
        (step,) = segment.steps
        rule = _rule(step) if segment.first else None
        if rule:
            return rule(step, modules.get(step.name), segment.x, segment.y)
    ends = _unequal(segment.x, segment.y)
    if ends:
        return ends
    if segment.within:
        return _NO_FORMULA
    if segment.rewritten:
        return _none("what comes out is changed in place afterwards")
    if any(step.detached for step in segment.steps):
        return _none("a part of it has no graph, so that its Jacobian is not known")
    return _by_jacobian(segment.x, segment.y)


def _of_examples(segment: Segment) -> bool:
    return all(
        tensor.ndim and len(tensor) == segment.examples for tensor in (segment.x, segment.y) if tensor is not None
    )


Rule = Callable[[Step, Any, Tensor, Tensor], Finding]


def _rule(step: Step) -> Rule | None:
    if step.module is None:
        return _FUNCTIONS.get(step.kind)
    if not _as_it_was(step.module):
        return None
    own = (rule for kind, rule in LAYERS.items() if isinstance(step.module, kind))
    return next(own, None) or (_dense if known(step.module) else None)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a row by itself, and not looked into."""
    if not _as_it_was(module):
        return False
    place = type(module).__module__
    whole = place.startswith("torch.nn.modules") and not place.endswith("container") and not any(module.children())
    return whole or isinstance(module, tuple(LAYERS)) or known(module) is not None


# What a subclass may define of its own and still compute what the layer of torch computes.
_HARMLESS = {"__init__", "__repr__", "extra_repr", "reset_parameters", "__getstate__", "__setstate__", "__deepcopy__"}


def _as_it_was(module: nn.Module) -> bool:
    """Whether a module computes what the layer of torch does that it descends from: it overrides no method of it."""
    lineage = type(module).__mro__
    layer = next((kind for kind in lineage if kind.__module__.startswith("torch.nn.modules")), nn.Module)
    if layer is nn.Module:  # no layer of torch
        return True
    own = {name for kind in lineage[: lineage.index(layer)] for name, value in vars(kind).items() if callable(value)}
    return not {name for name in own - _HARMLESS if hasattr(layer, name)}


# --- Any map, by its dimensions and its Jacobian ----------------------------------------------------


def _unequal(x: Tensor, y: Tensor) -> Finding | None:
    """That the dimension changes, if it does."""
    d, n = x[0].numel(), y[0].numel()
    if n < d:
        return _none(f"keeps at most {n:,} of {d:,} dimensions", float(d - n))
    if n > d:
        return _none(f"fills at most {d:,} of {n:,} dimensions: no density", 0.0)
    return None


def _by_jacobian(x: Tensor, y: Tensor) -> Finding:
    ends = _unequal(x, y)
    if ends:
        return ends
    if x.is_meta:
        return _PENDING
    if not x.requires_grad:
        return _none("no graph leads to it, so that its Jacobian is not known")
    d = x[0].numel()
    if d > _DENSE:
        return _too_large(x)
    some = max(1, _ENTRIES // d**2)
    values = torch.linalg.svdvals(jacobians_between(x, y[:some], keep=False)[:some])
    lost = (values <= values[:, :1] * d * torch.finfo(values.dtype).eps).sum(1).to(values.dtype)
    if lost.any():
        return Finding(Statement.NONE, -math.inf, math.nan, lost, why="its Jacobian is numerically singular")
    of = f"; of the first {some} examples" if some < len(y) else ""
    return Finding(Statement.BOUND, values.log().sum(1), math.nan, lost, why=_NOT_INJECTIVE + of)


def _too_large(x: Tensor) -> Finding:
    return _none(f"{x[0].numel():,} dimensions: its Jacobian is too large")


# --- Layers ------------------------------------------------------------------------------------------


def _dense(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    ends = _unequal(x, y)
    if ends:
        return ends
    kind, bring = known(module)  # type: ignore[misc]
    try:
        weight = read(module, "weight").detach()
    except Unreadable as why:
        return _none(f"its weight cannot be read: {why}")
    weight = bring(module, weight)
    if weight.shape[0] != weight.shape[1]:  # as many vectors more as the vectors are shorter
        return _by_jacobian(x, y)
    return _square(weight, y[0].numel() // len(weight))


def _convolution(step: Step, module: _ConvNd, x: Tensor, y: Tensor) -> Finding:
    ends = _unequal(x, y)
    if ends:
        return ends
    weight = read(module, "weight").detach()
    if x[0].numel() <= _DENSE:
        plain = copy.deepcopy(module).double()
        at = torch.zeros(1, *x.shape[1:], dtype=torch.float64, device=weight.device)
        return _square(row_jacobians(plain, at).detach()[0], like=weight)
    if not _has_a_twin(module, x, y):
        return _too_large(x)
    if module.padding_mode == "circular" and _vanishes(module, weight, x.shape[2:]):
        return Finding(Statement.NONE, -math.inf, -math.inf, math.nan, why="its transform is zero at some frequency")
    sums, sizes = weight.flatten(2).sum(2), weight.abs().flatten(2).sum(2)
    if module.groups == 1 and sums.shape[0] == sums.shape[1] and _singular(_pivots(sums), weight, sizes.max()):
        return Finding(Statement.NONE, -math.inf, -math.inf, math.nan, why="its taps sum to a singular matrix")
    change = x[0].numel() * circular_exact(module, weight, x.shape[2:])
    patches = tuple(module.kernel_size) == tuple(module.stride) and set(module.dilation) == {1}
    if patches or module.padding_mode == "circular":
        return _unless_singular(change, change, "its matrix is singular")
    why = f"zeros in the padding: too large for its matrix; its circular twin changes by {change:,.0f} nats"
    return Finding(Statement.NONE, linear=math.nan, why=why)


def _has_a_twin(module: _ConvNd, x: Tensor, y: Tensor) -> bool:
    """Whether the padding is what a circular convolution of this size has: one output for each stride."""
    small, large = (x, y) if module.transposed else (y, x)
    return all(n * s == m for n, s, m in zip(small.shape[2:], module.stride, large.shape[2:], strict=True))


def _vanishes(module: _ConvNd, weight: Tensor, sides: Sequence[int]) -> bool:
    """Whether a filter that stands alone in its group erases a frequency, up to the rounding of its taps."""
    if weight.shape[0] != module.groups or weight.shape[1] != 1 or set(module.stride) != {1}:
        return False
    spread = weight.new_zeros(
        len(weight), *(d * (n - 1) + 1 for d, n in zip(module.dilation, weight.shape[2:], strict=True))
    )
    spread[(slice(None), *(slice(None, None, d) for d in module.dilation))] = weight[:, 0]
    axes = tuple(range(1, spread.ndim))
    if any(n > side for n, side in zip(spread.shape[1:], sides, strict=True)):
        return False
    spectrum = torch.fft.fftn(spread.double(), s=tuple(sides), dim=axes).abs()
    return bool((spectrum.amin(axes) <= 8 * torch.finfo(torch.float32).eps * weight.abs().sum(axes)).any())


def _square(matrix: Tensor, copies: int = 1, like: Tensor | None = None) -> Finding:
    """Of a square matrix that acts on so many parts of an example; singular is what its own precision cannot tell
    from a singular one, by the pivots of its factorisation."""
    pivots = _pivots(matrix)
    lost = _singular(pivots, matrix if like is None else like, pivots.max())
    if lost:
        why = "its matrix is numerically singular"
        return Finding(Statement.NONE, -math.inf, -math.inf, float(lost * copies), why=why)
    change = copies * float(pivots.log().sum())
    return Finding(Statement.EXACT, change, change)


def _pivots(matrix: Tensor) -> Tensor:
    pivots: Tensor = torch.linalg.lu_factor_ex(matrix.double()).LU.diagonal().abs()
    return pivots


def _singular(pivots: Tensor, given: Tensor, scale: Tensor) -> int:
    """How many pivots of so large a matrix the rounding of the given numbers could have made out of zeros."""
    eps = min(torch.finfo(given.dtype).eps, torch.finfo(torch.float32).eps)
    return int((pivots <= 4 * math.sqrt(len(pivots)) * eps * scale).sum())


def _activation(step: Step, module: nn.Module, x: Tensor, y: Tensor) -> Finding:
    try:
        what = activation(module)
    except ValueError:  # a slope that is not positive
        return _by_jacobian(x, y)
    if x.is_meta:
        return _PENDING
    change = activation_entropy_change(module, x.detach())
    if what.flat:
        off = what.log_slope(module, x.detach()).isneginf().flatten(1).sum(1).to(change.dtype)
        if off.any():
            return Finding(Statement.NONE, -math.inf, lost=off, why="units are switched off: no density is left")
        return Finding(Statement.BOUND, change, lost=off, why="injective where no unit is off, as in these data")
    if what.folds:
        gap = math.log(2) * (x < 0).flatten(1).sum(1).to(change.dtype)
        return Finding(Statement.BOUND, change, gap=gap.detach(), why="two inputs share an output below 0")
    return Finding(Statement.ESTIMATE, change)


def _norm(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    if isinstance(module, _BatchNorm) and module.running_var is not None:
        shape = torch.zeros(1, *x.shape[1:], dtype=module.running_var.dtype, device=module.running_var.device)
        change = float(norm_entropy_change(module, shape).detach()[0])
        return _unless_singular(change, 0.0, "a channel is multiplied by zero")
    if isinstance(module, _BatchNorm):
        return Finding(Statement.NONE, lost=math.nan, why="mixes the examples, for it keeps no running statistics")
    if isinstance(module, nn.LayerNorm):
        vectors = x[0].numel() // math.prod(module.normalized_shape)
        return Finding(Statement.NONE, lost=float(vectors), why=f"erases the mean of each of {vectors:,} vectors")
    if x.is_meta:
        return _PENDING
    each = norm_entropy_change(step.module, x.detach()).detach()  # type: ignore[arg-type]
    if not each.isfinite().all():
        return Finding(Statement.NONE, -math.inf, lost=math.nan, why="an entry is multiplied by zero, or there is no ε")
    return Finding(Statement.ESTIMATE, each)


def _unless_singular(change: float, linear: float, why: str) -> Finding:
    if math.isfinite(change):
        return Finding(Statement.EXACT, change, linear)
    return Finding(Statement.NONE, -math.inf, lost=math.nan, why=why)


def _attention(step: Step, module: nn.MultiheadAttention, x: Tensor, y: Tensor) -> Finding:
    """Of tokens to themselves, with no mask but the causal one; anything else by its Jacobian."""
    call = inspect.signature(nn.MultiheadAttention.forward).bind(module, *step.args, **step.kwargs).arguments
    itself = all(call[name] is x for name in ("query", "key", "value"))
    mask: Tensor | None = call.get("attn_mask")
    causal = mask is not None and _is_causal(mask, x)
    masked = (mask is not None and not causal) or call.get("key_padding_mask") is not None
    if not module.batch_first:
        return _none("takes the batch second")
    if not itself or masked or module.bias_k is not None or module.add_zero_attn or module.in_proj_weight is None:
        return _by_jacobian(x, y)
    if x.is_meta:
        return _PENDING
    if not causal and x[0].numel() > _DENSE:
        return _too_large(x)
    out = read(module.out_proj, "weight").detach()
    if _singular(pivots := _pivots(out), out, pivots.max()):
        return Finding(Statement.NONE, -math.inf, math.nan, math.nan, why="its output matrix is numerically singular")
    with torch.no_grad():
        change = attention_entropy_change(step.module, x.detach(), causal)  # type: ignore[arg-type]
    if not change.isfinite().all():
        return Finding(Statement.NONE, -math.inf, math.nan, math.nan, why="its Jacobian is singular")
    return Finding(Statement.BOUND, change, math.nan, why=_NOT_INJECTIVE)


def _is_causal(mask: Tensor, x: Tensor) -> bool:
    """Whether a mask hides what comes later and changes nothing else."""
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    if mask.shape != future.shape or mask.is_meta:
        return False
    own = mask.cpu()
    return torch.equal(own if own.dtype == torch.bool else own.isneginf(), future) and not (own[~future] != 0).any()


def _same(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    return _unequal(x, y) or _UNCHANGED


def _recurrent(step: Step, module: nn.RNNBase, x: Tensor, y: Tensor) -> Finding:
    """The volume change of the states of all its layers, over all steps, given the inputs."""
    if not module.batch_first:
        return _none("takes the batch second")
    if module.bidirectional or module.proj_size or module.mode == "RNN_RELU" or len(step.args) + len(step.kwargs) > 1:
        return _unequal(x, y) or _none("no formula: it runs both ways, projects, rectifies, or is given a state")
    if x.is_meta:
        return _PENDING
    with torch.no_grad():
        change, linear = state_changes(step.module, x.detach().transpose(0, 1))  # type: ignore[arg-type]
    if math.isinf(linear):
        return Finding(Statement.NONE, -math.inf, linear, math.nan, why="its matrix is singular", alone=True)
    why = f"of the state, given the inputs, summed over {x.shape[1]} steps"
    statement = Statement.BOUND if isinstance(module, nn.GRU) else Statement.ESTIMATE
    return Finding(statement, change, linear, why=why, alone=True)


LAYERS: Mapping[type[nn.Module], Rule] = {
    _ConvNd: _convolution,
    **dict.fromkeys(ACTIVATIONS, _activation),
    **dict.fromkeys((_BatchNorm, nn.LayerNorm, nn.RMSNorm), _norm),
    **dict.fromkeys(
        (
            nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Flatten, nn.Unflatten,
            nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle,
        ),
        _same,
    ),
    nn.MultiheadAttention: _attention,
    **dict.fromkeys((nn.LSTM, nn.GRU, nn.RNN), _recurrent),
}  # fmt: skip


# --- Functions of torch ------------------------------------------------------------------------------


def _as_layer(kind: type[nn.Module]) -> Rule:
    """A function whose arguments behind the input are those of a layer."""

    def rule(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
        named = {name: value for name, value in step.kwargs.items() if name not in ("input", "inplace")}
        return _activation(step, kind(*step.args[1:], **named), x, y)

    return rule


def _shifted(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    """Something that does not depend on the input is added, or it is taken from that."""
    alone = sum(argument is x for argument in step.args) == 1  # not x + x
    usual = not step.kwargs or (set(step.kwargs) == {"alpha"} and step.args[0] is x and step.kind != "rsub")
    return _same(step, module, x, y) if alone and usual else _by_jacobian(x, y)


def _scaled(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    """What comes in is multiplied or divided by something that does not depend on it."""
    ends, factors = _unequal(x, y), [argument for argument in step.args if argument is not x]
    divides = "div" in step.kind
    if ends or len(factors) != 1 or step.kwargs or (divides and step.args[0] is not x):
        return ends or _by_jacobian(x, y)
    factor = torch.as_tensor(factors[0], dtype=x.dtype)
    if factor.is_meta:
        return _PENDING
    if factor.ndim == y.ndim and len(factor) > 1:  # another factor for each example
        return _by_jacobian(x, y)
    change = float(factor.detach().abs().log().expand(1, *y.shape[1:]).sum())
    if not math.isfinite(change):
        return Finding(Statement.NONE, -math.inf, lost=math.nan, why="is multiplied by zero")
    return Finding(Statement.EXACT, -change if divides else change)


def _dropped(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    training = step.kwargs.get("training", step.args[2] if len(step.args) > 2 else True)
    return _by_jacobian(x, y) if training else _UNCHANGED


_FUNCTIONS: Mapping[str, Rule] = {
    **{
        name: _as_layer(kind)
        for name, kind in {
            "relu": nn.ReLU, "relu6": nn.ReLU6, "hardtanh": nn.Hardtanh, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
            "sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "softplus": nn.Softplus, "gelu": nn.GELU, "silu": nn.SiLU,
        }.items()
    },
    **dict.fromkeys(("dropout", "feature_dropout", "alpha_dropout"), _dropped),
    **dict.fromkeys(
        (
            "reshape", "view", "flatten", "unflatten", "permute", "transpose", "swapaxes", "movedim", "unsqueeze",
            "squeeze", "contiguous", "clone", "flip", "roll", "T", "mT", "H", "mH", "neg", "pixel_shuffle",
            "pixel_unshuffle", "to", "float", "double",
        ),
        _same,
    ),
    **dict.fromkeys(("mul", "rmul", "imul", "div", "truediv", "itruediv", "multiply", "divide"), _scaled),
    **dict.fromkeys(("add", "radd", "iadd", "sub", "rsub", "isub"), _shifted),
}  # fmt: skip
