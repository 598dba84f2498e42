"""Which way of training small convolutional networks is fastest: prints a table, writes results/benchmarks/cnn-*.json.

    python benchmarks/cnn.py [--device cuda]

Each way takes the same steps (forward, backward, Adam) of four networks on noise of CIFAR-10's shape, on one
thread; the table gives images per second and the ratio to the network as a user would write it. Leave the
machine alone meanwhile; it takes a few minutes. The book's page on performance reads the file.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import torch.nn.functional as F
import typer
from torch import Tensor, nn

from replication.files import write_atomically
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores, in_processes

ARCHITECTURES, BATCHES, STACK = ([32], [32, 32, 32], [128, 128, 128]), (32, 128), 4
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
Step = Callable[[], object]


def network(widths: list[int], pool_first: bool) -> nn.Sequential:
    blocks, into, side = [], 3, 32
    for out in widths:
        pool, activation = nn.MaxPool2d(2), nn.LeakyReLU(0.3)
        blocks += [nn.Conv2d(into, out, 3), *((pool, activation) if pool_first else (activation, pool))]
        into, side = out, (side - 2) // 2
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(into * side**2, 10))


def one_by_one(
    widths: list[int], batch: int, device: str, pool_first: bool, fused: bool, memory_format: torch.memory_format
) -> Step:
    """Four networks, one after the other."""
    models = [network(widths, pool_first).to(device, memory_format=memory_format) for _ in range(STACK)]
    optimisers = [torch.optim.Adam(model.parameters(), fused=fused) for model in models]
    images = torch.rand(batch, 3, 32, 32, device=device).to(memory_format=memory_format)
    labels = torch.randint(10, (batch,), device=device)

    def step() -> None:
        for model, optimiser in zip(models, optimisers, strict=True):
            optimiser.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimiser.step()

    return step


def grouped(widths: list[int], batch: int, device: str, memory_format: torch.memory_format) -> Step:
    """Four networks as one, a group of channels for each."""
    kernels, into, side = [], 3, 32
    for depth, out in enumerate(widths):
        kernels.append(nn.Conv2d(into * (STACK if depth else 1), out * STACK, 3, groups=STACK if depth else 1))
        into, side = out, (side - 2) // 2
    model = nn.ModuleList(kernels).to(device, memory_format=memory_format)
    head = nn.Parameter(torch.randn(STACK, into * side**2, 10, device=device) * 0.01)
    optimiser = torch.optim.Adam([*model.parameters(), head], fused=True)
    images = torch.rand(batch, 3, 32, 32, device=device).to(memory_format=memory_format)
    labels = torch.randint(10, (batch,), device=device).repeat(STACK)

    def step() -> None:
        maps: Tensor = images
        for layer in model:
            maps = F.leaky_relu(F.max_pool2d(layer(maps), 2), 0.3)
        scores = maps.unflatten(1, (STACK, -1)).flatten(2).transpose(0, 1) @ head
        optimiser.zero_grad()
        F.cross_entropy(scores.reshape(-1, 10), labels).backward()
        optimiser.step()

    return step


def vmapped(widths: list[int], batch: int, device: str) -> Step:
    """Four networks through torch.func."""
    models = [network(widths, True).to(device) for _ in range(STACK)]
    stacked, _ = torch.func.stack_module_state(models)
    skeleton, parameters = models[0], [value.detach().requires_grad_() for value in stacked.values()]
    optimiser = torch.optim.Adam(parameters, fused=True)
    images, labels = torch.rand(batch, 3, 32, 32, device=device), torch.randint(10, (batch,), device=device)

    def loss(*values: Tensor) -> Tensor:
        state = dict(zip(stacked, values, strict=True))
        return F.cross_entropy(torch.func.functional_call(skeleton, state, (images,)), labels)

    def step() -> None:
        optimiser.zero_grad()
        torch.func.vmap(loss)(*parameters).sum().backward()
        optimiser.step()

    return step


WAYS: dict[str, Callable[[list[int], int, str], Step]] = {
    "as written": lambda *a: one_by_one(*a, False, False, torch.contiguous_format),
    "pooling first": lambda *a: one_by_one(*a, True, False, torch.contiguous_format),
    "channels last": lambda *a: one_by_one(*a, False, False, torch.channels_last),
    "both": lambda *a: one_by_one(*a, True, False, torch.channels_last),
    "both, fused Adam (the engine)": lambda *a: one_by_one(*a, True, True, torch.channels_last),
    "four as groups of channels": lambda *a: grouped(*a, torch.contiguous_format),
    "four as groups, channels last": lambda *a: grouped(*a, torch.channels_last),
    "four through vmap": vmapped,
}


def rate(tick: Callable[[], object], way: str, widths: list[int], batch: int, device: str) -> float:
    """Images per second, the best of several steps."""
    step, best = WAYS[way](widths, batch, device), float("inf")
    for _ in range(8):
        started = time.perf_counter()
        step()
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return STACK * batch / best


def main(device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu") -> None:
    started, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    jobs = [(way, widths, batch, device) for widths in ARCHITECTURES for batch in BATCHES for way in WAYS]
    # One worker process: it has one thread, as the workers of a sweep have.
    results = sorted(in_processes(rate, jobs, lambda *_: None, 1))
    rows = [
        {"architecture": str(widths), "batch": batch, "way": way, "images per second": speed}
        for (way, widths, batch, _), (_, speed) in zip(jobs, results, strict=True)
    ]
    table = pd.DataFrame(rows)
    base = table[table.way == "as written"].set_index(["architecture", "batch"])["images per second"]
    table["ratio"] = (
        table["images per second"] / base.loc[list(zip(table.architecture, table.batch, strict=True))].array
    )
    print(
        table.pivot(index="way", columns=["architecture", "batch"], values="ratio").loc[list(WAYS)].round(2).to_string()
    )
    found = {
        "ways": table.to_dict("records"),
        "provenance": {
            **machine(device),
            "threads": 1,
            "source": source_hash(),
            "cores": cores(),
            "load": load,
            "started": started,
        },
    }
    path = RESULTS / f"cnn-{device}.json"
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found, indent=1)))
    print(path)


if __name__ == "__main__":
    typer.run(main)
