"""Dense autoencoders for image compression (Section 5.2, Figs 3-6): grid, training, outcomes.

One hidden layer, sigmoid on hidden and output units, mean squared error, Adam, entropy loss on the
first weight. What the paper leaves open is a *protocol variable* of the configuration.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_lib.data import load
from entropy_lib.evidence.paper import COEFFICIENTS
from entropy_lib.experiments import plans
from entropy_lib.experiments.plans import Seeds
from entropy_lib.guidance import dense_penalty
from entropy_lib.sweep.stopping import EarlyStopping
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial
from entropy_lib.theory._linalg import inverse, log_abs_det
from entropy_lib.theory.change import square_part
from entropy_lib.theory.exact import gram_entropy_change

EXPERIMENT = "autoencoder"
PROTOCOL = 1
PAPER_LATENTS = tuple(range(20, 261, 40))
# What a claim ranges over, and its name in the plural.
PAPER_CELLS = {"latent": ("latent dimensions", PAPER_LATENTS)}
PAPER_SEEDS = 10
FORMS = ("log", "reciprocal", "live", "gram", "decay")
PROTOCOL_VARIABLES: dict[str, Any] = {"batch": 32, "rate": 1e-3, "init": "torch", "form": "log", "eps": 1e-3}
# "Effective minima" for the claim of Section 5.2: what the unguided network reaches in this many epochs.
QUALITY_EPOCH = 5


@dataclass(frozen=True)
class Plan:
    """One part of a profile: every latent dimension, seed and λ under one protocol."""

    data: str
    latents: tuple[int, ...]
    seeds: Seeds
    horizon: int = 50
    coefficients: tuple[float, ...] = COEFFICIENTS
    protocol: Mapping[str, float | str] = field(default_factory=dict)

    def trials(self) -> list[Trial]:
        protocol = plans.protocol(self.protocol, PROTOCOL_VARIABLES)
        fingerprint = load(self.data).fingerprint
        return [
            Trial.of(
                EXPERIMENT, PROTOCOL, self.data, fingerprint, seed, latent=latent, coefficient=coefficient,
                horizon=self.horizon, **protocol,
            )
            for latent in self.latents
            for seed in plans.numbers(self.seeds)
            for coefficient in self.coefficients
        ]  # fmt: skip


def _alternatives(seeds: Seeds) -> list[Plan]:
    """Other ways to shape the encoder at d = 100, each with as many settings to choose from as the paper's λ has."""
    penalties = [
        Plan("mnist", (100,), seeds, coefficients=COEFFICIENTS[1:], protocol={"form": form})
        for form in ("live", "gram", "decay")
    ]
    gains = [
        Plan("mnist", (100,), seeds, coefficients=(0.0,), protocol={"init": f"orthogonal {gain:g}"}) for gain in GAINS
    ]
    # The paper's own form and the unguided network, to be compared with.
    return [Plan("mnist", (100,), seeds), *penalties, *gains]


GAINS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
# Parts are run in this order. `quick`: tiny images need larger steps to converge, and stop, in a minute.
PROFILES = {
    "quick": [Plan("digits", (10, 20, 40), 5, 120, protocol={"rate": 0.01})],
    "laptop": [
        Plan("mnist", (20, 100, 180, 260), 3),
        Plan("mnist", (60, 140, 220), 3),
        Plan("mnist", (100, 180), 3, 100, protocol={"batch": 128}),
        Plan("mnist", (20, 60), 2, coefficients=(1e-3, 0.1, 10.0), protocol={"form": "reciprocal"}),
        Plan("cifar10", (60, 140), 3, 30),
        Plan("mnist", (100,), 3, protocol={"init": "glorot"}),
        *_alternatives(5),
    ],
    "paper": [
        Plan("mnist", PAPER_LATENTS, 10),
        Plan("cifar10", PAPER_LATENTS, 10),
        Plan("mnist", (100, 180), 10, 100, protocol={"batch": 128}),
        Plan("mnist", PAPER_LATENTS, 10, protocol={"form": "reciprocal"}),
        Plan("mnist", PAPER_LATENTS, 10, protocol={"init": "glorot"}),
        *_alternatives(10),
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
    short = f"horizon of {trial['horizon']} epochs" if trial["horizon"] < 50 else ""
    deviation = "; ".join(part for part in (data.deviation, short) if part)
    return ("reduced" if short or not data.canonical else "paper"), deviation


def stack_by(trial: Trial, device: str = "cpu") -> Hashable:
    """Trials that differ in λ or initialisation are trained as one; on tiny digits and on a GPU, seeds are too."""
    shared = tuple(item for item in trial.config if item[0] not in ("coefficient", "init"))
    return trial.data, shared, None if trial.data == "digits" or device != "cpu" else trial.seed


@torch.no_grad()
def train_stack(
    stack: list[Trial], device: str, tick: Callable[[], object], dtype: torch.dtype = torch.float32
) -> StackResult:
    """Train all trials of a stack at once, one batched matrix product for all of them.

    The gradients are written out, which takes about half the time of autograd. No trial's loss holds
    another's parameters and Adam works entry by entry: each trial takes the steps that it would take alone.
    """
    first = stack[0]
    data, horizon, batch = load(first.data, first.fingerprint), int(first["horizon"]), int(first["batch"])
    splits = {name: data.flat(name, device, dtype) for name in ("train", "validation", "test")}
    train = splits["train"]
    seeds = sorted({trial.seed for trial in stack})
    row = torch.tensor([seeds.index(trial.seed) for trial in stack], device=device)
    parameters = _initial(stack, train.shape[1], device, dtype)
    guidance = _Guidance(stack, train)
    optimiser = torch.optim.Adam(parameters, lr=float(first["rate"]), fused=True)
    shuffles = [torch.Generator().manual_seed(1_000_003 + seed) for seed in seeds]

    rows = [_measure(parameters, splits, train[:batch].expand(len(stack), -1, -1), guidance, train_mse=None)]
    reconstructions = {0: _reconstruct(parameters, splits["test"])}
    for epoch in range(1, horizon + 1):
        order = torch.stack([torch.randperm(len(train), generator=shuffle) for shuffle in shuffles]).to(device)
        steps = order[:, : len(train) // batch * batch].unflatten(1, (-1, batch)).unbind(1)
        total = torch.zeros(len(stack), dtype=dtype, device=device)
        for index in steps:
            # One seed: the batch is broadcast over the stack. Several: each trial takes its seed's.
            images = train[index[0]].expand(len(stack), -1, -1) if len(seeds) == 1 else train[index][row]
            total += _backward(parameters, images)
            guidance.backward(parameters[0])
            optimiser.step()
        rows.append(_measure(parameters, splits, images, guidance, train_mse=total / len(steps)))
        if epoch in (1, 5, horizon):
            reconstructions[epoch] = _reconstruct(parameters, splits["test"])
        tick()
    return StackResult(_curves(stack, rows), _artefacts(stack, reconstructions, splits))


class _Guidance:
    """The entropy term of a stack: λ, and the gradient of the penalty that `form` names.

    `log` and `reciprocal` are the paper's (Eqs. 21 and 24). The others ask whether *any* such term
    helps: `live` is the log form with the square part moved to the pixels that vary most, `gram` takes
    the volume of the whole weight, -1/2 log det(W W^T), and `decay` is 1/2 ||W||^2, no entropy at all.
    """

    def __init__(self, stack: list[Trial], train: Tensor):
        self.form, self.eps = str(stack[0]["form"]), float(stack[0]["eps"])
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")
        coefficients = torch.tensor([float(trial["coefficient"]) for trial in stack], dtype=train.dtype)
        guided = coefficients.nonzero()[:, 0]
        self.guided, self.scale = guided.to(train.device), coefficients[guided].to(train.device)[:, None, None]
        pixels = train.shape[1]
        k = min(int(stack[0]["latent"]), pixels)
        # Ties, such as pixels that are always black, go to the earlier pixel.
        live = train.var(0).sort(descending=True, stable=True).indices[:k].sort().values
        self.columns: Any = {"log": slice(k), "reciprocal": slice(k), "live": live}.get(self.form, slice(pixels))

    def gradient(self, weight: Tensor) -> Tensor:
        """λ times the penalty's gradient in the columns that it sees, `(guided, latent, columns)`."""
        weight = weight[..., self.columns][self.guided]
        if self.form in ("log", "live"):
            return self.scale * -inverse(square_part(weight)).mT
        if self.form == "gram":
            return self.scale * -inverse(weight @ weight.mT) @ weight
        if self.form == "decay":
            return self.scale * weight
        with torch.enable_grad():
            weight = weight.detach().requires_grad_()
            penalty = dense_penalty(weight, "reciprocal", self.eps).sum()
            return self.scale * torch.autograd.grad(penalty, weight)[0]

    def backward(self, weight: Tensor) -> None:
        """Add the term's gradient to `weight.grad`."""
        if len(self.guided):
            total: Any = weight.grad
            seen = total[..., self.columns].index_add_(0, self.guided, self.gradient(weight))
            if self.form == "live":  # the others see a slice, a view on the gradient itself
                total[..., self.columns] = seen


def _initial(stack: list[Trial], pixels: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """Weights and biases `(trials, ...)`; the λs of one seed start from the same numbers."""
    drawn = [initial_network(str(trial["init"]), int(trial["latent"]), pixels, trial.seed) for trial in stack]
    return [torch.stack(each).to(device, dtype) for each in zip(*drawn, strict=True)]


def initial_network(init: str, latent: int, pixels: int, seed: int) -> list[Tensor]:
    """One network: `torch` is PyTorch's default, `glorot` Keras', `orthogonal G` has orthonormal weights times G."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(latent, pixels), (1, latent), (pixels, latent), (1, pixels)]
    kind, _, gain = init.partition(" ")
    if kind == "orthogonal":
        drawn = [torch.zeros(shape) for shape in shapes]
        for weight in (drawn[0], drawn[2]):
            torch.nn.init.orthogonal_(weight, float(gain), generator=generator)
        return drawn
    if init == "torch":
        bounds = [pixels**-0.5, pixels**-0.5, latent**-0.5, latent**-0.5]
    elif init == "glorot":
        bounds = [(6 / (pixels + latent)) ** 0.5, 0.0, (6 / (pixels + latent)) ** 0.5, 0.0]
    else:
        raise ValueError(f"init must be 'torch', 'glorot' or 'orthogonal GAIN', got {init!r}")
    return [(2 * torch.rand(s, generator=generator) - 1) * b for s, b in zip(shapes, bounds, strict=True)]


def _forward(parameters: list[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden units and reconstructions of every trial."""
    weight, bias, weight_out, bias_out = parameters
    hidden = torch.sigmoid(torch.baddbmm(bias, images, weight.mT))
    return hidden, torch.sigmoid(torch.baddbmm(bias_out, hidden, weight_out.mT))


def _backward(parameters: list[Tensor], images: Tensor) -> Tensor:
    """Write the gradients of the mean squared error into the parameters; return it, `(trials,)`."""
    weight, bias, weight_out, bias_out = parameters
    for parameter in parameters:
        parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
    hidden, output = _forward(parameters, images)
    difference = output - images
    # Through the sigmoids: s' = s (1 - s) = s - s^2.
    delta_out = torch.addcmul(output, output, output, value=-1).mul_(difference).mul_(2 / images[0].numel())
    delta = torch.addcmul(hidden, hidden, hidden, value=-1).mul_(delta_out @ weight_out)
    torch.bmm(delta_out.mT, hidden, out=weight_out.grad)
    torch.sum(delta_out, -2, keepdim=True, out=bias_out.grad)
    torch.bmm(delta.mT, images, out=weight.grad)
    torch.sum(delta, -2, keepdim=True, out=bias.grad)
    return difference.square_().mean((-2, -1))


def _evaluate(parameters: list[Tensor], images: Tensor) -> Tensor:
    """Mean squared error over all images, `(trials,)`; the chunks are small enough for the processor's cache."""
    total: Any = 0.0
    trials = len(parameters[0])
    for chunk in images.split(250):
        chunk = chunk.expand(trials, -1, -1)
        total += (_forward(parameters, chunk)[1] - chunk).square_().sum((-2, -1))
    return total / images.numel()


def _measure(
    parameters: list[Tensor],
    splits: dict[str, Tensor],
    images: Tensor,
    guidance: _Guidance,
    train_mse: Tensor | None,
) -> dict[str, np.ndarray]:
    """Everything that a curve keeps at the end of an epoch, each an array over trials."""
    weight = parameters[0]
    _backward(parameters, images)
    gradient_entropy = weight.new_zeros(len(weight))
    if len(guidance.guided):
        gradient_entropy[guidance.guided] = torch.linalg.matrix_norm(guidance.gradient(weight))
    if train_mse is None:
        train_mse = _evaluate(parameters, splits["train"])
    measures = {
        "train_mse": train_mse,
        "validation_mse": _evaluate(parameters, splits["validation"]),
        "test_mse": _evaluate(parameters, splits["test"]),
        "log_abs_det": log_abs_det(square_part(weight)),
        "gram": gram_entropy_change(torch.nan_to_num(weight)),
        "gradient_error": torch.linalg.matrix_norm(weight.grad),
        "gradient_entropy": gradient_entropy,
    }
    return {name: value.cpu().double().numpy() for name, value in measures.items()}


def _reconstruct(parameters: list[Tensor], images: Tensor) -> Tensor:
    """The first ten test images as every trial returns them, `(trials, 10, pixels)`, as bytes."""
    images = images[:10].expand(len(parameters[0]), -1, -1)
    return _bytes(_forward(parameters, images)[1])


def _curves(stack: list[Trial], rows: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"trial": trial.id, "epoch": range(len(rows)), **{k: [r[k][i] for r in rows] for k in rows[0]}})
        for i, trial in enumerate(stack)
    ]
    return pd.concat(frames, ignore_index=True)


def _artefacts(
    stack: list[Trial], reconstructions: dict[int, Tensor], splits: dict[str, Tensor]
) -> dict[str, np.ndarray]:
    """Pictures of seed 0 alone: small enough to commit, enough for pages to be drawn without the data."""
    shown = [i for i, trial in enumerate(stack) if trial.seed == 0]
    if not shown:
        return {}
    return {
        "epochs": np.array(list(reconstructions)),
        "trials": np.array([stack[i].id for i in shown]),
        "reconstructions": torch.stack(list(reconstructions.values()))[:, shown].numpy(),
        "originals": _bytes(splits["test"][:10]).numpy(),
        "pixel_deviation": splits["train"].std(0).float().cpu().numpy(),
    }


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu()


def pictured(store: Store, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """`originals`, the ten test images of the galleries, and `pixel_deviation`, from a record of these outcomes.

    Empty when no record keeps them.
    """
    for file in table.file.unique():
        arrays = store.artefacts(file, EXPERIMENT)
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
        The trial table with `stopping_epoch`, `best_epoch`, `censored`, `diverged`; `validation_mse`,
        `test_mse`, `log_abs_det` at the chosen epoch; `best_test_mse` at the best epoch; and
        `epochs_to_quality`, the first epoch at which the test error is down to that of the
        unguided network of the same seed after `QUALITY_EPOCH` epochs (horizon + 1: never; NaN
        without an unguided network).
    """
    rule = rule or EarlyStopping()
    trials = store.trials(EXPERIMENT)
    if trials.empty:
        return trials
    rows = []
    curves = store.curves(EXPERIMENT).merge(trials[["trial", "coefficient", "form", "eps"]], on="trial")
    if monitored == "validation_loss":
        log = -curves.log_abs_det
        # exp(-709) is the smallest double: below it the reciprocal is 1 / eps anyhow.
        term = log.where(curves.form == "log", 1 / (np.exp((-log).clip(-709, 709)) + curves.eps))
        curves[monitored] = curves.validation_mse + (curves.coefficient * term).where(curves.coefficient > 0, 0.0)
    for trial, curve in curves.groupby("trial"):
        stop = rule(curve[monitored].to_numpy()[1:])
        chosen = curve.iloc[stop.epoch if at == "stop" else stop.best_epoch]
        rows.append(
            {
                "trial": trial, "stopping_epoch": stop.epoch, "best_epoch": stop.best_epoch,
                "censored": stop.censored, "diverged": not np.isfinite(curve.validation_mse).all(),
                **{name: chosen[name] for name in ("validation_mse", "test_mse", "log_abs_det")},
                "best_test_mse": curve.test_mse.iloc[stop.best_epoch], "curve": curve.test_mse.to_numpy(),
            }
        )  # fmt: skip
    table = trials.merge(pd.DataFrame(rows), on="trial", validate="one_to_one")
    shared = ["data", "seed", "latent", "horizon", "protocol", *PROTOCOL_VARIABLES]
    table["epochs_to_quality"] = np.nan
    for _, group in table.groupby(shared):
        for unguided in group.curve[group.coefficient == 0]:
            target = unguided[min(QUALITY_EPOCH, len(unguided) - 1)]
            reached = [np.append(curve <= target, True).argmax() for curve in group.curve]
            table.loc[group.index, "epochs_to_quality"] = reached
    return table.drop(columns="curve")
