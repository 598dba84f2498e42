"""Small classifiers, one for each seed, trained as one: three layers, the middle one beside a connection past it.

Pictures in colour go through two convolutions first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

UNITS, CLASSES = 256, 10
# Channels of the two convolutions; each halves the picture, and so does a mean over 2 by 2 at the end.
CHANNELS = (16, 32)


@dataclass(frozen=True)
class Draws:
    """Random numbers for a stack: each network has a generator of its own, and takes nothing from the others."""

    generators: Sequence[torch.Generator]

    @classmethod
    def of(cls, seeds: Sequence[int], purpose: int) -> "Draws":
        return cls([torch.Generator().manual_seed(1_000_003 * purpose + seed) for seed in seeds])

    def uniform(self, *shape: int) -> Tensor:
        """Between 0 and 1, `(networks, *shape)`."""
        return torch.stack([torch.rand(*shape, generator=each) for each in self.generators])

    def normal(self, *shape: int) -> Tensor:
        return torch.stack([torch.randn(*shape, generator=each) for each in self.generators])

    def orders(self, count: int) -> Tensor:
        """A permutation for each network, `(networks, count)`."""
        return torch.stack([torch.randperm(count, generator=each) for each in self.generators])

    def __iter__(self) -> Iterator[torch.Generator]:
        return iter(self.generators)


def _same(values: Tensor) -> Tensor:
    return values


@dataclass
class Inside:
    """What a technique changes between the layers while a network is trained; in use nothing is changed."""

    units: Callable[[Tensor], Tensor] = _same  # the outputs of a hidden layer
    branch: Callable[[Tensor], Tensor] = _same  # what the middle layer adds
    last: Callable[[Tensor], Tensor] = _same  # what the classifier sees


IN_USE = Inside()


@dataclass
class Norm:
    """BatchNorm for each network of a stack, with torch's momentum and ε, of `(networks, n, units, ...)`."""

    networks: int
    units: int
    scale: Tensor = field(init=False)
    shift: Tensor = field(init=False)

    def __post_init__(self) -> None:
        shape = self.networks, 1, self.units
        self.scale, self.shift = torch.ones(shape), torch.zeros(shape)
        self._mean, self._variance = torch.zeros(self.networks * self.units), torch.ones(self.networks * self.units)

    def __call__(self, values: Tensor, training: bool) -> Tensor:
        columns = values.transpose(0, 1).flatten(1, 2)  # a column for each unit of each network
        normal = F.batch_norm(columns, self._mean, self._variance, training=training)
        normal = normal.unflatten(1, (self.networks, self.units)).transpose(0, 1)
        each = *self.scale.shape, *[1] * (values.ndim - 3)
        return normal * self.scale.view(each) + self.shift.view(each)


class Networks:
    """`h = g(A x + a)`, `z = h + g(B h + b)`, logits `C z + c`, with GELU for g, once for each seed.

    In colour x is what two convolutions with stride 2 and GELU, and a mean over 2 by 2, leave of the picture. With
    `normalised` what g sees goes through BatchNorm. Weights start as Glorot's.

    Args:
        draws: what weights are drawn with; one network for each generator.
        shape: of an image, `(channels, height, width)`.
        normalised: whether there is BatchNorm.
    """

    def __init__(self, draws: Draws, shape: Sequence[int], normalised: bool = False):
        channels, height, width = shape
        inputs, filters = prod(shape), {}
        if channels > 1:
            inputs = CHANNELS[1] * (height // 8) * (width // 8)
            filters = {"edges": (CHANNELS[0], channels, 3, 3), "parts": (CHANNELS[1], CHANNELS[0], 3, 3)}
        shapes = {"first": (UNITS, inputs), "middle": (UNITS, UNITS), "last": (CLASSES, UNITS)} | filters
        self.weights = {name: torch.stack([_glorot(shape, each) for each in draws]) for name, shape in shapes.items()}
        self.filters = tuple(filters)
        count = len(draws.generators)
        self.biases = {name: torch.zeros(count, 1, shape[0]) for name, shape in shapes.items()}
        self.norms = {name: Norm(count, UNITS) for name in ("first", "middle")} if normalised else {}
        # Convolutions take one network after the other, which is faster than all in groups, or stacked after each.
        self.channel_norms = {name: [Norm(1, filters[name][0]) for _ in range(count * normalised)] for name in filters}
        self.extra: dict[str, Tensor] = {}  # what a technique adds

    def parameters(self) -> list[Tensor]:
        norms = [*self.norms.values(), *(norm for each in self.channel_norms.values() for norm in each)]
        scales = [part for norm in norms for part in (norm.scale, norm.shift)]
        return [*self.weights.values(), *self.biases.values(), *scales, *self.extra.values()]

    def hidden(self, images: Tensor, training: bool = False, inside: Inside = IN_USE) -> Tensor:
        """What the classifier sees, `(networks, n, units)`, of images `(networks, n, channels, height, width)`."""
        if self.filters:
            kept = (self._convolved(*each, training) for each in zip(images, self._each_filters(), strict=True))
            images = torch.stack(list(kept))
        first = inside.units(F.gelu(self._layer("first", images.flatten(2), training)))
        branch = inside.units(F.gelu(self._layer("middle", first, training)))
        return inside.last(first + inside.branch(branch))

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.baddbmm(self.biases["last"], hidden, self.weights["last"].mT)

    def _layer(self, name: str, inputs: Tensor, training: bool) -> Tensor:
        outputs = torch.baddbmm(self.biases[name], inputs, self.weights[name].mT)
        return self.norms[name](outputs, training) if self.norms else outputs

    def _each_filters(self) -> Iterator[list[tuple[Tensor, Tensor, Norm | None]]]:
        """The weights, biases and norms of each network's convolutions, in turn."""
        parts = []
        for name in self.filters:
            norms: list[Norm] | list[None] = self.channel_norms[name] or [None] * len(self.weights[name])
            parts.append(zip(self.weights[name], self.biases[name].squeeze(1), norms, strict=True))
        return map(list, zip(*parts, strict=True))

    @staticmethod
    def _convolved(images: Tensor, filters: list[tuple[Tensor, Tensor, Norm | None]], training: bool) -> Tensor:
        """What one network's convolutions leave of its images `(n, channels, height, width)`."""
        for weight, bias, norm in filters:
            images = F.conv2d(images, weight, bias, stride=2, padding=1)
            images = F.gelu(norm(images[None], training)[0] if norm else images)
        return F.avg_pool2d(images, 2)


def _glorot(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.nn.init.xavier_uniform_(torch.empty(shape), generator=generator)
