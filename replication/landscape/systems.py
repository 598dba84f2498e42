"""What is sampled: a loss over states in a box, or over signs, compiled; four that are known exactly."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numba import njit

from replication.statistics import all_signs
from replication.sweep.store import Array


@dataclass(frozen=True)
class System:
    """A loss of a state, and what states there are.

    Args:
        loss: compiled, of a state `(d,)` and `data`; a number, and none that is not finite.
        data: what the loss is taken over: an array, or a tuple of arrays.
        half: half the width of the box in each direction `(d,)`; of signs, 1.
        signs: states are ±1 and a move flips one of them, instead of shifting it.
        gradient: compiled, of a state, `data` and an array that it fills with dL/dw; returns the loss. With it a
            walker moves in all directions at once.
        value, test: what else is measured of a state, compiled as the loss is, and over what; the loss unless given.

    Raises:
        ValueError: a box without width.
    """

    loss: Callable[[Array, Any], float]
    data: Any
    half: Array
    signs: bool = False
    gradient: Callable[[Array, Any, Array], float] | None = None
    value: Callable[[Array, Any], float] | None = None
    test: Any = None

    def __post_init__(self) -> None:
        if not (np.ndim(self.half) == 1 and len(self.half) and (np.asarray(self.half) > 0).all()):
            raise ValueError(f"the box needs a positive half-width in each direction, got {self.half}")

    @cached_property
    def size(self) -> int:
        return len(self.half)

    def uniform(self, count: int, random: np.random.Generator) -> Array:
        """States drawn evenly `(count, d)`."""
        if self.signs:
            return random.choice([-1.0, 1.0], (count, self.size))
        return np.asarray(random.uniform(-self.half, self.half, (count, self.size)))

    def states(self) -> Array:
        """Every state of a system of up to 20 signs."""
        if not self.signs:
            raise ValueError("only systems of up to 20 signs can be listed, and this one has a box")
        return all_signs(self.size).astype(float)


@njit(cache=True)
def _square(state, data):
    total = 0.0
    for value in state:
        total += value * value
    return total / len(state)


@njit(cache=True)
def _square_and_gradient(state, data, gradient):
    gradient[:] = 2 * state / len(state)
    return _square(state, data)


def ball(size: int, guided: bool = False) -> System:
    """L = |w|²/d in the box [-1, 1]^d: below L = 1/d the volume is that of a ball, S(ln L) = (d/2) ln L + const.

    With its gradient if `guided`.
    """
    return System(_square, np.zeros(1), np.ones(size), gradient=_square_and_gradient if guided else None)


@njit(cache=True)
def _two_squares(state, data):
    """The smaller of two squared distances, the second of them divided by its width."""
    first, second = 0.0, 0.0
    for value in state:
        first += (value - data[0]) ** 2
        second += (value + data[0]) ** 2
    return min(first, second / data[1]) / len(state)


@njit(cache=True)
def _in_the_second(state, data):
    return 1.0 if state.sum() < 0 else 0.0


def valleys(size: int, width: float) -> System:
    """Two balls of low loss about ±(1/2, …, 1/2), of which the second is wider by √width; its value is being there.

    At low loss the second has the share width^(d/2) / (1 + width^(d/2)) of the volume.
    """
    return System(_two_squares, np.array([0.5, width]), np.ones(size), value=_in_the_second, test=np.zeros(1))


@njit(cache=True)
def _ising(state, data):
    side = int(np.sqrt(len(state)))
    total = 0.0
    for i in range(side):
        for j in range(side):
            here = state[i * side + j]
            total -= here * (state[((i + 1) % side) * side + j] + state[i * side + (j + 1) % side])
    return total + 2 * len(state)


def ising(side: int) -> System:
    """The Ising model on a torus; its energy, counted from the ground state."""
    return System(_ising, np.zeros(1), np.ones(side * side), signs=True)


@njit(cache=True)
def _errors(state, data):
    wrong = 0
    for k in range(len(data)):
        field = 0.0
        for i in range(len(state)):
            field += state[i] * data[k, i]
        if field * data[k, len(state)] <= 0:
            wrong += 1
    return wrong / len(data)


def perceptron(size: int, examples: int, random: np.random.Generator) -> System:
    """Share of a teacher's answers that a perceptron with weights ±1 gets wrong: of few examples, and of 200 others."""
    teacher = random.choice([-1.0, 1.0], size)
    train, test = (random.normal(size=(count, size)) for count in (examples, 200))
    answered = [np.column_stack([inputs, np.sign(inputs @ teacher)]) for inputs in (train, test)]
    return System(_errors, answered[0], np.ones(size), signs=True, value=_errors, test=answered[1])
