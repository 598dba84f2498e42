"""MNIST."""

import torch

from replication.data.dataset import Dataset, MissingData, folder, split
from replication.vision import import_torchvision

FOLDERS = ("MNIST",)


def load() -> Dataset:
    torchvision = import_torchvision()
    try:
        train, test = (torchvision.datasets.MNIST(folder(), train=flag) for flag in (True, False))
    except RuntimeError as error:
        raise MissingData(
            f"MNIST is not in {folder()} (set by ENTROPY_DATA); `entropy-book data mnist` fetches it"
        ) from error
    images = torch.cat([train.data, test.data])[:, None]
    labels = torch.cat([train.targets, test.targets])
    parts = {"train": torch.arange(50_000), "validation": torch.arange(50_000, 60_000)}
    parts["test"] = torch.arange(60_000, 70_000)
    note = "MNIST, 28 x 28 pixels; of the 60,000 training images the last 10,000 are the validation split"
    deviation = "trained on 50,000 of the 60,000 images, the others kept for choices"
    return split("mnist", images, labels, parts, note, deviation)


def fetch() -> None:
    """Download it through torchvision."""
    import_torchvision().datasets.MNIST(folder(), download=True)
