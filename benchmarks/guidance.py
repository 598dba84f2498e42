"""What `EntropyGuidance` costs on VGG-16 over the bare formulas: writes results/benchmarks/guidance-cpu.json.

    python benchmarks/guidance.py

One step is the loss of all convolutions and its gradient. The bare way is the formula in a line of torch for each
kernel, as a user would write it. Both are timed in turn, one thread, and compared by the median. Leave the machine
alone meanwhile; it takes half a minute. The book's page on performance reads the file.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from entropy_lib import EntropyGuidance
from replication.files import write_atomically
from replication.networks.vgg_resnet import convolutions, network
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": lambda tap: -tap.abs().log(),
    "reciprocal": lambda tap: 1 / (tap.abs() + 1e-3),
}


def bare(model: nn.Module, form: str) -> Callable[[], Tensor]:
    kernels, penalty = [part.weight for part in convolutions(model).values()], FORMS[form]
    return lambda: sum(1e-3 * penalty(kernel[..., 0, 0]).sum() for kernel in kernels)  # type: ignore[return-value]


def step(loss: Callable[[], Tensor], model: nn.Module) -> float:
    """Seconds for the loss and its gradient."""
    model.zero_grad()
    started = time.perf_counter()
    loss().backward()
    return time.perf_counter() - started


def main() -> None:
    torch.set_num_threads(1)
    started, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    model, rows = network("vgg16", 10, 32), []
    for form in FORMS:
        guidance = EntropyGuidance(model, dict.fromkeys(convolutions(model), 1e-3), form)  # type: ignore[arg-type]
        plain = bare(model, form)
        torch.testing.assert_close(guidance(), plain())
        pairs = [(step(plain, model), step(guidance, model)) for _ in range(60)][10:]
        ours, theirs = (median(pair[k] for pair in pairs) for k in (1, 0))
        rows.append({"form": form, "formula (ms)": 1e3 * theirs, "guidance (ms)": 1e3 * ours, "ratio": ours / theirs})
        print(f"{form:12} formula {1e3 * theirs:6.1f} ms, guidance {1e3 * ours:6.1f} ms, ratio {ours / theirs:.2f}")
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load, "started": started}
    path = RESULTS / "guidance-cpu.json"
    found = {"vgg16": rows, "provenance": provenance}
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(found, indent=1) + "\n"))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
