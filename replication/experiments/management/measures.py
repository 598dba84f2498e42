"""What is measured of trained networks: how good they are, and the quantities that are called entropy."""

import math

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from entropy_lib.theory.linalg import log_abs_det
from replication.experiments.management.network import Draws, Networks
from replication.experiments.management.techniques import cross_entropy, entropy

BINS = 15
# Deviation of the noise that is added before a layer or an image is given an entropy: without it a unit that is
# constant has -∞. Of an image it is that of rounding to a byte.
UNIT_NOISE, PIXEL_NOISE = 1e-3, 1 / 255 / 12**0.5
SHIFT = 0.3  # The deviation of the noise in a shifted image, whose pixels go from 0 to 1.
_CHUNK = 1000


def calibration_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean distance of confidence and accuracy over `BINS` bins with equally many images, `(networks,)`.

    Args:
        logits: `(networks, n, classes)`.
        labels: `(networks, n)`.
    """
    confidence, predicted = logits.softmax(-1).max(-1)
    order = confidence.argsort(dim=1, stable=True)
    gaps = (confidence - (predicted == labels).float()).gather(1, order)
    return sum(part.sum(1).abs() for part in gaps.tensor_split(BINS, 1)) / gaps.shape[1]  # type: ignore[return-value]


def temperatures(logits: Tensor, labels: Tensor) -> Tensor:
    """The T > 0 of each network at which softmax(logits / T) has the least cross-entropy, `(networks,)`."""

    def best(one: Tensor, wanted: Tensor) -> float:
        found = minimize_scalar(
            lambda x: float(cross_entropy(one[None] / np.exp(x), wanted[None])), bounds=(-4, 4), method="bounded"
        )
        return float(np.exp(found.x))

    return torch.tensor([best(one.double(), wanted) for one, wanted in zip(logits, labels, strict=True)])


def gaussian_entropy(values: Tensor, noise: float) -> Tensor:
    """½ log det 2πe(Σ + noise²) in nats for each dimension, `(networks,)`, of values `(networks, n, dimensions)`.

    It is the greatest entropy that values with this covariance Σ can have, with independent noise added.
    """
    values = values.double()
    values = values - values.mean(1, keepdim=True)
    covariance = values.mT @ values / values.shape[1]
    covariance.diagonal(dim1=1, dim2=2).add_(noise**2)
    return (log_abs_det(covariance) / covariance.shape[1] + math.log(2 * math.pi * math.e)) / 2


@torch.no_grad()
def seen(networks: Networks, images: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden units and logits of images `(networks or 1, n, channels, height, width)`, as the networks are used."""
    count = len(networks.weights["first"])
    hidden = torch.cat([networks.hidden(part.expand(count, *part.shape[1:])) for part in images.split(_CHUNK, 1)], 1)
    return hidden, networks.logits(hidden)


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """`(networks,)`"""
    return (logits.argmax(-1) == labels).float().mean(1)


def noisy(images: Tensor, draws: Draws) -> Tensor:
    """Shifted images: with normal noise of deviation `SHIFT` added."""
    return images + SHIFT * draws.normal(*images.shape[1:])


def scrambled(images: Tensor, draws: Draws) -> Tensor:
    """Images of no class: all values of all images in one other order, drawn for each network."""
    rows = images.flatten(2)
    orders = draws.orders(rows.shape[2])
    mixed = rows.expand(len(orders), -1, -1).gather(2, orders[:, None].expand(-1, rows.shape[1], -1))
    return mixed.view(len(orders), *images.shape[1:])


@torch.no_grad()
def measured(networks: Networks, splits: dict[str, tuple[Tensor, Tensor]], draws: Draws) -> dict[str, Tensor]:
    """Every measure of networks in use, `(networks,)` each.

    Args:
        splits: images `(networks or 1, n, channels, height, width)` and labels of `train`, `validation` and `test`.
        draws: what shifted images are drawn with, the same for every technique.
    """
    found: dict[str, Tensor] = {}
    hidden: dict[str, Tensor] = {}
    logits: dict[str, Tensor] = {}
    for name, (images, labels) in splits.items():
        hidden[name], logits[name] = seen(networks, images)
        labels = labels.expand(len(logits[name]), -1)
        found |= {
            f"{name}_accuracy": accuracy(logits[name], labels),
            f"{name}_nll": cross_entropy(logits[name], labels),
        }
    images, labels = splits["test"]
    labels = labels.expand(len(logits["test"]), -1)
    count = images.shape[1] // 5  # draws for each network cost more than the networks do
    some, wanted = images[:, :count], labels[:, :count]
    shifted, nothing = (seen(networks, change(some, draws))[1] for change in (noisy, scrambled))
    warmth = temperatures(logits["validation"], splits["validation"][1].expand(len(labels), -1))
    cooled = logits["test"] / warmth[:, None, None].float()
    return found | {
        "calibration": calibration_error(logits["test"], labels),
        "calibration_cooled": calibration_error(cooled, labels),
        "nll_cooled": cross_entropy(cooled, labels),
        "temperature": warmth,
        "shifted_accuracy": accuracy(shifted, wanted),
        "entropy_test": entropy(logits["test"]).mean(1),
        "entropy_shifted": entropy(shifted).mean(1),
        "entropy_scrambled": entropy(nothing).mean(1),
        "entropy_hidden": gaussian_entropy(hidden["test"], UNIT_NOISE),
        "entropy_map": log_abs_det(networks.weights["middle"].double()) / networks.weights["middle"].shape[1],
        "zeros": torch.cat([(weight == 0).float().flatten(1) for weight in networks.weights.values()], 1).mean(1),
    }
