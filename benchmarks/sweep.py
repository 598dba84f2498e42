"""How fast the sweep engine is: prints tables and writes results/benchmarks/sweep-DEVICE.json.

    python benchmarks/sweep.py [--device cuda]

Everything is measured in one run, on noise of MNIST's shape (a network's speed does not depend on
what the images show), and every comparison is a ratio of times of this run. Leave the machine alone
meanwhile; it takes about a quarter of an hour on two cores. The book's page on performance reads the file.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pandas as pd
import torch
import typer
from threadpoolctl import threadpool_limits
from torch import nn

from entropy_lib import DenseEntropyLoss
from replication.data.dataset import Dataset
from replication.data.registry import SETS
from replication.experiments.autoencoder import experiment as autoencoder
from replication.experiments.autoencoder.experiment import AUTOENCODER, AutoencoderConfig
from replication.experiments.autoencoder.training import Init
from replication.files import write_atomically
from replication.provenance import machine, source_hash
from replication.sweep.run import Where, run
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope, Trial
from replication.sweep.workers import cores, in_process, in_processes

PIXELS, EPOCHS = 784, 3
IMAGES = {"train": 6400, "validation": 1280, "test": 1280}  # MNIST's proportions, an eighth of its size
LATENTS, BATCHES = (20, 60, 100, 140, 180, 220, 260), (32, 128)
RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"


def noise() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = {split: torch.rand(count, 1, 28, 28, generator=generator) for split, count in IMAGES.items()}
    labels = {split: torch.zeros(count, dtype=torch.int64) for split, count in IMAGES.items()}
    return Dataset("noise", images, labels, "noise", "uniform noise of MNIST's shape")


def trials(latent: int, coefficients=autoencoder.COEFFICIENTS, seeds: int = 1, batch: int = 32, init="torch"):
    shared = {"batch": batch, "init": Init.read(init), "latent": latent, "horizon": EPOCHS}
    return [
        Trial("autoencoder", AUTOENCODER.protocol, "noise", "noise", seed, AutoencoderConfig(coefficient=c, **shared))
        for seed in range(seeds)
        for c in coefficients
    ]


def train(stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult:
    """The engine's own training, with the seconds of an epoch (the first one warms up) beside the curves."""
    SETS["noise"] = SimpleNamespace(load=noise, FOLDERS=())  # type: ignore[assignment]
    ticks = []
    result = autoencoder.train_stack(stack, device, lambda: (ticks.append(time.perf_counter()), tick()))
    result.curves["seconds"] = (ticks[-1] - ticks[0]) / (EPOCHS - 1)
    return StackResult(result.curves)


def engine(wanted: list[Trial], device: str, workers: int = 1, cluster: str | None = None) -> float:
    """Seconds for one epoch of all these trials on `workers` processes; the stacks must divide evenly among them."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        timed = replace(AUTOENCODER, train=train, scope=lambda trial: Scope("quick"))
        run(timed, wanted, store, Where(device, workers, cluster, progress=False))
        files = store.trials("autoencoder").merge(store.curves("autoencoder"), on="trial").groupby("file")
        return float(files.seconds.first().sum()) / workers


def plain(latent: int, coefficient: float, batch: int, device: str) -> float:
    """Seconds for one epoch of one trial as a user would write it: nn.Module, autograd, slogdet, torch's Adam."""
    torch.manual_seed(0)
    splits = {split: noise().flat(split, device) for split in IMAGES}
    model = nn.Sequential(nn.Linear(PIXELS, latent), nn.Sigmoid(), nn.Linear(latent, PIXELS), nn.Sigmoid()).to(device)
    optimiser, entropy, criterion = torch.optim.Adam(model.parameters()), DenseEntropyLoss(coefficient), nn.MSELoss()

    def epoch(count: int) -> float:
        started = time.perf_counter()
        for index in torch.randperm(count).split(batch):
            images = splits["train"][index.to(device)]
            loss = criterion(model(images), images)
            if coefficient:
                loss = loss + entropy(model[0].weight)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            sum(float(criterion(model(splits[split]), splits[split])) for split in ("validation", "test"))
        return time.perf_counter() - started

    epoch(10 * batch)
    return min(epoch(IMAGES["train"]) for _ in range(2))


def both(tick: Callable[[], object], latent: int, batch: int, device: str) -> tuple[float, float]:
    """The plain loop without and with the entropy term."""
    return plain(latent, 0.0, batch, device), plain(latent, 0.1, batch, device)


def seven(free: float, guided: float) -> float:
    """Seconds for one epoch of the seven λs, one after the other."""
    return free + 6 * guided


def side_by_side(latent: int, batch: int, device: str, workers: int) -> float:
    """The plain loop on one thread, in a process for each core: seconds for the seven λs, per worker."""
    results = in_processes(both, [(latent, batch, device)] * workers, print, workers)
    return sum(seven(*pair) for _, pair in results) / workers


def rates(tick: Callable[[], object], device: str) -> tuple[float, float]:
    """What one worker can do at best: floating-point operations and bytes copied (read and written) per second."""

    def best(work: Callable[[], object]) -> float:
        times = []
        for _ in range(12):
            started = time.perf_counter()
            work()
            if device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return min(times)

    n = 1024 if device == "cpu" else 8192
    square, source = torch.rand(n, n, device=device), torch.rand(2**25, device=device)
    target = torch.empty_like(source)
    return 2 * n**3 / best(lambda: square @ square), 2 * 4 * len(source) / best(lambda: target.copy_(source))


def floor(latent: int, batch: int, operations: float, copied: float) -> float:
    """Least seconds for one epoch of the seven λs on a worker with these rates.

    A step has five products of 2 B n d operations (two forward, three backward); six trials in
    seven invert a d x d matrix, 8/3 d^3. It reads the weights three times, writes the gradients, and Adam
    reads four arrays of the parameters' size and writes three. Evaluation has two products more per image.
    """
    steps, evaluated = IMAGES["train"] // batch, IMAGES["validation"] + IMAGES["test"]
    parameters = 2 * PIXELS * latent + PIXELS + latent
    flops = 7 * (steps * 10 * batch * PIXELS * latent + evaluated * 4 * PIXELS * latent) + 6 * steps * 8 / 3 * latent**3
    return max(flops / operations, 7 * steps * 11 * 4 * parameters / copied)


def machine_rates(device: str, workers: int) -> tuple[float, float]:
    """The slower worker's rates, with every core at work as in a sweep."""
    jobs = [(device,)] * workers
    results = in_processes(rates, jobs, print, workers) if workers > 1 else in_process(rates, jobs, print)
    operations, copied = zip(*(pair for _, pair in results), strict=True)
    return min(operations), min(copied)


def speed(device: str, workers: int, seeds: int, operations: float, copied: float) -> list[dict]:
    """(a) the engine on the whole machine against the plain loop; (b) against the machine's own floor."""
    rows = []
    for batch in BATCHES:
        for latent in LATENTS:
            stacked = engine(trials(latent, seeds=seeds, batch=batch), device, workers)
            free, guided = both(print, latent, batch, device)
            alone = seeds * seven(free, guided)
            spread = side_by_side(latent, batch, device, workers) * seeds / workers if workers > 1 else alone
            least = floor(latent, batch, operations, copied) * seeds / workers
            rows.append(
                {"batch": batch, "d": latent, "trials": 7 * seeds, "plain": alone, "spread": spread, "engine": stacked,
                 "floor": least, "plain_ratio": guided / free, "engine_ratio": term(latent, batch, device)}
            )  # fmt: skip
            show(rows[-1:])
    return rows


def term(latent: int, batch: int, device: str) -> float:
    """(c) what the entropy term adds to the time of an epoch, for six trials that all have it."""
    guided = trials(latent, autoencoder.COEFFICIENTS[1:], batch=batch)
    # As many trials without it, told apart by their initialisation.
    free = [t for gain in autoencoder.GAINS for t in trials(latent, (0.0,), batch=batch, init=f"orthogonal {gain:g}")]
    return engine(guided, device) / engine(free, device)


def stack_sizes(device: str) -> list[dict]:
    """(d) seconds a trial against the size of the stack and the threads that work on it."""
    rows = []
    for latent in (20, 100, 260):
        for size in (1, 2, 4, 7):
            for threads in (1, cores()):
                before = torch.get_num_threads()
                torch.set_num_threads(threads)
                with threadpool_limits(threads):
                    result = train(trials(latent)[-size:], device, lambda: None)
                torch.set_num_threads(before)
                seconds = float(result.curves.seconds.iloc[0]) / size
                rows.append({"d": latent, "stack": size, "threads": threads, "seconds": seconds})
                show(rows[-1:])
    return rows


def scaling(device: str, workers: int) -> list[dict]:
    """(d) wall seconds, starts included, of 7 to 28 trials at d = 140: one process, several, Dask workers."""
    from distributed import LocalCluster

    def timed(count: int, **where) -> float:
        started = time.perf_counter()
        engine(trials(140, seeds=count), device, **where)
        return time.perf_counter() - started

    rows = []
    for count in (1, 2, 4):
        rows.append({"trials": 7 * count, "where": "one process", "workers": 1, "seconds": timed(count)})
        rows.append(
            {"trials": 7 * count, "where": "processes", "workers": workers, "seconds": timed(count, workers=workers)}
        )
        for dask in range(1, workers + 1):
            with LocalCluster(n_workers=dask, threads_per_worker=1, dashboard_address=None) as cluster:
                seconds = timed(count, cluster=cluster.scheduler_address)
            rows.append({"trials": 7 * count, "where": "Dask", "workers": dask, "seconds": seconds})
        show(rows[-2 - workers :])
    return rows


def show(rows: list[dict]) -> None:
    print(pd.DataFrame(rows).to_string(index=False, float_format=lambda number: f"{number:.3g}"), flush=True)


def main(device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu") -> None:
    workers, seeds = (cores(), cores()) if device == "cpu" else (1, 10)
    operations, copied = machine_rates(device, workers)
    result = {
        "provenance": {
            **machine(device), "source": source_hash(), "cores": cores(), "load": os.getloadavg()[0],
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        "rates": [{"operations": operations, "copied": copied, "workers": workers}],
        "speed": speed(device, workers, seeds, operations, copied),
        "stacks": stack_sizes(device),
        "scaling": scaling(device, workers) if device == "cpu" else [],
    }  # fmt: skip
    path = write_atomically(
        RESULTS / f"sweep-{device}.json", lambda path: path.write_text(json.dumps(result, indent=1) + "\n")
    )
    print(f"written to {path}")


if __name__ == "__main__":
    typer.run(main)
