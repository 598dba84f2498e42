"""What a data set is: tensors in three splits with a fingerprint.

Choices are made on `validation`, verdicts on `test`; nothing of either is ever trained on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from replication import ROOT
from replication.files import digest


class MissingData(FileNotFoundError):
    """A data set is not on this machine; the message holds the command that fetches it."""


class DamagedData(ValueError):
    """Files of a data set are not whole, are not that set, or contradict each other; the message names one."""


@dataclass(frozen=True)
class Dataset:
    """Images `(n, channels, l, w)` of each split, with integer labels `(n,)`, masks `(n, l, w)`, or both.

    Images are numbers in [0, 1]; photographs are bytes and stay in a memory-mapped file. Masks are bytes, 0 or 1.
    """

    name: str
    images: dict[str, Tensor]
    labels: dict[str, Tensor]
    fingerprint: str
    note: str
    deviation: str = ""  # from what the paper used
    canonical: bool = True  # the images themselves are those that the paper used
    masks: dict[str, Tensor] = field(default_factory=dict)

    def flat(self, split: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """The images of a split as rows."""
        return self.images[split].flatten(1).to(device, dtype)


def folder() -> Path:
    """Where data sets lie: `$ENTROPY_DATA`, or `data/` in the checkout, named from the working directory if below it.

    Pages show this path in messages, and should not tell where a checkout lies.
    """
    if given := os.environ.get("ENTROPY_DATA"):
        return Path(given)
    found = ROOT / "data"
    return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found


def split(
    name: str,
    images: Tensor,
    labels: Tensor,
    parts: dict[str, Tensor],
    note: str,
    deviation: str = "",
    canonical: bool = True,
) -> Dataset:
    split_images = {split: images[index] for split, index in parts.items()}
    split_labels = {split: labels[index] for split, index in parts.items()}
    tensors = [tensor for split in parts for tensor in (split_images[split], split_labels[split])]
    fingerprint = digest(*(tensor.numpy().tobytes() for tensor in tensors))
    if not images.is_floating_point():
        split_images = {split: tensor.float() / 255 for split, tensor in split_images.items()}
    return Dataset(name, split_images, split_labels, fingerprint, note, deviation, canonical)


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Turn the many errors of a failed download into one that says what failed and why."""
    try:
        yield
    except OSError as error:  # URLError is one
        raise RuntimeError(f"{name} could not be downloaded into {folder()}: {error}") from error
