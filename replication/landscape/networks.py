"""Small networks with ReLU as systems: a training loss of all parameters in a box, and what they do on a test set."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from replication.landscape.systems import System
from replication.sweep.store import Array

Points = tuple[Array, Array]


@njit(cache=True, fastmath={"contract"})
def _units(state, inputs, widths):
    """What every unit gives, `(units of all layers after the first, points)`, from inputs `(features, points)`.

    Layer by layer the state holds weights `(out, in)` and then biases. Points lie next to each other in memory, so
    that a processor takes several of them at a time.
    """
    units = np.empty((widths[1:].sum(), inputs.shape[1]))
    below, at, row = inputs, 0, 0
    for layer in range(len(widths) - 1):
        fan, count = widths[layer], widths[layer + 1]
        for j in range(count):
            unit = units[row + j]
            unit[:] = state[at + count * fan + j]
            for i in range(fan):
                weight, source = state[at + j * fan + i], below[i]
                for k in range(len(unit)):
                    unit[k] += weight * source[k]
            if layer < len(widths) - 2:
                for k in range(len(unit)):
                    unit[k] = max(unit[k], 0.0)
        below = units[row : row + count]
        at += count * (fan + 1)
        row += count
    return units


@njit(cache=True)
def outputs(state, inputs, widths):
    """Of the last layer, `(outputs, points)`."""
    return _units(state, inputs, widths)[-widths[-1] :]


@njit(cache=True, fastmath={"contract", "reassoc"})
def _backward(state, inputs, widths, units, delta, gradient):
    """Into `gradient` that of a loss whose derivative by the outputs is `delta`, which is used up."""
    at, row = len(state), len(units) - widths[-1]
    for layer in range(len(widths) - 2, -1, -1):
        fan, count = widths[layer], widths[layer + 1]
        at -= count * (fan + 1)
        below = inputs if layer == 0 else units[row - fan : row]
        passed = np.zeros((fan, inputs.shape[1]))
        for j in range(count):
            error, total = delta[j], 0.0
            for k in range(len(error)):
                total += error[k]
            gradient[at + count * fan + j] = total
            for i in range(fan):
                weight, source, lower, total = state[at + j * fan + i], below[i], passed[i], 0.0
                for k in range(len(error)):
                    total += error[k] * source[k]
                gradient[at + j * fan + i] = total
                if layer:
                    for k in range(len(error)):
                        lower[k] += weight * error[k] if source[k] > 0 else 0.0
        delta = passed
        row -= fan


@njit(cache=True)
def _soften(logits):
    """Logits become probabilities; returns the logarithm of what they summed to, point by point."""
    top, total = logits[0].copy(), np.zeros(logits.shape[1])
    for c in range(1, len(logits)):
        for k in range(len(top)):
            top[k] = max(top[k], logits[c, k])
    for c in range(len(logits)):
        for k in range(len(top)):
            logits[c, k] = np.exp(logits[c, k] - top[k])
            total[k] += logits[c, k]
    for c in range(len(logits)):
        for k in range(len(top)):
            logits[c, k] /= total[k]
    return top + np.log(total)


@njit(cache=True)
def _cross_entropy(state, data):
    inputs, labels, widths = data
    logits = outputs(state, inputs, widths)
    loss = 0.0
    for k in range(len(labels)):
        loss -= logits[labels[k], k]
    return (loss + _soften(logits).sum()) / len(labels)


@njit(cache=True)
def _cross_entropy_and_gradient(state, data, gradient):
    inputs, labels, widths = data
    units = _units(state, inputs, widths)
    delta = units[-widths[-1] :].copy()
    loss = 0.0
    for k in range(len(labels)):
        loss -= delta[labels[k], k]
    loss += _soften(delta).sum()
    for k in range(len(labels)):
        delta[labels[k], k] -= 1
    _backward(state, inputs, widths, units, delta / len(labels), gradient)
    return loss / len(labels)


@njit(cache=True)
def _accuracy(state, data):
    inputs, labels, widths = data
    logits = outputs(state, inputs, widths)
    right = 0
    for k in range(len(labels)):
        right += np.argmax(logits[:, k]) == labels[k]
    return right / len(labels)


@njit(cache=True)
def _squared(state, data):
    inputs, targets, widths = data
    return ((outputs(state, inputs, widths)[0] - targets) ** 2).mean()


@njit(cache=True)
def _squared_and_gradient(state, data, gradient):
    inputs, targets, widths = data
    units = _units(state, inputs, widths)
    error = units[-1:] - targets
    loss = (error**2).mean()
    _backward(state, inputs, widths, units, 2 * error / len(targets), gradient)
    return loss


@njit(cache=True)
def _explained(state, data):
    """R², which is below 0 where the mean of the targets would do better."""
    return 1 - _squared(state, data) / ((data[1] - data[1].mean()) ** 2).mean()


def classifier(train: Points, test: Points, widths: Sequence[int]) -> System:
    """Mean cross-entropy, in nats, and test accuracy.

    Args:
        train, test: points `(n, inputs)` and their classes.
        widths: of all layers, inputs and classes among them; all parameters lie within 2/√w of 0, w the width of the
            first hidden layer.

    Source: Yang, Zhang, Shang and Zhang, arXiv 2503.13145 (box and parametrisation).
    """
    return System(
        _cross_entropy, _data(train, widths, np.int64), _box(widths), gradient=_cross_entropy_and_gradient,
        value=_accuracy, test=_data(test, widths, np.int64),
    )  # fmt: skip


def regressor(train: Points, test: Points, widths: Sequence[int]) -> System:
    """Mean squared error, and R² on the test set; as `classifier`, with one output and targets in place of classes."""
    return System(
        _squared, _data(train, widths, np.float64), _box(widths), gradient=_squared_and_gradient,
        value=_explained, test=_data(test, widths, np.float64),
    )  # fmt: skip


def _data(points: Points, widths: Sequence[int], answers: type) -> tuple[Array, Array, Array]:
    inputs, targets = points
    return np.ascontiguousarray(inputs.T, dtype=float), targets.astype(answers), np.array(widths)


def half_width(widths: Sequence[int]) -> float:
    """Of the box, in every direction."""
    return float(2 / np.sqrt(widths[1]))


def _box(widths: Sequence[int]) -> Array:
    size = sum(units * (fan + 1) for fan, units in zip(widths, widths[1:], strict=False))
    return np.full(size, half_width(widths))
