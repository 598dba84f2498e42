"""Segmentation by a U-Net with guided kernels (Section 5.5, Table 3, Figs 9 and 10)."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from replication.data.registry import load
from replication.experiments.experiment import Cells, Experiment, Plan
from replication.experiments.flow import experiment as flow
from replication.experiments.training import CURVES, SHARE, Task, Training, per_network, train_all, whole_mantissa
from replication.networks.unet import UNet
from replication.networks.vgg_resnet import convolutions
from replication.paper import COEFFICIENTS
from replication.sweep.checkpoints import checkpoint
from replication.sweep.stopping import EarlyStopping
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial, as_text

# The numbers on Fig. 9's axis are those of the convolutions in Keras' list of layers, if after the input and its
# scaling come two convolutions, a halving and a dropout, four times, then two convolutions, then a doubling, a joining,
# a dropout and two convolutions, four times.
LAYERS = {
    **{2 + 4 * block + half: f"down.{block}.{2 * half}" for block in range(4) for half in (0, 1)},
    **{18 + half: f"bottom.{2 * half}" for half in (0, 1)},
    **{23 + 5 * block + half: f"join.{block}.{2 * half}" for block in range(4) for half in (0, 1)},
    40: "head",
}


def read_layers(text: str) -> tuple[int, ...]:
    """The layers' numbers from a text such as `19,24`; of `none`, none.

    Raises:
        ValueError: a number that is no convolution of Fig. 9.
    """
    numbers = [] if text == "none" else text.split(",")
    unknown = [number for number in numbers if not number.isdigit() or int(number) not in LAYERS]
    if unknown:
        raise ValueError(
            f"layer {unknown[0]!r} is no convolution of Fig. 9; its numbers are {', '.join(map(str, LAYERS))}"
        )
    return tuple(map(int, numbers))


def write_layers(layers: tuple[int, ...]) -> str:
    return ",".join(map(str, layers)) or "none"


@dataclass(frozen=True, kw_only=True)
class UNetConfig(Config):
    """One network. The paper states the size of the images and the rule of stopping; the others are Keras' defaults
    or ours."""

    layers: tuple[int, ...] = as_text(read_layers, write_layers)
    coefficient: float
    form: str = "reciprocal"
    eps: float = 1e-3
    batch: int = 16
    rate: float = 1e-3
    precision: str = "bfloat16"
    image: int = 256
    channels: int = 64


FED_UP = (19, 24, 29, 34, 39)
PLACEMENTS = ((2,), (2, 3), (3, 7, 11, 15), (3, 7, 11, 15, *FED_UP), FED_UP)
STOPPING = EarlyStopping(patience=10, min_delta=0.01)
ANY_GAIN = EarlyStopping(patience=10)  # where each improvement counts, however small
LATE = (21, 30)  # epochs, named before the seeds that are read there
# Pictures of the test split whose predicted masks a record keeps.
SHOWN = 6
_ALL = list(COEFFICIENTS)
_NARROW: dict[str, Any] = {"image": 96, "channels": 16, "batch": 8}


def _grid(
    data: str, layers: tuple[int, ...], seeds: int, horizon: int, coefficients: list[float] = _ALL, **settings: Any
) -> Plan:
    """One placement with each λ."""
    return Plan.of(data, range(seeds), layers=layers, coefficient=coefficients, horizon=horizon, **settings)


# Parts are run in this order.
PROFILES = {
    "quick": [_grid("shapes", FED_UP, 1, 4, [0.0, 1.0], image=32, channels=4, precision="float32")],
    "laptop": [
        _grid("coco", FED_UP, 3, 30, [0.0, 1e-3, 1.0, 10.0], **_NARROW),
        _grid("coco", (2,), 3, 30, [0.0, 0.01, 1.0], **_NARROW),
        _grid("coco", (3, 7, 11, 15), 3, 30, [0.0, 0.01, 1.0], **_NARROW),
        _grid("shapes", FED_UP, 3, 30, [0.0], **_NARROW),  # whether the flow depends on the data
    ],
    "paper": [
        _grid("coco", FED_UP, 5, 40),
        *(_grid("coco", layers, 3, 40) for layers in PLACEMENTS if layers != FED_UP),
    ],
}


def fingerprint(data: str, config: UNetConfig) -> str:
    return load(data, side=config.image).fingerprint


def scope(trial: Trial[UNetConfig]) -> Scope:
    """What a record of this trial can decide, and how it departs from the paper."""
    config, data = trial.config, load(trial.data, trial.fingerprint, side=trial.config.image)
    if config.image < 96:
        return Scope("quick", data.deviation)
    narrow = f"{config.channels} channels in the first block" if config.channels < 64 else ""
    whole = data.canonical and config.image >= 256 and not narrow
    return Scope("paper" if whole else "reduced", "; ".join(filter(None, [data.deviation, narrow])))


def stack_by(trial: Trial[UNetConfig], device: str = "cpu") -> Hashable:
    """One network at a time: it fills a device, and a killed run loses one at most (`Training.checkpoint`).

    On a GPU narrow ones together.
    """
    if device == "cpu" or trial.config.channels >= 64:
        return trial.id
    return trial.data, replace(trial.config, coefficient=0.0, layers=(), form="", eps=0.0)


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


def train_stack(stack: list[Trial[UNetConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the network of each trial; a record keeps some predicted masks, and the flow before and after."""
    trainings = [training_of(trial, device) for trial in stack]
    curves = train_all(trainings, device, per_network(len(stack), tick))
    artefacts = {}
    for trial, training in zip(stack, trainings, strict=True):
        before = boxes(UNet(trial.config.channels, trial.seed))
        artefacts[f"{trial.id}-flow"] = np.stack([before, boxes(training.model)])
        artefacts[f"{trial.id}-masks"] = _predictions(training)
    return StackResult(pd.concat(curves, ignore_index=True), artefacts)


# Values in the first block's maps that a GPU scores at once: launching it for small batches takes longer than scoring.
# A CPU scores as fast in small ones, which take less memory.
_SCORED_ON_GPU = 15_000_000


def training_of(trial: Trial[UNetConfig], device: str) -> Training:
    config = trial.config
    splits = _splits(trial.data, trial.fingerprint, config.image, device)
    model = UNet(config.channels, trial.seed).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Training(
        trial,
        model,
        [LAYERS[number] for number in config.layers],
        LAYERS[2],
        torch.optim.Adam(model.parameters(), lr=config.rate, fused=True),
        splits,
        SEGMENTATION,
        prepare=lambda images: images if images.is_floating_point() else images / 255,
        bfloat16=config.precision == "bfloat16",
        scored_at_once=config.batch
        if device == "cpu"
        else max(config.batch, _SCORED_ON_GPU // (config.channels * config.image**2)),
        checkpoint=checkpoint(trial),
    )


@lru_cache(maxsize=1)
def _splits(name: str, fingerprint: str, side: int, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Photographs and masks, on a GPU once for a stack."""
    data = load(name, fingerprint, side=side)
    return {
        part: (images.movedim(1, -1).to(device), data.masks[part].to(device)) for part, images in data.images.items()
    }


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
    with whole_mantissa():
        outputs = training._outputs(images)
    return (outputs[:, 0] * 255).round().byte().cpu().numpy()


def outcomes(store: Store, epoch: int | None = None) -> pd.DataFrame:
    """One row per trial, with its scores at the epoch at which the paper's rule stops it, or at a given one.

    The rule watches the error on validation images. `test_pooled_iou` is the ratio of the summed areas, `test_iou` the
    mean of the images' ratios; `training_seconds` is the time until the stop. Beside them `diverged`, and `censored`
    where the horizon came before the stop, `stopping_epoch_0` and `censored_0` by a rule without a tolerance, and
    `late_accuracy` and `late_iou`, the means over the epochs 21 to 30.
    """
    rows = []
    for trial, curve in store.curves(UNET.name).groupby("trial"):
        curve = curve.set_index("epoch")
        stop = STOPPING(curve.validation_loss[1:].to_numpy())
        at = stop.epoch if epoch is None else epoch
        rows.append({**curve.loc[at], "trial": trial, "stopping_epoch": stop.epoch, "censored": stop.censored})
        strict = ANY_GAIN(curve.validation_loss[1:].to_numpy())
        rows[-1] |= {"stopping_epoch_0": strict.epoch, "censored_0": strict.censored}
        rows[-1]["training_seconds"] = curve.seconds[1 : at + 1].sum()
        # Early epochs of curves as noisy as these are draws; NaN where a run was shorter.
        late = curve.loc[LATE[0] : LATE[1]]
        for measure in ("accuracy", "iou"):
            rows[-1][f"late_{measure}"] = late[f"test_{measure}"].mean() if curve.index[-1] >= LATE[1] else np.nan
        rows[-1]["diverged"] = not np.isfinite(curve.train_loss).all()
    table = UNET.table(store).merge(pd.DataFrame(rows), on="trial")
    for split in ("validation", "test"):
        table[f"{split}_pooled_iou"] = table[f"{split}_intersection"] / table[f"{split}_union"]
    return table


UNET = Experiment(
    name="unet",
    protocol=1,
    config=UNetConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(
        "test_accuracy", "test_iou", "test_pooled_iou", "test_loss",
        "validation_accuracy", "validation_iou", "validation_pooled_iou",
        "validation_loss", "train_loss", "stopping_epoch", "censored",
        "stopping_epoch_0", "censored_0",
        "training_seconds", "diverged", "late_accuracy", "late_iou",
    ),
    columns=CURVES | {f"{split}_iou": SHARE for split in ("train", "validation", "test")},
    pictured=("image",),
    cells={"layers": Cells("placements", tuple(map(write_layers, PLACEMENTS)))},
    unguided={"form": "none", "eps": 0.0, "layers": ()},
)  # fmt: skip
