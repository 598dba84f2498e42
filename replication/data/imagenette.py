"""Imagenette, version 2."""

from pathlib import Path

import torch

from replication.data import photographs
from replication.data.dataset import DamagedData, Dataset, MissingData, folder
from replication.files import digest
from replication.vision import import_torchvision

FOLDERS = ("imagenette2-160",)


# Version 2 of the set: photographs for training and for the test, in ten classes.
COUNTS = {"train": 9469, "val": 3925}


def load(side: int = 64) -> Dataset:
    train, test = (_classes(folder() / "imagenette2-160" / part, count) for part, count in COUNTS.items())
    # Sorted by class on the disk; one fixed permutation mixes the classes before some are kept for choices.
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    listed, kept = [*(train[k] for k in order), *test], len(train) // 10
    paths = [path for path, _ in listed]
    pictures, labels = photographs.squares("imagenette", paths, side), torch.tensor([label for _, label in listed])
    parts = {"train": slice(len(train) - kept), "validation": slice(len(train) - kept, len(train))}
    parts["test"] = slice(len(train), None)
    images = torch.from_numpy(pictures).movedim(-1, 1)
    # The official copies keep the photographs' proportions.
    squeezed = all(photographs.size(path) == (160, 160) for path in paths[:20])
    what = "Imagenette v2" + " squeezed to squares" * squeezed
    return Dataset(
        "imagenette",
        {split: images[part] for split, part in parts.items()},
        {split: labels[part] for split, part in parts.items()},
        digest(pictures.reshape(-1).data, labels.numpy().tobytes()),
        f"{what}, {side} x {side} pixels in 3 colours, {len(train) - kept:,}/{kept:,}/{len(test):,}",
        f"{what} and its split, {side} pixels; trained on {len(train) - kept:,} of the {len(train):,} photographs, "
        "the others kept for choices",
        canonical=not squeezed,
    )


def _classes(part: Path, count: int) -> list[tuple[Path, int]]:
    """Files and labels of a folder that has a folder for each class.

    Raises:
        MissingData: the folder is not there.
        DamagedData: it does not hold the photographs that it should; the message counts them.
    """
    remedy = "`entropy-book data imagenette` fetches it"
    if not part.is_dir():
        raise MissingData(f"Imagenette is not in {folder()} (set by ENTROPY_DATA), there is no {part}; {remedy}")
    classes = sorted(path for path in part.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted(name.iterdir())
        if photographs.named(path)
    ]
    if len(classes) != 10 or len(found) != count:
        raise DamagedData(
            f"{part} has {len(found):,} photographs in {len(classes)} classes, expected {count:,} in 10: "
            f"the copy is not whole; remove it, then {remedy}"
        )
    return found


def fetch() -> None:
    """Download it through torchvision."""
    import_torchvision().datasets.Imagenette(folder(), size="160px", download=True)
