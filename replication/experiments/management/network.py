"""Small classifiers, one for each seed, trained as one: three layers, the middle one beside a connection past it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

UNITS, CLASSES = 256, 10


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


class Networks:
    """`h = g(A x + a)`, `z = h + g(B h + b)`, logits `C z + c`, with GELU for g, once for each seed.

    With `normalised` the two matrices' outputs go through BatchNorm before g. Weights start as Glorot's.
    """

    def __init__(self, draws: Draws, pixels: int, normalised: bool = False):
        shapes = {"first": (UNITS, pixels), "middle": (UNITS, UNITS), "last": (CLASSES, UNITS)}
        self.weights = {name: torch.stack([_glorot(shape, each) for each in draws]) for name, shape in shapes.items()}
        count = len(draws.generators)
        self.biases = {name: torch.zeros(count, 1, shape[0]) for name, shape in shapes.items()}
        self.norms = [Norm(count) for _ in range(2)] if normalised else []
        self.extra: dict[str, Tensor] = {}  # what a technique adds

    def parameters(self) -> list[Tensor]:
        scales = [part for norm in self.norms for part in (norm.scale, norm.shift)]
        return [*self.weights.values(), *self.biases.values(), *scales, *self.extra.values()]

    def hidden(self, images: Tensor, training: bool = False, inside: Inside = IN_USE) -> Tensor:
        """What the classifier sees, `(networks, n, units)`, of images `(networks, n, pixels)`."""
        first = inside.units(F.gelu(self._layer("first", 0, images, training)))
        branch = inside.units(F.gelu(self._layer("middle", 1, first, training)))
        return inside.last(first + inside.branch(branch))

    def logits(self, hidden: Tensor) -> Tensor:
        return torch.baddbmm(self.biases["last"], hidden, self.weights["last"].mT)

    def _layer(self, name: str, number: int, inputs: Tensor, training: bool) -> Tensor:
        outputs = torch.baddbmm(self.biases[name], inputs, self.weights[name].mT)
        return self.norms[number](outputs, training) if self.norms else outputs


@dataclass
class Norm:
    """BatchNorm for each network of a stack, with torch's momentum and ε."""

    networks: int
    scale: Tensor = field(init=False)
    shift: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.scale, self.shift = torch.ones(self.networks, 1, UNITS), torch.zeros(self.networks, 1, UNITS)
        self._mean, self._variance = torch.zeros(self.networks * UNITS), torch.ones(self.networks * UNITS)

    def __call__(self, values: Tensor, training: bool) -> Tensor:
        columns = values.transpose(0, 1).flatten(1)  # a column for each unit of each network
        normal = F.batch_norm(columns, self._mean, self._variance, training=training)
        return normal.unflatten(1, (self.networks, UNITS)).transpose(0, 1) * self.scale + self.shift


def _glorot(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    return torch.nn.init.xavier_uniform_(torch.empty(shape), generator=generator)
