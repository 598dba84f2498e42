"""Four tasks for small networks, each drawn by a seed: two spirals, a table, pictures, letters."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch.nn.functional as F

from replication.data import speech
from replication.data.registry import load
from replication.experiments.landscape.config import DEEP, WINDOW
from replication.landscape import networks
from replication.landscape.networks import Points
from replication.landscape.optimisers import Problem
from replication.landscape.systems import System
from replication.sweep.store import Array

SPIRALS, DIABETES, DIGITS, LETTERS = "spirals", "diabetes", "mnist", "speech"
_NOISE = 0.1
_TEST = 1000


def _spiral(count: int, turned: float, seed: list[int]) -> Array:
    """The first points of one arm: r even between 1 and 5, θ = 2r, turned by half a circle for the other arm.

    A longer draw begins with the shorter one. Source: Yang, Zhang, Shang and Zhang, arXiv 2503.13145.
    """
    radius = np.random.default_rng([*seed, 0]).uniform(1, 5, count)
    angle = 2 * radius + turned
    noise = np.random.default_rng([*seed, 1]).normal(0, _NOISE, (count, 2))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1) + noise


def spirals(seed: int, examples: int) -> Problem:
    """Which of two arms a point of the plane lies on."""

    def points(count: int, part: int) -> Points:
        arms = [_spiral(count // 2, np.pi * arm, [seed, part, arm]) for arm in (0, 1)]
        return np.concatenate(arms), np.repeat([0, 1], count // 2)

    return Problem(points(examples, 0), points(examples, 1), points(_TEST, 2), 2)


@cache
def _diabetes() -> tuple[Array, Array]:
    from sklearn.datasets import load_diabetes

    inputs, targets = load_diabetes(return_X_y=True, scaled=False)
    return tuple((each - each.mean(0)) / each.std(0) for each in (inputs, targets))


def diabetes(seed: int, examples: int) -> Problem:
    """How far the disease has gone a year later, from ten measurements of a patient; scikit-learn's copy."""
    return _shuffled(*_diabetes(), seed, examples, 1, regression=True)


def _shuffled(
    inputs: Array, answers: Array, seed: int, examples: int, outputs: int, regression: bool = False
) -> Problem:
    """So many to train, as many to validate, the rest to test, at most 1,000."""
    order = np.random.default_rng(seed).permutation(len(inputs))
    ends = [examples, 2 * examples, 2 * examples + _TEST]
    train, validation, test = ((inputs[at], answers[at]) for at in np.split(order, ends)[:3])
    return Problem(train, validation, test, outputs, regression)


@cache
def _digits() -> tuple[Array, Array]:
    data = load(DIGITS)
    small = F.avg_pool2d(data.images["train"].float(), 4).flatten(1).double().numpy()
    return (small - small.mean()) / small.std(), data.labels["train"].numpy()


def digits(seed: int, examples: int) -> Problem:
    """Handwritten digits of MNIST, averaged over squares of 4 x 4 pixels."""
    return _shuffled(*_digits(), seed, examples, 10)


def letters(seed: int, examples: int) -> Problem:
    """The letter, or the space, that follows two others in a speech."""
    codes = np.array([speech.ALPHABET.index(letter) for letter in speech.TEXT])
    one = np.eye(len(speech.ALPHABET))
    before = np.concatenate([one[codes[:-2]], one[codes[1:-1]]], 1)
    return _shuffled(before, codes[2:], seed, examples, len(speech.ALPHABET))


@dataclass(frozen=True)
class Task:
    """What small networks learn.

    Args:
        draw: a problem by its seed and the number of points to train on.
        window: where in ln L ways are compared.
        deep: lower, where not all runs of an optimiser arrive.
    """

    draw: Callable[[int, int], Problem]
    window: tuple[float, float] = WINDOW
    deep: tuple[float, float] = DEEP


TASKS = {
    SPIRALS: Task(spirals),
    DIABETES: Task(diabetes),
    DIGITS: Task(digits),
    # Of 27 classes networks in the box learn little: evenly they start above ln ln 27 = 1.2.
    LETTERS: Task(letters, window=(0.5, 1.0), deep=(0.0, 0.5)),
}


def widths(problem: Problem, width: int, depth: int) -> tuple[int, ...]:
    """Of a network with so many hidden layers of one width."""
    return (problem.train[0].shape[1], *[width] * depth, problem.outputs)


def system(problem: Problem, layers: tuple[int, ...]) -> System:
    """What is sampled: the training loss, and the value on the test set."""
    make = networks.regressor if problem.regression else networks.classifier
    return make(problem.train, problem.test, layers)
