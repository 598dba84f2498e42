"""Entropy flow of a whole network: what each of its layers does to entropy, and with what right that can be said."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from entropy_lib.findings import Finding, Statement, finding, is_layer
from entropy_lib.maps import Example, copied
from entropy_lib.trace import Segment, trace

_COLUMNS = [
    "layer", "name", "kind", "inputs", "outputs", "statement", "change", "standard_error", "linear", "lost", "chain",
    "within", "why",
]  # fmt: skip


@torch.enable_grad()
def entropy_flow(model: nn.Module, example: Example, data: Example | Iterable[Example] | None = None) -> pd.DataFrame:
    r"""Entropy change of every layer of a model, whatever it is, in the order of use: one row each.

    The model is run and every layer and function of torch on the way is noted. Where branches run side by side (a
    residual block, attention by hand) all of them up to the point where they have met again are one row, `block`; the
    rows below it are the layers within. Each row says what kind of statement its number is:

    - `exact`: H(output) - H(input), whatever the input;
    - `estimate`: the same as a mean over the data, with its standard error;
    - `upper bound`: a mean over the data of log|det J|, of a map that is not known to be injective;
    - `none`: the number of dimensions changes, or units are switched off, or the Jacobian is singular or too large, or
      something was changed in place. `why` says so, and `lost` is the expected number of dimensions that are lost.
      Nothing may be summed across it.

    What leaves torch on the way, to NumPy or to a random number, is not seen.

    Args:
        model: any module for which the first axis of every tensor on the way is the batch, and no example depends on
            another. It is copied and never changed, measured in evaluation mode, and in double precision where it runs
            so; hooks of the user's stay behind.
        example: a batch that the model takes, or a tuple of arguments, or a mapping of named ones. Its shape counts.
        data: a batch like the example over which means are taken, or an iterable of such batches. Without it no number
            of the example is used, and a row that depends on data says `none`.

    Returns:
        A data frame with the columns

        - `layer` (1, 2, ...), `name` of the module, `kind` (its type; the name of a function; or `block`);
        - `inputs`, `outputs`: dimensions for each example;
        - `statement`, as above; `change` in nats for each example, NaN where there is none; `standard_error`;
        - `linear`: the part of the change that is a linear layer's, 0 for activations and norms, NaN for blocks;
        - `lost`: dimensions;
        - `chain`: rows of one chain may be added up, 0 belongs to none. Behind the first gap the numbers are volume
          changes, and changes of entropy where the chain's own input has a density;
        - `within`: the row of the block that a layer lies in, 0 for none;
        - `why`.

    Raises:
        RuntimeError: the model cannot be copied or run, or returns several tensors.
        ValueError: `data` without a batch, or whose batches go different ways through the model, or a model that mixes
            the examples of a batch.

    Blocks and functions without a formula cost a backward pass for each of their dimensions.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.ReLU())
    >>> flow = entropy_flow(model, torch.zeros(1, 2), data=torch.randn(100, 2))
    >>> flow[["kind", "statement", "chain"]]
         kind statement  chain
    0  Linear     exact      1
    1    Tanh  estimate      1
    2    ReLU      none      0
    """
    if data is None:
        batches = [tree_map_only(Tensor, lambda tensor: tensor.to("meta"), example)]
    else:
        several = [data] if isinstance(data, (Tensor, tuple, Mapping)) else list(data)
        batches = [tuple(batch) if isinstance(batch, list) else batch for batch in several]
    if not batches:
        raise ValueError("data holds no batch")
    parts = dict(_copy(model, numbers=True).named_modules())
    ways = [_way(model, parts, batch, numbers=data is not None) for batch in batches]
    if any([_about(row) for row, _ in way] != [_about(row) for row, _ in ways[0]] for way in ways):
        raise ValueError("the batches of data go different ways through the model")
    rows = [_row(row[0][0], [found for _, found in row]) for row in zip(*ways, strict=True)]
    return _numbered(pd.DataFrame(rows))


def _way(
    model: nn.Module, parts: Mapping[str, nn.Module], batch: Example, numbers: bool
) -> list[tuple[Segment, Finding]]:
    """What the batch goes through, and what is said of each part; with `numbers` it is one of the data."""
    try:
        walked = trace(_doubled(_copy(model, numbers)), tree_map_only(Tensor, _double, batch), is_layer)
    except RuntimeError:  # numbers that are no part of the model stay as they are, and do not fit
        walked = trace(_copy(model, numbers), batch, is_layer)
    return [(segment, finding(segment, parts)) for segment in walked.segments()]


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _doubled(model: nn.Module) -> nn.Module:
    """In double precision, with the tensors that it keeps as plain attributes."""
    for part in model.modules():
        if isinstance(part, nn.RMSNorm) and part.eps is None:  # torch takes that of its precision
            part.eps = torch.finfo(torch.float32 if part.weight is None else part.weight.dtype).eps
        plain = {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}
        vars(part).update({name: _double(value) for name, value in plain.items()})
    return model.double()


def _copy(model: nn.Module, numbers: bool) -> nn.Module:
    try:
        return copied(model, numbers).eval()
    except Exception as error:  # whatever the model's own parts raise when they are copied
        raise RuntimeError(f"{type(model).__name__} cannot be copied ({error})") from error


def _row(segment: Segment, findings: list[Finding]) -> dict[str, object]:
    """One row of the table, over all batches."""
    first = max(findings, key=lambda found: list(Statement).index(found.statement))  # the weakest
    (change, error), (lost, _), (gap, _) = (_mean([getattr(found, part) for found in findings]) for part in _MEANS)
    high = f": at most {gap:.4g} nats too high" if gap else ""
    return {
        "name": segment.name, "kind": segment.kind, "inputs": _size(segment.x), "outputs": _size(segment.y),
        "statement": first.statement.value, "change": change, "standard_error": error,
        "linear": _mean([found.linear for found in findings])[0], "lost": lost,
        "why": first.why + high, "alone": first.alone, "inner": segment.within is not None,
    }  # fmt: skip


def _about(segment: Segment) -> tuple[str, str, int, int]:
    return segment.name, segment.kind, _size(segment.x), _size(segment.y)


def _size(tensor: Tensor | None) -> int:
    return tensor[0].numel() if tensor is not None and tensor.ndim and len(tensor) else 0


def _mean(values: list[float | Tensor]) -> tuple[float, float]:
    """The mean over examples and its standard error, which is 0 for what is the same for all of them."""
    if not isinstance(values[0], Tensor):
        return float(values[0]), 0.0 if math.isfinite(values[0]) else math.nan
    each = torch.cat([torch.as_tensor(value).reshape(-1) for value in values]).detach().double()
    error = float(each.std() / math.sqrt(len(each))) if len(each) > 1 and each.isfinite().all() else math.nan
    return float(each.mean()), error


_MEANS = ("change", "lost", "gap")


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """Number the rows, and the stretches within which changes add up; what lies in a block is no link of them."""
    if table.empty:  # the model gives back what it was given
        return pd.DataFrame(columns=_COLUMNS)
    table = table.assign(layer=range(1, len(table) + 1))
    way = table[~table.inner]
    ends = (way.statement == Statement.NONE.value) | way.alone
    stretch = (~ends & ends.shift(fill_value=True)).cumsum().where(~ends, 0)
    block = table.layer.where(~table.inner).ffill().where(table.inner, 0)
    return table.assign(chain=stretch.reindex(table.index, fill_value=0), within=block.astype(int))[_COLUMNS]
