"""The sweep engine beside what a user would take instead: prints a table and writes results/benchmarks/peers-cpu.json.

    pip install -e "replication[peers]" && python benchmarks/peers.py

Milliseconds for one step of seven autoencoders (λ = 0 and six others) on MNIST's shape, on one core: ours, torch.func's
vmap over grad with torch's fused Adam, and JAX's vmap over grad with everything in one jit. All three start from the
same weights, and their weights after five steps must agree. JAX is left out where it is not installed. Leave the
machine alone meanwhile; it takes five minutes. The book's page on performance reads the file.
"""

import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime

# One core, before any library starts its threads.
os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import pandas as pd  # noqa: E402
import torch  # noqa: E402
from sweep import BATCHES, LATENTS, PIXELS, RESULTS, show, trials  # noqa: E402

from replication.experiments.autoencoder import training  # noqa: E402
from replication.files import write_atomically  # noqa: E402
from replication.paper import COEFFICIENTS  # noqa: E402
from replication.provenance import machine, source_hash  # noqa: E402

RATE, STEPS, ROUNDS = 1e-3, 40, 4
Step = Callable[[torch.Tensor], object]
Weights = Callable[[], torch.Tensor]


def ours(latent: int, batch: int, images: torch.Tensor) -> tuple[Step, Weights]:
    stack = trials(latent, batch=batch)
    parameters = training.initial(stack, PIXELS, "cpu", torch.float32)
    guidance = training.EntropyTerm(stack, images)
    backward = training.Backward(parameters)
    optimiser = torch.optim.Adam(parameters, lr=RATE, fused=True)

    @torch.no_grad()
    def step(chosen: torch.Tensor) -> None:
        backward(chosen.expand(len(stack), -1, -1))
        guidance.at(parameters[0])
        guidance.add_to(parameters[0].grad)
        optimiser.step()

    return step, lambda: parameters[0]


def torch_func(latent: int, batch: int, images: torch.Tensor) -> tuple[Step, Weights]:
    parameters = training.initial(trials(latent, batch=batch), PIXELS, "cpu", torch.float32)
    coefficients = torch.tensor(COEFFICIENTS)
    optimiser = torch.optim.Adam(parameters, lr=RATE, fused=True)

    def error(one: list[torch.Tensor], chosen: torch.Tensor) -> torch.Tensor:
        weight, bias, weight_out, bias_out = one
        hidden = torch.sigmoid(chosen @ weight.T + bias)
        return ((torch.sigmoid(hidden @ weight_out.T + bias_out) - chosen) ** 2).mean()

    def guided(one: list[torch.Tensor], c: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        return error(one, chosen) - c * torch.linalg.slogdet(one[0][:, :latent]).logabsdet

    free_gradient = torch.func.grad(error)
    gradients = torch.func.vmap(torch.func.grad(guided), in_dims=(0, 0, None))

    def step(chosen: torch.Tensor) -> None:
        free = free_gradient([p[0] for p in parameters], chosen)  # no determinant where λ = 0
        others = gradients([p[1:] for p in parameters], coefficients[1:], chosen)
        for parameter, first, rest in zip(parameters, free, others, strict=True):
            parameter.grad = torch.cat([first[None], rest])
        optimiser.step()

    return step, lambda: parameters[0]


def jax_jit(latent: int, batch: int, images: torch.Tensor) -> tuple[Step, Weights] | None:
    try:
        import jax
        import jax.numpy as jnp
    except ImportError:
        return None
    state = [
        jnp.asarray(p.numpy()) for p in training.initial(trials(latent, batch=batch), PIXELS, "cpu", torch.float32)
    ]
    coefficients = jnp.asarray(COEFFICIENTS[1:], dtype=jnp.float32)

    def error(one, chosen):
        weight, bias, weight_out, bias_out = one
        hidden = jax.nn.sigmoid(chosen @ weight.T + bias)
        return ((jax.nn.sigmoid(hidden @ weight_out.T + bias_out) - chosen) ** 2).mean()

    def guided(one, c, chosen):
        return error(one, chosen) - c * jnp.linalg.slogdet(one[0][:, :latent])[1]

    gradients = jax.vmap(jax.grad(guided), in_axes=(0, 0, None))

    @jax.jit
    def advance(parameters, first, second, count, chosen):
        free = jax.grad(error)([p[0] for p in parameters], chosen)
        others = gradients([p[1:] for p in parameters], coefficients, chosen)
        grads = [jnp.concatenate([a[None], b]) for a, b in zip(free, others, strict=True)]
        count = count + 1
        first = [0.9 * m + 0.1 * g for m, g in zip(first, grads, strict=True)]
        second = [0.999 * v + 0.001 * g**2 for v, g in zip(second, grads, strict=True)]
        scale, root = 1 - 0.9**count, jnp.sqrt(1 - 0.999**count)
        moved = [
            p - RATE / scale * m / (jnp.sqrt(v) / root + 1e-8)
            for p, m, v in zip(parameters, first, second, strict=True)
        ]
        return moved, first, second, count

    kept = [(state, [jnp.zeros_like(p) for p in state], [jnp.zeros_like(p) for p in state], jnp.float32(0))]

    def step(chosen: torch.Tensor) -> None:
        kept[0] = advance(*kept[0], chosen.numpy())
        jax.block_until_ready(kept[0])

    return step, lambda: torch.tensor(jax.device_get(kept[0][0][0]))


PEERS = {"ours": ours, "torch.func": torch_func, "JAX": jax_jit}


def measured(latent: int, batch: int) -> dict[str, float]:
    """Milliseconds a step of each, the best of some rounds in turn; their weights must agree after five steps."""
    images = torch.rand(batch * 8, PIXELS, generator=torch.Generator().manual_seed(0))
    batches = images.split(batch)
    made = {name: peer for name, make in PEERS.items() if (peer := make(latent, batch, images))}
    for step, _ in made.values():
        for k in range(5):
            step(batches[k])
    weights = [weight() for _, weight in made.values()]
    for other in weights[1:]:
        # Adam's first steps are signs of gradients: where one is all but 0, rounding turns it, in few weights.
        apart = float((weights[0] - other).abs().mean())
        assert apart < 0.01 * RATE, f"the peers' weights differ by {apart:.1e} on average after five steps"
    best = dict.fromkeys(made, float("inf"))
    for _ in range(ROUNDS):
        for name, (step, _) in made.items():
            started = time.perf_counter()
            for k in range(STEPS):
                step(batches[k % len(batches)])
            best[name] = min(best[name], (time.perf_counter() - started) / STEPS * 1e3)
    return best


def main() -> None:
    torch.set_num_threads(1)
    rows = []
    for batch in BATCHES:
        for latent in LATENTS:
            rows.append({"batch": batch, "d": latent, **measured(latent, batch)})
            show(rows[-1:])
    about = {**machine("cpu"), "source": source_hash(), "cores": 1, "load": os.getloadavg()[0],
             "started": datetime.now(UTC).isoformat(timespec="seconds")}  # fmt: skip
    result = {"provenance": about, "peers": rows}
    path = write_atomically(
        RESULTS / "peers-cpu.json", lambda path: path.write_text(json.dumps(result, indent=1) + "\n")
    )
    print(f"written to {path}")
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
