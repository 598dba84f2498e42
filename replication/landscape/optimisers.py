"""Many networks of one shape trained as one, from the starts and by the rules that are compared with equilibrium.

A network is one row of parameters, laid out as a state of `networks`. What an optimiser does to a parameter depends on
that parameter alone, so a stack of networks trains as each would by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from replication.landscape.networks import Points, half_width
from replication.sweep.store import Array

WAYS: dict[str, Callable[[list[Tensor]], Optimizer]] = {
    "Adam": lambda states: Adam(states, 1e-3),
    "SGD": lambda states: SGD(states, 0.1),
    "momentum": lambda states: SGD(states, 0.01, momentum=0.9),
    "RMSprop": lambda states: RMSprop(states, 1e-3),
    "decay": lambda states: AdamW(states, 1e-3, weight_decay=0.1),
}
# Glorot's with biases 0; PyTorch's; evenly in the sampler's box; and held within the box.
STARTS = ("Glorot", "PyTorch", "box", "Glorot clamped", "box clamped")


@dataclass(frozen=True)
class Problem:
    """What one stack of networks learns.

    Args:
        train, validation, test: points `(n, inputs)` and their classes, or targets of a regression.
        outputs: classes, or 1.
        regression: squared error and R² instead of cross-entropy and accuracy.
    """

    train: Points
    validation: Points
    test: Points
    outputs: int
    regression: bool = False


@dataclass(frozen=True)
class Snapshot:
    """All networks after some epochs.

    Args:
        loss, validation, held, value: training loss, validation loss and value, test value, `(problems, runs)`.
        states: `(problems, runs, d)`.
    """

    loss: Array
    validation: Array
    held: Array
    value: Array
    states: Array


def drawn(start: str, count: int, widths: Sequence[int], random: torch.Generator) -> Tensor:
    """So many states to start from.

    Raises:
        KeyError: an unknown start.
    """
    if start not in STARTS:
        raise KeyError(f"unknown start {start!r}; known: {', '.join(STARTS)}")
    parts, scheme = [], start.removesuffix(" clamped")
    for fan, units in zip(widths, widths[1:], strict=False):
        weights, biases = {
            "Glorot": ((6 / (fan + units)) ** 0.5, 0.0),
            "PyTorch": (fan**-0.5, fan**-0.5),
        }.get(scheme, (half_width(widths), half_width(widths)))
        for size, half in ((units * fan, weights), (units, biases)):
            parts.append(half * (2 * torch.rand(count, size, generator=random) - 1))
    return torch.cat(parts, 1)


def outputs(states: Tensor, inputs: Tensor, widths: Sequence[int]) -> Tensor:
    """Of each network for its own inputs, `(networks, points, outputs)`."""
    points, at = inputs, 0
    for layer, (fan, units) in enumerate(zip(widths, widths[1:], strict=False)):
        weights = states[:, at : at + units * fan].view(-1, units, fan)
        at += units * fan
        points = torch.baddbmm(states[:, None, at : at + units], points, weights.transpose(1, 2))
        points = points if layer == len(widths) - 2 else points.relu()
        at += units
    return points


def train(
    problems: Sequence[Problem], seeds: Sequence[int], widths: Sequence[int], way: str, start: str, runs: int,
    epochs: int, batch: int, every: int,
) -> Iterator[Snapshot]:  # fmt: skip
    """Train so many networks on each problem; yields before the first epoch and after every so many.

    Chances of a problem's networks come from its seed alone, whatever is trained beside it.
    """
    chances = [torch.Generator().manual_seed(seed) for seed in seeds]
    states = torch.cat([drawn(start, runs, widths, each) for each in chances]).requires_grad_()
    optimiser, half = WAYS[way]([states]), half_width(widths)
    parts = [_stacked([getattr(each, part) for each in problems], runs) for part in ("train", "validation", "test")]
    inputs, answers = parts[0]
    loss = _squared if problems[0].regression else _cross_entropy
    for epoch in range(epochs + 1):
        if epoch % every == 0:
            yield _measured(states.detach(), parts, widths, problems[0].regression, len(problems))
        order = torch.cat([torch.rand(runs, inputs.shape[1], generator=each) for each in chances]).argsort(1)
        for at in range(0, order.shape[1], batch):
            chosen = order[:, at : at + batch]
            seen = inputs.gather(1, chosen[:, :, None].expand(-1, -1, inputs.shape[2]))
            optimiser.zero_grad()
            loss(outputs(states, seen, widths), answers.gather(1, chosen)).sum().backward()
            optimiser.step()
            if start.endswith("clamped"):
                states.data.clamp_(-half, half)


def _stacked(points: Sequence[Points], runs: int) -> tuple[Tensor, Tensor]:
    inputs, answers = (torch.from_numpy(np.stack(each)) for each in zip(*points, strict=True))
    answers = answers if answers.dtype == torch.int64 else answers.float()
    return inputs.float().repeat_interleave(runs, 0), answers.repeat_interleave(runs, 0)


def _cross_entropy(found: Tensor, labels: Tensor) -> Tensor:
    """Of each network, `(networks,)`."""
    return F.cross_entropy(found.transpose(1, 2), labels, reduction="none").mean(1)


def _squared(found: Tensor, targets: Tensor) -> Tensor:
    return (found[..., 0] - targets).square().mean(1)


def _accuracy(found: Tensor, labels: Tensor) -> Tensor:
    return (found.argmax(2) == labels).float().mean(1)


def _explained(found: Tensor, targets: Tensor) -> Tensor:
    return 1 - _squared(found, targets) / targets.var(1, correction=0)


@torch.no_grad()
def _measured(
    states: Tensor, parts: Sequence[tuple[Tensor, Tensor]], widths: Sequence[int], regression: bool, problems: int
) -> Snapshot:
    loss, value = (_squared, _explained) if regression else (_cross_entropy, _accuracy)
    (train, x), (held, y), (test, z) = ((outputs(states, inputs, widths), answers) for inputs, answers in parts)

    def shaped(each: Tensor) -> Array:
        return np.asarray(each.view(problems, -1).double().numpy())

    kept = states.view(problems, -1, states.shape[1]).double().numpy()
    return Snapshot(
        shaped(loss(train, x)), shaped(loss(held, y)), shaped(value(held, y)), shaped(value(test, z)), kept
    )  # fmt: skip
