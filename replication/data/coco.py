"""COCO 2017, or some of its photographs, with the union of the annotated objects as masks."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import torch

from replication.data import annotations, photographs
from replication.data.dataset import DamagedData, Dataset, MissingData, folder
from replication.files import digest

FOLDERS = ("coco", "coco-mini")


# As many as the paper trained on; of these the last tenth, and no more than this, are kept for choices.
_COCO_TRAINED, _COCO_KEPT = 60_000, 5_000
# Licences that allow a photograph to be shown with attribution, by COCO's number.
_SHOWABLE = {4: "CC BY 2.0", 5: "CC BY-SA 2.0", 7: "no known copyright restrictions", 8: "US government work"}


def coco_folder() -> Path:
    """Where COCO 2017 lies, in `CocoDetection`'s layout: `coco`, or `coco-mini` for some of its photographs."""
    return folder() / "coco" if (folder() / "coco").is_dir() else folder() / "coco-mini"


def credits(count: int) -> list[str]:
    """The credit line of each of the first photographs of the test split, empty where its licence forbids showing it.

    Raises:
        MissingData: COCO is not there.
    """
    listed = _coco_annotations(coco_folder(), "val2017").imgs
    shown = [listed[number] for number in sorted(listed)[:count]]
    return [
        f"COCO 2017, photograph {about['id']}, {about.get('flickr_url', 'Flickr')}, {_SHOWABLE[about['license']]}"
        if about.get("license") in _SHOWABLE
        else ""
        for about in shown
    ]


def load(side: int = 96) -> Dataset:
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
        DamagedData: an annotation file that is none, or a photograph that cannot be read or has another size.
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
            if not one.get("iscrowd"):
                union |= coco.annToMask(one).astype(bool)
        return photographs.fitted(Image.fromarray(union.astype(np.uint8) * 255), side) >= 128

    name = f"coco-{part}-{side}-{digest(_coco_listed(root, part).read_bytes())}"
    sizes = [(coco.imgs[number]["width"], coco.imgs[number]["height"]) for number in numbers]
    return photographs.squares(f"coco-{part}", paths, side, sizes), photographs.cached(
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

    try:
        content = json.loads(listed.read_bytes())
    except ValueError as error:
        raise DamagedData(f"{listed} is damaged, it is no JSON ({error}); {_UNPACK}") from error
    if fault := annotations.fault(content):
        raise DamagedData(f"{listed} cannot be used: {fault}; {_UNPACK}")
    coco = COCO()
    coco.dataset = content
    with redirect_stdout(io.StringIO()):  # it prints its progress
        coco.createIndex()
    return coco
