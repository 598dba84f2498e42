"""Seconds an epoch of ten classifiers takes, one by one and as a stack: writes results/benchmarks/management-cpu.json.

    python benchmarks/management.py

One by one is what a user would write: torch's layers, its `DataLoader`, its Adam, a loop. The stack is that of the
experiment. Both have one thread and noise of MNIST's shape; leave the machine alone meanwhile, it takes a minute. The
book's page on performance reads the file.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.experiments.management.experiment import ManagementConfig, trained
from replication.experiments.management.network import CLASSES, UNITS, Draws, Networks
from replication.experiments.management.techniques import TECHNIQUES
from replication.files import write_atomically
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores

SEEDS, SHAPE, ROUNDS = range(10), (1, 28, 28), 3
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
CONFIG = ManagementConfig(technique="none", strength=0.0, horizon=2)
STRENGTHS = {"none": 0.0, "batch norm": 1.0, "dropout": 0.5}


class Network(nn.Module):
    """The classifier as a user would write it."""

    def __init__(self, technique: str):
        super().__init__()

        def layer(inputs: int) -> nn.Sequential:
            norm = nn.BatchNorm1d(UNITS) if technique == "batch norm" else nn.Identity()
            drop = nn.Dropout(STRENGTHS[technique]) if technique == "dropout" else nn.Identity()
            return nn.Sequential(nn.Linear(inputs, UNITS), norm, nn.GELU(), drop)

        self.first, self.middle = layer(prod(SHAPE)), layer(UNITS)
        self.last = nn.Linear(UNITS, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images.flatten(1))
        logits: Tensor = self.last(first + self.middle(first))
        return logits


def one_by_one(technique: str, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """An epoch of each of ten networks in turn."""
    networks = [Network(technique) for _ in SEEDS]
    optimisers = [torch.optim.Adam(network.parameters(), lr=CONFIG.rate) for network in networks]
    loaders = [
        torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(images[seed], labels[seed]), CONFIG.batch, shuffle=True
        )
        for seed in SEEDS
    ]

    def epoch() -> None:
        for network, optimiser, loader in zip(networks, optimisers, loaders, strict=True):
            for batch, wanted in loader:
                optimiser.zero_grad()
                F.cross_entropy(network(batch), wanted).backward()
                optimiser.step()

    return epoch


def stacked(technique: str, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """An epoch of the same ten as the experiment trains them."""
    made = TECHNIQUES[technique](STRENGTHS[technique])
    networks = Networks(Draws.of(list(SEEDS), 2), SHAPE, made.normalised)
    epochs = trained(networks, made, replace(CONFIG, horizon=1000), (images, labels), list(SEEDS), None)

    def epoch() -> None:
        next(epochs)

    return epoch


def seconds(epoch: Callable[[], None]) -> float:
    epoch()
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        epoch()
        taken.append(time.perf_counter() - started)
    return median(taken)


def main() -> None:
    torch.set_num_threads(1)
    started, load_before = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(len(SEEDS), CONFIG.examples, *SHAPE, generator=generator)
    labels = torch.randint(0, CLASSES, images.shape[:2], generator=generator)
    rows = []
    for technique in STRENGTHS:
        plain, ours = (seconds(way(technique, images, labels)) for way in (one_by_one, stacked))
        rows.append({"technique": technique, "one by one": plain, "stack": ours, "times faster": plain / ours})
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load_before, "started": started}
    path = RESULTS / "management-cpu.json"
    found = {"epochs": rows, "networks": len(SEEDS), "provenance": provenance}
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))
    print(*rows, path, sep="\n")


if __name__ == "__main__":
    main()
