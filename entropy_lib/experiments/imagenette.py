"""VGG-16 and ResNet-50 with guided kernels, trained on Imagenette (Section 5.4, Table 2)."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from math import pi
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from entropy_lib.data import load
from entropy_lib.evidence.paper import COEFFICIENTS
from entropy_lib.experiments import flow_analysis, plans
from entropy_lib.experiments.plans import Seeds
from entropy_lib.experiments.training import Training
from entropy_lib.models import convolutions, network, skeleton
from entropy_lib.photographs import cache_folder
from entropy_lib.sweep.stopping import EarlyStopping
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial

EXPERIMENT = "imagenette"
PROTOCOL = 1
# The paper states rate, its reductions and the patience; batch, momentum and image size are Keras' defaults or ours.
PROTOCOL_VARIABLES: dict[str, Any] = {
    "form": "reciprocal", "eps": 1e-3, "batch": 32, "rate": 0.01, "momentum": 0.0, "precision": "bfloat16",
    "image": 160, "width": 1.0, "strategy": "none",
}  # fmt: skip
STRATEGIES = ("none", "augmentation", "augmentation + dropout")
PLACEMENTS = {"vgg16": ("[1]", "[1,2]"), "resnet50": ("[1]", "[1,5]", "pre-skip", "empirical")}
CELLS = tuple((architecture, layers) for architecture, found in PLACEMENTS.items() for layers in found)
PAPER_CELLS = {"cell": ("networks and placements", tuple(f"{a} {layers}" for a, layers in CELLS))}
PAPER_SEEDS = 1
SHORT = (0.0, 1e-3, 0.1, 10.0)
STOPPING = EarlyStopping(patience=25)


@dataclass(frozen=True)
class Plan:
    """One part of a profile: a network with each placement, strategy, λ and seed."""

    data: str
    architecture: str
    layers: tuple[str, ...]
    seeds: Seeds
    horizon: int
    coefficients: tuple[float, ...] = COEFFICIENTS
    protocol: Mapping[str, float | str] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        protocol = plans.protocol(self.protocol, PROTOCOL_VARIABLES)
        fingerprint = load(self.data, side=int(protocol["image"])).fingerprint
        # One unguided network serves every placement and form.
        cells = [("none", 0.0)] * (0.0 in self.coefficients)
        cells += [(layers, c) for layers in self.layers for c in self.coefficients if c != 0]
        return [
            Trial.of(
                EXPERIMENT, PROTOCOL, self.data, fingerprint, seed, architecture=self.architecture, layers=layers,
                guided=", ".join(placement(self.architecture, layers)), horizon=self.horizon, coefficient=c,
                **protocol | (plans.UNGUIDED if c == 0 else {}),
            )
            for seed in plans.numbers(self.seeds)
            for layers, c in cells
        ]  # fmt: skip


def placement(architecture: str, layers: str) -> list[str]:
    """The names of the convolutions on which the loss acts.

    `[1]`, `[1,2]`, `[1,5]`: by their number in torchvision's order, in which a block's projection follows its
    three others. `pre-skip`: the convolution before every skip connection sets out. `empirical`: those that
    `select_layers` picks from log|c11| of the network trained on ImageNet, as the committed records have it.

    Raises:
        ValueError: not a placement of this network.
    """
    if layers == "none":
        return []
    if layers not in PLACEMENTS[architecture]:
        known = ", ".join(PLACEMENTS[architecture])
        raise ValueError(f"layers of {architecture} must be one of {known} or none, got {layers!r}")
    names = list(convolutions(skeleton(architecture)))
    if layers == "pre-skip":
        return [names[0], *(name for name in names if name.endswith("conv3"))][:-1]
    if layers == "empirical":
        from entropy_lib.experiments import store_for

        return flow_analysis.preserving(store_for("paper"), architecture)
    return [names[int(number) - 1] for number in layers.strip("[]").split(",")]


_NARROW: dict[str, float | str] = {"image": 64, "width": 0.25}
_DRAWN: dict[str, float | str] = {"image": 32, "width": 0.125, "precision": "float32"}
# Parts are run in this order.
PROFILES = {
    "quick": [
        Plan("shapes", "vgg16", ("[1]",), 1, 8, (0.0, 1e-3, 10.0), _DRAWN | {"batch": 8, "rate": 0.05}),
        Plan("shapes", "resnet50", ("pre-skip",), 1, 4, (0.0, 10.0), _DRAWN | {"batch": 16, "rate": 0.1}),
    ],
    "laptop": [
        Plan("imagenette", "vgg16", ("[1]",), 3, 20, (0.0,), _NARROW),
        Plan("imagenette", "vgg16", ("[1]", "[1,2]"), 3, 20, SHORT, _NARROW),
        Plan("imagenette", "resnet50", ("pre-skip",), 3, 20, (0.0,), _NARROW),
        Plan("imagenette", "resnet50", ("[1]", "pre-skip"), 3, 20, SHORT, _NARROW),
    ],
    "paper": [
        # First the noise of the unguided network, which single runs hide.
        Plan("imagenette", "vgg16", ("[1]",), 5, 60, (0.0,)),
        Plan("imagenette", "vgg16", ("[1]",), 5, 60),
        Plan("imagenette", "resnet50", ("pre-skip",), 5, 60, (0.0,)),
        Plan("imagenette", "resnet50", ("pre-skip",), 5, 60),
        *(
            Plan("imagenette", architecture, layers, 5, 60, protocol={"strategy": strategy})
            for strategy in STRATEGIES
            for architecture, layers in PLACEMENTS.items()
        ),
    ],
}


def grid(profile: str, data: str | None = None, seeds: int | None = None) -> list[Trial]:
    """The trials of a profile; see :func:`entropy_lib.experiments.plans.trials`."""
    return plans.trials(PROFILES, profile, data, seeds)


def scope(trial: Trial) -> tuple[str, str]:
    """What a record of this trial can decide, and how it departs from the paper."""
    data = load(trial.data, trial.fingerprint, side=int(trial["image"]))
    if trial.data == "shapes":
        return "quick", data.deviation
    narrow = f"{trial['width']:g} of the channels" if trial["width"] != 1 else ""
    short = f"{trial['horizon']} epochs" if trial["horizon"] < STOPPING.patience else ""
    whole = data.canonical and trial["image"] >= 160 and not (narrow or short)
    return "paper" if whole else "reduced", "; ".join(filter(None, [data.deviation, narrow, short]))


def stack_by(trial: Trial, device: str = "cpu") -> Hashable:
    """One network at a time: it fills a device, and a killed run loses one at most (`Training.checkpoint`)."""
    return trial.id


def train_stack(stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the network of each trial; a run that was cut off goes on from its last epoch."""
    return StackResult(pd.concat([_training(trial, device).train(tick) for trial in stack], ignore_index=True))


def _training(trial: Trial, device: str) -> Training:
    strategy, image = str(trial["strategy"]), int(trial["image"])
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {strategy!r}")
    torch.manual_seed(trial.seed)  # of dropout and augmentation
    data = load(trial.data, trial.fingerprint, side=image)
    # Photographs go to a GPU as bytes, all at once; on a CPU they stay in their memory-mapped file.
    splits = {name: (data.images[name].movedim(1, -1).to(device), data.labels[name].to(device)) for name in data.images}
    classes = len(data.labels["train"].unique())
    dropout = 0.5 if "dropout" in strategy else 0.0
    model = network(str(trial["architecture"]), classes, image, float(trial["width"]), dropout, trial.seed)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=float(trial["rate"]), momentum=float(trial["momentum"]))
    kernels = {name: part.weight for name, part in convolutions(model).items()}
    return Training(
        trial,
        model,
        [kernels[name] for name in filter(None, str(trial["guided"]).split(", "))],
        next(iter(kernels.values())),
        optimiser,
        splits,
        prepare=standardised,
        augment=turned if "augmentation" in strategy else None,
        # Keras' semantics: any improvement counts, and the tenth epoch without one divides the rate.
        schedule=torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "max", patience=9, threshold=0),
        bfloat16=trial["precision"] == "bfloat16",
        checkpoint=cache_folder() / "checkpoints" / f"{trial.id}.pt",
    )


def standardised(images: Tensor) -> Tensor:
    """Images, whether bytes or numbers in [0, 1], with a mean of about 0 and a deviation of about 1."""
    return ((images if images.is_floating_point() else images / 255) - 0.5) * 4


def turned(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The augmentation of Section 5.4: each image flipped or not, rotated by up to 72 degrees and zoomed by up to 20%.

    "Up to 20%" of a full turn is what Keras' `RandomRotation(0.2)` does. The three are one affine map an image,
    read off once with bilinear interpolation, edges reflected; torchvision's transforms would turn a whole batch alike.
    """
    flip = torch.randint(0, 2, (len(images),), device=images.device) * 2.0 - 1
    angle = (torch.rand(len(images), device=images.device) * 2 - 1) * 0.2 * 2 * pi
    zoom = 1 + (torch.rand(len(images), device=images.device) * 2 - 1) * 0.2
    cos, sin, zero = zoom * angle.cos(), zoom * angle.sin(), torch.zeros_like(zoom)
    maps = torch.stack([torch.stack([flip * cos, -sin, zero], 1), torch.stack([flip * sin, cos, zero], 1)], 1)
    grid = F.affine_grid(maps, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False), labels


def outcomes(store: Store) -> pd.DataFrame:
    """One row per trial, with its scores at the epoch of the best accuracy on validation before it is stopped.

    `diverged` marks the networks whose training loss was not finite at some epoch; `cell` names network and
    placement. An unguided network has a row for every placement that was run, to be paired with.
    """
    trials = store.trials(EXPERIMENT)
    if trials.empty:
        return trials
    rows = []
    for trial, curve in store.curves(EXPERIMENT).groupby("trial"):
        curve = curve.set_index("epoch")
        stop = STOPPING(-curve.validation_accuracy[1:].to_numpy())
        diverged = not np.isfinite(curve.train_loss).all()
        rows.append({"trial": trial, **curve.loc[stop.best_epoch], "best_epoch": stop.best_epoch, "diverged": diverged})
    table = trials.merge(pd.DataFrame(rows), on="trial")
    varied = ["layers", "guided", *plans.UNGUIDED]
    same = ["data", "fingerprint", "architecture", "horizon", *(set(PROTOCOL_VARIABLES) - set(plans.UNGUIDED))]
    table = plans.with_partners(table, varied, same)
    return table.assign(cell=table.architecture + " " + table.layers)
