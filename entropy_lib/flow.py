"""Entropy flow of a model, layer by layer: the numbers behind Figs 1, 8 and 9."""

import pandas as pd
import torch
from torch import Tensor, nn

from entropy_lib.theory.change import dense_entropy_change
from entropy_lib.theory.exact import circular_conv_entropy_change, gram_entropy_change


@torch.no_grad()
def entropy_flow(model: nn.Module, input_size: tuple[int, int] = (16, 16)) -> pd.DataFrame:
    r"""Entropy change of every filter of a model, one row per filter and layer in forward order.

    For convolutions a filter is a 2-D slice (out, in). A dense layer is one row.

    Args:
        model: any module; its `Linear` and `Conv2d` layers are read in the order in which they
            were registered, which is the forward order of torchvision's models.
        input_size: the grid `(l, w)` on which the circular log-det is taken; at least the kernel's size.

    Returns:
        A data frame, every measure in nats, with the columns `layer` (1, 2, ...), `name`, `kind`
        (`dense` or `conv`), `output` and `input` (channels of the slice, 0 for a dense layer), and

        - `entropy_change`: the paper's, log|c11| per filter (Figs 1, 8 and 9 leave out the factor
          of Eq. 22); log|det W| for a dense layer;
        - `log_norm`: log of the slice's Euclidean norm, log of the Frobenius norm for a dense layer;
        - `exact`: of the whole layer, the same in each of its rows: circular log-det per pixel and
          channel; ½ log det of the Gram matrix per output for a dense layer.

    Raises:
        ValueError: the model has no dense or 2-D convolutional layer, or a weight is not finite.
    """
    layers = [(name, part) for name, part in model.named_modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no Linear or Conv2d layer whose entropy flow could be read")
    frames = []
    for number, (name, part) in enumerate(layers, start=1):
        read = _conv_rows if isinstance(part, nn.Conv2d) else _dense_rows
        try:
            frames.append(read(part.weight.detach(), input_size).assign(layer=number, name=name))
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from error
    columns = ["layer", "name", "kind", "output", "input", "entropy_change", "log_norm", "exact"]
    return pd.concat(frames, ignore_index=True)[columns]


def _dense_rows(weight: Tensor, _: tuple[int, int]) -> pd.DataFrame:
    row = {
        "kind": "dense", "output": 0, "input": 0,
        "entropy_change": float(dense_entropy_change(weight)),
        "log_norm": float(torch.linalg.matrix_norm(weight.float()).log()),
        "exact": float(gram_entropy_change(weight)) / min(weight.shape),
    }  # fmt: skip
    return pd.DataFrame([row])


def _conv_rows(kernel: Tensor, input_size: tuple[int, int]) -> pd.DataFrame:
    exact = circular_conv_entropy_change(kernel, input_size) / (input_size[0] * input_size[1] * min(kernel.shape[:2]))
    output, into = torch.meshgrid(torch.arange(kernel.shape[0]), torch.arange(kernel.shape[1]), indexing="ij")
    kernel = kernel.float().cpu()
    return pd.DataFrame(
        {
            "kind": "conv", "output": output.flatten(), "input": into.flatten(),
            "entropy_change": kernel[..., 0, 0].abs().log().flatten(),
            "log_norm": torch.linalg.matrix_norm(kernel).log().flatten(),
            "exact": float(exact),
        }
    )  # fmt: skip
