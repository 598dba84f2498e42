"""CIFAR-10, or JPEG copies of it."""

import io
from pathlib import Path

import numpy as np
import torch

from replication.data.dataset import DamagedData, Dataset, MissingData, folder, split
from replication.vision import import_torchvision

FOLDERS = ("cifar-10-batches-py", "cifar10-jpeg")
_FETCHES = "`entropy-book data cifar10` fetches the originals"


def load() -> Dataset:
    deviation = "trained on 45,000 of the 50,000 images, the others kept for choices"
    copies = folder() / "cifar10-jpeg"
    try:
        torchvision = import_torchvision()
        train, test = (torchvision.datasets.CIFAR10(folder(), train=flag) for flag in (True, False))
    except RuntimeError as error:
        original = folder() / FOLDERS[0]
        if original.is_dir():
            raise DamagedData(f"{original} is not whole ({error}); remove it, then {_FETCHES}") from error
        if not (copies / "train.parquet").exists():
            raise MissingData(f"CIFAR-10 is not in {folder()} (set by ENTROPY_DATA); {_FETCHES}") from error
        pictures, labels = jpeg_copies(copies)
        what, canonical = "CIFAR-10 as JPEG copies of quality 75, in another order", False
        deviation = f"JPEG copies of quality 75, in another order; {deviation}"
    else:
        pictures, labels = np.concatenate([train.data, test.data]), np.array(train.targets + test.targets)
        what, canonical = "CIFAR-10", True
    if len(pictures) != 60_000:
        raise DamagedData(f"{copies} has {len(pictures):,} pictures, expected 60,000; copy it again, or {_FETCHES}")
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    parts = {"train": torch.arange(45_000), "validation": torch.arange(45_000, 50_000)}
    parts["test"] = torch.arange(50_000, 60_000)
    note = f"{what}, 32 x 32 pixels in 3 colours; of the 50,000 training images the last 5,000 are the validation split"
    return split("cifar10", images, torch.from_numpy(labels).long(), parts, note, deviation, canonical)


def jpeg_copies(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `(60000, 32, 32, 3)` and labels from `train.parquet` and `test.parquet`.

    Raises:
        MissingData: one of the two is not there.
        DamagedData: a file that is no table of pictures, or a picture that cannot be read; it is named.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    pictures, labels = [], []
    for path in (folder / "train.parquet", folder / "test.parquet"):
        if not path.exists():
            raise MissingData(f"{path} is missing; copy it again, or {_FETCHES}")
        try:
            table = pq.read_table(path, columns=["img", "label"])
        except pa.ArrowInvalid as error:
            raise DamagedData(f"{path} is damaged or no table of pictures ({error}); copy it again") from error
        for row, cell in enumerate(table["img"].to_pylist()):
            try:
                picture = np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB"))
            except Exception as error:  # PIL raises errors of many kinds, and a cell may hold anything
                raise DamagedData(f"picture {row} of {path} cannot be read ({error}); copy the file again") from error
            if picture.shape != (32, 32, 3):
                raise DamagedData(f"picture {row} of {path} has the shape {picture.shape}, expected (32, 32, 3)")
            pictures.append(picture)
        labels.append(table["label"].to_numpy())
        if not set(np.unique(labels[-1])) <= set(range(10)):
            raise DamagedData(f"{path} has labels beyond 0 to 9; copy it again")
    return np.stack(pictures), np.concatenate(labels)


def fetch() -> None:
    """Download it through torchvision."""
    import_torchvision().datasets.CIFAR10(folder(), download=True)
