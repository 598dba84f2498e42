"""Dense autoencoders for image compression (Section 5.2, Figs 3-6): grid, training, outcomes.

One hidden layer, sigmoid on hidden and output units, mean squared error, Adam, entropy loss on the
first weight. What the paper leaves open is a *protocol variable* of the configuration.
"""

from collections.abc import Callable, Hashable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_lib.data import Dataset, load
from entropy_lib.guidance import dense_penalty
from entropy_lib.sweep.stopping import EarlyStopping
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial
from entropy_lib.theory._linalg import log_abs_det
from entropy_lib.theory.change import square_part
from entropy_lib.theory.exact import gram_entropy_change

EXPERIMENT = "autoencoder"
PROTOCOL = 1
COEFFICIENTS = (0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)
PAPER_LATENTS = tuple(range(20, 261, 40))
PROTOCOL_VARIABLES = {"batch": 32, "rate": 1e-3, "init": "torch", "form": "log", "eps": 1e-3}
# "Effective minima" for the claim of Section 5.2: what the unguided network reaches in this many epochs.
QUALITY_EPOCH = 5
PROFILES = {
    # Tiny images need larger steps to converge, and stop, in a minute.
    "quick": {"data": "digits", "latents": (10, 20, 40), "seeds": 5, "horizon": 120, "protocol": {"rate": 0.01}},
    "laptop": {"data": "mnist", "latents": (20, 100, 180, 260), "seeds": 3, "horizon": 50},
    "paper": {"data": "mnist", "latents": PAPER_LATENTS, "seeds": 10, "horizon": 50},
}


def grid(profile: str, seeds: int | None = None, latents: tuple[int, ...] | None = None, **protocol) -> list[Trial]:
    """The trials of a profile; `seeds`, `latents` and protocol variables may be narrowed or changed."""
    if profile not in PROFILES:
        raise KeyError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    unknown = set(protocol) - set(PROTOCOL_VARIABLES)
    if unknown:
        raise KeyError(f"unknown protocol variable {min(unknown)!r}; known: {', '.join(PROTOCOL_VARIABLES)}")
    chosen = PROFILES[profile]
    data = load(chosen["data"])
    protocol = PROTOCOL_VARIABLES | chosen.get("protocol", {}) | protocol
    return [
        Trial.of(
            EXPERIMENT, PROTOCOL, data.name, data.fingerprint, seed,
            latent=latent, coefficient=coefficient, horizon=chosen["horizon"], **protocol,
        )
        for latent in latents or chosen["latents"]
        for seed in range(seeds or chosen["seeds"])
        for coefficient in COEFFICIENTS
    ]  # fmt: skip


def scope(trial: Trial) -> tuple[str, str]:
    """What a record of this trial can decide, and how it departs from the paper."""
    if trial.data == "digits":
        return "quick", "8 x 8 digits instead of MNIST"
    held_out = "trained on 50,000 of the 60,000 images, the others kept for choices"
    if trial["horizon"] < 50:
        return "reduced", f"{held_out}; horizon of {trial['horizon']} epochs"
    return "paper", held_out


def stack_by(trial: Trial) -> Hashable:
    """Trials that differ in λ alone are trained as one; on the tiny digits, seeds are stacked too."""
    shared = tuple(item for item in trial.config if item[0] != "coefficient")
    return trial.data, shared, None if trial.data == "digits" else trial.seed


def train_stack(
    stack: list[Trial], device: str, tick: Callable[[], object], dtype: torch.dtype = torch.float32
) -> StackResult:
    """Train all trials of a stack at once, one batched matrix product for all of them.

    Every loss is a sum over trials whose terms share no parameter, and Adam works entry by entry:
    each trial sees the gradients that it would see alone.
    """
    first = stack[0]
    data, horizon, batch = load(first.data), int(first["horizon"]), int(first["batch"])
    train = data.flat("train", device, dtype)
    seeds = sorted({trial.seed for trial in stack})
    row = torch.tensor([seeds.index(trial.seed) for trial in stack], device=device)
    coefficients = torch.tensor([float(trial["coefficient"]) for trial in stack], dtype=dtype, device=device)
    guided = coefficients.nonzero()[:, 0]
    parameters = _initial(stack, train.shape[1], device, dtype)
    optimiser = torch.optim.Adam(parameters, lr=float(first["rate"]), fused=True)
    shuffles = [torch.Generator().manual_seed(1_000_003 + seed) for seed in seeds]

    def penalty() -> Tensor:
        values = dense_penalty(parameters[0][guided], str(first["form"]), float(first["eps"]))
        return coefficients[guided] @ values

    rows = [_measure(parameters, data, train[:batch].expand(len(stack), -1, -1), penalty, train_mse=None)]
    reconstructions = {0: _reconstruct(parameters, data)}
    for epoch in range(1, horizon + 1):
        order = torch.stack([torch.randperm(len(train), generator=shuffle) for shuffle in shuffles]).to(device)
        steps = order[:, : len(train) // batch * batch].unflatten(1, (-1, batch)).unbind(1)
        total = torch.zeros(len(stack), dtype=dtype, device=device)
        for index in steps:
            # One seed: the batch is broadcast over the stack. Several: each trial takes its seed's.
            images = train[index[0]] if len(seeds) == 1 else train[index][row]
            errors = _errors(parameters, images)
            loss = errors.sum() + penalty() if len(guided) else errors.sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += errors.detach()
        images = images.expand(len(stack), -1, -1)
        rows.append(_measure(parameters, data, images, penalty, train_mse=total / len(steps)))
        if epoch in (1, 5, horizon):
            reconstructions[epoch] = _reconstruct(parameters, data)
        tick()
    return StackResult(_curves(stack, rows), _artefacts(stack, reconstructions))


def _initial(stack: list[Trial], pixels: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """Weights and biases `(trials, ...)`; the λs of one seed start from the same numbers."""
    drawn = []
    for trial in stack:
        generator, latent = torch.Generator().manual_seed(trial.seed), int(trial["latent"])
        shapes = [(latent, pixels), (1, latent), (pixels, latent), (1, pixels)]
        if trial["init"] == "torch":
            bounds = [pixels**-0.5, pixels**-0.5, latent**-0.5, latent**-0.5]
        elif trial["init"] == "glorot":
            bounds = [(6 / (pixels + latent)) ** 0.5, 0.0, (6 / (pixels + latent)) ** 0.5, 0.0]
        else:
            raise ValueError(f"init must be 'torch' or 'glorot', got {trial['init']!r}")
        drawn.append([(2 * torch.rand(s, generator=generator) - 1) * b for s, b in zip(shapes, bounds, strict=True)])
    return [torch.stack(each).to(device, dtype).requires_grad_() for each in zip(*drawn, strict=True)]


def _decode(parameters: list[Tensor], images: Tensor) -> Tensor:
    weight, bias, weight_out, bias_out = parameters
    hidden = torch.sigmoid(images @ weight.mT + bias)
    return torch.sigmoid(torch.baddbmm(bias_out, hidden, weight_out.mT))


def _errors(parameters: list[Tensor], images: Tensor) -> Tensor:
    """Mean squared error of each trial, `(trials,)`."""
    return (_decode(parameters, images) - images).square().mean((-2, -1))


@torch.no_grad()
def _evaluate(parameters: list[Tensor], images: Tensor) -> Tensor:
    chunks = images.split(1000)
    return sum(_errors(parameters, chunk) * len(chunk) for chunk in chunks) / len(images)


def _measure(parameters, data: Dataset, images: Tensor, penalty, train_mse: Tensor | None) -> dict[str, np.ndarray]:
    """Everything that a curve keeps at the end of an epoch, each an array over trials."""
    weight = parameters[0]
    device, dtype = weight.device, weight.dtype
    gradient_error = torch.autograd.grad(_errors(parameters, images).sum(), weight)[0]
    gradient_entropy = torch.autograd.grad(penalty() + 0 * weight.sum(), weight)[0]
    detached = weight.detach()
    if train_mse is None:
        train_mse = _evaluate(parameters, data.flat("train", device, dtype))
    measures = {
        "train_mse": train_mse,
        "validation_mse": _evaluate(parameters, data.flat("validation", device, dtype)),
        "test_mse": _evaluate(parameters, data.flat("test", device, dtype)),
        "log_abs_det": log_abs_det(square_part(detached)),
        "gram": gram_entropy_change(torch.nan_to_num(detached)),
        "gradient_error": torch.linalg.matrix_norm(gradient_error),
        "gradient_entropy": torch.linalg.matrix_norm(gradient_entropy),
    }
    return {name: value.cpu().double().numpy() for name, value in measures.items()}


def _reconstruct(parameters: list[Tensor], data: Dataset) -> Tensor:
    """The first ten test images as every trial returns them, `(trials, 10, pixels)`, as bytes."""
    with torch.no_grad():
        images = data.flat("test", parameters[0].device, parameters[0].dtype)[:10]
        return (_decode(parameters, images) * 255).round().clamp(0, 255).to(torch.uint8).cpu()


def _curves(stack: list[Trial], rows: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    frames = [
        pd.DataFrame({"trial": trial.id, "epoch": range(len(rows)), **{k: [r[k][i] for r in rows] for k in rows[0]}})
        for i, trial in enumerate(stack)
    ]
    return pd.concat(frames, ignore_index=True)


def _artefacts(stack: list[Trial], reconstructions: dict[int, Tensor]) -> dict[str, np.ndarray]:
    """Pictures of seed 0 alone: enough for a gallery, small enough to commit."""
    shown = [i for i, trial in enumerate(stack) if trial.seed == 0]
    if not shown:
        return {}
    return {
        "epochs": np.array(list(reconstructions)),
        "trials": np.array([stack[i].id for i in shown]),
        "reconstructions": torch.stack(list(reconstructions.values()))[:, shown].numpy(),
    }


def outcomes(
    store: Store, rule: EarlyStopping | None = None, monitored: str = "validation_mse", at: str = "stop"
) -> pd.DataFrame:
    """One row per trial with what a stopping rule makes of its curve.

    Args:
        store: where the records are.
        rule: patience 7 without tolerance unless given.
        monitored: the column that the rule watches.
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
    for trial, curve in store.curves(EXPERIMENT).groupby("trial"):
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
