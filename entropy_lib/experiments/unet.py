"""Segmentation by a U-Net with guided kernels (Section 5.5, Table 3, Figs 9 and 10)."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entropy_lib.data import load
from entropy_lib.evidence.paper import COEFFICIENTS
from entropy_lib.experiments import flow, plans
from entropy_lib.experiments.plans import Seeds
from entropy_lib.experiments.training import Task, Training
from entropy_lib.models import UNet, convolutions
from entropy_lib.photographs import cache_folder
from entropy_lib.sweep.stopping import EarlyStopping
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial

EXPERIMENT = "unet"
PROTOCOL = 1
# The paper states the size of the images and the rule of stopping; the others are Keras' defaults or ours.
PROTOCOL_VARIABLES: dict[str, Any] = {
    "form": "reciprocal", "eps": 1e-3, "batch": 16, "rate": 1e-3, "precision": "bfloat16", "image": 256, "channels": 64,
}  # fmt: skip
# The numbers on Fig. 9's axis are those of the convolutions in Keras' list of layers, if after the input and its
# scaling come two convolutions, a halving and a dropout, four times, then two convolutions, then a doubling, a joining,
# a dropout and two convolutions, four times.
LAYERS = {
    **{2 + 4 * block + half: f"down.{block}.{2 * half}" for block in range(4) for half in (0, 1)},
    **{18 + half: f"bottom.{2 * half}" for half in (0, 1)},
    **{23 + 5 * block + half: f"join.{block}.{2 * half}" for block in range(4) for half in (0, 1)},
    40: "head",
}
FED_UP = "19,24,29,34,39"
PLACEMENTS = ("2", "2,3", "3,7,11,15", "3,7,11,15,19,24,29,34,39", FED_UP)
PAPER_CELLS = {"layers": ("placements", PLACEMENTS)}
PAPER_SEEDS = 1
STOPPING = EarlyStopping(patience=10, min_delta=0.01)
# Pictures of the test split whose predicted masks a record keeps.
SHOWN = 6


@dataclass(frozen=True)
class Plan:
    """One part of a profile: one placement with each λ and seed."""

    data: str
    layers: str
    seeds: Seeds
    horizon: int
    coefficients: tuple[float, ...] = COEFFICIENTS
    protocol: Mapping[str, float | str] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        protocol = plans.protocol(self.protocol, PROTOCOL_VARIABLES)
        fingerprint = load(self.data, side=int(protocol["image"])).fingerprint
        return [
            Trial.of(
                EXPERIMENT, PROTOCOL, self.data, fingerprint, seed, horizon=self.horizon, coefficient=c,
                layers=self.layers if c else "none", **protocol | ({} if c else plans.UNGUIDED),
            )
            for seed in plans.numbers(self.seeds)
            for c in self.coefficients
        ]  # fmt: skip


_NARROW = {"image": 96, "channels": 16, "batch": 8}
# Parts are run in this order.
PROFILES = {
    "quick": [
        Plan("shapes", FED_UP, 1, 4, (0.0, 1.0), {"image": 32, "channels": 4, "precision": "float32"}),
    ],
    "laptop": [
        Plan("coco", FED_UP, 3, 30, (0.0, 1e-3, 1.0, 10.0), _NARROW),
        Plan("coco", "2", 3, 30, (0.0, 0.01, 1.0), _NARROW),
        Plan("coco", "3,7,11,15", 3, 30, (0.0, 0.01, 1.0), _NARROW),
        Plan("shapes", FED_UP, 3, 30, (0.0,), _NARROW),  # whether the flow depends on the data
    ],
    "paper": [
        Plan("coco", FED_UP, 5, 40),
        *(Plan("coco", layers, 3, 40) for layers in PLACEMENTS if layers != FED_UP),
    ],
}


def grid(profile: str, data: str | None = None, seeds: int | None = None) -> list[Trial]:
    """The trials of a profile; see :func:`entropy_lib.experiments.plans.trials`."""
    return plans.trials(PROFILES, profile, data, seeds)


def scope(trial: Trial) -> tuple[str, str]:
    """What a record of this trial can decide, and how it departs from the paper."""
    data = load(trial.data, trial.fingerprint, side=int(trial["image"]))
    if trial["image"] < 96:
        return "quick", data.deviation
    narrow = f"{trial['channels']} channels in the first block" if trial["channels"] < 64 else ""
    whole = data.canonical and trial["image"] >= 256 and not narrow
    return "paper" if whole else "reduced", "; ".join(filter(None, [data.deviation, narrow]))


def stack_by(trial: Trial, device: str = "cpu") -> Hashable:
    """One network at a time: it fills a device, and a killed run loses one at most (`Training.checkpoint`)."""
    return trial.id


def guided(model: UNet, layers: str) -> list[Tensor]:
    """The kernels of the layers, by their numbers in the paper, such as "19,24,29,34,39"; "none" for none.

    Raises:
        ValueError: a number that is no convolution of Fig. 9.
    """
    numbers = [] if layers == "none" else layers.split(",")
    unknown = [number for number in numbers if not number.isdigit() or int(number) not in LAYERS]
    if unknown:
        raise ValueError(
            f"layer {unknown[0]!r} is no convolution of Fig. 9; its numbers are {', '.join(map(str, LAYERS))}"
        )
    return [convolutions(model)[LAYERS[int(number)]].weight for number in numbers]


def scores(outputs: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """Of each image: share of right pixels, intersection over union, both areas in pixels, mean squared error.

    A pixel is in the predicted mask above 0.5. Where neither mask has a pixel, they agree: the ratio is 1.
    """
    predicted, true = (outputs[:, 0] > 0.5).flatten(1), masks.bool().flatten(1)
    both, either = (predicted & true).sum(1).float(), (predicted | true).sum(1).float()
    return {
        "accuracy": (predicted == true).float().mean(1),
        "iou": torch.where(either > 0, both / either, 1.0),
        "intersection": both,
        "union": either,
        "loss": (outputs[:, 0] - masks.float()).square().flatten(1).mean(1),
    }


SEGMENTATION = Task(lambda outputs, masks: F.mse_loss(outputs[:, 0], masks.float()), scores)


def train_stack(stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the network of each trial; a record keeps some predicted masks, and the flow before and after."""
    curves, artefacts = [], {}
    for trial in stack:
        training = _training(trial, device)
        before = boxes(UNet(int(trial["channels"]), trial.seed))
        curves.append(training.train(tick))
        artefacts[f"{trial.id}-flow"] = np.stack([before, boxes(training.model)])
        artefacts[f"{trial.id}-masks"] = _predictions(training)
    return StackResult(pd.concat(curves, ignore_index=True), artefacts)


def _training(trial: Trial, device: str) -> Training:
    data = load(trial.data, trial.fingerprint, side=int(trial["image"]))
    splits = {
        name: (images.movedim(1, -1).to(device), data.masks[name].to(device)) for name, images in data.images.items()
    }
    model = UNet(int(trial["channels"]), trial.seed).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Training(
        trial,
        model,
        guided(model, str(trial["layers"])),
        model.down[0][0].weight,
        torch.optim.Adam(model.parameters(), lr=float(trial["rate"]), fused=True),
        splits,
        SEGMENTATION,
        prepare=lambda images: images if images.is_floating_point() else images / 255,
        bfloat16=trial["precision"] == "bfloat16",
        scored_at_once=int(trial["batch"]),
        checkpoint=cache_folder() / "checkpoints" / f"{trial.id}.pt",
    )


MEASURES = ("tap 1 1", "norm", "exact")
FIELDS = ("mean", "low", "q1", "median", "q3", "high", "outliers_low", "outliers_high")


def boxes(model: nn.Module) -> np.ndarray:
    """Entropy flow of the network, `(layers, measures, fields)` in the order of `LAYERS`, `MEASURES`, `FIELDS`."""
    kernels = {name: part.weight.detach().float().cpu() for name, part in convolutions(model).items()}
    found = []
    for name in LAYERS.values():
        rows = {
            row["measure"]: row for row in flow.layer(kernels[name], (16, 16)) if row["reading"] in ("slices", "layer")
        }
        found.append([[rows[measure].get(part, np.nan) for part in FIELDS] for measure in MEASURES])
    return np.array(found, dtype=np.float32)


@torch.no_grad()
def _predictions(training: Training) -> np.ndarray:
    """Probabilities of the first pictures of the test split, as bytes `(n, l, w)`."""
    training.model.eval()
    images, _ = training._batch(*(part[:SHOWN] for part in training.splits["test"]))
    return (training._outputs(images)[:, 0] * 255).round().byte().cpu().numpy()


def outcomes(store: Store, epoch: int | None = None) -> pd.DataFrame:
    """One row per trial, with its scores at the epoch at which the paper's rule stops it, or at a given one.

    The rule watches the error on validation images. `test_pooled_iou` is the ratio of the summed areas, `test_iou` the
    mean of the images' ratios; `training_seconds` is the time until the stop. Beside them `diverged`, and `censored`
    where the horizon came before the stop.
    """
    trials = store.trials(EXPERIMENT)
    if trials.empty:
        return trials
    rows = []
    for trial, curve in store.curves(EXPERIMENT).groupby("trial"):
        curve = curve.set_index("epoch")
        stop = STOPPING(curve.validation_loss[1:].to_numpy())
        at = stop.epoch if epoch is None else epoch
        rows.append({**curve.loc[at], "trial": trial, "stopping_epoch": stop.epoch, "censored": stop.censored})
        rows[-1]["training_seconds"] = curve.seconds[1 : at + 1].sum()
        rows[-1]["diverged"] = not np.isfinite(curve.train_loss).all()
    table = trials.merge(pd.DataFrame(rows), on="trial")
    for split in ("validation", "test"):
        table[f"{split}_pooled_iou"] = table[f"{split}_intersection"] / table[f"{split}_union"]
    same = ["data", "fingerprint", "horizon", *(set(PROTOCOL_VARIABLES) - set(plans.UNGUIDED))]
    return plans.with_partners(table, ["layers", *plans.UNGUIDED], same)
