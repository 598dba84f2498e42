"""A dozen techniques side by side: one small classifier, the same images and steps for each, paired by seed.

A blog post lists them as ways to manage entropy ("Taming Disorder", 2025).
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from replication.data.dataset import Dataset
from replication.data.registry import load
from replication.experiments.experiment import Experiment, Plan
from replication.experiments.management.measures import (
    PIXEL_NOISE,
    accuracy,
    gaussian_entropy,
    measured,
    seen,
)
from replication.experiments.management.network import Draws, Networks
from replication.experiments.management.techniques import TECHNIQUES, Technique, cross_entropy
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial

# What random numbers are drawn for: each purpose has generators of its own, so that techniques share what they can.
_PICKED, _START, _ORDER, _NOISE, _MEASURED, _TEACHER = range(1, 7)
# Images of the validation split that the temperature and the strength are chosen on.
_VALIDATION = 2000


@dataclass(frozen=True, kw_only=True)
class ManagementConfig(Config):
    """One technique at one strength. `examples` are drawn from the training images by the seed."""

    technique: str
    strength: float
    examples: int = 2000
    batch: int = 50
    rate: float = 1e-3


# Where a technique has one setting its strength is 1, but for stochastic depth, where it is the probability.
STRENGTHS: Mapping[str, list[float]] = {
    "orthogonal": [1.0],
    "batch norm": [1.0],
    "stochastic depth": [0.5],
    "dropout": [0.25, 0.5, 0.75, 0.9],
    "augmentation": [0.25, 0.5, 1.0, 2.0],
    "smoothing": [0.003, 0.01, 0.03, 0.1],
    "entropy": [0.1, 0.2, 0.3, 1.0],
    "regulator": [0.1, 0.2, 0.3, 0.4],
    "L1": [0.003, 0.01, 0.03, 0.1],
    "bottleneck": [1e-4, 1e-3, 1e-2, 1e-1],
    "distillation": [1.0, 2.0, 4.0, 8.0],
    "log-det": [1e-4, 1e-3, 1e-2, 1e-1],
    "combination": [0.01, 0.03, 0.1, 0.3],
    "usual combination": [0.1, 0.25, 0.5, 0.75],
}
# In colour, where predictions are less sure, two need more; the combination is run as it is usually set alone.
COLOUR_STRENGTHS = {name: strengths for name, strengths in STRENGTHS.items() if name != "combination"} | {
    "smoothing": [0.03, 0.1, 0.2, 0.3],
    "regulator": [0.4, 0.8, 1.0, 1.2],
}
# What some are set against, beside plain training, at the strength that was best on the seeds that explored: the best
# of the combination's parts, and the fixed coefficient.
RIVALS: Mapping[tuple[str, str], tuple[str, float]] = {
    ("mnist", "combination"): ("smoothing", 0.01),
    ("mnist", "usual combination"): ("smoothing", 0.01),
    ("mnist", "regulator"): ("entropy", 0.2),
    ("cifar10", "usual combination"): ("dropout", 0.5),
    ("cifar10", "regulator"): ("entropy", 0.3),
}
# A part of the combination at the strength that it has there.
PARTS: Mapping[tuple[str, str], tuple[str, float]] = {
    (data, "usual combination"): ("smoothing", 0.1) for data in ("mnist", "cifar10")
}
_AGAINST = {
    "over_rival": (RIVALS, "test_accuracy"),
    "over_rival_nll": (RIVALS, "test_nll"),
    "over_part": (PARTS, "test_accuracy"),
}
_FAST = 0.03


def _grid(data: str, seeds: range, horizon: int, techniques: Mapping[str, list[float]], **settings: Any) -> list[Plan]:
    """Plain training and each technique at each of its strengths."""
    listed = {"none": [0.0], **techniques}
    return [
        Plan.of(data, seeds, technique=name, strength=list(strengths), horizon=horizon, **settings)
        for name, strengths in listed.items()
    ]


def _both_rates(data: str, horizon: int, techniques: Mapping[str, list[float]], **settings: Any) -> list[Plan]:
    return [
        *_grid(data, range(10), horizon, techniques, **settings),
        *_grid(data, range(10), horizon, {"batch norm": [1.0]}, rate=_FAST, **settings),
    ]


PROFILES = {
    "quick": _grid("digits", range(2), 4, {n: s[-1:] for n, s in STRENGTHS.items()}, examples=500),
    "laptop": _both_rates("mnist", 30, STRENGTHS),
    "paper": [
        *_both_rates("mnist", 30, STRENGTHS),
        *_both_rates("cifar10", 20, COLOUR_STRENGTHS, examples=5000),
    ],
}


def fingerprint(data: str, config: ManagementConfig) -> str:
    return load(data).fingerprint


def scope(trial: Trial[ManagementConfig]) -> Scope:
    """A look of ours: the source has no experiment."""
    return Scope("quick" if trial.data == "digits" else "reduced", f"trained on {trial.config.examples:,} images")


def stack_by(trial: Trial[ManagementConfig], device: str = "cpu") -> Hashable:
    """All seeds of one technique at one strength."""
    return trial.data, trial.config


def train_stack(stack: list[Trial[ManagementConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the networks of all seeds as one; what is measured at the end stands in the last epoch's row.

    The row of epoch 0 is of the networks before the technique has touched them.
    """
    config, seeds = stack[0].config, [trial.seed for trial in stack]
    if config.technique not in TECHNIQUES:
        raise ValueError(f"technique must be one of {', '.join(TECHNIQUES)}, got {config.technique!r}")
    technique = TECHNIQUES[config.technique](config.strength)
    splits = _splits(stack[0], seeds)
    teacher = None
    if technique.taught:
        teaching = Networks(Draws.of(seeds, _TEACHER), splits["train"][0].shape[2:])
        for _ in trained(teaching, Technique(0.0), config, splits["train"], seeds, None):
            pass
        teacher = seen(teaching, splits["train"][0])[1]
    networks = Networks(Draws.of(seeds, _START), splits["train"][0].shape[2:], technique.normalised)
    rows: list[Mapping[str, Tensor | float]] = [_scored(networks, splits, float("nan"))]
    for loss in trained(networks, technique, config, splits["train"], seeds, teacher):
        rows.append(_scored(networks, splits, loss))
        tick()
    plain = splits["train"][0]
    images = technique.images(plain, Draws.of(seeds, _MEASURED))
    rows[-1] = dict(rows[-1]) | measured(networks, splits, Draws.of(seeds, _MEASURED)) | {
        "entropy_labels": technique.label_entropy(teacher),
        "entropy_mask": technique.mask_entropy(),
        "entropy_inputs": _inputs(images) if images is not plain else _plain_inputs(
            stack[0].data, stack[0].fingerprint, tuple(seeds), config.examples
        ),
    }  # fmt: skip
    return StackResult(_curves(stack, rows))


def _splits(trial: Trial[ManagementConfig], seeds: list[int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Images `(networks or 1, n, channels, height, width)` and labels; only those of training differ by seed."""
    data = load(trial.data, trial.fingerprint)
    shared = {"validation": _VALIDATION, "test": None}
    return {"train": _drawn(data, seeds, trial.config.examples)} | {
        name: (data.images[name][None, :most].float(), data.labels[name][None, :most]) for name, most in shared.items()
    }


def _drawn(data: Dataset, seeds: Sequence[int], examples: int) -> tuple[Tensor, Tensor]:
    """What the networks are trained on."""
    picked = Draws.of(seeds, _PICKED).orders(len(data.labels["train"]))[:, :examples]
    return data.images["train"].float()[picked], data.labels["train"][picked]


def _inputs(images: Tensor) -> Tensor:
    return gaussian_entropy(images.flatten(2), PIXEL_NOISE)


@lru_cache(maxsize=4)
def _plain_inputs(data: str, fingerprint: str, seeds: tuple[int, ...], examples: int) -> Tensor:
    """Of images that no technique has changed: the same for many stacks, and with 3,072 values half a minute's work."""
    return _inputs(_drawn(load(data, fingerprint), seeds, examples)[0])


def trained(
    networks: Networks, technique: Technique, config: ManagementConfig, split: tuple[Tensor, Tensor], seeds: list[int],
    teacher: Tensor | None,
) -> Iterator[Tensor]:  # fmt: skip
    """Train for as many epochs as the horizon says; the mean loss of each network after each."""
    images, labels = split
    shuffle, noise = Draws.of(seeds, _ORDER), Draws.of(seeds, _NOISE)
    technique.start(networks, Draws.of(seeds, _START))
    parameters = [parameter.requires_grad_() for parameter in networks.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=config.rate, fused=True)
    rows = torch.arange(len(seeds))[:, None]
    for _ in range(config.horizon):
        total: Any = 0.0
        steps = shuffle.orders(images.shape[1]).split(config.batch, 1)
        for index in steps:
            batch = technique.images(images[rows, index], noise)
            logits = networks.logits(networks.hidden(batch, True, technique.inside(networks, noise)))
            taught = None if teacher is None else teacher[rows, index]
            losses = technique.loss(logits, labels[rows, index], taught) + technique.penalty(networks)
            optimiser.zero_grad()
            losses.sum().backward()
            optimiser.step()
            with torch.no_grad():
                technique.stepped(networks, config.rate)
            total += losses.detach()
        yield total / len(steps)


def _scored(
    networks: Networks, splits: dict[str, tuple[Tensor, Tensor]], loss: Tensor | float
) -> dict[str, Tensor | float]:
    """What every epoch's row holds."""
    images, labels = splits["validation"]
    logits = seen(networks, images)[1]
    labels = labels.expand(len(logits), -1)
    return {
        "train_loss": loss,
        "validation_accuracy": accuracy(logits, labels),
        "validation_nll": cross_entropy(logits, labels),
    }


def _curves(stack: list[Trial[ManagementConfig]], rows: list[Mapping[str, Tensor | float]]) -> pd.DataFrame:
    """A row for each network and epoch."""
    return pd.DataFrame([
        {"trial": trial.id, "epoch": epoch}
        | {name: float(value[i]) if isinstance(value, Tensor) else value for name, value in row.items()}
        for i, trial in enumerate(stack)
        for epoch, row in enumerate(rows)
    ])  # fmt: skip


def outcomes(store: Store) -> pd.DataFrame:
    """One row per trial with every measure after training.

    - `gap`: test minus training NLL;
    - `over_rival`, `over_rival_nll`: test accuracy and NLL minus those of the technique's rival;
    - `over_part`: test accuracy minus that of the combination's own smoothing, alone;
    - `over_usual_rate`: test accuracy minus that of the same networks at the usual rate;
    - `diverged`: the training loss was not finite at some epoch. It is no rival to anybody.
    """
    curves = store.curves(MANAGEMENT.name)
    last = curves[curves.epoch == curves.groupby("trial").epoch.transform("max")].drop(columns=["epoch"])
    lost = curves[curves.epoch > 0].groupby("trial").train_loss.apply(lambda each: not np.isfinite(each).all())
    table = MANAGEMENT.table(store).merge(last, on="trial", validate="one_to_one")
    table = table.assign(gap=table.test_nll - table.train_nll, diverged=table.trial.map(lost))
    usual = table[(table.rate == MANAGEMENT.settings["rate"]) & ~table.diverged]
    for name, (others, measure) in _AGAINST.items():
        keys = zip(table.data, table.technique, strict=True)
        technique, strength = zip(*(others.get(key, ("", 0.0)) for key in keys), strict=True)
        against = table.assign(technique=technique, strength=strength)
        table[name] = (table[measure] - _of_same(against, usual, measure)).where(table.rate.isin(usual.rate))
    return table.assign(over_usual_rate=table.test_accuracy - _of_same(table, usual, "test_accuracy"))


def _of_same(rows: pd.DataFrame, usual: pd.DataFrame, measure: str) -> np.ndarray:
    """For each row the measure at the usual rate of a network that is otherwise the same; NaN where there is none."""
    same = [
        "data",
        "fingerprint",
        "protocol",
        "seed",
        *(name for name in MANAGEMENT.fields if name not in ("rate", "horizon")),
    ]
    found = usual.set_index(same)[measure].reindex(pd.MultiIndex.from_frame(rows[same]))
    return found.to_numpy()


OUTCOMES = (
    "test_accuracy", "test_nll", "calibration", "calibration_cooled",
    "nll_cooled", "shifted_accuracy", "gap", "validation_nll",
    "over_rival", "over_rival_nll", "over_part", "over_usual_rate",
)  # fmt: skip
ENTROPIES = (
    "entropy_labels", "entropy_test", "entropy_shifted", "entropy_scrambled", "entropy_mask", "entropy_hidden",
    "entropy_inputs", "entropy_map",
)  # fmt: skip

MANAGEMENT = Experiment(
    name="management",
    protocol=1,
    config=ManagementConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(*OUTCOMES, *ENTROPIES, "zeros", "diverged"),
    columns={"validation_accuracy": (0.0, 1.0), "validation_nll": (0.0, float("inf"))},
    treatment="strength",
    unguided={"technique": "none"},
    on_gpu=False,
)
