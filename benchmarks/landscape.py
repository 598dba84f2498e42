"""What a move through an entropy landscape costs and how far it leads: writes results/benchmarks/landscape-cpu.json.

    python benchmarks/landscape.py

One thread; spirals of 40 points, three hidden layers. Cost: a move of one parameter and a leap along a path, ours and
in PyTorch, against the width. Reach: how long the loss remembers itself at one temperature (its integrated
autocorrelation time, in milliseconds of computing), by single moves and by paths, from a state in equilibrium. Leave
the machine alone meanwhile; it takes two minutes. The chapter on entropy landscapes reads it.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from replication.experiments.landscape import tasks
from replication.files import write_atomically
from replication.landscape.systems import System
from replication.landscape.tempering import Ladder, temper, tuned
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores, one_thread

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
WIDTHS = (6, 12, 25, 50, 100, 200, 400)
SEED = 1000
BETAS = (30.0, 100.0, 300.0)


def microseconds(work: Callable[[], object]) -> float:
    """Of one call, the best of five rounds of at least a tenth of a second."""
    count, took = 1, 0.0
    while took < 0.1:
        count *= 2
        started = time.perf_counter()
        for _ in range(count):
            work()
        took = time.perf_counter() - started
    rounds = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(count):
            work()
        rounds.append((time.perf_counter() - started) / count)
    return 1e6 * min(rounds)


def cost(width: int) -> dict[str, float]:
    """Of one loss and of one gradient, ours and PyTorch's."""
    problem = tasks.spirals(SEED, 40)
    layers = tasks.widths(problem, width, 3)
    system = tasks.system(problem, layers)
    state, gradient = system.uniform(1, np.random.default_rng(0))[0], np.empty(system.size)
    x, y = (torch.from_numpy(each) for each in problem.train)
    parts: list[nn.Module] = []
    for fan, units in zip(layers, layers[1:], strict=False):
        parts += [nn.Linear(fan, units, dtype=torch.float64), nn.ReLU()]
    network = nn.Sequential(*parts[:-1])

    def learn() -> None:
        network.zero_grad()
        F.cross_entropy(network(x), y).backward()

    def look() -> float:
        with torch.no_grad():
            return F.cross_entropy(network(x), y).item()

    return {
        "width": width, "parameters": system.size,
        "loss": microseconds(lambda: system.loss(state, system.data)),
        "gradient": microseconds(lambda: system.gradient(state, system.data, gradient)),  # type: ignore[misc]
        "torch_loss": microseconds(look), "torch_gradient": microseconds(learn),
    }  # fmt: skip


def remembered(values: np.ndarray) -> float:
    """Integrated autocorrelation time in steps, by Sokal's window of five times itself."""
    centred = values - values.mean()
    power = np.abs(np.fft.rfft(centred, 2 * len(values))) ** 2
    correlation = np.fft.irfft(power)[: len(values)]
    times = 1 + 2 * np.cumsum(correlation[1:] / correlation[0])
    wide = np.flatnonzero(np.arange(1, len(values)) > 5 * times)
    return float(times[wide[0]]) if len(wide) else float("nan")


def reach(width: int) -> list[dict[str, float]]:
    """How long the loss remembers itself at some temperatures, in milliseconds, by either way."""
    problem = tasks.spirals(SEED, 40)
    layers = tasks.widths(problem, width, 3)
    guided = tasks.system(problem, layers)
    alone = replace(guided, gradient=None)
    random = np.random.default_rng(0)
    ladder = tuned(guided, BETAS[-1], 20, random, 400, 2)
    warm = temper(guided, ladder, random, 4000, 2, every=4000)
    rows = []
    for beta in BETAS:
        at = int(np.abs(np.log(ladder.betas[1:] / beta)).argmin()) + 1
        # Two walkers at nearly one temperature, so that swaps, which a ladder must have, hardly matter.
        pair = Ladder(ladder.betas[at] * np.array([1, 1 + 1e-6]), ladder.lengths[[at, at]])
        row: dict[str, float] = {"width": width, "beta": float(ladder.betas[at])}
        for name, system, moves in (("single", alone, 29), ("paths", guided, 1)):
            row[name] = _memory(system, pair, warm.states[[at, at]], moves, random)
        rows.append(row)
    return rows


def _memory(system: System, pair: Ladder, states: np.ndarray, moves: int, random: np.random.Generator) -> float:
    cheap = replace(system, value=system.loss, test=system.data)
    temper(cheap, pair, random, 10, moves, states)  # compiled before anything is timed
    started = time.perf_counter()
    run = temper(cheap, pair, random, 20_000, moves, states)
    seconds = (time.perf_counter() - started) / 2  # of one walker
    by_walker = [run.losses[run.walkers == walker] for walker in (0, 1)]
    return 1e3 * seconds / 20_000 * float(np.mean([remembered(losses) for losses in by_walker]))


def main() -> None:
    started, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    with one_thread():
        costs = [cost(width) for width in WIDTHS]
        reaches = [row for width in (6, 12) for row in reach(width)]
    for each in (*costs, *reaches):
        print("  ".join(f"{name} {value:g}" for name, value in each.items()))
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load, "started": started}
    path = RESULTS / "landscape-cpu.json"
    text = json.dumps({"cost": costs, "reach": reaches, "provenance": provenance}, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
