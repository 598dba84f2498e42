"""Training one network with guided kernels: the loop that the convolutional experiments share."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entropy_lib.files import source_hash, write_atomically
from entropy_lib.guidance import conv_penalty
from entropy_lib.sweep.trial import Trial

# Of the code as it was loaded; a checkpoint of another is not taken up.
_SOURCE = source_hash()


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


FORMS = ("none", "log", "reciprocal", "reciprocal-mean")


class Guided:
    """λ times the penalty of Eq. 23 or 25, summed over the filters of the guided kernels.

    The form `reciprocal-mean` is another reading: Eq. 25 with the mean over each kernel's filters.
    """

    def __init__(self, kernels: list[Tensor], trial: Trial):
        self.kernels = kernels
        self.coefficient, self.form, self.eps = float(trial["coefficient"]), str(trial["form"]), float(trial["eps"])
        if self.form not in FORMS:
            raise ValueError(f"form must be one of {', '.join(FORMS)}, got {self.form!r}")

    def __call__(self) -> Any:
        """A scalar tensor, or 0.0 where nothing is guided."""
        if not self.coefficient:
            return 0.0
        form: Any = self.form.removesuffix("-mean")
        mean = form != self.form
        penalties = [conv_penalty(kernel, form, self.eps) for kernel in self.kernels]
        return self.coefficient * sum(penalty.mean() if mean else penalty.sum() for penalty in penalties)

    def gradients(self) -> list[Tensor]:
        return list(torch.autograd.grad(self(), self.kernels)) if self.coefficient else []


@dataclass
class Training:
    """One network on its way to the trial's horizon.

    Images are picked from memory where channels come last, so that a batch needs no copy; `prepare` makes
    the network's input of a batch, `augment` changes it further in training. With a `checkpoint` the state is
    kept there after every epoch and taken up when the training starts again with the same code.
    """

    trial: Trial
    model: nn.Module
    guided: list[Tensor]  # kernels, none for an unguided network
    first: Tensor  # the first convolution's kernel
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
        self.entropy = Guided(self.guided, self.trial)
        self.device = self.first.device
        self.batch = int(self.trial["batch"])
        self.shuffle = torch.Generator().manual_seed(1_000_003 + self.trial.seed)

    def train(self, tick: Callable[[], object]) -> pd.DataFrame:
        """A row for the start and for every epoch; `tick()` is called after each."""
        rows = self._taken_up() or [{**self._score("train"), **self._measure()}]
        while len(rows) <= int(self.trial["horizon"]):
            rows.append({**self._epoch(), **self._measure()})
            if self.schedule:
                self.schedule.step(rows[-1]["validation_accuracy"])
            if self.checkpoint:
                self._keep(rows)
            tick()
            if isnan(rows[-1]["train_loss"]):  # so are all weights, and nothing can follow
                rows += [rows[-1]] * (int(self.trial["horizon"]) + 1 - len(rows))
        if self.checkpoint:
            self.checkpoint.unlink(missing_ok=True)
        return pd.DataFrame(rows).assign(trial=self.trial.id, epoch=range(len(rows)))

    def _epoch(self) -> dict[str, float]:
        """One pass over the images; scores are of the steps as they were taken, as a framework reports them.

        `seconds` is what the pass took, without what is measured at its end.
        """
        started = time.perf_counter()
        self.model.train()
        images, targets = self.splits["train"]
        order = torch.randperm(len(images), generator=self.shuffle).to(images.device)
        steps = order[: len(images) // self.batch * self.batch].split(self.batch)
        totals: dict[str, Tensor] = {}
        for index in steps:
            batch, wanted = self._batch(images[index], targets[index])
            if self.augment:
                batch, wanted = self.augment(batch, wanted)
            outputs = self._outputs(batch)
            self.optimiser.zero_grad()
            (self.task.error(outputs, wanted) + self.entropy()).backward()
            self.optimiser.step()
            _add(totals, self.task.scores(outputs.detach(), wanted))
        means = {f"train_{name}": float(total) / (len(steps) * self.batch) for name, total in totals.items()}
        return {**means, "seconds": time.perf_counter() - started}

    def _batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.prepare(images.to(self.device).movedim(-1, 1)), targets.to(self.device)

    def _outputs(self, batch: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.model(batch).float()

    def _measure(self) -> dict[str, float]:
        """What a curve keeps at the end of an epoch, beside the training scores."""
        self.model.eval()
        batch, wanted = self._batch(*(part[: self.batch] for part in self.splits["train"]))
        error = torch.autograd.grad(self.task.error(self._outputs(batch), wanted), self.guided or [self.first])
        taps = self.first.detach()[..., 0, 0].abs().log()
        return {
            **self._score("validation"), **self._score("test"),
            "first_tap": float(taps[taps.isfinite()].mean()),
            "gradient_error": _norm(error), "gradient_entropy": _norm(self.entropy.gradients()),
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

    def _parts(self) -> dict:
        parts = {"model": self.model, "optimiser": self.optimiser, "schedule": self.schedule}
        return {name: part for name, part in parts.items() if part is not None}

    def _keep(self, rows: list[dict]) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        state |= {"rows": rows, "source": _SOURCE, "shuffle": self.shuffle.get_state(), "random": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["random on the device"] = torch.cuda.get_rng_state(self.device)
        write_atomically(self.checkpoint, lambda temporary: torch.save(state, temporary))  # type: ignore[arg-type]

    def _taken_up(self) -> list[dict]:
        """The rows so far, with everything as it was after them; none when there is nothing to go on from."""
        if not (self.checkpoint and self.checkpoint.exists()):
            return []
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=False)
        if state["source"] != _SOURCE:
            return []
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.shuffle.set_state(state["shuffle"].cpu())
        torch.set_rng_state(state["random"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random on the device"].cpu(), self.device)
        return state["rows"]


def _add(totals: dict[str, Tensor], scores: dict[str, Tensor]) -> None:
    for name, values in scores.items():
        totals[name] = totals.get(name, 0) + values.sum()


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
