"""Entropy flow of a model, layer by layer: the numbers behind Figs 1, 8 and 9."""

import copy
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from entropy_lib.layers import CONV, DENSE, kind_of, known, reason
from entropy_lib.theory.change import dense_entropy_change


@torch.no_grad()
def entropy_flow(
    model: nn.Module, input_size: tuple[int, int] = (16, 16), example: Tensor | None = None
) -> pd.DataFrame:
    r"""Entropy change of every filter of a model, one row per filter and layer in forward order.

    For convolutions a filter is a 2-D slice (out, in). A dense layer is one row.

    Args:
        model: any module with `Linear` or `Conv2d` layers, such as a checkpoint in training.
        input_size: the grid `(l, w)` on which the circular log-det of every convolution is taken;
            at least the kernel's size. Per pixel and channel it depends little on the grid.
        example: a batch that the model takes. The model is run once with its shape alone, no number is
            computed: layers come in the order in which they run, and each convolution is measured on the
            map that it sees (or the kernel's size, if that is larger). Without it the order is that of
            registration, which is the forward order of torchvision's models.

    Returns:
        A data frame, every measure in nats, with the columns `layer` (1, 2, ...), `name`, `kind`
        (`dense` or `conv`), `output` and `input` (channels of the slice, 0 for a dense layer), and

        - `entropy_change`: the paper's, :math:`\log|c_{11}|` per filter (Figs 1, 8 and 9 leave out the factor
          of Eq. 22); :math:`\log|\det W|` for a dense layer;
        - `log_norm`: log of the slice's Euclidean norm, log of the Frobenius norm for a dense layer;
        - `exact`: of the whole layer, the same in each of its rows: circular log-det per pixel and
          channel at stride one; ½ log det of the Gram matrix per output for a dense layer.

        Its `attrs["skipped"]` maps every other module that holds a matrix to the reason why it has no row.

    Raises:
        ValueError: the model has no dense or 2-D convolutional layer, or a weight is not finite.

    >>> flow = entropy_flow(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 4)), input_size=(4, 4))
    >>> flow[["layer", "name", "kind", "output"]]
       layer name   kind  output
    0      1    0   conv       0
    1      1    0   conv       1
    2      2    2  dense       0
    """
    layers: list[tuple[str, Any]] = [(name, part) for name, part in model.named_modules() if isinstance(part, MEASURED)]
    sizes = dict.fromkeys((name for name, _ in layers), input_size)
    if example is not None:
        sizes = map_sizes(model, example)
        layers = [(name, model.get_submodule(name)) for name in sizes]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear or Conv2d layer whose entropy flow could be read")
    frames = []
    for number, (name, part) in enumerate(layers, start=1):
        try:
            rows = _ROWS[kind_of(part).name](part, sizes[name])
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
        frames.append(rows.assign(layer=number, name=name))
    columns = ["layer", "name", "kind", "output", "input", "entropy_change", "log_norm", "exact"]
    flow = pd.concat(frames, ignore_index=True)[columns]
    flow.attrs["skipped"] = _skipped(model, {name for name, _ in layers})
    return flow


# What is measured; `layers.KINDS` knows more, whose maps are of another size than their inputs.
MEASURED = (nn.Linear, nn.Conv2d)


def _skipped(model: nn.Module, measured: set[str]) -> dict[str, str]:
    """Every other module with a matrix of its own, and why it has no row."""
    found = {}
    for name, part in model.named_modules():
        if name not in measured and any(weight.ndim > 1 for weight in part.parameters(recurse=False)):
            unseen = f"{type(part).__name__}: not run by the example, or not measured"
            found[name] = unseen if known(part) else reason(part)
    return found


@torch.no_grad()
def map_sizes(model: nn.Module, example: Tensor) -> dict[str, tuple[int, int]]:
    """The map `(l, w)` that each dense or convolutional layer sees, in the order in which they run.

    Computed from the example's shape, on a copy without numbers: the model itself is not touched. A layer that
    runs several times counts the first time; a convolution's map is at least as large as its kernel.
    """
    bare = _without_numbers(model)
    sizes: dict[str, tuple[int, int]] = {}

    def note(name: str, part: nn.Module, image: Tensor) -> None:
        least = part.kernel_size if isinstance(part, nn.Conv2d) else (1, 1)
        sizes.setdefault(name, (max(image.shape[-2], least[0]), max(image.shape[-1], least[1])))

    for name, part in bare.named_modules():
        if isinstance(part, MEASURED):
            part.register_forward_pre_hook(lambda part, inputs, name=name: note(name, part, inputs[0]))
    bare(example.to("meta"))
    return sizes


def _without_numbers(model: nn.Module) -> nn.Module:
    """A copy of the model on the meta device, made without copying a number.

    Whatever the model shares (a module used twice, a tied weight, a tensor kept as a plain attribute) its copy
    shares too: `deepcopy` finds each tensor's stand-in by the tensor's identity.
    """
    tensors = [
        value
        for part in model.modules()
        for value in [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]
        if isinstance(value, Tensor)
    ]
    stand_ins: dict[int, Any] = {}
    for tensor in tensors:
        bare = tensor.detach().to("meta")
        stand_ins[id(tensor)] = nn.Parameter(bare, False) if isinstance(tensor, nn.Parameter) else bare
    return copy.deepcopy(model, stand_ins)


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


def _dense_rows(layer: nn.Linear, size: tuple[int, int]) -> pd.DataFrame:
    weight = layer.weight
    row = {
        "kind": DENSE.name, "output": 0, "input": 0,
        "entropy_change": float(dense_entropy_change(weight)),
        "log_norm": float(torch.linalg.matrix_norm(weight.float()).log()),
        "exact": DENSE.exact(weight, size, 1),
    }  # fmt: skip
    return pd.DataFrame([row])


def _conv_rows(layer: nn.Conv2d, size: tuple[int, int]) -> pd.DataFrame:
    exact = CONV.exact(layer.weight, size, layer.groups)
    kernel = layer.weight.detach().float().cpu()
    output, into = torch.meshgrid(torch.arange(kernel.shape[0]), torch.arange(kernel.shape[1]), indexing="ij")
    return pd.DataFrame(
        {
            "kind": CONV.name, "output": output.flatten(), "input": into.flatten(),
            "entropy_change": kernel[..., 0, 0].abs().log().flatten(),
            "log_norm": torch.linalg.matrix_norm(kernel).log().flatten(),
            "exact": exact,
        }
    )  # fmt: skip


_ROWS: dict[str, Any] = {DENSE.name: _dense_rows, CONV.name: _conv_rows}
