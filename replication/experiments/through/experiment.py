"""The entropy flow of whole networks, layer by layer: four small ones before and after training, two large ones as
others trained them; and guidance of an LSTM.

What the paper leaves to future work (Section 6.1): activations, normalisation, residual connections, attention,
recurrent units.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor, nn

from entropy_lib import EntropyGuidance, entropy_flow, filter_flow, select_layers
from replication.data.registry import load
from replication.experiments.experiment import Experiment, Plan
from replication.files import digest
from replication.networks import pretrained
from replication.networks.small import network, stages, without
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Config, Scope, Trial

# The matrix of an LSTM whose determinant its entropy change holds as a summand.
OUTPUT_GATE = "state.lstm.weight_hh_l0[o]"
# Test images over which a layer's change is averaged; a residual block costs a backward pass for each dimension.
IMAGES = {"transformer": 16}
_MOST = 1000
# Of the large networks: how many photographs they see, and of which side.
PHOTOGRAPHS, SIDE = 8, 160


@dataclass(frozen=True, kw_only=True)
class ThroughConfig(Config):
    """One network: a small one that is trained, or a large one as it was trained on ImageNet, with horizon 0.

    `layers` is `none` or `output gate`.
    """

    network: str
    layers: str
    coefficient: float
    batch: int = 128
    rate: float = 1e-3


_FOUR = ["dense", "convolutional", "transformer", "recurrent"]
_GUIDED = [1e-4, 1e-3, 1e-2]
_UNGUIDED: dict[str, Any] = {"layers": "none", "coefficient": 0.0}
_MADE = [
    Plan.of("mnist", range(5), network=_FOUR, horizon=10, **_UNGUIDED),
    Plan.of("mnist", range(5, 15), network="recurrent", horizon=10, layers="output gate", coefficient=[0.0, *_GUIDED]),
    Plan.of("imagenette", [0], network=list(pretrained.FILES), horizon=0, **_UNGUIDED),
]
PROFILES = {
    "quick": [
        Plan.of("digits", range(1), network=_FOUR, horizon=3, **_UNGUIDED),
        Plan.of("digits", range(2), network="recurrent", horizon=3, layers="output gate", coefficient=[0.0, 1e-3]),
    ],
    "laptop": _MADE,
    "paper": _MADE,
}


def fingerprint(data: str, config: ThroughConfig) -> str:
    if config.network in pretrained.FILES:
        return digest(load(data, side=SIDE).fingerprint, pretrained.copies(config.network)[1])
    return load(data).fingerprint


def scope(trial: Trial[ThroughConfig]) -> Scope:
    """A look of ours, with no counterpart in the paper."""
    if trial.config.network in pretrained.FILES:
        return Scope("reduced", f"{load(trial.data, side=SIDE).note}; {pretrained.DEVIATIONS[trial.config.network]}")
    data = load(trial.data, trial.fingerprint)
    return Scope("quick" if trial.data == "digits" else "reduced", data.deviation)


def stack_by(trial: Trial[ThroughConfig], device: str = "cpu") -> Hashable:
    """One network at a time: nothing is shared."""
    return trial.id


def train_stack(stack: list[Trial[ThroughConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    made = (_measured if trial.config.network in pretrained.FILES else _train for trial in stack)
    return StackResult(
        pd.concat([make(trial, device, tick) for make, trial in zip(made, stack, strict=True)], ignore_index=True)
    )


def _measured(trial: Trial[ThroughConfig], device: str, tick: Callable[[], object]) -> pd.DataFrame:
    """A large network on photographs: a row for each of its layers."""
    name, images = trial.config.network, load(trial.data, side=SIDE).images["test"]
    some = pretrained.prepared(name, images[:: len(images) // PHOTOGRAPHS][:PHOTOGRAPHS]).to(device)
    flow = entropy_flow(pretrained.trained(name).to(device), some[:1], data=some)
    return flow.drop(columns="why").assign(trial=trial.id, epoch=0).dropna(axis=1, how="all")


def _train(trial: Trial[ThroughConfig], device: str, tick: Callable[[], object]) -> pd.DataFrame:
    """A row for the whole network at every epoch; at the first and the last one a row for each layer, too."""
    config, data = trial.config, load(trial.data, trial.fingerprint)
    splits = {name: (data.images[name].to(device), data.labels[name].to(device)) for name in data.images}
    model = network(config.network, data.images["train"].shape[-1], trial.seed).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.rate)
    entropy = EntropyGuidance(model, {OUTPUT_GATE: config.coefficient}) if config.coefficient else None
    shuffle = torch.Generator().manual_seed(1_000_003 + trial.seed)
    frames, loss = [], np.nan
    for epoch in range(config.horizon + 1):
        if epoch:
            loss = _epoch(model, entropy, optimiser, splits["train"], shuffle, config.batch)
            tick()
        scores = {f"{name}_accuracy": accuracy(model, *splits[name]) for name in ("validation", "test")}
        whole = pd.DataFrame([{"layer": 0, "name": "", "train_loss": loss, **scores}])
        flow = [layers(model, config.network, splits["test"])] if epoch in (0, config.horizon) else []
        frames += [part.assign(epoch=epoch) for part in (whole, *flow)]
    table = pd.concat(frames, ignore_index=True).assign(trial=trial.id)
    return table.dropna(axis=1, how="all")


def _epoch(
    model: nn.Module, entropy: EntropyGuidance | None, optimiser: torch.optim.Optimizer,
    split: tuple[Tensor, Tensor], shuffle: torch.Generator, batch: int,
) -> float:  # fmt: skip
    """One pass over the images; the mean loss of its steps, without the entropy term."""
    model.train()
    images, labels = split
    steps = torch.randperm(len(images), generator=shuffle)[: len(images) // batch * batch].split(batch)
    total = torch.zeros(())
    for index in steps:
        error = F.cross_entropy(model(images[index]), labels[index])
        optimiser.zero_grad()
        (error + entropy() if entropy else error).backward()
        optimiser.step()
        total += error.detach().cpu()
    return float(total) / len(steps)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images that are classified rightly."""
    model.eval()
    right = [
        (model(some).argmax(1) == wanted).sum()
        for some, wanted in zip(images.split(500), labels.split(500), strict=True)
    ]
    return float(torch.stack(right).sum()) / len(images)


def layers(model: nn.Sequential, name: str, test: tuple[Tensor, Tensor]) -> pd.DataFrame:
    """The entropy flow on test images, with what belongs to each row's stage.

    - `paper`: the paper's number, log|det W| of a dense layer, the mean of log|c11| over filters of a convolution;
    - `stage`: the number of the stage that a row belongs to, 0 for the start and the head;
    - `accuracy_without`: the network's accuracy when that stage is left out, with no training after it.
    """
    images = test[0][: IMAGES.get(name, _MOST)]
    flow = entropy_flow(model, images[:2], data=list(images.split(500)))
    paper = filter_flow(model).groupby("name").entropy_change.mean()
    left_out = {stage: accuracy(without(model, stage), *test) for stage in stages(model)}
    first = flow.name.str.partition(".")[0]
    numbers = {stage: number for number, stage in enumerate(left_out, start=1)}
    return flow.drop(columns="why").assign(
        paper=flow.name.map(paper), stage=first.map(numbers).fillna(0).astype(int), accuracy_without=first.map(left_out)
    )


# --- Outcomes ------------------------------------------------------------------------------------------


def outcomes(store: Store) -> pd.DataFrame:
    """One row per trial, after training; the measures of its layers before training, too, as `…_untrained`.

    - `test_accuracy` at the last epoch, `late_accuracy` its mean over the last three;
    - `linear_share`, `agreement`, `overlap`, `pruning`: :func:`of_layers`.
    """
    curves = store.curves(THROUGH.name)
    table = THROUGH.table(store)
    rows = [{"trial": name, **_of_trial(curve)} for name, curve in curves.groupby("trial")]
    return table.merge(pd.DataFrame(rows), on="trial", validate="one_to_one")


def _of_trial(curve: pd.DataFrame) -> dict[str, Any]:
    whole, last = curve[curve.layer == 0], curve.epoch.max()
    found = curve[curve.layer > 0]
    if whole.empty:  # a large network, which was neither trained nor scored
        return {"diverged": False}
    trained, untrained = (of_layers(found[found.epoch == epoch], whole) for epoch in (last, 0))
    return {
        "test_accuracy": whole.test_accuracy.iloc[-1],
        "late_accuracy": whole.test_accuracy.iloc[-3:].mean(),
        **trained,
        **{f"{name}_untrained": value for name, value in untrained.items()},
        "diverged": not np.isfinite(whole.train_loss.iloc[1:]).all(),
    }


def of_layers(flow: pd.DataFrame, whole: pd.DataFrame) -> dict[str, float]:
    """What the rows of one flow say together.

    - `linear_share`: of the sum of absolute changes over all rows that have one, the part of linear layers; NaN where a
      row cannot be taken apart, as a block;
    - `agreement`: rank correlation, over stages, of the paper's number with the change of the whole stage;
    - `overlap`: of the stages that `select_layers` picks by either number, the share that both pick;
    - `pruning`: rank correlation, over stages, of the size of the stage's change with the accuracy that is lost
      without it; 1 if the stages that change least can be left out at least cost.
    """
    rows = flow[(flow.within == 0) & np.isfinite(flow.change) & (flow.statement != "none")]
    linear, rest = rows.linear.abs().sum(skipna=False), (rows.change - rows.linear).abs().sum(skipna=False)
    share = linear / (linear + rest) if linear + rest else np.nan
    found = {"linear_share": share, "agreement": np.nan, "overlap": np.nan, "pruning": np.nan}
    if "accuracy_without" not in flow or not (flow.stage > 0).any():
        return found
    inside = flow[flow.stage > 0].groupby("stage")
    paper, without_it = inside.paper.mean(), inside.accuracy_without.first()
    change = rows[rows.stage > 0].groupby("stage").change.sum().reindex(paper.index)  # one without a number is missing
    picked = [set(select_layers(each)) for each in (paper, change)]
    either = set.union(*picked)
    at = whole.set_index("epoch").test_accuracy[flow.epoch.iloc[0]]
    return found | {
        "agreement": ranked(paper, change),
        "overlap": len(set.intersection(*picked)) / len(either) if either and paper.notna().all() else np.nan,
        "pruning": ranked(change.abs(), at - without_it),
    }


def ranked(first: pd.Series, second: pd.Series) -> float:
    """Spearman's rank correlation; NaN where a value is missing or one of the two is constant."""
    if first.isna().any() or second.isna().any() or first.nunique() == 1 or second.nunique() == 1:
        return np.nan
    return float(stats.spearmanr(first, second).statistic)


_SHARE, _CORRELATION = (0.0, 1.0), (-1.0, 1.0)
_OF_LAYERS = {"linear_share": _SHARE, "agreement": _CORRELATION, "overlap": _SHARE, "pruning": _CORRELATION}

THROUGH = Experiment(
    name="through",
    protocol=2,  # layers are measured in double precision
    config=ThroughConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(
        "test_accuracy", "late_accuracy", *_OF_LAYERS, *(f"{name}_untrained" for name in _OF_LAYERS), "diverged",
    ),
    columns={"layer": (0, np.inf), "lost": (0, np.inf)},
    pictured=("network",),
    unguided={"layers": "none"},
)  # fmt: skip
