"""Photographs decoded and resized once, then read from one memory-mapped file."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from replication.data.dataset import DamagedData
from replication.files import cache_folder, digest, write_atomically

if TYPE_CHECKING:
    from PIL import Image

Size = tuple[int, int]  # width and height


def squares(name: str, paths: Sequence[Path], side: int, sizes: Sequence[Size] | None = None) -> np.ndarray:
    """The photographs, cut to squares about their centres and resized, as `(n, side, side, 3)` bytes.

    They are decoded once: what comes back is a view of a file in the cache, named after the paths, sizes and times
    of the photographs, so that another set of files makes another one. Where `sizes` says how large each should be,
    as an annotation does, one that is stored turned is turned back.

    Raises:
        DamagedData: a file that is no picture, is damaged, or has another size; it is named.
    """
    stats = [(path, path.stat()) for path in paths]
    key = digest(str(sizes), *(f"{path.parent.name}/{path.name} {s.st_size} {s.st_mtime_ns}" for path, s in stats))
    return cached(
        f"{name}-{side}-{key}",
        (len(paths), side, side, 3),
        lambda row: square(paths[row], side, sizes[row] if sizes else None),
    )


def named(path: Path) -> bool:
    """Whether a file is a photograph by its name, and not one of those that systems leave beside them."""
    return path.suffix.lower() in (".jpeg", ".jpg", ".png") and not path.name.startswith(".")


def cached(name: str, shape: tuple[int, ...], make: Callable[[int], np.ndarray]) -> np.ndarray:
    """An array of bytes whose rows are made once and then read from a memory-mapped file of this name."""
    kept = cache_folder() / f"{name}.npy"

    def fill(temporary: Path) -> None:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor() as threads:  # PIL decodes without holding Python's lock
            rows = tqdm(threads.map(make, range(len(array))), name, len(array), unit="image", disable=None)
            for number, row in enumerate(rows):
                array[number] = row
        array.flush()

    if not kept.exists():
        write_atomically(kept, fill)
    return np.load(kept, mmap_mode="c")


def size(path: Path) -> tuple[int, int]:
    """Width and height of a photograph, from its header."""
    from PIL import Image

    with Image.open(path) as picture:
        return picture.size


def square(path: Path, side: int, expected: Size | None = None) -> np.ndarray:
    """One photograph, `(side, side, 3)` bytes.

    Raises:
        DamagedData: the file is no picture or is damaged, has more than 8 bits a colour, or another size than expected.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):
                raise ValueError(f"its mode is {picture.mode}, more than 8 bits a colour, which would be cut off")
            return fitted(_upright(picture, expected).convert("RGB"), side)
    except Exception as error:  # PIL raises errors of many kinds
        raise DamagedData(f"the photograph {path} cannot be read ({error}); fetch it again") from error


def _upright(picture: "Image.Image", expected: Size | None) -> "Image.Image":
    """The picture as its annotation means it: as viewers show it, or as it is stored, whichever has the size."""
    from PIL import ImageOps

    if expected is None:
        return picture
    shown = ImageOps.exif_transpose(picture)
    for found in (shown, picture):
        if found.size == expected:
            return found
    raise ValueError(f"it has {shown.width} x {shown.height} pixels, its annotation says {expected[0]} x {expected[1]}")


def fitted(picture: "Image.Image", side: int) -> np.ndarray:
    """A picture cut to a square about its centre and resized."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BILINEAR))
