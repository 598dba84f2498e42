"""What the determinant does within autoencoders: whose signal the hidden units carry, which images pay, what saturates.

The networks of `autoencoder`, looked into at every epoch on the test images. The *square part* is the block of the
encoder's weight that the determinant is taken of; its pixels are the first d of the image.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from replication.data.registry import load
from replication.experiments.autoencoder.experiment import AUTOENCODER, AutoencoderConfig, fingerprint, stack_by
from replication.experiments.autoencoder.training import Moment, as_bytes, curves_of, epochs, forward
from replication.experiments.experiment import Experiment, Plan
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope, Trial

SATURATED = 0.01  # slope h(1 - h) of a sigmoid below which hardly any gradient passes
WORST = 8  # images that are kept to be looked at
LATENTS, LAMBDAS, SEEDS = [20, 60, 100, 140, 180, 220, 260], [0.0, 1e-4, 1e-3, 1e-2, 10.0], range(5, 10)
_MADE = [
    Plan.of("mnist", SEEDS, latent=LATENTS, coefficient=LAMBDAS, horizon=15),
    Plan.of("cifar10", SEEDS, latent=[60, 140], coefficient=[0.0, 0.01, 0.1], horizon=12),
]
PROFILES = {
    "quick": [Plan.of("digits", range(2), latent=[10, 20], coefficient=[0.0, 0.01, 10.0], horizon=10, rate=0.01)],
    "laptop": _MADE,
    "paper": _MADE,
}


def scope(trial: Trial[AutoencoderConfig]) -> Scope:
    """A look of ours, with no counterpart in the paper."""
    data = load(trial.data, trial.fingerprint)
    return Scope("quick" if trial.data == "digits" else "reduced", data.deviation)


@torch.no_grad()
def train_stack(stack: list[Trial[AutoencoderConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Train a stack as `autoencoder` does, and look into it at every epoch."""
    rows = []
    for now in epochs(stack, device):
        rows.append({name: value.cpu().double().numpy() for name, value in dissect(now).items()})
        if now.epoch:
            tick()
    return StackResult(curves_of(stack, rows), _pictures(stack, now))


def dissect(now: Moment) -> dict[str, Tensor]:
    """Measures of every trial on the test images, `(trials,)` each.

    - `norm_square`, `norm_rest`: Frobenius norms of the square part and of the encoder's other columns;
    - `share_square`: Σ var(W'x') / Σ var(Wx) over hidden units, with W' the square part and x' its pixels: above 1
      where the rest cancels it;
    - `error`: mean squared error; `error_most` that of the tenth of the images that differ most from the mean image in
      the square part's pixels, `error_others` that of the others; `share_ink` the share with anything but black there;
    - `error_rest`: error of the pixels outside the square part; `error_rest_blanked` the same with the square part's
      pixels set to their mean over the training images, `error_rest_black` with them set to zero;
    - `saturated`: share of hidden units, over images, whose slope is below `SATURATED`.
    """
    weight, images = now.parameters[0], now.splits["test"]
    inside = torch.zeros(images.shape[1], dtype=torch.bool, device=images.device)
    inside[now.guidance.columns] = True
    neutral = now.splits["train"].mean(0)[inside]
    differing = ((images[:, inside] - neutral) ** 2).sum(1)
    most = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    most[differing.argsort(descending=True, stable=True)[: len(images) // 10]] = True
    sums: dict[str, Any] = dict.fromkeys(
        ("all", "all²", "part", "part²", "most", "others", "rest", "blanked", "black", "flat"), 0.0
    )
    for chunk, differs in zip(images.split(250), most.split(250), strict=True):
        broadcast = chunk.expand(len(weight), -1, -1)
        hidden, output = forward(now.parameters, broadcast)
        part, whole = broadcast[..., inside] @ weight[..., inside].mT, broadcast @ weight.mT
        for name, signal in (("all", whole), ("part", part)):
            sums[name] += signal.sum(1)
            sums[name + "²"] += (signal**2).sum(1)
        squares = (output - chunk) ** 2
        each = squares.mean(-1)
        sums["most"] += (each * differs).sum(1)
        sums["others"] += (each * ~differs).sum(1)
        sums["rest"] += squares[..., ~inside].sum((1, 2))
        for name, ink in (("blanked", neutral), ("black", torch.zeros_like(neutral))):
            changed = chunk.clone()
            changed[:, inside] = ink
            returned = forward(now.parameters, changed.expand(len(weight), -1, -1))[1]
            sums[name] += ((returned - chunk)[..., ~inside] ** 2).sum((1, 2))
        sums["flat"] += (hidden * (1 - hidden) < SATURATED).sum((1, 2)).to(weight.dtype)
    n, outside = len(images), max(int((~inside).sum()), 1)

    def variance(name: str) -> Tensor:
        return (sums[name + "²"] / n - (sums[name] / n) ** 2).sum(1)

    return {
        "norm_square": torch.linalg.matrix_norm(weight[..., inside]),
        "norm_rest": torch.linalg.matrix_norm(weight[..., ~inside]),
        "share_square": variance("part") / variance("all"),
        "error": (sums["most"] + sums["others"]) / n,
        "error_most": sums["most"] / most.sum(),
        "error_others": sums["others"] / (~most).sum(),
        "share_ink": (images[:, inside] > 0).any(1).float().mean().expand(len(weight)),
        "error_rest": sums["rest"] / (n * outside),
        "error_rest_blanked": sums["blanked"] / (n * outside),
        "error_rest_black": sums["black"] / (n * outside),
        "saturated": sums["flat"] / (n * weight.shape[1]),
    }


def _pictures(stack: list[Trial[AutoencoderConfig]], now: Moment) -> dict[str, np.ndarray]:
    """Of the first seed: the test images on which the most guided network errs most, and what every network makes of
    them; each network's error by pixel."""
    if stack[0].seed not in (min(SEEDS), 0):
        return {}
    images = now.splits["test"]
    errors = torch.cat(
        [(forward(now.parameters, c.expand(len(stack), -1, -1))[1] - c) ** 2 for c in images.split(250)], 1
    )
    last = max(range(len(stack)), key=lambda i: stack[i].config.coefficient)
    worst = errors[last].mean(-1).argsort(descending=True)[:WORST]
    chosen = images[worst]
    return {
        "trials": np.array([trial.id for trial in stack]),
        "worst": as_bytes(chosen).numpy(),
        "returned": as_bytes(forward(now.parameters, chosen.expand(len(stack), -1, -1))[1]).numpy(),
        "pixel_error": errors.mean(1).cpu().numpy().astype(np.float32),
    }


def outcomes(store: Store) -> pd.DataFrame:
    """One row per trial with its measures at the last epoch.

    `most_ratio` is the error of the images that differ most in the square part's pixels over that of the others,
    `blanking_ratio` the error of the remaining pixels when those are set to their mean over what it is otherwise, and
    `black_ratio` the same when they are set to zero.
    """
    curves = store.curves(ANATOMY.name)
    last = curves[curves.epoch == curves.groupby("trial").epoch.transform("max")]
    table = ANATOMY.table(store).merge(last, on="trial", validate="one_to_one")
    diverged = ~curves.assign(finite=np.isfinite(curves.error)).groupby("trial").finite.all()
    return table.assign(
        most_ratio=table.error_most / table.error_others,
        blanking_ratio=table.error_rest_blanked / table.error_rest,
        black_ratio=table.error_rest_black / table.error_rest,
        diverged=table.trial.map(diverged),
    )


_AMOUNT = (0.0, np.inf)
_COLUMNS = {
    "norm_square": _AMOUNT, "norm_rest": _AMOUNT, "share_square": _AMOUNT, "error": _AMOUNT, "error_most": _AMOUNT,
    "error_others": _AMOUNT, "share_ink": (0.0, 1.0), "error_rest": _AMOUNT, "error_rest_blanked": _AMOUNT,
    "error_rest_black": _AMOUNT, "saturated": (0.0, 1.0),
}  # fmt: skip

ANATOMY = Experiment(
    name="anatomy",
    protocol=2,  # the square part's pixels are set to black, too
    config=AutoencoderConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(*_COLUMNS, "most_ratio", "blanking_ratio", "black_ratio", "diverged"),
    columns=_COLUMNS,
    unguided=AUTOENCODER.unguided,
)
