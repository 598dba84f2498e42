"""What can be said of one step or block of a network: a number, what kind of statement it is, or why there is none."""

import copy
import math
from collections.abc import Callable, Mapping
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
from entropy_lib.theory.linalg import log_abs_det
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
        why: what the number leaves out, or why there is none.
        alone: it is of another map than the one from the layer's input to its output, and joins no chain.
    """

    statement: Statement
    change: float | Tensor = math.nan
    linear: float | Tensor = 0.0
    lost: float | Tensor = 0.0
    why: str = ""
    alone: bool = False


def _none(why: str, lost: float = math.nan) -> Finding:
    return Finding(Statement.NONE, linear=math.nan, lost=lost, why=why)


_PENDING = Finding(Statement.NONE, lost=math.nan, linear=math.nan, why="depends on the data, which data=… gives")
_NO_FORMULA = Finding(
    Statement.NONE, lost=math.nan, linear=math.nan, why="no formula; its block is measured as a whole"
)
_UNCHANGED = Finding(Statement.EXACT, 0.0)

_NOT_INJECTIVE = "not known to be injective"

# Sides of a matrix that is made for one row, and entries of all that are held for it.
_DENSE, _ENTRIES = 1024, 2**24


def finding(segment: Segment, modules: Mapping[str, nn.Module]) -> Finding:
    """What can be said of a segment; `modules` hold the numbers."""
    if segment.x is None:
        return _none("several tensors come in")
    if segment.changed:
        return _none("changes in place what comes in, so that it is gone")
    if not segment.x.is_floating_point():
        return _none("whole numbers come in, which have no density", 0.0)
    if len(segment.steps) == 1:
        (step,) = segment.steps
        rule = _rule(step)
        if rule:
            return rule(step, modules.get(step.name), segment.x, segment.y)
    if segment.within:
        return _unequal(segment.x, segment.y) or _NO_FORMULA
    return _by_jacobian(segment.x, segment.y)


Rule = Callable[[Step, Any, Tensor, Tensor], Finding]


def _rule(step: Step) -> Rule | None:
    if step.module is None:
        return _FUNCTIONS.get(step.kind)
    own = (rule for kind, rule in LAYERS.items() if isinstance(step.module, kind))
    return next(own, None) or (_dense if known(step.module) else None)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a row by itself, and not looked into."""
    whole = type(module).__module__.startswith("torch.nn.modules") and not any(module.children())
    return whole or isinstance(module, tuple(LAYERS)) or known(module) is not None


# --- Any map, by its dimensions and its Jacobian ----------------------------------------------------


def _unequal(x: Tensor, y: Tensor) -> Finding | None:
    """That the dimension changes, if it does."""
    if len(x) != len(y):
        return _none("its rows are no longer the examples")
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
    d = x[0].numel()
    if d > _DENSE:
        return _too_large(x)
    jacobian = jacobians_between(x, y[: max(1, _ENTRIES // d**2)], keep=False)
    values = torch.linalg.svdvals(jacobian)
    lost = (values <= values[:, :1] * d * torch.finfo(values.dtype).eps).sum(1).to(values.dtype)
    if lost.any():
        return Finding(Statement.NONE, -math.inf, math.nan, lost, "its Jacobian is singular")
    return Finding(Statement.BOUND, values.log().sum(1), math.nan, why=_NOT_INJECTIVE)


def _too_large(x: Tensor) -> Finding:
    why = f"{x[0].numel():,} dimensions: its Jacobian is too large"
    return _none(why)


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
    return _square(float(log_abs_det(weight)) * (y[0].numel() // len(weight)))


def _convolution(step: Step, module: _ConvNd, x: Tensor, y: Tensor) -> Finding:
    ends = _unequal(x, y)
    if ends:
        return ends
    d = x[0].numel()
    if d <= _DENSE:
        plain = copy.deepcopy(module).double()
        at = torch.zeros(1, *x.shape[1:], dtype=torch.float64, device=plain.weight.device)
        return _square(float(log_abs_det(row_jacobians(plain, at).detach()[0])))
    change = d * circular_exact(module, read(module, "weight").detach(), x.shape[2:])
    patches = (
        tuple(module.kernel_size) == tuple(module.stride) and set(module.dilation) == {1} and not any(module.padding)
    )
    if patches or module.padding_mode == "circular":
        return _square(change)
    return Finding(Statement.ESTIMATE, change, change, why="of its circular twin; zeros in the padding change it")


def _square(change: float) -> Finding:
    if not math.isfinite(change):
        return Finding(Statement.NONE, -math.inf, -math.inf, math.nan, "its matrix is singular")
    return Finding(Statement.EXACT, change, change)


def _activation(step: Step, module: nn.Module, x: Tensor, y: Tensor) -> Finding:
    what = activation(module)
    if x.is_meta:
        return _PENDING
    change = activation_entropy_change(module, x.detach())
    if what.flat:
        off = what.log_slope(module, x.detach()).isneginf().flatten(1).sum(1).to(change.dtype)
        if off.any():
            return Finding(Statement.NONE, -math.inf, lost=off, why="units are switched off: no density is left")
        return Finding(Statement.BOUND, change, why="injective where no unit is off, as in these data")
    if what.folds:
        gap = math.log(2) * float((y < 0).sum()) / len(y)
        return Finding(
            Statement.BOUND, change, why=f"two inputs share an output below 0: at most {gap:.4g} nats too high"
        )
    return Finding(Statement.ESTIMATE, change)


def _norm(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    if isinstance(module, _BatchNorm) and module.running_var is not None:
        shape = torch.zeros(1, *x.shape[1:], dtype=module.running_var.dtype, device=module.running_var.device)
        return _unless_singular(norm_entropy_change(module, shape))
    if isinstance(module, _BatchNorm):
        return Finding(Statement.NONE, lost=math.nan, why="mixes the examples, for it keeps no running statistics")
    if isinstance(module, nn.LayerNorm):
        vectors = x[0].numel() // math.prod(module.normalized_shape)
        return Finding(Statement.NONE, lost=float(vectors), why=f"erases the mean of each of {vectors:,} vectors")
    if x.is_meta:
        return _PENDING
    return Finding(Statement.ESTIMATE, norm_entropy_change(module, x.detach()).detach())


def _unless_singular(change: Tensor) -> Finding:
    value = float(change.detach()[0])
    if math.isfinite(value):
        return Finding(Statement.EXACT, value)
    return Finding(Statement.NONE, -math.inf, lost=math.nan, why="a channel is multiplied by zero")


def _attention(step: Step, module: nn.MultiheadAttention, x: Tensor, y: Tensor) -> Finding:
    """Of tokens to themselves, which is all that comes in as one tensor."""
    mask: Tensor | None = step.kwargs.get("attn_mask")
    causal = mask is not None and _is_causal(mask, x)
    if not module.batch_first:
        return _none("takes the batch second")
    if (mask is not None and not causal) or step.kwargs.get("key_padding_mask") is not None:
        return _none("has a mask of its own")
    if x.is_meta:
        return _PENDING
    if not causal and x[0].numel() > _DENSE:
        return _too_large(x)
    with torch.no_grad():
        change = attention_entropy_change(module, x.detach(), causal)
    return Finding(Statement.BOUND, change, math.nan, why=_NOT_INJECTIVE)


def _is_causal(mask: Tensor, x: Tensor) -> bool:
    future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    hidden = mask if mask.dtype == torch.bool else mask.isneginf()
    return mask.shape == future.shape and torch.equal(hidden.cpu(), future)


def _same(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    return _unequal(x, y) or _UNCHANGED


def _recurrent(step: Step, module: nn.RNNBase, x: Tensor, y: Tensor) -> Finding:
    """The volume change of the states of all its layers, over all steps, given the inputs."""
    if not module.batch_first:
        return _none("takes the batch second")
    if module.bidirectional or module.proj_size or module.mode == "RNN_RELU" or len(step.inputs) > 1:
        return _unequal(x, y) or _none("its state has no formula")
    if x.is_meta:
        return _PENDING
    with torch.no_grad():
        change, linear = state_changes(module, x.detach().transpose(0, 1))
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
    """Something that does not depend on the input is added."""
    twice = sum(argument is x for argument in step.args) > 1  # x + x
    return _by_jacobian(x, y) if twice else _same(step, module, x, y)


def _scaled(step: Step, module: Any, x: Tensor, y: Tensor) -> Finding:
    """What comes in is multiplied or divided by something that does not depend on it."""
    ends, factors = _unequal(x, y), [argument for argument in step.args if argument is not x]
    if ends or len(factors) != 1:
        return ends or _by_jacobian(x, y)
    factor = torch.as_tensor(factors[0], dtype=x.dtype)
    if factor.is_meta:
        return _PENDING
    if factor.ndim == y.ndim and len(factor) > 1:  # another factor for each example
        return _by_jacobian(x, y)
    change = float(factor.detach().abs().log().expand(1, *y.shape[1:]).sum())
    if not math.isfinite(change):
        return Finding(Statement.NONE, -math.inf, lost=math.nan, why="is multiplied by zero")
    return Finding(Statement.EXACT, -change if "div" in step.kind else change)


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
            "squeeze", "contiguous", "clone", "flip", "roll", "neg", "pixel_shuffle", "pixel_unshuffle", "to", "float",
            "double",
        ),
        _same,
    ),
    **dict.fromkeys(("mul", "rmul", "imul", "div", "truediv", "itruediv", "multiply", "divide"), _scaled),
    **dict.fromkeys(("add", "radd", "iadd", "sub", "rsub", "isub"), _shifted),
}  # fmt: skip
