"""Data sets by name."""

from functools import cache
from pathlib import Path
from types import ModuleType

from replication import reads
from replication.data import cifar10, coco, digits, imagenette, mnist, shapes
from replication.data.dataset import Dataset, downloading, folder
from replication.files import digest

# A module for each set: `load`, where it lies below the data folder, and `fetch` where it can be downloaded.
SETS: dict[str, ModuleType] = {
    "digits": digits,
    "mnist": mnist,
    "cifar10": cifar10,
    "shapes": shapes,
    "imagenette": imagenette,
    "coco": coco,
}


def names() -> list[str]:
    return list(SETS)


def load(name: str, fingerprint: str | None = None, side: int | None = None) -> Dataset:
    """Load a data set by name; `side` is that of its square images, where the set comes in any size.

    Raises:
        KeyError: unknown name; the message lists the known ones.
        MissingData: the files are not there; the message says which command fetches them.
        DamagedData: files are not whole, or not that set; one is named, with the remedy.
        ValueError: the files have another fingerprint than the one asked for.
    """
    _known(name)
    reads.note_once("data", name)
    found = loaded(name, side, folder())
    if fingerprint not in (None, found.fingerprint):
        raise ValueError(
            f"{name} in {folder()} has the fingerprint {found.fingerprint}, the trial asks for {fingerprint}: "
            "another version of the data"
        )
    return found


def fetch(name: str) -> None:
    """Download a data set into `folder()` through torchvision; embedded sets need nothing.

    Raises:
        KeyError: unknown name; the message lists the known ones.
        RuntimeError: the download failed; the message says why.
    """
    download = getattr(_known(name), "fetch", None)
    if download:
        with downloading(name):
            download()


def signature(name: str) -> str:
    """Which files of a data set are here, by name and size: cheap to ask, for what was made from them."""
    files = [path for part in SETS[name].FOLDERS for path in (folder() / part).rglob("[!.]*") if path.is_file()]
    return digest(*sorted(f"{path.relative_to(folder())} {path.stat().st_size}" for path in files))


reads.offer("data", signature)


def _known(name: str) -> ModuleType:
    if name not in SETS:
        raise KeyError(f"unknown data set {name!r}; known: {', '.join(SETS)}")
    return SETS[name]


@cache
def loaded(name: str, side: int | None, place: Path) -> Dataset:
    return SETS[name].load(**({"side": side} if side else {}))
