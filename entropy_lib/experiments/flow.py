"""Entropy flow of large networks, trained and untrained (Figs 1 and 8): boxes by layer and measure.

A record holds what a box plot shows of each layer, not its millions of filters, so that the chapter
stands where no weights can be had.
"""

from collections.abc import Callable, Hashable, Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_lib.flow import conv_exact, map_sizes
from entropy_lib.models import ARCHITECTURES, SCHEMES, imagenet_kernels, random_kernels, skeleton
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial

EXPERIMENT = "flow"
PROTOCOL = 1
TRAINED = "imagenet"
READINGS = ("slices", "first input", "mean over inputs")
# Architecture, where the numbers come from, image size, seeds.
PROFILES: dict[str, list[tuple[str, tuple[str, ...], int, int]]] = {
    "quick": [("vgg16", SCHEMES, 32, 1)],
    "laptop": [(architecture, (TRAINED, *SCHEMES), 224, 1) for architecture in ARCHITECTURES],
    "paper": [(architecture, (TRAINED, *SCHEMES), 224, 3) for architecture in ARCHITECTURES],
}


def grid(profile: str, data: str | None = None, seeds: int | None = None) -> list[Trial]:
    """The networks of a profile; only those trained on `data` (imagenet) or untrained (none), when given."""
    if profile not in PROFILES:
        raise KeyError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    if data not in (None, TRAINED, "none"):
        raise KeyError(f"the flow is read from networks trained on {TRAINED} or on none, not on {data!r}")
    trials = []
    for architecture, sources, image, count in PROFILES[profile]:
        for source in sources:
            if source == TRAINED and data in (None, TRAINED):
                trials.append(_trial(TRAINED, imagenet_kernels(architecture).fingerprint, 0, architecture, "", image))
            elif source != TRAINED and data in (None, "none"):
                trials += [_trial("none", "", seed, architecture, source, image) for seed in range(seeds or count)]
    return trials


def _trial(data: str, fingerprint: str, seed: int, architecture: str, scheme: str, image: int) -> Trial:
    return Trial.of(
        EXPERIMENT, PROTOCOL, data, fingerprint, seed,
        architecture=architecture, scheme=scheme, image=image, horizon=0,
    )  # fmt: skip


def stack_by(trial: Trial, device: str = "cpu") -> Hashable:
    """One network at a time: nothing is shared."""
    return trial.id


def scope(trial: Trial) -> tuple[str, str]:
    """What a record of this trial can decide, and how it departs from the paper."""
    deviation = imagenet_kernels(trial["architecture"]).deviation if trial.data == TRAINED else ""
    if trial["image"] < 224:
        return "quick", f"maps of an image of {trial['image']} pixels"
    return ("reduced" if "missing" in deviation else "paper"), deviation


@torch.no_grad()
def train_stack(stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult:
    """Read every layer of the networks; nothing is trained."""
    return StackResult(pd.concat([_network(trial, device) for trial in stack], ignore_index=True))


def _network(trial: Trial, device: str) -> pd.DataFrame:
    if trial.data == TRAINED:
        kernels = imagenet_kernels(trial["architecture"], trial.fingerprint).kernels
    else:
        kernels = random_kernels(trial["architecture"], trial["scheme"], trial.seed)
    rows = measure(trial["architecture"], kernels, int(trial["image"]), device)
    return rows.assign(trial=trial.id, epoch=0)


def measure(architecture: str, kernels: dict[str, Tensor], image: int, device: str = "cpu") -> pd.DataFrame:
    """Boxes of a network's layers, a row for each layer, measure and reading.

    Args:
        architecture: one of `models.ARCHITECTURES`; it says which map each layer sees.
        kernels: `(out, in, p, q)` by the layer's name; layers may be missing.
        image: the side of the square image that the network is given.
        device: where the circular log-dets are computed.
    """
    sizes = map_sizes(skeleton(architecture), torch.empty(1, 3, image, image, device="meta"))
    rows = [
        {"layer": number, "name": name, "out": len(kernel), "in": kernel.shape[1], "side": kernel.shape[-1], **row}
        for number, (name, kernel) in enumerate(kernels.items(), start=1)
        for row in layer(kernel.to(device), sizes[name])
    ]
    return pd.DataFrame(rows)


def layer(kernel: Tensor, size: tuple[int, int]) -> Iterator[dict]:
    """A box for every measure and reading of one kernel `(out, in, p, q)` on a map of this size."""
    logs = kernel.abs().log().cpu().double().numpy()
    p, q = kernel.shape[-2:]
    for k, m in [(k, m) for k in range(p) for m in range(q)] if p * q <= 9 else [(0, 0)]:
        yield {"measure": f"tap {k + 1} {m + 1}", "reading": "slices", **box(logs[..., k, m])}
    first = np.ma.masked_invalid(logs[..., 0, 0])
    yield {"measure": "tap 1 1", "reading": "first input", **box(logs[:, 0, 0, 0])}
    yield {"measure": "tap 1 1", "reading": "mean over inputs", **box(first.mean(1).filled(-np.inf))}
    norms = torch.linalg.matrix_norm(kernel).log().cpu().double().numpy()
    yield {"measure": "norm", "reading": "slices", **box(norms)}
    yield {"measure": "exact", "reading": "layer", **box(np.array([conv_exact(kernel, size)]))}


def box(values: np.ndarray) -> dict[str, float]:
    """Tukey's box of a sample: quartiles, whiskers at the last points within 1.5 interquartile ranges, outliers.

    Zeros, whose logarithm is -∞, are outliers on the low side; `mean` is of the finite values.
    """
    values = np.asarray(values, dtype=float).ravel()
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return {"count": len(values), "zeros": len(values), "outliers_low": 0, "outliers_high": 0}
    q1, median, q3 = np.quantile(finite, [0.25, 0.5, 0.75])
    reach = 1.5 * (q3 - q1)
    inside = finite[(finite >= q1 - reach) & (finite <= q3 + reach)]
    return {
        "count": len(values), "zeros": len(values) - len(finite), "mean": finite.mean(), "lowest": finite.min(),
        "low": inside.min(), "q1": q1, "median": median, "q3": q3, "high": inside.max(), "highest": finite.max(),
        "outliers_low": int((values < q1 - reach).sum()), "outliers_high": int((values > q3 + reach).sum()),
    }  # fmt: skip


def outcomes(store: Store) -> pd.DataFrame:
    """One row per network, layer, measure and reading: the box, and the network that it belongs to."""
    trials = store.trials(EXPERIMENT)
    return trials if trials.empty else store.curves(EXPERIMENT).merge(trials, on="trial", validate="many_to_one")
