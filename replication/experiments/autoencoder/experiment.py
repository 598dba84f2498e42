"""Dense autoencoders for image compression (Section 5.2, Figs 3-6): grid, curves, outcomes.

One hidden layer, sigmoid on hidden and output units, mean squared error, Adam, entropy loss on the
first weight. What the paper leaves open is a *protocol variable* of the configuration.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_lib.theory.change import square_part
from entropy_lib.theory.exact import gram_entropy_change
from entropy_lib.theory.linalg import log_abs_det
from replication.data.registry import load
from replication.experiments.autoencoder.training import Init, Moment, as_bytes, curves_of, epochs, evaluate, forward
from replication.experiments.experiment import Cells, Experiment, Plan
from replication.paper import COEFFICIENTS
from replication.sweep.stopping import EarlyStopping
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial, as_text

PAPER_LATENTS = tuple(range(20, 261, 40))
# Other rules by which the same curves may have been stopped: an improvement has to be larger than this.
TOLERANCES = {"1e-4": EarlyStopping(min_delta=1e-4), "1e-3": EarlyStopping(min_delta=1e-3)}
# "Effective minima" for the claim of Section 5.2: what the unguided network reaches in this many epochs.
QUALITY_EPOCH = 5


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(Config):
    """One autoencoder."""

    latent: int
    coefficient: float
    batch: int = 32
    rate: float = 1e-3
    init: Init = as_text(Init.read, str, Init("torch"))
    form: str = "log"
    eps: float = 1e-3


_ALL = list(COEFFICIENTS)
_GUIDED = list(COEFFICIENTS[1:])
GAINS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def _grid(
    data: str,
    latents: tuple[int, ...],
    seeds: int,
    coefficients: list[float] = _ALL,
    horizon: int = 50,
    **settings: Any,
) -> Plan:
    """Every latent dimension and λ under one protocol."""
    return Plan.of(
        data, range(seeds), latent=list(latents), horizon=horizon, coefficient=coefficients, **settings
    )  # fmt: skip


def _alternatives(seeds: int) -> list[Plan]:
    """Other ways to shape the encoder at d = 100, each with as many settings to choose from as the paper's λ has."""
    return [
        # The paper's own form and the unguided network, to be compared with.
        _grid("mnist", (100,), seeds),
        *(_grid("mnist", (100,), seeds, _GUIDED, form=form) for form in ("live", "gram", "decay")),
        _grid("mnist", (100,), seeds, [0.0], init=[Init("orthogonal", gain) for gain in GAINS]),
    ]


# `quick`: tiny images need larger steps to converge, and stop, in a minute.
PROFILES = {
    "quick": [_grid("digits", (10, 20, 40), 5, horizon=120, rate=0.01)],
    "laptop": [
        _grid("mnist", (20, 100, 180, 260), 3),
        _grid("mnist", (60, 140, 220), 3),
        _grid("mnist", (100, 180), 3, horizon=100, batch=128),
        _grid("mnist", (20, 60), 2, [1e-3, 0.1, 10.0], form="reciprocal"),
        _grid("cifar10", (60, 140), 3, horizon=30),
        _grid("mnist", (100,), 3, init=Init("glorot")),
        *_alternatives(5),
    ],
    "paper": [
        _grid("mnist", PAPER_LATENTS, 10),
        _grid("cifar10", PAPER_LATENTS, 10),
        _grid("mnist", (100, 180), 10, horizon=100, batch=128),
        _grid("mnist", PAPER_LATENTS, 10, form="reciprocal"),
        _grid("mnist", PAPER_LATENTS, 10, init=Init("glorot")),
        *_alternatives(10),
    ],
}


def fingerprint(data: str, config: AutoencoderConfig) -> str:
    return load(data).fingerprint


def scope(trial: Trial[AutoencoderConfig]) -> Scope:
    """What a record of this trial can decide, and how it departs from the paper."""
    data = load(trial.data, trial.fingerprint)
    if trial.data == "digits":
        return Scope("quick", data.deviation)
    short = f"horizon of {trial.config.horizon} epochs" if trial.config.horizon < 50 else ""
    deviation = "; ".join(part for part in (data.deviation, short) if part)
    return Scope("reduced" if short or not data.canonical else "paper", deviation)


def stack_by(trial: Trial[AutoencoderConfig], device: str = "cpu") -> Hashable:
    """Trials that differ in λ or initialisation are trained as one; on tiny digits and on a GPU, seeds are too."""
    shared = replace(trial.config, coefficient=0.0, init=Init("torch"))
    return trial.data, shared, None if trial.data == "digits" or device != "cpu" else trial.seed


@torch.no_grad()
def train_stack(
    stack: list[Trial[AutoencoderConfig]], device: str, tick: Callable[[], object], dtype: torch.dtype = torch.float32
) -> StackResult:
    """Train a stack and keep its curves, and pictures at a few epochs."""
    rows, reconstructions = [], {}
    for now in epochs(stack, device, dtype):
        rows.append(_measure(now))
        if now.epoch in (0, 1, 5, stack[0].config.horizon):
            reconstructions[now.epoch] = _reconstruct(now.parameters, now.splits["test"])
        if now.epoch:
            tick()
    return StackResult(curves_of(stack, rows), _artefacts(stack, reconstructions, now.splits))


def _measure(now: Moment) -> dict[str, np.ndarray]:
    """Everything that a curve keeps at the end of an epoch, each an array over trials."""
    weight = now.parameters[0]
    now.backward(now.images)
    gradient_entropy = weight.new_zeros(len(weight))
    if len(now.guidance.guided):
        gradient_entropy[now.guidance.guided] = torch.linalg.matrix_norm(now.guidance.gradient(weight))
    train_mse = evaluate(now.parameters, now.splits["train"]) if now.train_mse is None else now.train_mse
    measures = {
        "train_mse": train_mse,
        "validation_mse": evaluate(now.parameters, now.splits["validation"]),
        "test_mse": evaluate(now.parameters, now.splits["test"]),
        "log_abs_det": log_abs_det(square_part(weight)),
        "gram": gram_entropy_change(torch.nan_to_num(weight)),
        "gradient_error": torch.linalg.matrix_norm(weight.grad),
        "gradient_entropy": gradient_entropy,
    }
    return {name: value.cpu().double().numpy() for name, value in measures.items()}


def _reconstruct(parameters: list[Tensor], images: Tensor) -> Tensor:
    """The first ten test images as every trial returns them, `(trials, 10, pixels)`, as bytes."""
    images = images[:10].expand(len(parameters[0]), -1, -1)
    return as_bytes(forward(parameters, images)[1])


def _artefacts(
    stack: list[Trial[AutoencoderConfig]], reconstructions: dict[int, Tensor], splits: dict[str, Tensor]
) -> dict[str, np.ndarray]:
    """Pictures of seed 0 alone: small enough to commit, enough for pages to be drawn without the data."""
    shown = [i for i, trial in enumerate(stack) if trial.seed == 0]
    if not shown:
        return {}
    return {
        "epochs": np.array(list(reconstructions)),
        "trials": np.array([stack[i].id for i in shown]),
        "reconstructions": torch.stack(list(reconstructions.values()))[:, shown].numpy(),
        "originals": as_bytes(splits["test"][:10]).numpy(),
        "pixel_deviation": splits["train"].std(0).float().cpu().numpy(),
    }


def pictured(store: Store, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """`originals`, the ten test images of the galleries, and `pixel_deviation`, from a record of these outcomes.

    Empty when no record keeps them.
    """
    for file in table.file.unique():
        arrays = store.artefacts(file, AUTOENCODER.name)
        if "originals" in arrays:
            return {name: arrays[name] for name in ("originals", "pixel_deviation")}
    return {}


def outcomes(
    store: Store, rule: EarlyStopping | None = None, monitored: str = "validation_mse", at: str = "stop"
) -> pd.DataFrame:
    """One row per trial with what a stopping rule makes of its curve.

    Args:
        store: where the records are.
        rule: patience 7 without tolerance unless given.
        monitored: the column that the rule watches, or `"validation_loss"`: validation MSE plus the
            entropy term, as a training framework would report it.
        at: errors are taken at the `"stop"` epoch, as Keras does by default, or the `"best"` one.

    Returns:
        The trial table with `stopping_epoch`, `best_epoch`, `censored`, `diverged`; `stopping_epoch_1e-4` and the like,
        with `censored_1e-4`, by rules with a tolerance; `validation_mse`,
        `test_mse`, `log_abs_det` at the chosen epoch; `best_test_mse` at the best epoch; and
        `epochs_to_quality`, the first epoch at which the test error is down to that of the
        unguided network of the same seed after `QUALITY_EPOCH` epochs (horizon + 1: never; NaN
        without an unguided network).
    """
    rule, trials = rule or EarlyStopping(), AUTOENCODER.table(store)
    rows = []
    curves = store.curves(AUTOENCODER.name).merge(trials[["trial", "coefficient", "form", "eps"]], on="trial")
    if monitored == "validation_loss":
        log = -curves.log_abs_det
        # exp(-709) is the smallest double: below it the reciprocal is 1 / eps anyhow.
        term = log.where(curves.form == "log", 1 / (np.exp((-log).clip(-709, 709)) + curves.eps))
        curves[monitored] = curves.validation_mse + (curves.coefficient * term).where(curves.coefficient > 0, 0.0)
    for trial, curve in curves.groupby("trial"):
        stop = rule(curve[monitored].to_numpy()[1:])
        chosen = curve.iloc[stop.epoch if at == "stop" else stop.best_epoch]
        tolerant = {name: tolerance(curve[monitored].to_numpy()[1:]) for name, tolerance in TOLERANCES.items()}
        rows.append(
            {
                **{f"stopping_epoch_{name}": other.epoch for name, other in tolerant.items()},
                **{f"censored_{name}": other.censored for name, other in tolerant.items()},
                "trial": trial, "stopping_epoch": stop.epoch, "best_epoch": stop.best_epoch,
                "censored": stop.censored, "diverged": not np.isfinite(curve.validation_mse).all(),
                **{name: chosen[name] for name in ("validation_mse", "test_mse", "log_abs_det")},
                "best_test_mse": curve.test_mse.iloc[stop.best_epoch], "curve": curve.test_mse.to_numpy(),
            }
        )  # fmt: skip
    table = trials.merge(pd.DataFrame(rows), on="trial", validate="one_to_one")
    shared = ["data", "seed", "latent", "horizon", "protocol", *AUTOENCODER.settings]
    table["epochs_to_quality"] = np.nan
    for _, group in table.groupby(shared):
        for unguided in group.curve[group.coefficient == 0]:
            target = unguided[min(QUALITY_EPOCH, len(unguided) - 1)]
            reached = [np.append(curve <= target, True).argmax() for curve in group.curve]
            table.loc[group.index, "epochs_to_quality"] = reached
    return table.drop(columns="curve")


AUTOENCODER = Experiment(
    name="autoencoder",
    protocol=1,
    config=AutoencoderConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(
        "stopping_epoch", "best_epoch", "censored", "diverged",
        *(f"{name}_{tolerance}" for name in ("stopping_epoch", "censored") for tolerance in TOLERANCES),
        "validation_mse", "test_mse", "best_test_mse", "epochs_to_quality", "log_abs_det",
    ),
    columns={
        "train_mse": (0, np.inf), "validation_mse": (0, np.inf), "test_mse": (0, np.inf),
        "log_abs_det": (-np.inf, np.inf), "gram": (-np.inf, np.inf),
        "gradient_error": (0, np.inf), "gradient_entropy": (0, np.inf),
    },
    cells={"latent": Cells("latent dimensions", PAPER_LATENTS)},
    seeds=10,
    unguided={"form": "log", "eps": 1e-3},
)  # fmt: skip
