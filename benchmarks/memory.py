"""What a step of a curved memory costs, and how that grows with the network: writes results/benchmarks/memory-cpu.json.

    python benchmarks/memory.py

One thread, at α = 0.1 and at α = 0.01, β = 2, γ' = -0.8, from a stored pattern. Three ways to the same state, compiled
alike: ours keeps the overlaps (as many operations a step as there are patterns); the dense one keeps the fields of an
N × N matrix (N operations for a spin that turns, hardly any for one that stays); the plain one computes all overlaps
anew in every step. Leave the machine alone meanwhile; it takes two minutes. The chapter on curved memories reads it.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numba import njit

from replication.files import write_atomically
from replication.memory.dynamics import odds, run, run_couplings
from replication.memory.law import Law
from replication.memory.patterns import random
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores, one_thread

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
LAW = Law(-0.8, 2.0)
SIZES = (500, 1000, 2000, 4000, 8000, 16_000, 32_000, 64_000)
LARGEST_DENSE = 4000
LARGEST_PLAIN = 2000


@njit
def _plain(patterns, spins, beta, curvature, steps, chances):
    """All overlaps in every step, as a program that follows the formulas has it."""
    count, size = patterns.shape
    for _ in range(steps):
        i = int(chances.random() * size)
        field, square = 0, 0
        for mu in range(count):
            overlap = 0
            for j in range(size):
                overlap += patterns[mu, j] * spins[j]
            field += patterns[mu, i] * overlap
            square += overlap * overlap
        move = 4 * (count - spins[i] * field)
        if chances.random() < odds(square / size**2 - count / size, move / size**2, beta, curvature, size):
            spins[i] = -spins[i]


def plain(patterns: np.ndarray, spins: np.ndarray, steps: int) -> None:
    _plain(patterns, spins, LAW.beta, LAW.curvature, steps, np.random.default_rng(0))


def nanoseconds(work: Callable[[], object], steps: int) -> float:
    """A step, the best of three."""
    took = []
    for _ in range(3):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return 1e9 * min(took) / steps


def step(work: Callable[[int], object], size: int, sweeps: int) -> float:
    """A step of a sweep, without what is made and checked before the first: one sweep is taken from many."""
    one, many = (nanoseconds(lambda n=n: work(n), 1) for n in (1, 1 + sweeps))
    return (many - one) / (sweeps * size)


def row(load: float, size: int) -> dict[str, float]:
    patterns = random(max(1, round(load * size)), size, 0)
    sweeps = max(2, 400_000 // size)
    ours, dense, slow = (patterns[0].copy() for _ in range(3))
    found = {"load": load, "size": size, "patterns": len(patterns)}
    found["ours"] = step(lambda n: run(LAW, patterns, ours, np.random.default_rng(0), 1, n), size, sweeps)
    if size <= LARGEST_DENSE:
        couplings = patterns.T.astype(float) @ patterns / size
        np.fill_diagonal(couplings, 0)
        found["dense"] = step(
            lambda n: run_couplings(LAW, couplings, dense, np.random.default_rng(0), 1, n), size, 10 * sweeps
        )
    if size <= LARGEST_PLAIN:
        found["plain"] = nanoseconds(lambda: plain(patterns, slow, 2000), 2000)
    found["megabytes"] = 2 * patterns.nbytes / 1e6  # the patterns, and a copy in the order of the spins
    return found


def main() -> None:
    started, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    few = random(3, 64, 0)
    run(LAW, few, few[0].copy(), np.random.default_rng(0), 1)  # compiled before anything is timed
    run_couplings(LAW, np.zeros((64, 64)), few[0].copy(), np.random.default_rng(0), 1)
    plain(few, few[0].copy(), 10)
    with one_thread():
        rows = [row(load, size) for load in (0.1, 0.01) for size in SIZES]
    for each in rows:
        print("  ".join(f"{name} {value:g}" for name, value in each.items()))
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load, "started": started}
    path = RESULTS / "memory-cpu.json"
    text = json.dumps({"steps": rows, "provenance": provenance}, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
