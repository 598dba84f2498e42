"""MNIST."""

from math import prod
from pathlib import Path

import torch

from replication.data.dataset import DamagedData, Dataset, MissingData, folder, split
from replication.vision import import_torchvision

FOLDERS = ("MNIST",)
_FETCHES = "`entropy-book data mnist` fetches it"

# The four files with what each holds, in the format of its makers: a magic number, the sizes, then bytes.
FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28), "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28), "t10k-labels-idx1-ubyte": (10_000,),
}  # fmt: skip
# Of the published files, split as below.
PUBLISHED = "f7fc3cd28de91a61"


def load() -> Dataset:
    raw = _raw()
    if missing := [name for name in FILES if not (raw / name).is_file()]:
        raise MissingData(
            f"MNIST is not in {folder()} (set by ENTROPY_DATA), there is no {raw / missing[0]}; {_FETCHES}"
        )
    _check_what_is_there()
    torchvision = import_torchvision()
    train, test = (torchvision.datasets.MNIST(folder(), train=flag) for flag in (True, False))
    images = torch.cat([train.data, test.data])[:, None]
    labels = torch.cat([train.targets, test.targets])
    parts = {"train": torch.arange(50_000), "validation": torch.arange(50_000, 60_000)}
    parts["test"] = torch.arange(60_000, 70_000)
    note = "MNIST, 28 x 28 pixels; of the 60,000 training images the last 10,000 are the validation split"
    deviation = "trained on 50,000 of the 60,000 images, the others kept for choices"
    found = split("mnist", images, labels, parts, note, deviation)
    if found.fingerprint != PUBLISHED:
        raise DamagedData(
            f"MNIST in {raw} has the fingerprint {found.fingerprint}, the published files have {PUBLISHED}: a picture "
            f"or a label was changed; remove the folder, then {_FETCHES}"
        )
    return found


def _raw() -> Path:
    return folder() / "MNIST" / "raw"


def _check_what_is_there() -> None:
    for name, shape in FILES.items():
        if (_raw() / name).is_file():
            _check(_raw() / name, shape)


def _check(path: Path, shape: tuple[int, ...]) -> None:
    """Refuse a file that is not whole, or holds something else.

    Raises:
        DamagedData: it has another size or another beginning than the file of this name has.
    """
    head = b"".join(number.to_bytes(4, "big") for number in (0x800 + len(shape), *shape))
    with path.open("rb") as file:
        found, size = file.read(len(head)), path.stat().st_size
    if found != head or size != len(head) + prod(shape):
        raise DamagedData(
            f"{path} is not whole or not that file: it has {size:,} bytes of {len(head) + prod(shape):,}"
            f"{'' if found == head else ' and begins as no such file does'}; remove it, then {_FETCHES}"
        )


def fetch() -> None:
    """Download it through torchvision, which skips files that are there.

    Raises:
        DamagedData: one of those is not whole.
    """
    _check_what_is_there()
    import_torchvision().datasets.MNIST(folder(), download=True)
