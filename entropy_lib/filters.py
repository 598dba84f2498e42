"""The linear layers of a model, filter by filter: the numbers behind Figs 1, 8 and 9."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from entropy_lib.layers import CONV, DENSE, Bring, Kind, Size, known, reason
from entropy_lib.maps import Example, map_sizes
from entropy_lib.theory.change import dense_entropy_change
from entropy_lib.theory.checks import checked, checked_pair
from entropy_lib.weights import Unreadable, read, replaced


@torch.no_grad()
def filter_flow(model: nn.Module, input_size: Size = (16, 16), example: Example | None = None) -> pd.DataFrame:
    r"""Entropy change of every filter of a model, one row per filter and layer in forward order.

    For convolutions a filter is a 2-D slice (out, in). A dense layer is one row. The model is read and never changed.

    Args:
        model: any module with dense or 2-D convolutional layers, such as a checkpoint in training.
        input_size: the grid `(l, w)` on which the circular log-det of every convolution is taken, or the kernel's
            size, if that is larger. Per pixel and channel it depends little on the grid.
        example: a batch that the model takes, or a tuple of arguments, or a mapping of named ones. The model is run
            once with its shape alone, no number is computed: layers come in the order in which they are used, and
            each convolution is measured on the map that it sees. Without it the order is that of registration, which
            is the forward order of torchvision's models.

    Returns:
        A data frame, every measure in nats, with the columns `layer` (1, 2, ...), `name`, `kind`
        (`dense` or `conv`), `output` and `input` (channels of the slice, 0 for a dense layer), and

        - `entropy_change`: the paper's, :math:`\log|c_{11}|` per filter (Figs 1, 8 and 9 leave out the factor
          of Eq. 22); :math:`\log|\det W|` for a dense layer;
        - `log_norm`: log of the slice's Euclidean norm, log of the Frobenius norm for a dense layer;
        - `exact`: of the whole layer, the same in each of its rows: the volume change per dimension that goes through.
          For a convolution it is the circular log-det per pixel and channel with the layer's groups, stride and
          dilation, on a map that is a multiple of the stride; zeros in the padding are not circular, and change it.
          For a dense layer it is ½ log det of the Gram matrix per output.

        Its `attrs["skipped"]` maps every other module that holds a matrix to the reason why it has no row,
        `attrs["tied"]` every layer whose weight is that of an earlier one to that one's name.

    Raises:
        ValueError: the model has no layer that can be read, or a weight is not finite.
        RuntimeError: the model does not run on the shape of the example.

    >>> flow = filter_flow(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4)), input_size=(4, 4))
    >>> flow[["layer", "name", "kind", "output"]]
       layer name   kind  output
    0      1    0   conv       0
    1      1    0   conv       1
    2      2    2  dense       0
    """
    size = checked_pair(input_size, "input_size (l, w)")
    parts = dict(model.named_modules())
    left_out = dict(replaced(model))
    registered = {name: size for name, part in parts.items() if known(part)}
    used = registered if example is None else map_sizes(model, example)
    sizes = {name: seen for name, seen in used.items() if name not in left_out}
    skipped = _skipped(parts, set(sizes), left_out)
    if not sizes:
        listed = "".join(f"; {name!r}: {why}" for name, why in skipped.items())
        raise ValueError(f"{type(model).__name__} has no layer whose entropy flow could be read{listed}")
    frames = []
    for number, (name, seen) in enumerate(sizes.items(), start=1):
        try:
            frames.append(_rows(parts[name], seen).assign(layer=number, name=name))
        except (ValueError, TypeError) as error:
            raise ValueError(f"layer {name!r}: {error}") from error
    columns = ["layer", "name", "kind", "output", "input", "entropy_change", "log_norm", "exact"]
    flow = pd.concat(frames, ignore_index=True)[columns]
    flow.attrs |= {"skipped": skipped, "tied": _tied(parts, sizes)}
    return flow


def _skipped(parts: dict[str, nn.Module], measured: set[str], left_out: dict[str, str]) -> dict[str, str]:
    """Every other module with a matrix of its own, and why it has no row."""
    found = {}
    for name, part in parts.items():
        if name not in measured and any(weight.ndim > 1 for weight in part.parameters(recurse=False)):
            unused = f"{type(part).__name__}: not used by the example" if known(part) else reason(part)
            found[name] = left_out.get(name, unused)
    return found


def _tied(parts: dict[str, nn.Module], measured: dict[str, Size]) -> dict[str, str]:
    """Layers that share the weight of an earlier one, with that one's name."""
    first: dict[int, str] = {}
    for name in measured:
        weight = parts[name]._parameters.get("weight")
        if weight is not None:
            first.setdefault(id(weight), name)
    named = {name: first.get(id(parts[name]._parameters.get("weight")), name) for name in measured}
    return {name: earlier for name, earlier in named.items() if earlier != name}


def _rows(part: nn.Module, size: Size) -> pd.DataFrame:
    kind, bring = known(part)  # type: ignore[misc]
    try:
        weight = checked(read(part, "weight"), "its weight", kind.shape)
    except Unreadable as why:
        raise ValueError(f"its weight cannot be read: {why}") from None
    return _ROWS[kind.name](kind, bring, part, weight, size)


def select_layers(means: pd.Series, deviations: float = 1.0) -> list[str]:
    """The layers that preserve entropy, by the rule of Fig. 7: "find the entropy-preserving layers".

    The paper gives no threshold. Here a layer is one of them when its mean lies more than `deviations`
    standard deviations above the mean over layers.

    Args:
        means: one number per layer, such as `flow.groupby("name", sort=False).entropy_change.mean()`;
            layers whose number is not finite are never picked and do not count.
        deviations: how far above.

    Returns:
        Names from the index of `means`, in its order.

    >>> select_layers(pd.Series({"first": -2.0, "second": -5.0, "third": -5.5}))
    ['first']
    """
    finite = means[np.isfinite(means)]
    return list(finite.index[finite > finite.mean() + deviations * finite.std(ddof=0)])


def _dense_rows(kind: Kind, bring: Bring, part: nn.Module, stored: torch.Tensor, size: Size) -> pd.DataFrame:
    weight = bring(part, stored)
    row = {
        "kind": kind.name, "output": 0, "input": 0,
        "entropy_change": float(dense_entropy_change(weight)),
        "log_norm": float(torch.linalg.matrix_norm(weight).log()),
        "exact": kind.exact(part, stored, size),
    }  # fmt: skip
    return pd.DataFrame([row])


def _conv_rows(kind: Kind, bring: Bring, part: nn.Module, stored: torch.Tensor, size: Size) -> pd.DataFrame:
    exact = kind.exact(part, stored, size)
    kernel = bring(part, stored).cpu()
    output, into = torch.meshgrid(torch.arange(kernel.shape[0]), torch.arange(kernel.shape[1]), indexing="ij")
    return pd.DataFrame(
        {
            "kind": kind.name, "output": output.flatten(), "input": into.flatten(),
            "entropy_change": kernel[..., 0, 0].abs().log().flatten(),
            "log_norm": torch.linalg.matrix_norm(kernel).log().flatten(),
            "exact": exact,
        }
    )  # fmt: skip


_ROWS: dict[str, Any] = {DENSE.name: _dense_rows, CONV.name: _conv_rows}
