"""The Jacobian of any map by autograd: the oracle of every formula, and the fallback where there is none."""

from collections.abc import Callable

import torch
from torch import Tensor

from entropy_lib.theory.checks import checked
from entropy_lib.theory.linalg import log_volume

Map = Callable[[Tensor], Tensor]


def jacobian_entropy_change(map: Map, x: Tensor) -> Tensor:
    r"""Volume change of any map, example by example, from its Jacobian J.

    .. math::
        \log|\det J| \quad(\text{out} = \text{in}), \qquad
        \tfrac12\log\det(JJ^{\mathsf T})\ (\text{out} < \text{in}), \qquad
        \tfrac12\log\det(J^{\mathsf T}J)\ (\text{out} > \text{in})

    Its mean over data is :math:`H(\varphi(X)) - H(X)` for an injective map with out = in, and an upper bound of it
    for any other map with out = in. For out < in it is no difference of entropies
    (:func:`gram_entropy_change` says what it is), for out > in the entropy is taken on the image.

    Args:
        map: from `(batch, ...)` to `(batch, ...)`, row by row: no example may depend on another one. A module in
            evaluation mode is such a map.
        x: `(batch, ...)`.

    Returns:
        `(batch,)`, in nats; `-inf` where a pivot is exactly zero.

    Raises:
        TypeError: `x` is not a real floating-point tensor, or the map returns no tensor.
        ValueError: `x` is not finite, or the map changes the number of rows.

    As many backward passes as there are outputs. Differentiable, in `x` and in what the map is made of, where the map
    is twice differentiable. Source: change of variables; Federer's area formula for out > in.

    >>> jacobian_entropy_change(lambda x: x**3, torch.tensor([[1.0, 2.0]])).exp().detach()  # 3 x 12
    tensor([36.])
    """
    return log_volume(row_jacobians(map, x))


def row_jacobians(map: Map, x: Tensor) -> Tensor:
    """The Jacobian of each row of a map, `(batch, ...)` to `(batch, out, in)`, by one backward pass for each output."""
    x = checked(x, "x", "(batch, ...)")
    keep = torch.is_grad_enabled()
    with torch.enable_grad():
        return jacobians_between(*followed(map, x), keep)


def followed(map: Map, x: Tensor) -> tuple[Tensor, Tensor]:
    """The rows as a point of a graph, and what the map makes of them."""
    point = x if x.requires_grad else x.detach().requires_grad_()
    return point, _rows(map, point)


def jacobians_between(x: Tensor, y: Tensor, keep: bool) -> Tensor:
    """Of two tensors of one graph, `(batch, ...)` each: `(batch, out, in)`. With `keep` it can be differentiated."""
    columns = y.flatten(1).unbind(1)
    if not y.requires_grad:  # it depends on nothing
        return x.new_zeros(len(x), len(columns), x[0].numel())
    rows = [
        torch.autograd.grad(column.sum(), x, retain_graph=True, create_graph=keep, materialize_grads=True)[0]
        for column in columns
    ]
    return torch.stack([row.flatten(1) for row in rows], 1)


def _rows(map: Map, x: Tensor) -> Tensor:
    """What the map makes of the rows, or why it is no map of rows."""
    y = map(x)
    if not isinstance(y, Tensor):
        raise TypeError(f"the map must return a tensor, it returned {type(y).__name__}")
    if y.ndim < 2 or len(y) != len(x):
        raise ValueError(
            f"the map must keep the rows, (batch, ...) to (batch, ...): {tuple(x.shape)} to {tuple(y.shape)}"
        )
    return y
