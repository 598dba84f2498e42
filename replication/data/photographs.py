"""Photographs decoded and resized once, then read from one memory-mapped file."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from replication.files import cache_folder, digest, write_atomically

if TYPE_CHECKING:
    from PIL import Image


def squares(name: str, paths: Sequence[Path], side: int) -> np.ndarray:
    """The photographs, cut to squares about their centres and resized, as `(n, side, side, 3)` bytes.

    They are decoded once: what comes back is a view of a file in the cache, named after the paths
    and sizes of the photographs, so that another set of files makes another one.

    Raises:
        ValueError: a file that is no picture or is damaged; it is named.
    """
    key = digest(*(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in paths))
    return cached(f"{name}-{side}-{key}", (len(paths), side, side, 3), lambda row: square(paths[row], side))


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


def square(path: Path, side: int) -> np.ndarray:
    """One photograph, `(side, side, 3)` bytes.

    Raises:
        ValueError: the file is no picture or is damaged.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            return fitted(picture.convert("RGB"), side)
    except OSError as error:
        raise ValueError(f"the photograph {path} cannot be read ({error}); fetch it again") from error


def fitted(picture: "Image.Image", side: int) -> np.ndarray:
    """A picture cut to a square about its centre and resized."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(picture, (side, side), Image.Resampling.BILINEAR))
