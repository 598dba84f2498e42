"""Drawn shapes with exact masks: pictures that need no download."""

from dataclasses import replace

import numpy as np
import torch

from replication.data.dataset import Dataset, split

FOLDERS: tuple[str, ...] = ()
NAMES = ("disc", "ring", "square", "triangle", "cross", "crescent")


def draw(count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bright shapes at random places, sizes and angles, on a darker, noisy ramp of another colour.

    Returns:
        Images `(count, side, side, 3)` of bytes, labels `(count,)` into `NAMES`, in turn, and masks
        `(count, side, side)`, true where the shape is: a pixel belongs to it when its centre does.
    """
    random = np.random.default_rng(seed)
    labels = np.arange(count) % len(NAMES)
    radius, angle = random.uniform(0.2, 0.42, count), random.uniform(0, 2 * np.pi, count)
    centre = random.uniform(radius, 1 - radius, (2, count))
    # Coordinates of the pixels' centres in each shape's own frame, where it fits into the unit disc.
    grid = (np.arange(side) + 0.5) / side
    y, x = ((grid - c[:, None]) / radius[:, None] for c in centre)
    y, x = y[:, :, None], x[:, None, :]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = cos * x + sin * y, cos * y - sin * x
    masks = np.select([(labels == k)[:, None, None] for k in range(len(NAMES))], _inside(u, v), False)
    colours = random.uniform(0, 0.5, (2, count, 1, 1, 3)) + np.array([0.5, 0.0])[:, None, None, None, None]
    ramp = 0.7 + 0.6 * (x * random.uniform(-0.3, 0.3, (count, 1, 1)) * radius[:, None, None])[..., None]
    images = np.where(masks[..., None], colours[0], colours[1] * ramp)
    images += random.normal(0, 0.06, images.shape)
    return (images.clip(0, 1) * 255).astype(np.uint8), labels, masks


def _inside(u: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """Which points belong to the shape, for each of `NAMES`."""
    r, box = np.hypot(u, v), np.maximum(abs(u), abs(v))
    corners = [u * np.cos(t) + v * np.sin(t) for t in (np.pi / 2, np.pi * 7 / 6, np.pi * 11 / 6)]
    return [
        r < 0.85,
        (r < 0.95) & (r > 0.55),
        box < 0.7,
        np.maximum.reduce(corners) < 0.5,
        (np.minimum(abs(u), abs(v)) < 0.25) & (box < 0.95),
        (r < 0.95) & (np.hypot(u - 0.5, v) > 0.7),
    ]


def load(side: int = 32) -> Dataset:
    pictures, labels, masks = draw(1200, side, seed=0)
    parts = dict(zip(("train", "validation", "test"), torch.arange(1200).split([720, 240, 240]), strict=True))
    note = f"six kinds of shapes drawn by this library, {side} x {side} pixels in 3 colours, 720/240/240"
    images = torch.from_numpy(pictures).movedim(-1, 1)
    drawn = split("shapes", images, torch.from_numpy(labels), parts, note, "drawn shapes", canonical=False)
    return replace(drawn, masks={part: torch.from_numpy(masks[index]).byte() for part, index in parts.items()})
