"""Entropy flow of large networks, trained and untrained (Figs 1 and 8): boxes by layer and measure.

A record holds what a box plot shows of each layer, not its millions of filters, so that the chapter
stands where no weights can be had.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_lib.layers import conv_exact
from entropy_lib.maps import map_sizes
from replication.experiments.experiment import Experiment, Plan
from replication.networks.vgg_resnet import ARCHITECTURES, SCHEMES, random_kernels, skeleton
from replication.networks.weights import imagenet_kernels
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial

TRAINED = "imagenet"
READINGS = ("slices", "first input", "mean over inputs")


@dataclass(frozen=True, kw_only=True)
class FlowConfig(Config):
    """One network that is measured; without a scheme, the trained one."""

    architecture: str
    scheme: str
    image: int


def _networks(architectures: list[str], image: int, seeds: int, trained: bool = True) -> list[Plan]:
    """Networks trained on ImageNet, and untrained ones by every scheme."""
    shared: dict[str, Any] = {"architecture": architectures, "image": image, "horizon": 0}
    known = [Plan.of(TRAINED, [0], scheme="", **shared)] if trained else []
    return [*known, Plan.of("none", range(seeds), scheme=list(SCHEMES), **shared)]


PROFILES = {
    "quick": _networks(["vgg16"], 32, 1, trained=False),
    "laptop": _networks(list(ARCHITECTURES), 224, 1),
    "paper": _networks(list(ARCHITECTURES), 224, 3),
}


def fingerprint(data: str, config: FlowConfig) -> str:
    return imagenet_kernels(config.architecture).fingerprint if data == TRAINED else ""


def stack_by(trial: Trial[FlowConfig], device: str = "cpu") -> Hashable:
    """One network at a time: nothing is shared."""
    return trial.id


def scope(trial: Trial[FlowConfig]) -> Scope:
    """What a record of this trial can decide, and how it departs from the paper."""
    if trial.config.image < 224:
        return Scope("quick", f"maps of an image of {trial.config.image} pixels")
    if trial.data != TRAINED:
        return Scope("paper")
    weights = imagenet_kernels(trial.config.architecture)
    return Scope("paper" if weights.complete else "reduced", weights.deviation)


@torch.no_grad()
def train_stack(stack: list[Trial[FlowConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Read every layer of the networks; nothing is trained."""
    return StackResult(pd.concat([_network(trial, device) for trial in stack], ignore_index=True))


def _network(trial: Trial[FlowConfig], device: str) -> pd.DataFrame:
    config = trial.config
    if trial.data == TRAINED:
        kernels = imagenet_kernels(config.architecture, trial.fingerprint).kernels
    else:
        kernels = random_kernels(config.architecture, config.scheme, trial.seed)
    rows = measure(config.architecture, kernels, config.image, device)
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
    return store.curves(FLOW.name).merge(FLOW.table(store), on="trial", validate="many_to_one")


FLOW = Experiment(
    name="flow",
    protocol=1,
    config=FlowConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(
        "layer", "name", "measure", "reading", "mean", "median",
        "count", "zeros", "outliers_low", "outliers_high",
    ),
    columns={"layer": (1, np.inf), "count": (1, np.inf), "zeros": (0, np.inf), "median": (-np.inf, np.inf)},
    pictured=("architecture",),
)  # fmt: skip
