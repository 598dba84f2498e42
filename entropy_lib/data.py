"""Data sets as tensors with three splits and a fingerprint.

Choices are made on `validation`, verdicts on `test`; nothing of either is ever trained on.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from entropy_lib import photographs, shapes
from entropy_lib.files import digest


class MissingData(FileNotFoundError):
    """A data set is not on this machine; the message holds the command that fetches it."""


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
    """Where data sets lie: `$ENTROPY_DATA`, or `data/` below the working directory."""
    return Path(os.environ.get("ENTROPY_DATA", "data"))


def load(name: str, fingerprint: str | None = None, side: int | None = None) -> Dataset:
    """Load a data set by name; `side` is that of its square images, where the set comes in any size.

    Raises:
        KeyError: unknown name; the message lists the known ones.
        MissingData: the files are not there; the message says which command fetches them.
        ValueError: the files have another fingerprint than the one asked for.
    """
    if name not in _LOADERS:
        raise KeyError(f"unknown data set {name!r}; known: {', '.join(_LOADERS)}")
    found = _loaded(name, side)
    if fingerprint not in (None, found.fingerprint):
        raise ValueError(
            f"{name} in {folder()} has the fingerprint {found.fingerprint}, the trial asks for {fingerprint}: "
            "another version of the data"
        )
    return found


@cache
def _loaded(name: str, side: int | None) -> Dataset:
    return _LOADERS[name](**({"side": side} if side else {}))


def names() -> list[str]:
    return list(_LOADERS)


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.float32) / 16)[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    # The file is ordered by writer; one fixed permutation mixes writers over the splits.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = dict(zip(("train", "validation", "test"), order.split([1197, 300, 300]), strict=True))
    note = "scikit-learn's copy of the UCI handwritten digits, 8 x 8 pixels, 1,197/300/300"
    return _dataset("digits", images, labels, parts, note, "8 x 8 digits instead of MNIST", canonical=False)


def _mnist() -> Dataset:
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
    return _dataset("mnist", images, labels, parts, note, deviation)


def _cifar10() -> Dataset:
    deviation = "trained on 45,000 of the 50,000 images, the others kept for choices"
    copies = folder() / "cifar10-jpeg"
    try:
        torchvision = import_torchvision()
        train, test = (torchvision.datasets.CIFAR10(folder(), train=flag) for flag in (True, False))
    except RuntimeError as error:
        if not (copies / "train.parquet").exists():
            raise MissingData(
                f"CIFAR-10 is not in {folder()} (set by ENTROPY_DATA); `entropy-book data cifar10` fetches it"
            ) from error
        pictures, labels = _jpeg_copies(copies)
        what, canonical = "CIFAR-10 as JPEG copies of quality 75, in another order", False
        deviation = f"JPEG copies of quality 75, in another order; {deviation}"
    else:
        pictures, labels = np.concatenate([train.data, test.data]), np.array(train.targets + test.targets)
        what, canonical = "CIFAR-10", True
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    parts = {"train": torch.arange(45_000), "validation": torch.arange(45_000, 50_000)}
    parts["test"] = torch.arange(50_000, 60_000)
    note = f"{what}, 32 x 32 pixels in 3 colours; of the 50,000 training images the last 5,000 are the validation split"
    return _dataset("cifar10", images, torch.from_numpy(labels).long(), parts, note, deviation, canonical)


def _jpeg_copies(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `(60000, 32, 32, 3)` and labels from `train.parquet` and `test.parquet`.

    Raises:
        MissingData: one of the two is not there.
        ValueError: a file that is no table of pictures, or a picture that cannot be read; it is named.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    pictures, labels = [], []
    for path in (folder / "train.parquet", folder / "test.parquet"):
        if not path.exists():
            raise MissingData(f"{path} is missing; copy it again, or `entropy-book data cifar10` fetches the originals")
        try:
            table = pq.read_table(path, columns=["img", "label"])
        except pa.ArrowInvalid as error:
            raise ValueError(f"{path} is damaged or no table of pictures ({error}); copy it again") from error
        for row, cell in enumerate(table["img"].to_pylist()):
            try:
                pictures.append(np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")))
            except OSError as error:  # PIL's own error is one
                raise ValueError(f"picture {row} of {path} cannot be read ({error}); copy the file again") from error
        labels.append(table["label"].to_numpy())
    return np.stack(pictures), np.concatenate(labels)


def _shapes(side: int = 32) -> Dataset:
    pictures, labels, masks = shapes.draw(1200, side, seed=0)
    parts = dict(zip(("train", "validation", "test"), torch.arange(1200).split([720, 240, 240]), strict=True))
    note = f"six kinds of shapes drawn by this library, {side} x {side} pixels in 3 colours, 720/240/240"
    images = torch.from_numpy(pictures).movedim(-1, 1)
    drawn = _dataset("shapes", images, torch.from_numpy(labels), parts, note, "drawn shapes", canonical=False)
    return replace(drawn, masks={split: torch.from_numpy(masks[index]).byte() for split, index in parts.items()})


# Version 2 of the set: photographs for training and for the test, in ten classes.
_IMAGENETTE = {"train": 9469, "val": 3925}


def _imagenette(side: int = 64) -> Dataset:
    train, test = (_classes(folder() / "imagenette2-160" / part, count) for part, count in _IMAGENETTE.items())
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
        ValueError: it does not hold the photographs that it should; the message counts them.
    """
    remedy = "`entropy-book data imagenette` fetches it"
    if not part.is_dir():
        raise MissingData(f"Imagenette is not in {folder()} (set by ENTROPY_DATA), there is no {part}; {remedy}")
    classes = sorted(path for path in part.iterdir() if path.is_dir())
    found = [(path, label) for label, name in enumerate(classes) for path in sorted(name.iterdir())]
    if len(classes) != 10 or len(found) != count:
        raise ValueError(
            f"{part} has {len(found):,} photographs in {len(classes)} classes, expected {count:,} in 10: "
            f"the copy is not whole; remove it, then {remedy}"
        )
    return found


# As many as the paper trained on; of these the last tenth, and no more than this, are kept for choices.
_COCO_TRAINED, _COCO_KEPT = 60_000, 5_000


# Licences that allow a photograph to be shown with attribution, by COCO's number.
_SHOWABLE = {4: "CC BY 2.0", 5: "CC BY-SA 2.0", 7: "no known copyright restrictions", 8: "US government work"}


def coco_folder() -> Path:
    """Where COCO 2017 lies, in `CocoDetection`'s layout: `coco`, or `coco-mini` for some of its photographs."""
    return folder() / "coco" if (folder() / "coco").is_dir() else folder() / "coco-mini"


def coco_credits(count: int) -> list[str]:
    """The credit line of each of the first photographs of the test split, empty where its licence forbids showing it.

    Raises:
        MissingData: COCO is not there.
    """
    photographs = _coco_annotations(coco_folder(), "val2017").imgs
    shown = [photographs[number] for number in sorted(photographs)[:count]]
    return [
        f"COCO 2017, photograph {about['id']}, {about.get('flickr_url', 'Flickr')}, {_SHOWABLE[about['license']]}"
        if about.get("license") in _SHOWABLE
        else ""
        for about in shown
    ]


def _coco(side: int = 96) -> Dataset:
    """Photographs of COCO 2017 with the union of their annotated objects as masks, in `CocoDetection`'s layout."""
    train, test = (_coco_part(coco_folder(), part, side) for part in ("train2017", "val2017"))
    total = min(len(train[0]), _COCO_TRAINED)
    kept = min(total // 10, _COCO_KEPT)
    images, masks = ((train[k][:total], test[k]) for k in (0, 1))
    cut = {"train": (0, slice(total - kept)), "validation": (0, slice(total - kept, None)), "test": (1, slice(None))}
    whole = total == _COCO_TRAINED
    what = "COCO 2017" if whole else f"{total + len(test[0]):,} photographs of COCO 2017"
    return Dataset(
        "coco",
        {split: torch.from_numpy(images[k][part]).movedim(-1, 1) for split, (k, part) in cut.items()},
        {},
        digest(*(array.reshape(-1).data for array in (*images, *masks))),
        f"{what}, {side} x {side} pixels in 3 colours, {total - kept:,}/{kept:,}/{len(test[0]):,}; "
        "a mask is the union of the annotated objects",
        f"{what}, {side} pixels, trained on {total - kept:,}, tested on {len(test[0]):,}",
        canonical=whole,
        masks={split: torch.from_numpy(masks[k][part]) for split, (k, part) in cut.items()},
    )


def _coco_part(root: Path, part: str, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, side, side, 3)` and masks `(n, side, side)` of a part, by the number of the photograph.

    Raises:
        MissingData: the annotations or the photographs are not there.
        ValueError: an annotation file that is none, or a photograph that cannot be read.
    """
    coco = _coco_annotations(root, part)
    numbers = sorted(coco.imgs)
    paths = [root / part / coco.imgs[number]["file_name"] for number in numbers]
    if missing := [path for path in paths if not path.exists()]:
        raise MissingData(
            f"{len(missing):,} of {len(paths):,} photographs are missing, such as {missing[0]}; {_UNPACK}"
        )

    def mask(row: int) -> np.ndarray:
        from PIL import Image

        about, objects = coco.imgs[numbers[row]], coco.imgToAnns[numbers[row]]
        union = np.zeros((about["height"], about["width"]), bool)
        for one in objects:
            if not one["iscrowd"]:
                union |= coco.annToMask(one).astype(bool)
        return photographs.fitted(Image.fromarray(union.astype(np.uint8) * 255), side) >= 128

    name = f"coco-{part}-{side}-{digest(_coco_listed(root, part).read_bytes())}"
    return photographs.squares(f"coco-{part}", paths, side), photographs.cached(
        f"{name}-masks", (len(paths), side, side), mask
    )


_UNPACK = "unpack COCO's 2017 train, val and annotation archives (https://cocodataset.org/#download) there"


def _coco_listed(root: Path, part: str) -> Path:
    return root / "annotations" / f"instances_{part}.json"


def _coco_annotations(root: Path, part: str):
    """pycocotools' index of a part; errors as in `_coco_part`."""
    listed = _coco_listed(root, part)
    if not listed.exists():
        raise MissingData(f"COCO is not in {folder()} (set by ENTROPY_DATA), there is no {listed}; {_UNPACK}")
    from pycocotools.coco import COCO

    with redirect_stdout(io.StringIO()):  # it prints its progress
        try:
            return COCO(listed)
        except (ValueError, KeyError, AssertionError) as error:
            raise ValueError(f"{listed} is damaged or holds no annotations ({error}); {_UNPACK}") from error


_LOADERS = {
    "digits": _digits,
    "mnist": _mnist,
    "cifar10": _cifar10,
    "shapes": _shapes,
    "imagenette": _imagenette,
    "coco": _coco,
}
_FETCHED = {"mnist": ("MNIST", {}), "cifar10": ("CIFAR10", {}), "imagenette": ("Imagenette", {"size": "160px"})}


def fetch(name: str) -> None:
    """Download a data set into `folder()` through torchvision; embedded sets need nothing.

    Raises:
        KeyError: unknown name; the message lists the known ones.
        RuntimeError: the download failed; the message says why.
    """
    if name not in _LOADERS:
        raise KeyError(f"unknown data set {name!r}; known: {', '.join(_LOADERS)}")
    if name in _FETCHED:
        with downloading(name):
            kind, options = _FETCHED[name]
            getattr(import_torchvision().datasets, kind)(folder(), download=True, **options)


@contextmanager
def downloading(name: str) -> Iterator[None]:
    """Turn the many errors of a failed download into one that says what failed and why."""
    try:
        yield
    except OSError as error:  # URLError is one
        raise RuntimeError(f"{name} could not be downloaded into {folder()}: {error}") from error


def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a CPU-only torch.

    torchvision's compiled operators need CUDA libraries; beside a CPU build of torch its import
    stops at the first one it looks up. Declaring the missing names lets models, transforms and
    data sets work. Where the builds match, the first import succeeds and nothing is declared.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        import sys

        for loaded in [module for module in sys.modules if module.split(".")[0] == "torchvision"]:
            del sys.modules[loaded]
        torch.library.define("torchvision::nms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.library.define("torchvision::qnms", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


def _dataset(
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
