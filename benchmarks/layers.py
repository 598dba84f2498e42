"""What closed forms save against the whole Jacobian: writes results/benchmarks/layers-cpu.json.

    python benchmarks/layers.py

Causal attention by n determinants of d x d, against automatic differentiation of all n d outputs and one determinant; a
residual branch by the unbiased estimator, against the determinant of d backward passes. One thread; the least of three
runs each, at sizes where both run. Leave the machine alone meanwhile; it takes two minutes.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from entropy_lib import attention_entropy_change, jacobian_entropy_change, residual_entropy_change
from replication.files import write_atomically
from replication.provenance import machine, source_hash
from replication.sweep.workers import cores

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
TOKENS, DIMENSIONS = (8, 16, 32, 64), (64, 128, 256, 512)
WIDTH, EXAMPLES, SAMPLES = 16, 8, 16


def least(made: Callable[[], Any]) -> tuple[float, Any]:
    """The least seconds of three runs, and what the last one gave."""
    times = []
    for _ in range(3):
        started = time.perf_counter()
        found = made()
        times.append(time.perf_counter() - started)
    return min(times), found


def attention(tokens: int) -> dict[str, float]:
    torch.manual_seed(0)
    heads = nn.MultiheadAttention(WIDTH, 2, batch_first=True).double()
    mask = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    x = torch.randn(EXAMPLES, tokens, WIDTH, dtype=torch.float64)
    ours, value = least(lambda: attention_entropy_change(heads, x, causal=True))
    whole, same = least(
        lambda: jacobian_entropy_change(lambda x: heads(x, x, x, attn_mask=mask, need_weights=False)[0], x)
    )
    torch.testing.assert_close(value, same)
    return {"tokens": tokens, "dimensions": tokens * WIDTH, "closed form": ours, "whole Jacobian": whole}


def residual(dimension: int) -> dict[str, float]:
    torch.manual_seed(0)
    linear = nn.Linear(dimension, dimension).double()
    linear.weight.data *= 0.5 / torch.linalg.matrix_norm(linear.weight.data, 2)
    f, x = nn.Sequential(linear, nn.Tanh()), torch.randn(EXAMPLES, dimension, dtype=torch.float64)

    def exact() -> Tensor:
        return jacobian_entropy_change(lambda x: x + f(x), x)

    estimate, found = least(lambda: residual_entropy_change(f, x, samples=SAMPLES))
    whole, same = least(exact)
    off = (found.change - same).abs() / found.error
    assert float(off.median()) < 3, "the estimate is further off than its error allows"
    return {
        "dimensions": dimension, "estimate": estimate, "whole Jacobian": whole,
        "value (nats)": float(same.mean()), "error (nats)": float(found.error.mean()),
    }  # fmt: skip


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    started, load = datetime.now(UTC).isoformat(timespec="seconds"), os.getloadavg()[0]
    found = {"attention": [attention(n) for n in TOKENS], "residual": [residual(d) for d in DIMENSIONS]}
    for row in found["attention"]:
        print(f"{row['tokens']:4} tokens      {row['whole Jacobian'] / row['closed form']:8.1f} times as fast")
    for row in found["residual"]:
        print(f"{row['dimensions']:4} dimensions  {row['whole Jacobian'] / row['estimate']:8.1f} times as fast")
    provenance = {**machine(), "source": source_hash(), "cores": cores(), "load": load, "started": started}
    path = RESULTS / "layers-cpu.json"
    text = json.dumps({**found, "provenance": provenance}, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))
    print(f"written to {path}")


if __name__ == "__main__":
    main()
