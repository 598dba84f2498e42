"""What is stored: random patterns, or binarised photographs that resemble each other little."""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from replication.data.registry import load
from replication.sweep.store import Array

PICTURES = 200  # as many as the source keeps


def random(count: int, size: int, seed: int) -> Array:
    """`(count, size)` of ±1, each with even odds. The first patterns of two counts are the same."""
    if count < 1 or size < 1:
        raise ValueError(f"patterns need at least one spin and one of them, got {count} of {size}")
    return 2 * np.random.default_rng([seed, size]).integers(0, 2, (count, size), dtype=np.int8) - 1


def pictures(count: int, seed: int) -> Array:
    """`(count, 3072)`: binarised pictures of CIFAR-10, chosen by the seed among those that :func:`dissimilar` keeps."""
    kept = _pictures()
    return kept[np.random.default_rng(seed).permutation(len(kept))[:count]]


@lru_cache(maxsize=1)
def _pictures() -> Array:
    images = load("cifar10").images["train"]
    size = images[0].numel()
    return dissimilar((binarised(image.numpy()) for image in images), 10 / np.sqrt(size), PICTURES)


def binarised(image: Array) -> Array:
    """`(channels, l, w)` as spins: +1 above the median of the channel."""
    medians = np.median(image, axis=(1, 2), keepdims=True)
    return np.where(image > medians, 1, -1).astype(np.int8).ravel()


def dissimilar(candidates: Iterable[Array], most: float, count: int) -> Array:
    """The first so many of the candidates whose overlap with each one kept before is at most `most` in size.

    Raises:
        ValueError: there are not so many.
    """
    kept, found = np.empty((0, 0), dtype=np.float32), 0
    for each in candidates:
        if not found:
            kept = np.zeros((count, len(each)), dtype=np.float32)
        if np.abs(kept[:found] @ each).max(initial=0) / len(each) <= most:
            kept[found] = each
            found += 1
        if found == count:
            return kept.astype(np.int8)
    raise ValueError(f"only {found} of the pictures resemble each other by {most:.3g} at most, {count} were asked for")
