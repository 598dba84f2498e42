"""The techniques, each a small piece that changes one thing of plain training; by name.

Source of the list: "Taming Disorder: Entropy Management Techniques for Deep Networks" (2025), and the paper's own loss.
"""

from collections.abc import Mapping
from math import log, pi

import torch
import torch.nn.functional as F
from torch import Tensor

from entropy_lib import TargetEntropy
from entropy_lib.layers import dense_penalty
from replication.experiments.management.network import CLASSES, UNITS, Draws, Inside, Networks


class Technique:
    """Plain training: cross-entropy. `strength` is what the class says; where it says nothing there is only one."""

    normalised = False
    taught = False

    def __init__(self, strength: float):
        self.strength = strength

    def start(self, networks: Networks, draws: Draws) -> None:
        """Change the networks before training."""

    def images(self, images: Tensor, draws: Draws) -> Tensor:
        """A batch as the networks see it in training, `(networks, n, channels, height, width)`."""
        return images

    def inside(self, networks: Networks, draws: Draws) -> Inside:
        """What is changed between the layers, in one step."""
        return Inside()

    def loss(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        """The loss of each network, `(networks,)`, of labels `(networks, n)` and, if taught, a teacher's logits."""
        return cross_entropy(logits, labels)

    def penalty(self, networks: Networks) -> Tensor | float:
        """What is added for the weights, `(networks,)`."""
        return 0.0

    def stepped(self, networks: Networks, rate: float) -> None:
        """Change the weights after a step of the optimiser."""

    def label_entropy(self, teacher: Tensor | None) -> Tensor | float:
        """Mean entropy of the targets in nats, `(networks,)` or one number."""
        return 0.0

    def mask_entropy(self) -> float:
        """Entropy in nats of the random zeros and ones that one image draws."""
        return 0.0


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean over the images of each network, `(networks,)`."""
    each = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=smoothing)
    return each.view(labels.shape).mean(1)


def entropy(logits: Tensor) -> Tensor:
    """H(q) in nats of q = softmax(logits)."""
    logarithms = logits.log_softmax(-1)
    return -(logarithms.exp() * logarithms).sum(-1)


def binary_entropy(p: float) -> float:
    """h(p) in nats."""
    return -(p * log(p) + (1 - p) * log(1 - p)) if 0 < p < 1 else 0.0


class Orthogonal(Technique):
    """Orthogonal initial weights."""

    def start(self, networks: Networks, draws: Draws) -> None:
        for weight in networks.weights.values():
            for each, generator in zip(weight, draws, strict=True):
                torch.nn.init.orthogonal_(each, generator=generator)


class BatchNorm(Technique):
    """BatchNorm before each activation."""

    normalised = True


class StochasticDepth(Technique):
    """The middle layer is left out for an image with this probability, and its output scaled to keep the mean."""

    def inside(self, networks: Networks, draws: Draws) -> Inside:
        return Inside(branch=lambda branch: branch * _kept(draws, branch.shape[1], 1, self.strength))

    def mask_entropy(self) -> float:
        return binary_entropy(self.strength)


class Dropout(Technique):
    """Each unit of both hidden layers is dropped with this probability."""

    def inside(self, networks: Networks, draws: Draws) -> Inside:
        return Inside(units=lambda units: units * _kept(draws, units.shape[1], UNITS, self.strength))

    def mask_entropy(self) -> float:
        return 2 * UNITS * binary_entropy(self.strength)


def _kept(draws: Draws, images: int, units: int, dropped: float) -> Tensor:
    """What is kept, scaled so that the mean is 1."""
    return (draws.uniform(images, units) >= dropped).float() / (1 - dropped)


class Augmentation(Technique):
    """Images are turned by up to 15 degrees, moved by up to 2 pixels and zoomed by up to 15 %, times the strength."""

    def images(self, images: Tensor, draws: Draws) -> Tensor:
        drawn = 2 * draws.uniform(4, images.shape[1]) - 1
        angle, along, across, zoom = drawn.mul(self.strength).unbind(1)
        scale, turn, step = 1 + 0.15 * zoom, angle * 15 * pi / 180, 2 * 2 / images.shape[-1]
        cos, sin = scale * turn.cos(), scale * turn.sin()
        maps = torch.stack([cos, -sin, step * along, sin, cos, step * across], -1).view(-1, 2, 3)
        each = images.flatten(0, 1)
        grid = F.affine_grid(maps, list(each.shape), align_corners=False)
        return F.grid_sample(each, grid, align_corners=False).view(images.shape)


class Smoothing(Technique):
    """Labels are moved towards even odds by this share."""

    def share(self) -> float:
        return self.strength

    def loss(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        return cross_entropy(logits, labels, self.share())

    def label_entropy(self, teacher: Tensor | None) -> Tensor | float:
        others = self.share() / CLASSES
        right = 1 - self.share() + others
        return -right * log(right) - (CLASSES - 1) * others * log(others)


class EntropyRegularisation(Technique):
    """This many times the entropy of the predictions is taken from the loss; KL(q‖u) added has the same gradient."""

    def loss(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        return cross_entropy(logits, labels) - self.strength * entropy(logits).mean(1)


class Regulator(Technique):
    """The mean entropy of the predictions is held at this many nats by a coefficient that adapts."""

    def __init__(self, strength: float):
        super().__init__(strength)
        self.hold = TargetEntropy(strength)

    def loss(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        held: Tensor = self.hold(logits)
        return cross_entropy(logits, labels) + held


class Sparse(Technique):
    """Weights move towards zero by the rate times this after each step, and stop there: an L1 penalty if the steps are
    those of plain descent; after Adam's, one on weights scaled as its steps are."""

    def stepped(self, networks: Networks, rate: float) -> None:
        for weight in networks.weights.values():
            weight.copy_(F.softshrink(weight, rate * self.strength))


class Bottleneck(Technique):
    """The variational bottleneck: the classifier sees z + σ(z) times noise, and the loss holds this many times
    KL(N(z, σ²) ‖ N(0, 1)), which is at least what is kept of the input, I(X; Z)."""

    def start(self, networks: Networks, draws: Draws) -> None:
        count = len(draws.generators)
        networks.extra = {"spread": torch.zeros(count, UNITS, UNITS), "level": torch.full((count, 1, UNITS), -2.0)}

    def inside(self, networks: Networks, draws: Draws) -> Inside:
        def noisy(hidden: Tensor) -> Tensor:
            spread = torch.baddbmm(networks.extra["level"], hidden, networks.extra["spread"].mT)
            self.kept = (hidden.square() + (2 * spread).exp() - 2 * spread - 1).sum(2).mean(1) / 2
            return hidden + spread.exp() * draws.normal(*hidden.shape[1:])

        return Inside(last=noisy)

    def penalty(self, networks: Networks) -> Tensor | float:
        return self.strength * self.kept


class Distillation(Technique):
    """Half of the loss is T² times KL(teacher ‖ student), both at temperature T, the strength; the teacher is a network
    of the same kind that was trained plainly on the same images."""

    taught = True

    def loss(self, logits: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        assert teacher is not None
        soft = F.kl_div(
            (logits / self.strength).log_softmax(-1), (teacher / self.strength).log_softmax(-1),
            reduction="none", log_target=True,
        )  # fmt: skip
        return (cross_entropy(logits, labels) + self.strength**2 * soft.sum(-1).mean(1)) / 2

    def label_entropy(self, teacher: Tensor | None) -> Tensor | float:
        assert teacher is not None
        return entropy(teacher / self.strength).mean(1)


class LogDet(Technique):
    """The paper's loss on the square matrix of the middle layer: minus this many times log|det|."""

    def penalty(self, networks: Networks) -> Tensor | float:
        return self.strength * dense_penalty(networks.weights["middle"], "log", eps=0.0)


class Combination(Smoothing, Dropout):
    """What the source recommends to combine: label smoothing and dropout, of this strength each, BatchNorm, and an
    orthogonal start."""

    normalised = True

    def start(self, networks: Networks, draws: Draws) -> None:
        Orthogonal(1.0).start(networks, draws)


class UsualCombination(Combination):
    """The combination with dropout of this strength and the usual label smoothing, 0.1."""

    def share(self) -> float:
        return 0.1


TECHNIQUES: Mapping[str, type[Technique]] = {
    "none": Technique,
    "orthogonal": Orthogonal,
    "batch norm": BatchNorm,
    "stochastic depth": StochasticDepth,
    "dropout": Dropout,
    "augmentation": Augmentation,
    "smoothing": Smoothing,
    "entropy": EntropyRegularisation,
    "regulator": Regulator,
    "L1": Sparse,
    "bottleneck": Bottleneck,
    "distillation": Distillation,
    "log-det": LogDet,
    "combination": Combination,
    "usual combination": UsualCombination,
}
