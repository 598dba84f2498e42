"""Seconds an epoch of the U-Net takes, with a plain loader and with ours: writes results/benchmarks/unet-cpu.json.

    python benchmarks/unet.py

The plain way is what a user would write: torchvision's `CocoDetection`, and for each photograph in each epoch
decoding, drawing its masks, and resizing both; then a step in float32. The second row takes the arrays that were
decoded and drawn once, with the same step; the third is ours, with bfloat16 and channels last. Needs COCO in
`$ENTROPY_DATA`; leave the machine alone meanwhile, it takes a minute. The book's page on performance reads the file.
"""

import contextlib
import io
import json
import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from replication.data.coco import coco_folder
from replication.data.registry import load
from replication.experiments.unet import experiment as unet
from replication.files import write_atomically
from replication.networks.unet import UNet
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores
from replication.vision import import_torchvision

TRIAL = unet.UNET.trials(unet.PROFILES["laptop"][0].but(horizon=1))[0]
BATCH, SIDE, CHANNELS = (int(TRIAL[name]) for name in ("batch", "image", "channels"))
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


class Photographs(torch.utils.data.Dataset):
    """The training photographs and their masks, one at a time."""

    def __init__(self, count: int):
        torchvision, root = import_torchvision(), coco_folder()
        from torchvision.transforms import v2

        with contextlib.redirect_stdout(io.StringIO()):
            self.found = torchvision.datasets.CocoDetection(
                root / "train2017", root / "annotations" / "instances_train2017.json"
            )
        self.count = count
        self.fit = v2.Compose([v2.ToImage(), v2.Resize(SIDE), v2.CenterCrop(SIDE)])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        image, objects = self.found[row]
        union = np.zeros(image.size[::-1], bool)
        for one in objects:
            union |= self.found.coco.annToMask(one).astype(bool)
        mask = self.fit(Image.fromarray(union.astype(np.uint8) * 255))
        return self.fit(image).float() / 255, (mask[0] >= 128).float()


def plain_step(batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Seconds of one epoch of steps in float32."""
    model = UNet(CHANNELS)
    optimiser = torch.optim.Adam(model.parameters(), lr=float(TRIAL["rate"]))
    started = time.perf_counter()
    for images, masks in batches:
        optimiser.zero_grad()
        unet.SEGMENTATION.error(model(images), masks).backward()
        optimiser.step()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(cores())
    started, load_before = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    data = load("coco", side=SIDE)
    images, masks = data.images["train"], data.masks["train"]
    loader = torch.utils.data.DataLoader(Photographs(len(images)), BATCH, shuffle=True)
    cached = ((images[i].float() / 255, masks[i].float()) for i in torch.randperm(len(images)).split(BATCH))
    seconds = {
        "a photograph at a time, float32": plain_step(loader),
        "cached arrays, float32": plain_step(cached),
        "ours": float(unet.train_stack([TRIAL], "cpu", lambda: None).curves.seconds[1]),
    }
    first = next(iter(seconds.values()))
    rows = [{"way": way, "seconds an epoch": s, "times faster": first / s} for way, s in seconds.items()]
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load_before, "started": started}
    found = {"epochs": rows, "photographs": len(images), "pixels": SIDE, "channels": CHANNELS, "provenance": provenance}
    path = RESULTS / "unet-cpu.json"
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))
    print(*rows, path, sep="\n")


if __name__ == "__main__":
    main()
