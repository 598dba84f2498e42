"""Convolutional classifiers with guided kernels (Section 5.3, Table 1).

One to three blocks of a 3 x 3 convolution, leaky ReLU and 2 x 2 max pooling, then a softmax classifier.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from entropy_lib.data import Dataset, load
from entropy_lib.evidence.paper import COEFFICIENTS
from entropy_lib.experiments import plans
from entropy_lib.experiments.plans import Seeds
from entropy_lib.experiments.training import Training, per_network
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial

EXPERIMENT = "cnn"
PROTOCOL = 1
# What the paper leaves open. The reciprocal form is what Section 5.1 says is used in practice.
PROTOCOL_VARIABLES: dict[str, Any] = {
    "form": "reciprocal", "eps": 1e-3, "batch": 32, "rate": 1e-3, "padding": "valid", "init": "glorot", "slope": 0.3,
}  # fmt: skip
ARCHITECTURES = tuple(str([width] * depth) for depth in (1, 2, 3) for width in (32, 64, 128))
# What a claim ranges over, and its name in the plural.
PAPER_CELLS = {"architecture": ("architectures", ARCHITECTURES)}
PAPER_SEEDS = 10
# On which the settings that the paper leaves open are fitted to Table 1, without guidance.
FITTED_ON = ARCHITECTURES[::3]
PLACEMENTS = ("first", "all", "last")
SHORT = (0.0, 1e-3, 0.1, 10.0)


@dataclass(frozen=True)
class Plan:
    """One part of a profile: architectures and seeds, the unguided network and each λ, form and placement."""

    data: str
    architectures: tuple[str, ...]
    seeds: Seeds
    horizon: int = 20
    coefficients: tuple[float, ...] = COEFFICIENTS
    forms: tuple[str, ...] = ("reciprocal",)
    layers: str = "first"
    protocol: Mapping[str, float | str] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        protocol = plans.protocol(self.protocol, PROTOCOL_VARIABLES)
        fingerprint = load(self.data).fingerprint
        # One unguided network serves every form and placement.
        cells = [("none", "none", 0.0)] * (0.0 in self.coefficients)
        cells += [(form, self.layers, c) for form in self.forms for c in self.coefficients if c != 0]
        return [
            Trial.of(
                EXPERIMENT, PROTOCOL, self.data, fingerprint, seed, architecture=architecture, horizon=self.horizon,
                **{**protocol, "form": form, "layers": layers, "coefficient": c},
            )
            for architecture in self.architectures
            for seed in plans.numbers(self.seeds)
            for form, layers, c in cells
        ]  # fmt: skip


def _fit() -> list[Plan]:
    """What the paper leaves open, tried on unguided networks alone; the defaults fit Table 1 best at this horizon."""
    choices = [
        {"batch": batch, "padding": padding, "init": init, "slope": slope}
        for batch in (32, 128)
        for padding in ("valid", "same")
        for init, slope in (("glorot", 0.3), ("torch", 0.01))  # Keras' defaults, PyTorch's
    ]
    return [Plan("cifar10", FITTED_ON, 1, coefficients=(0.0,), protocol=choice) for choice in choices]


_BOTH = ("reciprocal", "log")
# Parts are run in this order.
PROFILES = {
    "quick": [Plan("digits", ("[8, 8]",), 3, 12, SHORT, _BOTH, protocol={"padding": "same", "rate": 3e-3})],
    "laptop": [
        *_fit(),
        Plan("cifar10", ("[32, 32, 32]",), 5, coefficients=SHORT, forms=_BOTH),
        Plan("cifar10", ("[32, 32, 32]",), 5, forms=_BOTH),
        Plan("cifar10", ("[32]",), 5),
        Plan("mnist", ("[32, 32]",), 5),
        Plan("cifar10", ("[32, 32, 32]",), 5, layers="all"),
        Plan("cifar10", ("[32, 32]", "[64]", "[64, 64]", "[64, 64, 64]"), 5),
        Plan("cifar10", ("[32, 32, 32]", "[32]"), 10),
        Plan("cifar10", ("[32, 32, 32]",), 5, coefficients=tuple(-c for c in COEFFICIENTS), layers="last"),
    ],
    "paper": [
        Plan("cifar10", ARCHITECTURES, 10, forms=_BOTH),
        Plan("cifar10", ARCHITECTURES, 10, forms=_BOTH, layers="all"),
        Plan("mnist", ARCHITECTURES, 10),
        Plan("cifar10", ("[32, 32, 32]",), 10, coefficients=tuple(-c for c in COEFFICIENTS), layers="last"),
    ],
}


def grid(profile: str, data: str | None = None, seeds: int | None = None) -> list[Trial]:
    """The trials of a profile; see :func:`entropy_lib.experiments.plans.trials`."""
    return plans.trials(PROFILES, profile, data, seeds)


def scope(trial: Trial) -> tuple[str, str]:
    """What a record of this trial can decide, and how it departs from the paper."""
    data = load(trial.data, trial.fingerprint)
    if trial.data == "digits":
        return "quick", data.deviation
    return ("paper" if data.canonical else "reduced"), data.deviation


def stack_by(trial: Trial, device: str = "cpu") -> Hashable:
    """The networks of one architecture, form and seed; they are trained in turn."""
    shared = tuple(item for item in trial.config if item[0] not in ("coefficient", "layers", "form"))
    return trial.data, shared, trial.seed


def network(architecture: str, data: Dataset, trial: Trial) -> nn.Sequential:
    """The classifier. Pooling comes before the activation: leaky ReLU rises everywhere, so that the maximum
    of its values is its value at the maximum, and a quarter of them have to be computed."""
    images = data.images["train"][:1]
    widths = [images.shape[1], *_widths(architecture)]
    blocks = []
    for into, out in pairwise(widths):
        blocks += [nn.Conv2d(into, out, 3, padding=trial["padding"]), nn.MaxPool2d(2), nn.LeakyReLU(trial["slope"])]
    try:
        with torch.no_grad():
            features = nn.Sequential(*blocks)(images).numel()
    except RuntimeError as error:
        raise ValueError(f"{architecture} has more blocks than images of {tuple(images.shape[2:])} allow") from error
    model = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(features, len(data.labels["train"].unique())))
    generator = torch.Generator().manual_seed(trial.seed)
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            _initialise(layer, str(trial["init"]), generator)
    return model


def _widths(architecture: str) -> list[int]:
    try:
        return [int(width) for width in architecture.strip("[]").split(",")]
    except ValueError:
        raise ValueError(
            f"architecture must list the blocks' widths, such as '[32, 32]', got {architecture!r}"
        ) from None


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


def guided(model: nn.Sequential, layers: str) -> list[Tensor]:
    """The kernels on which the loss acts: of the `first` convolution, of `all` or of the `last`; `none`."""
    kernels = [layer.weight for layer in model if isinstance(layer, nn.Conv2d)]
    chosen = {"none": [], "first": kernels[:1], "all": kernels, "last": kernels[-1:]}
    if layers not in chosen:
        raise ValueError(f"layers must be none, {', '.join(PLACEMENTS)}, got {layers!r}")
    return chosen[layers]


def train_stack(stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the networks of a stack one after the other, on the same batches in the same order.

    One network at a time, its images and kernels with channels last, is what measures fastest on a CPU
    (`benchmarks/cnn.py`); the processes of a sweep take stacks side by side.
    """
    data = load(stack[0].data, stack[0].fingerprint)
    splits = {
        name: (data.images[name].movedim(1, -1).contiguous().to(device), data.labels[name].to(device))
        for name in ("train", "validation", "test")
    }
    count = per_network(len(stack), tick)
    return StackResult(pd.concat([_train(trial, data, splits, device, count) for trial in stack], ignore_index=True))


def _train(trial: Trial, data: Dataset, splits: dict, device: str, tick: Callable[[], object]) -> pd.DataFrame:
    model = network(str(trial["architecture"]), data, trial).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(model.parameters(), lr=float(trial["rate"]), fused=True)
    kernels = guided(model, str(trial["layers"]))
    return Training(trial, model, kernels, model[0].weight, optimiser, splits).train(tick)


def outcomes(store: Store, epoch: int | None = None) -> pd.DataFrame:
    """One row per trial with its accuracies at an epoch, the last one unless given.

    `diverged` marks the networks whose training loss was not finite at some epoch. An unguided network has
    a row for every form and placement that was run, to be paired with.
    """
    trials = store.trials(EXPERIMENT)
    if trials.empty:
        return trials
    curves = store.curves(EXPERIMENT)
    at = curves[curves.epoch == (curves.groupby("trial").epoch.transform("max") if epoch is None else epoch)]
    diverged = ~curves.assign(finite=np.isfinite(curves.train_loss)).groupby("trial").finite.all()
    table = trials.merge(at, on="trial").assign(diverged=lambda t: t.trial.map(diverged))
    same = ["data", "fingerprint", "architecture", "horizon", *(name for name in PROTOCOL_VARIABLES if name != "form")]
    return plans.with_partners(table, ["form", "layers"], same)
