"""VGG-16 and ResNet-50 with guided kernels, trained on Imagenette (Section 5.4, Table 2)."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import pi
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from replication.data.registry import load
from replication.experiments.experiment import Cells, Experiment, Plan
from replication.experiments.training import CLASSIFIED, CURVES, Training, per_network, train_all
from replication.networks.vgg_resnet import convolution_names, convolutions, network
from replication.paper import COEFFICIENTS
from replication.sweep.checkpoints import checkpoint
from replication.sweep.stopping import EarlyStopping
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial, Value

STRATEGIES = ("none", "augmentation", "augmentation + dropout")
PLACEMENTS = {"vgg16": ("[1]", "[1,2]"), "resnet50": ("[1]", "[1,5]", "pre-skip", "empirical")}
CELLS = tuple((architecture, layers) for architecture, found in PLACEMENTS.items() for layers in found)
STOPPING = EarlyStopping(patience=25)
# What `select_layers` picks from log|c11| of the networks trained on ImageNet, as the records of the experiment `flow`
# have them; a test holds the two together.
EMPIRICAL = {
    "vgg16": ["features.0"],
    "resnet50": ["layer1.0.conv3", "layer1.2.conv3", "layer2.0.conv3", "layer3.0.conv1"],
}


@dataclass(frozen=True, kw_only=True)
class ImagenetteConfig(Config):
    """One network. The paper states rate, its reductions and the patience; batch, momentum and image size are Keras'
    defaults or ours."""

    architecture: str
    layers: str
    coefficient: float
    form: str = "reciprocal"
    eps: float = 1e-3
    batch: int = 32
    rate: float = 0.01
    momentum: float = 0.0
    precision: str = "bfloat16"
    image: int = 160
    width: float = 1.0
    strategy: str = "none"

    @property
    def guided(self) -> list[str]:
        """The names of the convolutions on which the loss acts."""
        return placement(self.architecture, self.layers)

    def stored(self) -> dict[str, Value]:
        """Records name the guided convolutions, too."""
        return super().stored() | {"guided": ", ".join(self.guided)}

    @classmethod
    def read(cls, stored: Any) -> "ImagenetteConfig":
        return super().read({name: value for name, value in stored.items() if name != "guided"})


def placement(architecture: str, layers: str) -> list[str]:
    """The names of the convolutions on which the loss acts.

    `[1]`, `[1,2]`, `[1,5]`: by their number in torchvision's order, in which a block's projection follows its
    three others. `pre-skip`: the convolution before every skip connection sets out. `empirical`: see `EMPIRICAL`.

    Raises:
        ValueError: not a placement of this network.
    """
    if layers == "none":
        return []
    if layers not in PLACEMENTS[architecture]:
        known = ", ".join(PLACEMENTS[architecture])
        raise ValueError(f"layers of {architecture} must be one of {known} or none, got {layers!r}")
    if layers == "empirical":
        return EMPIRICAL[architecture]
    names = convolution_names(architecture)
    if layers == "pre-skip":
        return [names[0], *(name for name in names if name.endswith("conv3"))][:-1]
    return [names[int(number) - 1] for number in layers.strip("[]").split(",")]


_ALL = list(COEFFICIENTS)
_SHORT = [0.0, 1e-3, 0.1, 10.0]
_NARROW: dict[str, Any] = {"image": 64, "width": 0.25}
_DRAWN: dict[str, Any] = {"image": 32, "width": 0.125, "precision": "float32"}


def _grid(
    data: str,
    architecture: str,
    layers: Sequence[str],
    seeds: int,
    horizon: int,
    coefficients: list[float] = _ALL,
    **settings: Any,
) -> Plan:
    """A network with each placement and λ."""
    return Plan.of(
        data, range(seeds), architecture=architecture, layers=list(layers), coefficient=coefficients, horizon=horizon,
        **settings,
    )  # fmt: skip


# Parts are run in this order.
PROFILES = {
    "quick": [
        _grid("shapes", "vgg16", ["[1]"], 1, 8, [0.0, 1e-3, 10.0], **_DRAWN, batch=8, rate=0.05),
        _grid("shapes", "resnet50", ["pre-skip"], 1, 4, [0.0, 10.0], **_DRAWN, batch=16, rate=0.1),
    ],
    "laptop": [
        _grid("imagenette", "vgg16", ["[1]"], 3, 20, [0.0], **_NARROW),
        _grid("imagenette", "vgg16", ["[1]", "[1,2]"], 3, 20, _SHORT, **_NARROW),
        _grid("imagenette", "resnet50", ["pre-skip"], 3, 20, [0.0], **_NARROW),
        _grid("imagenette", "resnet50", ["[1]", "pre-skip"], 3, 20, _SHORT, **_NARROW),
    ],
    "paper": [
        # First the noise of the unguided network, which single runs hide.
        _grid("imagenette", "vgg16", ["[1]"], 5, 60, [0.0]),
        _grid("imagenette", "vgg16", ["[1]"], 5, 60),
        _grid("imagenette", "resnet50", ["pre-skip"], 5, 60, [0.0]),
        _grid("imagenette", "resnet50", ["pre-skip"], 5, 60),
        *(
            _grid("imagenette", architecture, layers, 5, 60, strategy=strategy)
            for strategy in STRATEGIES
            for architecture, layers in PLACEMENTS.items()
        ),
    ],
}


def fingerprint(data: str, config: ImagenetteConfig) -> str:
    return load(data, side=config.image).fingerprint


def scope(trial: Trial[ImagenetteConfig]) -> Scope:
    """What a record of this trial can decide, and how it departs from the paper."""
    config, data = trial.config, load(trial.data, trial.fingerprint, side=trial.config.image)
    if trial.data == "shapes":
        return Scope("quick", data.deviation)
    narrow = f"{config.width:g} of the channels" if config.width != 1 else ""
    short = f"{config.horizon} epochs" if config.horizon < STOPPING.patience else ""
    whole = data.canonical and config.image >= 160 and not (narrow or short)
    return Scope("paper" if whole else "reduced", "; ".join(filter(None, [data.deviation, narrow, short])))


def stack_by(trial: Trial[ImagenetteConfig], device: str = "cpu") -> Hashable:
    """One network at a time: it fills a device, and a killed run loses one at most (`Training.checkpoint`).

    On a GPU narrow ones of one architecture together, if they draw nothing while they train.
    """
    config = trial.config
    if device == "cpu" or config.width == 1 or config.strategy != "none":
        return trial.id
    return trial.data, replace(config, coefficient=0.0, layers="none", form="", eps=0.0)


def train_stack(stack: list[Trial[ImagenetteConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Train the network of each trial; a run that was cut off goes on from its last epoch."""
    trainings = (training_of(trial, device) for trial in stack)
    return StackResult(pd.concat(train_all(trainings, device, per_network(len(stack), tick)), ignore_index=True))


def training_of(trial: Trial[ImagenetteConfig], device: str) -> Training:
    config = trial.config
    if config.strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}, got {config.strategy!r}")
    torch.manual_seed(trial.seed)  # of dropout and augmentation
    splits = _splits(trial.data, trial.fingerprint, config.image, device)
    classes = len(splits["train"][1].unique())
    dropout = 0.5 if "dropout" in config.strategy else 0.0
    model = network(config.architecture, classes, config.image, config.width, dropout, trial.seed)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.SGD(model.parameters(), lr=config.rate, momentum=config.momentum)
    return Training(
        trial,
        model,
        config.guided,
        next(iter(convolutions(model))),
        optimiser,
        splits,
        prepare=standardised,
        augment=turned if "augmentation" in config.strategy else None,
        # Keras' semantics: any improvement counts, and the tenth epoch without one divides the rate.
        schedule=torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, "max", patience=9, threshold=0),
        bfloat16=config.precision == "bfloat16",
        checkpoint=checkpoint(trial),
    )


@lru_cache(maxsize=1)
def _splits(name: str, fingerprint: str, side: int, device: str) -> dict[str, tuple[Tensor, Tensor]]:
    """Photographs go to a GPU as bytes, once for a stack; on a CPU they stay in their memory-mapped file."""
    data = load(name, fingerprint, side=side)
    return {part: (data.images[part].movedim(1, -1).to(device), data.labels[part].to(device)) for part in data.images}


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
    placement.
    """
    rows = []
    for trial, curve in store.curves(IMAGENETTE.name).groupby("trial"):
        curve = curve.set_index("epoch")
        stop = STOPPING(-curve.validation_accuracy[1:].to_numpy())
        diverged = not np.isfinite(curve.train_loss).all()
        rows.append({"trial": trial, **curve.loc[stop.best_epoch], "best_epoch": stop.best_epoch, "diverged": diverged})
    table = IMAGENETTE.table(store).merge(pd.DataFrame(rows), on="trial")
    return table.assign(cell=table.architecture + " " + table.layers)


IMAGENETTE = Experiment(
    name="imagenette",
    protocol=1,
    config=ImagenetteConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(*CLASSIFIED, "best_epoch", "diverged"),
    columns=CURVES,
    pictured=("image",),
    cells={"cell": Cells("networks and placements", tuple(f"{a} {layers}" for a, layers in CELLS))},
    unguided={"form": "none", "eps": 0.0, "layers": "none"},
)
