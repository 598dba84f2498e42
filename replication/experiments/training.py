"""Training networks with guided kernels: the loop that the convolutional experiments share."""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entropy_lib import EntropyGuidance
from entropy_lib.layers import Form
from replication.experiments.repeated import Repeated
from replication.files import digest, write_atomically
from replication.provenance import computing
from replication.sweep.trial import Trial

# Of the code that trains, as it was loaded; a checkpoint of another is not taken up.
_SOURCE = digest(json.dumps(computing()))


@dataclass(frozen=True)
class Task:
    """What is learned: the error to be lowered, and the scores of each image, of which curves keep means."""

    error: Callable[[Tensor, Tensor], Tensor]
    scores: Callable[[Tensor, Tensor], dict[str, Tensor]]


CLASSIFICATION = Task(
    F.cross_entropy,
    lambda outputs, labels: {
        "accuracy": (outputs.argmax(1) == labels).float(),
        "loss": F.cross_entropy(outputs, labels, reduction="none"),
    },
)


# The library's form of each form of an experiment, and whether the penalty is a mean over filters.
FORMS: dict[str, tuple[Form, bool]] = {
    "log": ("log", False), "reciprocal": ("reciprocal", False), "reciprocal-mean": ("reciprocal", True),
}  # fmt: skip

# What the curves of every training hold, with the least and the greatest value.
SHARE, AMOUNT, LOGARITHM = (0.0, 1.0), (0.0, inf), (-inf, inf)
CURVES: dict[str, tuple[float, float]] = {
    **{f"{split}_accuracy": SHARE for split in ("train", "validation", "test")},
    **{f"{split}_loss": AMOUNT for split in ("train", "validation", "test")},
    "first_tap": LOGARITHM, "gradient_error": AMOUNT, "gradient_entropy": AMOUNT,
}  # fmt: skip

# What outcomes of a classifier hold.
CLASSIFIED = (
    "test_accuracy", "validation_accuracy", "train_accuracy",
    "test_loss", "validation_loss", "train_loss", "first_tap",
)  # fmt: skip


@dataclass
class Training:
    """One network on its way to the trial's horizon, `side_by_side` with others or alone.

    Images are picked from memory where channels come last, so that a batch needs no copy; `prepare` makes
    the network's input of a batch, `augment` changes it further in training. With a `checkpoint` the state is
    kept there after every epoch, and at the end until the sweep has the record; it is taken up when the training
    starts again with the same code.
    """

    trial: Trial[Any]  # its configuration holds horizon, batch, coefficient, form and eps
    model: nn.Module
    guided: Sequence[str]  # names of convolutions, none for an unguided network
    first: str  # name of the first convolution
    optimiser: torch.optim.Optimizer
    splits: Mapping[str, tuple[Tensor, Tensor]]  # images (n, l, w, channels) and targets
    task: Task = CLASSIFICATION
    prepare: Callable[[Tensor], Tensor] = lambda images: images
    augment: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
    schedule: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None  # on the accuracy on validation
    bfloat16: bool = False
    scored_at_once: int = 500
    checkpoint: Path | None = None

    def __post_init__(self) -> None:
        config = self.trial.config
        self.kernel: Tensor = self.model.get_submodule(self.first).weight  # type: ignore[assignment]
        self.device, self.batch, self.horizon = self.kernel.device, config.batch, config.horizon
        self.entropy = self._guidance(config.coefficient, config.form, config.eps) if config.coefficient else None
        self.shuffle = torch.Generator().manual_seed(1_000_003 + self.trial.seed)
        images, _ = self.splits["train"]
        self.steps = len(images) // self.batch
        self._order = torch.zeros(self.steps, self.batch, dtype=torch.long, device=images.device)
        self._at = torch.zeros(1, dtype=torch.long, device=images.device)
        self._totals: dict[str, Tensor] = {}
        self.rows: list[dict[str, float]] = []
        self._make_replayable()

    def _guidance(self, coefficient: float, form: str, eps: float) -> EntropyGuidance:
        """The paper's loss; `reciprocal-mean` is another reading of it, the mean over each kernel's filters."""
        if form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}")
        plain, mean = FORMS[form]
        filters = {name: self.model.get_submodule(name).weight[..., 0, 0].numel() for name in self.guided}  # type: ignore
        coefficients = {name: coefficient / count if mean else coefficient for name, count in filters.items()}
        return EntropyGuidance(self.model, coefficients, plain, eps)

    def _make_replayable(self) -> None:
        """A GPU replays steps of an optimiser only if it is told; a checkpoint may come from another device."""
        for group in self.optimiser.param_groups:
            if "capturable" in group:
                group["capturable"] = self.device.type == "cuda"

    def train(self, tick: Callable[[], object]) -> pd.DataFrame:
        """A row for the start and for every epoch; `tick()` is called after each."""
        return side_by_side([self], tick)[0]

    def begin(self) -> None:
        """Where a run that was cut off stood, or the start."""
        self.rows = self._taken_up() or [{**self._score("train"), **self._measure()}]

    def begin_epoch(self) -> None:
        """Draw the batches of an epoch; sums of scores begin anew."""
        self.model.train()
        order = torch.randperm(len(self.splits["train"][0]), generator=self.shuffle)
        # Written into the same tensors each time: a recorded step reads them.
        self._order.copy_(order[: self._order.numel()].view_as(self._order))
        for tensor in (self._at, *self._totals.values()):
            tensor.zero_()

    def step(self) -> None:
        """One step of the optimiser, on the next batch; scores are of the network as it was before."""
        images, targets = self.splits["train"]
        index = self._order.index_select(0, self._at)[0]
        batch, wanted = self._batch(images[index], targets[index])
        if self.augment:
            batch, wanted = self.augment(batch, wanted)
        outputs = self._outputs(batch)
        self.optimiser.zero_grad()
        error = self.task.error(outputs, wanted)
        (error + self.entropy() if self.entropy else error).backward()
        self.optimiser.step()
        _add(self._totals, self.task.scores(outputs.detach(), wanted))
        self._at += 1

    def finished(self) -> dict[str, float]:
        """An epoch's scores: means over the steps as they were taken, as a framework reports them."""
        return {f"train_{name}": float(total) / self._order.numel() for name, total in self._totals.items()}

    def end_epoch(self, scores: dict[str, float], seconds: float) -> None:
        """Measure the network and keep the epoch's row."""
        self.rows.append({**scores, "seconds": seconds, **self._measure()})
        if self.schedule:
            self.schedule.step(self.rows[-1]["validation_accuracy"])
        if self.checkpoint:
            self._keep()
        if isnan(self.rows[-1]["train_loss"]):  # so are all weights, and nothing can follow
            self.rows += [self.rows[-1]] * (self.horizon + 1 - len(self.rows))

    def curve(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows).assign(trial=self.trial.id, epoch=range(len(self.rows)))

    def _batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.prepare(images.to(self.device).movedim(-1, 1)), targets.to(self.device)

    def _outputs(self, batch: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.model(batch).float()

    def _measure(self) -> dict[str, float]:
        """What a curve keeps at the end of an epoch, beside the training scores."""
        self.model.eval()
        batch, wanted = self._batch(*(part[: self.batch] for part in self.splits["train"]))
        kernels = self.entropy.weights() if self.entropy else [self.kernel]
        error = torch.autograd.grad(self.task.error(self._outputs(batch), wanted), kernels)
        entropy = torch.autograd.grad(self.entropy(), kernels) if self.entropy else ()
        taps = self.kernel.detach()[..., 0, 0].abs().log()
        return {
            **self._score("validation"), **self._score("test"),
            "first_tap": float(taps[taps.isfinite()].mean()),
            "gradient_error": _norm(error), "gradient_entropy": _norm(entropy),
        }  # fmt: skip

    @torch.no_grad()
    def _score(self, split: str) -> dict[str, float]:
        """Means over a whole split."""
        self.model.eval()
        images, targets = self.splits[split]
        totals: dict[str, Tensor] = {}
        for some, wanted in zip(images.split(self.scored_at_once), targets.split(self.scored_at_once), strict=True):
            batch, wanted = self._batch(some, wanted)
            _add(totals, self.task.scores(self._outputs(batch), wanted))
        return {f"{split}_{name}": float(total) / len(images) for name, total in totals.items()}

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimiser": self.optimiser, "schedule": self.schedule}
        return {name: part for name, part in parts.items() if part is not None}

    def _keep(self) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {
            "rows": self.rows,
            "source": _SOURCE,
            "shuffle": self.shuffle.get_state(),
            "random": torch.get_rng_state(),
        }
        if self.device.type == "cuda":
            state["random on the device"] = torch.cuda.get_rng_state(self.device)
        write_atomically(self.checkpoint, lambda temporary: torch.save(state, temporary))  # type: ignore[arg-type]

    def _taken_up(self) -> list[dict[str, float]]:
        """The rows so far, with everything as it was after them; none when there is nothing to go on from."""
        if not (self.checkpoint and self.checkpoint.exists()):
            return []
        try:
            # Tensors and plain values alone: others may write where checkpoints lie, and a pickle is a program.
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            if state["source"] != _SOURCE:
                return []
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self._make_replayable()
        except Exception as error:  # whatever a damaged or foreign file raises
            warnings.warn(
                f"{self.checkpoint} is no checkpoint of this training ({error}); it begins anew", stacklevel=2
            )
            return []
        self.shuffle.set_state(state["shuffle"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if self.device.type == "cuda" and "random on the device" in state:
            torch.cuda.set_rng_state(state["random on the device"].cpu(), self.device)
        return state["rows"]


def side_by_side(trainings: Sequence[Training], tick: Callable[[], object]) -> list[pd.DataFrame]:
    """The curves of networks that are trained together, on equally many images in equal batches.

    `tick()` is called after every epoch of each. On a GPU, which a small network alone would not fill, the steps of all
    of them are one recorded piece of work; on a CPU they are taken in turn. An epoch's `seconds` are its share of the
    time of all, without what is measured at its end.
    """
    work, of = Repeated([], "cpu"), None
    with whole_mantissa():
        for training in trainings:
            training.begin()
        while epoch := min((len(t.rows) for t in trainings if len(t.rows) <= t.horizon), default=0):
            active = [t for t in trainings if len(t.rows) == epoch]
            # A recorded step knows the rates that it was recorded with.
            now = [(id(t), t.optimiser.param_groups[0]["lr"]) for t in active]
            if now != of:
                work, of = Repeated([t.step for t in active], active[0].device), now
            started = time.perf_counter()
            for training in active:
                training.begin_epoch()
            for _ in range(active[0].steps):
                work()
            ended = [training.finished() for training in active]
            seconds = (time.perf_counter() - started) / len(active)
            for training, means in zip(active, ended, strict=True):
                training.end_epoch(means, seconds)
                tick()
    return [training.curve() for training in trainings]


@contextmanager
def whole_mantissa() -> Iterator[None]:
    """Convolutions in float32 as on a CPU: by default a GPU's have a mantissa of ten bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def train_all(trainings: Iterable[Training], device: str, tick: Callable[[], object]) -> list[pd.DataFrame]:
    """The curves of a stack: on a GPU `side_by_side`, on a CPU one after the other, each made when its turn comes."""
    if torch.device(device).type == "cuda":
        return side_by_side(list(trainings), tick)
    return [training.train(tick) for training in trainings]


def _add(totals: dict[str, Tensor], scores: dict[str, Tensor]) -> None:
    """Add sums over images, in place where there are sums already."""
    for name, values in scores.items():
        if name in totals:
            totals[name] += values.sum()
        else:
            totals[name] = values.sum()


def _norm(tensors: Sequence[Tensor]) -> float:
    return float(sum(tensor.detach().square().sum() for tensor in tensors)) ** 0.5


def per_network(trials: int, tick: Callable[[], object]) -> Callable[[], object]:
    """A tick stands for an epoch of a whole stack: here it is one in `trials` epochs of networks trained in turn."""
    done = 0

    def count() -> None:
        nonlocal done
        done += 1
        if done % trials == 0:
            tick()

    return count
