"""Photographs decoded and resized once, then read from one memory-mapped file."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from entropy_lib.files import digest, write_atomically


def cache_folder() -> Path:
    """Where decoded photographs and checkpoints lie: `$ENTROPY_CACHE`, or `~/.cache/entropy_lib`."""
    return Path(os.environ.get("ENTROPY_CACHE", Path.home() / ".cache" / "entropy_lib"))


def squares(name: str, paths: Sequence[Path], side: int) -> np.ndarray:
    """The photographs, cut to squares about their centres and resized, as `(n, side, side, 3)` bytes.

    They are decoded once: what comes back is a view of a file in :func:`cache_folder`, named after the paths
    and sizes of the photographs, so that another set of files makes another one.

    Raises:
        ValueError: a file that is no picture or is damaged; it is named.
    """
    listing = digest(*(f"{path.parent.name}/{path.name} {path.stat().st_size}" for path in paths))
    kept = cache_folder() / f"{name}-{side}-{listing}.npy"
    if not kept.exists():
        write_atomically(kept, lambda temporary: _decode(temporary, paths, side))
    return np.load(kept, mmap_mode="c")


def _decode(file: Path, paths: Sequence[Path], side: int) -> None:
    shape = (len(paths), side, side, 3)
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    with ThreadPoolExecutor() as threads:  # PIL decodes without holding Python's lock
        pictures = threads.map(lambda path: square(path, side), paths)
        for row, picture in enumerate(tqdm(pictures, "decoding photographs", len(paths), unit="image", disable=None)):
            array[row] = picture
    array.flush()


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
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as picture:
            return np.asarray(ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.BILINEAR))
    except OSError as error:
        raise ValueError(f"the photograph {path} cannot be read ({error}); fetch it again") from error
