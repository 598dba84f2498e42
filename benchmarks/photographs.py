"""How fast batches of photographs come, ours against a plain loader: writes results/benchmarks/photographs-cpu.json.

    python benchmarks/photographs.py

The plain loader is what a user would write: torchvision's `ImageFolder` and a `DataLoader` with a worker for each
core, which decode and resize every photograph in every epoch and augment it with torchvision's transforms. Ours picks
bytes from the memory-mapped file and augments the batch as one, on one thread. Needs Imagenette in `$ENTROPY_DATA`;
leave the machine alone meanwhile, it takes two minutes. The book's page on performance reads the file.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from replication.data.dataset import folder
from replication.data.registry import load
from replication.experiments.imagenette.experiment import standardised, turned
from replication.files import write_atomically
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores
from replication.vision import import_torchvision

BATCH, BATCHES = 32, 60
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


def plain(side: int, augmented: bool) -> Iterator[Tensor]:
    torchvision = import_torchvision()
    from torchvision.transforms import v2

    steps = [v2.Resize(side), v2.CenterCrop(side)]
    if augmented:
        steps += [v2.RandomHorizontalFlip(), v2.RandomAffine(72, scale=(0.8, 1.2))]
    steps += [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
    images = torchvision.datasets.ImageFolder(folder() / "imagenette2-160" / "train", v2.Compose(steps))
    loader = torch.utils.data.DataLoader(images, BATCH, shuffle=True, num_workers=cores())
    return (batch for batch, _ in loader)


def ours(side: int, augmented: bool) -> Iterator[Tensor]:
    data = load("imagenette", side=side)
    images, labels = data.images["train"].movedim(1, -1), data.labels["train"]
    for index in torch.randperm(len(images)).split(BATCH):
        batch = standardised(images[index].movedim(-1, 1))
        yield turned(batch, labels[index])[0] if augmented else batch


def rate(batches: Iterator[Tensor]) -> float:
    """Images per second after the first batches, which start the workers and fill the caches."""
    for _ in islice(batches, 5):
        pass
    started = time.perf_counter()
    count = sum(len(batch) for batch in islice(batches, BATCHES))
    return count / (time.perf_counter() - started)


def main() -> None:
    torch.set_num_threads(1)
    started, load_before = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    rows = []
    for side in (64, 160):
        for augmented in (False, True):
            speeds = {"plain": rate(plain(side, augmented)), "ours": rate(ours(side, augmented))}
            rows.append({"pixels": side, "augmented": augmented, **speeds, "ratio": speeds["ours"] / speeds["plain"]})
            print(f"{side:4} pixels, augmented: {augmented!s:5}  {rows[-1]['ratio']:6.1f} times the plain loader")
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load_before, "started": started}
    path = RESULTS / "photographs-cpu.json"
    found = {"rates": rows, "provenance": provenance}
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))
    print(path)


if __name__ == "__main__":
    main()
