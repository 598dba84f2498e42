"""Convolutional classifiers with guided kernels (Section 5.3, Table 1).

One to three blocks of a 3 x 3 convolution, leaky ReLU and 2 x 2 max pooling, then a softmax classifier.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from replication.data.dataset import Dataset
from replication.data.registry import load
from replication.experiments.experiment import Cells, Experiment, Plan
from replication.experiments.training import CLASSIFIED, CURVES, Training, per_network, train_all
from replication.paper import COEFFICIENTS
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial, as_text


def read_widths(text: str) -> tuple[int, ...]:
    """The blocks' widths from a text such as `[32, 32]`.

    Raises:
        ValueError: another text.
    """
    try:
        return tuple(int(width) for width in text.strip("[]").split(","))
    except ValueError:
        raise ValueError(f"architecture must list the blocks' widths, such as '[32, 32]', got {text!r}") from None


def write_widths(widths: tuple[int, ...]) -> str:
    return str(list(widths))


@dataclass(frozen=True, kw_only=True)
class CNNConfig(Config):
    """One classifier. The reciprocal form is what Section 5.1 says is used in practice."""

    architecture: tuple[int, ...] = as_text(read_widths, write_widths)
    layers: str
    coefficient: float
    form: str = "reciprocal"
    eps: float = 1e-3
    batch: int = 32
    rate: float = 1e-3
    padding: str = "valid"
    init: str = "glorot"
    slope: float = 0.3


ARCHITECTURES = tuple((width,) * depth for depth in (1, 2, 3) for width in (32, 64, 128))
# On which the settings that the paper leaves open are fitted to Table 1, without guidance.
FITTED_ON = ARCHITECTURES[::3]
PLACEMENTS = ("first", "all", "last")
_ALL = list(COEFFICIENTS)
_SUPPRESSED = [-c for c in COEFFICIENTS[1:]]
_SHORT = [0.0, 1e-3, 0.1, 10.0]
_BOTH = ["reciprocal", "log"]


def _grid(
    data: str,
    architectures: Sequence[tuple[int, ...]],
    seeds: int,
    coefficients: list[float] = _ALL,
    layers: str = "first",
    horizon: int = 20,
    **settings: Any,
) -> Plan:
    """Architectures with the loss at one place and each λ."""
    return Plan.of(
        data, range(seeds), architecture=list(architectures), layers=layers, coefficient=coefficients, horizon=horizon,
        **settings,
    )  # fmt: skip


def _fit() -> list[Plan]:
    """What the paper leaves open, tried on unguided networks alone; the defaults fit Table 1 best at this horizon."""
    frameworks: tuple[dict[str, Any], ...] = (
        {"init": "glorot", "slope": 0.3},
        {"init": "torch", "slope": 0.01},
    )  # Keras' defaults, PyTorch's
    return [
        _grid("cifar10", FITTED_ON, 1, [0.0], batch=[32, 128], padding=["valid", "same"], **framework)
        for framework in frameworks
    ]


_SMALL = [(32, 32, 32)]
# Parts are run in this order.
PROFILES = {
    "quick": [_grid("digits", [(8, 8)], 3, _SHORT, horizon=12, form=_BOTH, padding="same", rate=3e-3)],
    "laptop": [
        *_fit(),
        _grid("cifar10", _SMALL, 5, _SHORT, form=_BOTH),
        _grid("cifar10", _SMALL, 5, form=_BOTH),
        _grid("cifar10", [(32,)], 5),
        _grid("mnist", [(32, 32)], 5),
        _grid("cifar10", _SMALL, 5, layers="all"),
        _grid("cifar10", [(32, 32), (64,), (64, 64), (64, 64, 64)], 5),
        _grid("cifar10", [*_SMALL, (32,)], 10),
        _grid("cifar10", _SMALL, 5, _SUPPRESSED, layers="last"),
    ],
    "paper": [
        _grid("cifar10", ARCHITECTURES, 10, form=_BOTH),
        _grid("cifar10", ARCHITECTURES, 10, layers="all", form=_BOTH),
        _grid("mnist", ARCHITECTURES, 10),
        _grid("cifar10", _SMALL, 10, [0.0, *_SUPPRESSED], layers="last"),
    ],
}


def fingerprint(data: str, config: CNNConfig) -> str:
    return load(data).fingerprint


def scope(trial: Trial[CNNConfig]) -> Scope:
    """What a record of this trial can decide, and how it departs from the paper."""
    data = load(trial.data, trial.fingerprint)
    if trial.data == "digits":
        return Scope("quick", data.deviation)
    return Scope("paper" if data.canonical else "reduced", data.deviation)


def stack_by(trial: Trial[CNNConfig], device: str = "cpu") -> Hashable:
    """The networks of one architecture, on a CPU those of one seed."""
    shared = replace(trial.config, coefficient=0.0, layers="", form="", eps=0.0)
    return trial.data, shared, trial.seed if device == "cpu" else None


def network(data: Dataset, config: CNNConfig, seed: int) -> nn.Sequential:
    """The classifier. Pooling comes before the activation: leaky ReLU rises everywhere, so that the maximum
    of its values is its value at the maximum, and a quarter of them have to be computed.

    Raises:
        ValueError: more blocks than the images can be halved.
    """
    images = data.images["train"][:1]
    widths = [images.shape[1], *config.architecture]
    blocks: list[nn.Module] = []
    for into, out in pairwise(widths):
        blocks += [nn.Conv2d(into, out, 3, padding=config.padding), nn.MaxPool2d(2), nn.LeakyReLU(config.slope)]
    try:
        with torch.no_grad():
            features = nn.Sequential(*blocks)(images).numel()
    except RuntimeError as error:
        raise ValueError(
            f"{write_widths(config.architecture)} has more blocks than images of {tuple(images.shape[2:])} allow"
        ) from error
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(features, len(data.labels["train"].unique())))
    generator = torch.Generator().manual_seed(seed)
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            _initialise(layer, config.init, generator)
    return model


def _initialise(layer: Any, init: str, generator: torch.Generator) -> None:
    """`glorot` is Keras' default, `torch` PyTorch's."""
    if init == "glorot":
        nn.init.xavier_uniform_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)
    elif init == "torch":
        bound = layer.weight[0].numel() ** -0.5
        for parameter in (layer.weight, layer.bias):
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
    else:
        raise ValueError(f"init must be 'glorot' or 'torch', got {init!r}")


def guided(model: nn.Sequential, layers: str) -> list[str]:
    """The names of the convolutions on which the loss acts: of the `first`, of `all` or of the `last`; `none`.

    Raises:
        ValueError: another placement.
    """
    names = [name for name, layer in model.named_children() if isinstance(layer, nn.Conv2d)]
    chosen = {"none": [], "first": names[:1], "all": names, "last": names[-1:]}
    if layers not in chosen:
        raise ValueError(f"layers must be none, {', '.join(PLACEMENTS)}, got {layers!r}")
    return chosen[layers]


def train_stack(stack: list[Trial[CNNConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the networks of a stack, those of a seed on the same batches in the same order.

    On a CPU one network at a time, its images and kernels with channels last, is what measures fastest
    (`benchmarks/cnn.py`); the processes of a sweep take stacks side by side. A GPU has all of them side by side.
    """
    data = load(stack[0].data, stack[0].fingerprint)
    splits = {
        name: (data.images[name].movedim(1, -1).contiguous().to(device), data.labels[name].to(device))
        for name in ("train", "validation", "test")
    }
    count = per_network(len(stack), tick)
    trainings = (_training(trial, data, splits, device) for trial in stack)
    return StackResult(pd.concat(train_all(trainings, device, count), ignore_index=True))


def _training(
    trial: Trial[CNNConfig], data: Dataset, splits: dict[str, tuple[Tensor, Tensor]], device: str
) -> Training:
    config = trial.config
    model = network(data, config, trial.seed).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), lr=config.rate, fused=True)
    at_once = 500 if device == "cpu" else 5000  # small chunks stay in a processor's cache, large ones fill a GPU
    return Training(trial, model, guided(model, config.layers), "0", optimiser, splits, scored_at_once=at_once)


def outcomes(store: Store, epoch: int | None = None) -> pd.DataFrame:
    """One row per trial with its accuracies at an epoch, the last one unless given.

    `best_test_accuracy` is that of the epoch with the best validation accuracy, whatever epoch the others are of.
    `diverged` marks the networks whose training loss was not finite at some epoch.
    """
    curves = store.curves(CNN.name)
    at = curves[curves.epoch == (curves.groupby("trial").epoch.transform("max") if epoch is None else epoch)]
    diverged = ~curves.assign(finite=np.isfinite(curves.train_loss)).groupby("trial").finite.all()
    trained = curves[curves.epoch > 0].reset_index(drop=True)
    best = trained.loc[trained.groupby("trial").validation_accuracy.idxmax()].set_index("trial").test_accuracy
    table = CNN.table(store).merge(at, on="trial")
    return table.assign(diverged=table.trial.map(diverged), best_test_accuracy=table.trial.map(best))


CNN = Experiment(
    name="cnn",
    protocol=1,
    config=CNNConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(*CLASSIFIED, "best_test_accuracy", "diverged"),
    columns=CURVES,
    cells={"architecture": Cells("architectures", tuple(map(write_widths, ARCHITECTURES)))},
    seeds=10,
    unguided={"form": "none", "layers": "none", "eps": 1e-3},
)
