"""Recurrent cells: what one step does to the state, given the input of that step."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from entropy_lib.nonlinear.activations import log_slope_of_tanh
from entropy_lib.theory.checks import checked, lifted
from entropy_lib.theory.linalg import log_abs_det
from entropy_lib.weights import read


def lstm_entropy_change(cell: nn.LSTMCell, x: Tensor, state: tuple[Tensor, Tensor]) -> Tensor:
    r"""Entropy change of the state of an LSTM in one step, :math:`(h, c) \mapsto (h', c')` with the input x fixed.

    .. math:: \log|\det W_{ho}| + \sum_i\bigl[\log f_i + \log|\tanh c'_i| + \log o_i(1-o_i)\bigr]

    with f the forget gate, o the output gate and :math:`W_{ho}` the matrix by which h enters o. Where it is
    invertible the step is injective almost everywhere (:math:`h' / \tanh c'` gives o, hence h, hence the gates, hence
    c), so the mean over data is exact: a square matrix, and no completion.

    Args:
        cell: `torch.nn.LSTMCell`.
        x: `(batch, inputs)`.
        state: `(h, c)`, `(batch, H)` each.

    Returns:
        `(batch,)`, in nats; `-inf` where some c' is zero. Half precision is computed and returned in float32.

    Raises:
        TypeError: another module, or tensors that are not real floating-point ones.
        ValueError: shapes that do not fit the cell, or entries that are not finite.

    A state that starts at zero has no density, nor has any state given all inputs: the number is then the volume
    change of the map. Source: subtract :math:`o(1-\tanh^2 c')` times the rows of c' from those of h'.

    >>> cell = nn.LSTMCell(1, 1)
    >>> _ = [parameter.data.zero_() for parameter in cell.parameters()]
    >>> cell.weight_hh.data[3] = 1.0  # W_ho
    >>> one = torch.ones(1, 1)
    >>> lstm_entropy_change(cell, one, (0 * one, one)).exp().detach()  # 1/2 x tanh 1/2 x 1/4
    tensor([0.0578])
    """
    x, h, c = _checked(cell, nn.LSTMCell, x, *state)
    preactivations = _affine(cell, "ih", x) + _affine(cell, "hh", h)
    i, f, g, o = preactivations.chunk(4, 1)
    new = f.sigmoid() * c + i.sigmoid() * g.tanh()
    weight = lifted(read(cell, "weight_hh")).chunk(4)[3]
    each = logsigmoid(f) + new.tanh().abs().log() + logsigmoid(o) + logsigmoid(-o)
    return log_abs_det(weight) + each.sum(1)


def gru_entropy_change(cell: nn.GRUCell, x: Tensor, h: Tensor) -> Tensor:
    r"""Volume change of the state of a GRU in one step, :math:`h \mapsto h'` with the input x fixed: log|det J| of

    .. math:: J = \operatorname{diag} z + \operatorname{diag}\bigl((h-n)z(1-z)\bigr)W_{hz}
        + \operatorname{diag}\bigl((1-z)(1-n^2)\bigr)\bigl[\operatorname{diag} r\,W_{hn}
        + \operatorname{diag}\bigl(q\,r(1-r)\bigr)W_{hr}\bigr], \qquad q = W_{hn}h + b_{hn}

    The step may fold (det J changes its sign over states), so the mean over data is an upper bound.

    Args:
        cell: `torch.nn.GRUCell`.
        x: `(batch, inputs)`.
        h: `(batch, H)`.

    Returns:
        `(batch,)`, in nats. Half precision is computed and returned in float32.

    Raises:
        TypeError, ValueError: as :func:`lstm_entropy_change`.

    One H x H determinant for each example. Source: the cell's equations, differentiated.

    >>> cell = nn.GRUCell(1, 2)
    >>> _ = [parameter.data.zero_() for parameter in cell.parameters()]
    >>> gru_entropy_change(cell, torch.ones(1, 1), torch.ones(1, 2)).exp().detach()  # z = 1/2, twice
    tensor([0.2500])
    """
    x, h = _checked(cell, nn.GRUCell, x, h)
    of_input, of_state = _affine(cell, "ih", x).chunk(3, 1), _affine(cell, "hh", h).chunk(3, 1)
    r, z = (of_input[0] + of_state[0]).sigmoid(), (of_input[1] + of_state[1]).sigmoid()
    q = of_state[2]
    n = (of_input[2] + r * q).tanh()
    w_r, w_z, w_n = lifted(read(cell, "weight_hh")).chunk(3)
    candidate = r[..., None] * w_n + (q * r * (1 - r))[..., None] * w_r
    jacobian = (
        torch.diag_embed(z)
        + ((h - n) * z * (1 - z))[..., None] * w_z
        + ((1 - z) * (1 - n.square()))[..., None] * candidate
    )
    return log_abs_det(jacobian)


def rnn_entropy_change(cell: nn.RNNCell, x: Tensor, h: Tensor) -> Tensor:
    r"""Entropy change of the state of a tanh RNN in one step, :math:`h \mapsto h'` with the input x fixed.

    .. math:: \log|\det W_{hh}| + \sum_i\log(1-h_i'^2)

    Exact where :math:`W_{hh}` is invertible: a dense layer and an activation.

    Args:
        cell: `torch.nn.RNNCell` with `nonlinearity="tanh"`.
        x: `(batch, inputs)`.
        h: `(batch, H)`.

    Returns:
        `(batch,)`, in nats. Half precision is computed and returned in float32.

    Raises:
        TypeError: as :func:`lstm_entropy_change`.
        ValueError: as there; a cell with ReLU, which has no density behind it.

    Source: Theorem 2 of Meni et al. for the square weight, change of variables for tanh.

    >>> cell = nn.RNNCell(1, 1)
    >>> _ = [parameter.data.fill_(value) for parameter, value in zip(cell.parameters(), (0, 2, 0, 0))]
    >>> rnn_entropy_change(cell, torch.ones(1, 1), torch.zeros(1, 1)).exp().detach()  # W_hh
    tensor([2.])
    """
    x, h = _checked(cell, nn.RNNCell, x, h)
    if cell.nonlinearity != "tanh":
        raise ValueError(f"the nonlinearity must be 'tanh', got {cell.nonlinearity!r}, which leaves no density")
    weight = lifted(read(cell, "weight_hh"))
    return log_abs_det(weight) + log_slope_of_tanh(_affine(cell, "ih", x) + _affine(cell, "hh", h)).sum(1)


def state_changes(module: nn.RNNBase, x: Tensor) -> tuple[Tensor, float]:
    """Volume changes of the states of all layers of a recurrent module, summed over time, and the linear part.

    Args:
        module: `LSTM`, `GRU` or tanh `RNN`, in one direction and without projections.
        x: `(time, batch, inputs)`.

    Returns:
        `(batch,)`, from states that start at zero; and how much of it is log|det| of the square weight that stands in
        the formula as a summand, W_ho or W_hh, once for each step; NaN for a GRU, which has none.
    """
    change, linear = x.new_zeros(x.shape[1]), 0.0
    for layer in range(module.num_layers):
        found, hidden = _through_time(_cell(module, layer), x)
        square = lifted(read(module, f"weight_hh_l{layer}"))[-module.hidden_size :]
        linear += math.nan if isinstance(module, nn.GRU) else len(x) * float(log_abs_det(square).detach())
        change, x = change + found, hidden
    return change, linear


_CELLS: Mapping[type[nn.RNNBase], tuple[Any, Callable[..., Tensor]]] = {
    nn.LSTM: (nn.LSTMCell, lstm_entropy_change),
    nn.GRU: (nn.GRUCell, gru_entropy_change),
    nn.RNN: (nn.RNNCell, rnn_entropy_change),
}


def _cell(module: nn.RNNBase, layer: int) -> nn.RNNCellBase:
    """One layer of a recurrent module as a cell that shares its weights."""
    (kind,) = (cell for base, (cell, _) in _CELLS.items() if isinstance(module, base))
    size = module.input_size if layer == 0 else module.hidden_size
    cell: nn.RNNCellBase = kind(size, module.hidden_size, bias=module.bias, device="meta")
    for name, _ in list(cell.named_parameters()):
        setattr(cell, name, nn.Parameter(read(module, f"{name}_l{layer}"), requires_grad=False))
    return cell


def _through_time(cell: Any, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The change summed over the steps, `(batch,)`, and the hidden states, `(time, batch, H)`."""
    (change_of,) = (change for kind, change in _CELLS.values() if isinstance(cell, kind))
    zeros = steps.new_zeros(steps.shape[1], cell.hidden_size)
    state = (zeros, zeros) if isinstance(cell, nn.LSTMCell) else zeros
    change, hidden = steps.new_zeros(steps.shape[1]), []
    for x in steps:
        change = change + change_of(cell, x, state)
        state = cell(x, state)
        hidden.append(state[0] if isinstance(state, tuple) else state)
    return change, torch.stack(hidden)


def _affine(cell: nn.RNNCellBase, name: str, x: Tensor) -> Tensor:
    """W x + b of the cell, `name` being `ih` for the input and `hh` for the state."""
    bias = read(cell, f"bias_{name}") if cell.bias else None
    return linear(x, lifted(read(cell, f"weight_{name}")), None if bias is None else lifted(bias))


def _checked(cell: nn.Module, kind: type[nn.RNNCellBase], x: Tensor, *state: Tensor) -> list[Tensor]:
    """The tensors, ready for the formulas, or why they do not fit the cell."""
    if not isinstance(cell, kind):
        raise TypeError(f"the cell must be a torch.nn.{kind.__name__}, got {type(cell).__name__}")
    tensors = [checked(x, "x", "(batch, inputs)"), *(checked(part, "the state", "(batch, H)") for part in state)]
    expected = [(len(x), cell.input_size)] + [(len(x), cell.hidden_size)] * len(state)
    found = [tuple(tensor.shape) for tensor in tensors]
    if found != expected:
        raise ValueError(f"{kind.__name__} takes x and a state of shapes {expected}, got {found}")
    return tensors
