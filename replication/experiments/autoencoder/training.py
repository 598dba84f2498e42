"""Training autoencoders as one stack: weights, gradients written out, the entropy term, and the epochs."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropy_lib.layers import dense_penalty
from entropy_lib.theory.change import square_part
from entropy_lib.theory.linalg import inverse
from replication.data.registry import load
from replication.experiments.repeated import Repeated
from replication.sweep.trial import Trial


class Init(NamedTuple):
    """How weights start: `torch` is PyTorch's default, `glorot` Keras'; `orthogonal` has orthonormal weights times
    the gain."""

    kind: str
    gain: float | None = None

    @classmethod
    def read(cls, text: str) -> "Init":
        kind, _, gain = text.partition(" ")
        if kind not in ("torch", "glorot", "orthogonal") or (kind == "orthogonal") != bool(gain):
            raise ValueError(f"init must be 'torch', 'glorot' or 'orthogonal GAIN', got {text!r}")
        return cls(kind, float(gain) if gain else None)

    def __str__(self) -> str:
        return self.kind if self.gain is None else f"{self.kind} {self.gain:g}"


class Moment(NamedTuple):
    """Where a stack stands after an epoch; nothing of it may be kept beyond the next one."""

    epoch: int
    parameters: list[Tensor]
    splits: dict[str, Tensor]
    images: Tensor  # the last batch, as every trial saw it
    backward: "Backward"
    guidance: "EntropyTerm"
    train_mse: Tensor | None  # the mean over the epoch's batches; None before training


@torch.no_grad()
def epochs(stack: list[Trial[Any]], device: str, dtype: torch.dtype = torch.float32) -> Iterator[Moment]:
    """Train all trials of a stack at once, one batched matrix product for all of them; a moment after each epoch.

    The gradients are written out, which takes about half the time of autograd. No trial's loss holds
    another's parameters and Adam works entry by entry: each trial takes the steps that it would take alone.
    """
    first, config = stack[0], stack[0].config
    data, batch = load(first.data, first.fingerprint), config.batch
    splits = {name: data.flat(name, device, dtype) for name in ("train", "validation", "test")}
    train = splits["train"]
    seeds = sorted({trial.seed for trial in stack})
    row = torch.tensor([seeds.index(trial.seed) for trial in stack], device=device)
    parameters = initial(stack, train.shape[1], device, dtype)
    guidance, backward = EntropyTerm(stack, train), Backward(parameters)
    on_gpu = train.device.type == "cuda"
    optimiser = torch.optim.Adam(parameters, lr=config.rate, fused=True, capturable=on_gpu)
    shuffles = [torch.Generator().manual_seed(1_000_003 + seed) for seed in seeds]

    # Steps read and write the same tensors each time, so that a GPU can replay them.
    order = torch.zeros(len(seeds), len(train) // batch, batch, dtype=torch.long, device=device)
    at = torch.zeros(1, dtype=torch.long, device=device)
    total = torch.zeros(len(stack), dtype=dtype, device=device)
    images = train[:batch].expand(len(stack), -1, -1)

    def step() -> None:
        nonlocal images
        index = order.index_select(1, at)[:, 0]
        # One seed: the batch is broadcast over the stack. Several: each trial takes its seed's.
        images = train[index[0]].expand(len(stack), -1, -1) if len(seeds) == 1 else train[index][row]
        total.add_(backward(images))
        guidance.add_to(parameters[0].grad)
        optimiser.step()
        at.add_(1)

    work = Repeated([step], train.device)
    yield Moment(0, parameters, splits, images, backward, guidance, None)
    for epoch in range(1, config.horizon + 1):
        for row_of, shuffle in zip(order, shuffles, strict=True):
            row_of.copy_(torch.randperm(len(train), generator=shuffle)[: row_of.numel()].view_as(row_of))
        at.zero_()
        total.zero_()
        for _ in range(order.shape[1]):
            guidance.at(parameters[0])  # not recorded: a GPU's inverse asks for values on its way
            work()
        yield Moment(epoch, parameters, splits, images, backward, guidance, total / order.shape[1])


class EntropyTerm:
    """The entropy term of a stack: λ, and the gradient of the penalty that `form` names in the columns it sees."""

    def __init__(self, stack: list[Trial[Any]], train: Tensor):
        config = stack[0].config
        if config.form not in PENALTIES:
            raise ValueError(f"form must be one of {', '.join(PENALTIES)}, got {config.form!r}")
        self.penalty, self.eps = PENALTIES[config.form], config.eps
        coefficients = torch.tensor([trial.config.coefficient for trial in stack], dtype=train.dtype)
        guided = coefficients.nonzero()[:, 0]
        self.guided, self.scale = guided.to(train.device), coefficients[guided].to(train.device)[:, None, None]
        self.columns = self.penalty.columns(train, config.latent)
        self._kept: Tensor | None = None

    def gradient(self, weight: Tensor) -> Tensor:
        """λ times the penalty's gradient in the columns that it sees, `(guided, latent, columns)`."""
        return self.scale * self.penalty.gradient(weight[..., self.columns][self.guided], self.eps)

    def at(self, weight: Tensor) -> None:
        """Keep the gradient at these weights, each time in the same tensor."""
        if len(self.guided):
            gradient = self.gradient(weight)
            self._kept = gradient if self._kept is None else self._kept.copy_(gradient)

    def add_to(self, total: Any) -> None:
        """Add what was kept to a gradient `(trials, latent, pixels)`."""
        if self._kept is not None:
            seen = total[..., self.columns].index_add_(0, self.guided, self._kept)
            if isinstance(self.columns, Tensor):  # a slice is a view on the gradient itself, a selection a copy
                total[..., self.columns] = seen


class Penalty(NamedTuple):
    """Which pixels of `(images, pixels)` a penalty sees, and its gradient in a weight `(..., latent, columns)`."""

    columns: Callable[[Tensor, int], Any]
    gradient: Callable[[Tensor, float], Tensor]


def _first(images: Tensor, latent: int) -> slice:
    return slice(min(latent, images.shape[1]))


def _live(images: Tensor, latent: int) -> Tensor:
    """The pixels that vary most; ties, such as pixels that are always black, go to the earlier one."""
    order = images.var(0).sort(descending=True, stable=True).indices
    return order[: min(latent, images.shape[1])].sort().values


def _every(images: Tensor, latent: int) -> slice:
    return slice(None)


def _log_gradient(weight: Tensor, eps: float) -> Tensor:
    """Of -log|det W|."""
    return -inverse(square_part(weight)).mT


def _reciprocal_gradient(weight: Tensor, eps: float) -> Tensor:
    """Of 1/(|det W| + ε)."""
    with torch.enable_grad():
        weight = weight.detach().requires_grad_()
        return torch.autograd.grad(dense_penalty(weight, "reciprocal", eps).sum(), weight)[0]


def _gram_gradient(weight: Tensor, eps: float) -> Tensor:
    """Of -1/2 log det(W W^T)."""
    return -inverse(weight @ weight.mT) @ weight


def _decay_gradient(weight: Tensor, eps: float) -> Tensor:
    """Of 1/2 |W|^2."""
    return weight


# `log` and `reciprocal` are the paper's (Eqs. 21 and 24). The others ask whether *any* such term helps: `live` is the
# log form with the square part moved to the pixels that vary most, `gram` takes the volume of the whole weight, and
# `decay` is no entropy at all.
PENALTIES: Mapping[str, Penalty] = {
    "log": Penalty(_first, _log_gradient),
    "reciprocal": Penalty(_first, _reciprocal_gradient),
    "live": Penalty(_live, _log_gradient),
    "gram": Penalty(_every, _gram_gradient),
    "decay": Penalty(_every, _decay_gradient),
}


def initial(stack: list[Trial[Any]], pixels: int, device: str, dtype: torch.dtype) -> list[Tensor]:
    """Weights and biases `(trials, ...)`; the λs of one seed start from the same numbers."""
    drawn = [initial_network(trial.config.init, trial.config.latent, pixels, trial.seed) for trial in stack]
    return [torch.stack(each).to(device, dtype) for each in zip(*drawn, strict=True)]


def initial_network(init: Init, latent: int, pixels: int, seed: int) -> list[Tensor]:
    """The weights and biases of one network."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(latent, pixels), (1, latent), (pixels, latent), (1, pixels)]
    if init.kind == "orthogonal":
        drawn = [torch.zeros(shape) for shape in shapes]
        for weight in (drawn[0], drawn[2]):
            torch.nn.init.orthogonal_(weight, init.gain or 1.0, generator=generator)
        return drawn
    uniform = (6 / (pixels + latent)) ** 0.5
    bounds = {
        "torch": [pixels**-0.5, pixels**-0.5, latent**-0.5, latent**-0.5],
        "glorot": [uniform, 0.0, uniform, 0.0],
    }[init.kind]
    return [(2 * torch.rand(s, generator=generator) - 1) * b for s, b in zip(shapes, bounds, strict=True)]


def forward(parameters: list[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden units and reconstructions of every trial."""
    weight, bias, weight_out, bias_out = parameters
    hidden = torch.sigmoid(torch.baddbmm(bias, images, weight.mT))
    return hidden, torch.sigmoid(torch.baddbmm(bias_out, hidden, weight_out.mT))


class Backward:
    """Writes the gradients of the mean squared error into the parameters of a stack, batch after batch.

    The arrays between the layers are kept from one step to the next: at batch 128 and few latent dimensions fetching
    new memory for them, and passing over them once more than needed, took half of a step.
    """

    def __init__(self, parameters: list[Tensor]):
        self.parameters = parameters
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        self._arrays: list[Tensor] = []

    def __call__(self, images: Tensor) -> Tensor:
        """The error, `(trials,)`, of images `(trials, batch, pixels)`."""
        weight, bias, weight_out, bias_out = self.parameters
        hidden, output, delta_out, slope = self._of(images)
        grads: list[Any] = [parameter.grad for parameter in self.parameters]
        torch.baddbmm(bias, images, weight.mT, out=hidden).sigmoid_()
        torch.baddbmm(bias_out, hidden, weight_out.mT, out=output).sigmoid_()
        # Through the sigmoids: s' = s (1 - s) = s - s^2. The mean's factor is left to the smaller arrays.
        factor = 2 / images[0].numel()
        torch.addcmul(output, output, output, value=-1, out=delta_out)
        difference = output.sub_(images)
        delta_out.mul_(difference)
        torch.addcmul(hidden, hidden, hidden, value=-1, out=slope)
        delta = slope.mul_(delta_out @ weight_out).mul_(factor)
        torch.baddbmm(grads[2], delta_out.mT, hidden, beta=0, alpha=factor, out=grads[2])
        torch.sum(delta_out, -2, keepdim=True, out=grads[3]).mul_(factor)
        torch.bmm(delta.mT, images, out=grads[0])
        torch.sum(delta, -2, keepdim=True, out=grads[1])
        return torch.linalg.vector_norm(difference, dim=(-2, -1)).square_().div_(images[0].numel())

    def _of(self, images: Tensor) -> list[Tensor]:
        """The arrays for hidden units, outputs and what goes back through them, made anew when the shape changes."""
        trials, batch, pixels = images.shape
        latent = self.parameters[0].shape[1]
        if not self._arrays or self._arrays[0].shape[1] != batch:
            sizes = (latent, pixels, pixels, latent)
            self._arrays = [images.new_empty(trials, batch, size) for size in sizes]
        return self._arrays


def evaluate(parameters: list[Tensor], images: Tensor) -> Tensor:
    """Mean squared error over all images, `(trials,)`; the chunks are small enough for the processor's cache."""
    total: Any = 0.0
    trials = len(parameters[0])
    for chunk in images.split(250):
        chunk = chunk.expand(trials, -1, -1)
        total += (forward(parameters, chunk)[1] - chunk).square_().sum((-2, -1))
    return total / images.numel()


def curves_of(stack: list[Trial[Any]], rows: list[dict[str, np.ndarray]]) -> pd.DataFrame:
    """A stack's curves from its measures after each epoch, arrays over trials."""
    frames = [
        pd.DataFrame({"trial": trial.id, "epoch": range(len(rows)), **{k: [r[k][i] for r in rows] for k in rows[0]}})
        for i, trial in enumerate(stack)
    ]
    return pd.concat(frames, ignore_index=True)


def as_bytes(images: Tensor) -> Tensor:
    """Images in [0, 1] as small as they can be kept."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8).cpu()
