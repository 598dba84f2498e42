"""Four small networks without a unit that switches off: dense, convolutional, a transformer, a recurrent one.

In the first three every layer between the first and the head keeps the dimension, so that the change of entropy is
finite in each of them.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

SLOPE = 0.1  # of leaky ReLU below zero
UNITS = 64  # of the dense and of the recurrent network


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, *branch: nn.Module):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class SelfAttention(nn.Module):
    """Every token attends to all."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        attended: Tensor = self.heads(tokens, tokens, tokens, need_weights=False)[0]
        return attended


class Tokens(nn.Module):
    """An image `(batch, channels, l, w)` as tokens `(batch, l w, channels)`, each with its position added."""

    def __init__(self, count: int, width: int):
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(count, width))

    def forward(self, maps: Tensor) -> Tensor:
        return maps.flatten(2).transpose(1, 2) + self.position


class MeanToken(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


class Rows(nn.Module):
    """An image of one channel as a sequence of its rows."""

    def forward(self, images: Tensor) -> Tensor:
        return images.squeeze(1)


class LastState(nn.Module):
    """The hidden state of an LSTM after the last row."""

    def __init__(self, inputs: int, units: int):
        super().__init__()
        self.lstm = nn.LSTM(inputs, units, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        states: Tensor = self.lstm(rows)[0]
        return states[:, -1]


Parts = list[tuple[str, nn.Module]]


def _dense(side: int) -> Parts:
    stages: list[nn.Module] = [nn.Sequential(nn.Linear(UNITS, UNITS), nn.LeakyReLU(SLOPE)) for _ in range(8)]
    start = nn.Sequential(nn.Flatten(), nn.Linear(side**2, UNITS), nn.LeakyReLU(SLOPE))
    return [("start", start), *_named(stages), ("head", nn.Linear(UNITS, 10))]


def _patches(side: int) -> tuple[nn.Conv2d, int, int]:
    """A convolution that cuts an image into patches of as many pixels as it makes channels, so that it is square."""
    patch = side // (7 if side == 28 else 4)
    return nn.Conv2d(1, patch**2, patch, stride=patch), patch**2, (side // patch) ** 2


def _convolutional(side: int) -> Parts:
    start, channels, pixels = _patches(side)
    stages: list[nn.Module] = [
        nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE)
        )
        for _ in range(6)
    ]
    return [("start", start), *_named(stages), ("head", nn.Sequential(nn.Flatten(), nn.Linear(channels * pixels, 10)))]


def _transformer(side: int) -> Parts:
    start, width, count = _patches(side)
    stages: list[nn.Module] = []
    for _ in range(4):
        stages += [
            Residual(nn.LayerNorm(width), SelfAttention(width, 2)),
            Residual(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
        ]
    head = nn.Sequential(nn.LayerNorm(width), MeanToken(), nn.Linear(width, 10))
    return [("start", nn.Sequential(start, Tokens(count, width))), *_named(stages), ("head", head)]


def _recurrent(side: int) -> Parts:
    return [("rows", Rows()), ("state", LastState(side, UNITS)), ("head", nn.Linear(UNITS, 10))]


def _named(stages: list[nn.Module]) -> Parts:
    return [(f"stage{number}", stage) for number, stage in enumerate(stages, start=1)]


NETWORKS: dict[str, Callable[[int], Parts]] = {
    "dense": _dense, "convolutional": _convolutional, "transformer": _transformer, "recurrent": _recurrent,
}  # fmt: skip


def network(name: str, side: int, seed: int) -> nn.Sequential:
    """One of the networks for square images of one channel, in torch's own initialisation.

    Its parts are `start`, `stage1`, `stage2`, ... and `head`; a stage keeps the shape of what goes through it.

    Raises:
        KeyError: unknown name; the message lists the known ones.
    """
    if name not in NETWORKS:
        raise KeyError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(OrderedDict(NETWORKS[name](side)))


def stages(model: nn.Sequential) -> list[str]:
    """The names of the parts that can be left out."""
    return [name for name, _ in model.named_children() if name.startswith("stage")]


def without(model: nn.Sequential, stage: str) -> nn.Sequential:
    """The same network, sharing its numbers, with one stage left out."""
    parts = ((name, part) for name, part in model.named_children() if name != stage)
    return nn.Sequential(OrderedDict(parts))
