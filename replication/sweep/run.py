"""Run a sweep: train what has no record yet, stack by stack, here or elsewhere."""

import time
import traceback
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tqdm import tqdm

from replication.provenance import commit, machine, source_hash
from replication.sweep import workers
from replication.sweep.checkpoints import forget
from replication.sweep.store import InvalidRecord, StackResult, Store
from replication.sweep.trial import C, Scope, Trial, stacks

# Of the code as it was loaded: a file that changes while a sweep runs does not change what it runs.
_SOURCE = {"source": source_hash(), "commit": commit()}


class Trainable(Protocol[C]):
    """What a sweep needs of an experiment."""

    @property
    def train(self) -> Callable[[list[Trial[C]], str, Callable[[], object]], StackResult]:
        """Train all trials of a stack to their horizon on a device, calling `tick()` after every epoch."""

    @property
    def stack_by(self) -> Callable[[Trial[C], str], Hashable]:
        """Trials with equal keys on a device are trained as one."""

    @property
    def on_gpu(self) -> bool:
        """Whether it trains on the device that it is handed; the processor, whatever that says, if not."""

    @property
    def scope(self) -> Callable[[Trial[C]], Scope]:
        """What a trial's record can decide."""


@dataclass(frozen=True)
class Where:
    """Where a sweep trains.

    Args:
        device: handed to the training.
        workers: processes of this machine side by side, one thread each.
        cluster: Dask workers instead: `"local"`, or a scheduler's address.
        progress: draw a progress bar on the terminal.
    """

    device: str = "cpu"
    workers: int = 1
    cluster: str | None = None
    progress: bool = True


HERE = Where(progress=False)


class SweepFailed(RuntimeError):
    """Some stacks could not be trained or kept; the message names them, and what was finished is kept."""


@dataclass(frozen=True)
class Failure:
    """What a worker sends home instead of a result."""

    reason: str


def run(experiment: Trainable[C], trials: Sequence[Trial[C]], store: Store, where: Where = HERE) -> int:
    """Train the trials that have no record and keep one file per finished stack; only this process writes.

    Another sweep of the experiment into the same store is waited for: then its records are there. A stack that
    fails does not stop the others.

    Returns:
        The number of trials trained now.

    Raises:
        OSError: the store cannot be written; before anything is trained.
        SweepFailed: a stack failed, once all others are done.
    """
    with ExitStack() as held:
        for name in sorted({trial.experiment for trial in trials}):
            held.enter_context(store.writing(name))
        return _run(experiment, trials, store, where)


def _run(experiment: Trainable[C], trials: Sequence[Trial[C]], store: Store, where: Where) -> int:
    finished = {name: store.finished(name) for name in {trial.experiment for trial in trials}}
    missing = [trial for trial in trials if trial.id not in finished[trial.experiment]]
    forget(trial.id for trial in trials if trial.id in finished[trial.experiment])
    device = where.device if experiment.on_gpu else "cpu"
    groups = stacks(missing, lambda trial: experiment.stack_by(trial, device))
    jobs = [(experiment.train, stack, device) for stack in groups]
    failures = []
    with Progress(groups, len(trials), where.progress) as bar:
        side_by_side = min(where.workers, len(jobs))
        if where.cluster:
            results = workers.on_dask(_train, jobs, bar.tick, where.cluster)
        elif side_by_side > 1:
            results = workers.in_processes(_train, jobs, bar.tick, side_by_side)
        else:
            results = workers.in_process(_train, jobs, bar.tick)
        for number, (result, provenance) in results:
            stack = groups[number]
            if not isinstance(result, Failure):
                result = _kept(experiment, stack, result, provenance, store)
            if isinstance(result, Failure):
                failures.append(f"{stack[0].data}, seed {stack[0].seed}, {stack[0].config}: {result.reason}")
                continue
            forget(trial.id for trial in stack)
            bar.finish(number)
    if failures:
        raise SweepFailed(
            f"{len(failures)} of {len(groups)} stacks failed, the others are kept:\n" + "\n".join(failures[:5])
        )
    return len(missing)


def _kept(
    experiment: Trainable[C], stack: list[Trial[C]], result: StackResult, provenance: dict[str, object], store: Store
) -> Path | Failure:
    try:
        return store.write(stack, result, [experiment.scope(trial) for trial in stack], provenance)
    except InvalidRecord as error:
        return Failure(str(error))


def _train(
    tick: Callable[[], object],
    train: Callable[[list[Trial[C]], str, Callable[[], object]], StackResult],
    stack: list[Trial[C]],
    device: str,
) -> tuple[StackResult | Failure, dict[str, object]]:
    """One job, done where the worker is: provenance is the worker's."""
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        result: StackResult | Failure = train(stack, device, tick)
    except Exception as error:  # whatever a training raises: the other stacks are nothing to it
        result = Failure("".join(traceback.format_exception_only(error)).strip())
    return result, {
        **machine(device),
        **_SOURCE,
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.perf_counter() - clock, 3),
    }


class Progress:
    """A bar over trial-epochs; a stack that had to be started again is not counted twice."""

    def __init__(self, groups: Sequence[list[Trial[Any]]], wanted: int, shown: bool):
        self._groups, self._epochs = groups, [0] * len(groups)
        self._there, self._wanted = wanted - sum(map(len, groups)), wanted
        total = sum(len(stack) * _steps(stack) for stack in groups)
        self.bar = tqdm(total=total, unit="epoch", disable=not shown or not groups, smoothing=0.05)
        self._describe()

    def tick(self, number: int) -> None:
        if self._epochs[number] < _steps(self._groups[number]):
            self._epochs[number] += 1
            self.bar.update(len(self._groups[number]))

    def finish(self, number: int) -> None:
        while self._epochs[number] < _steps(self._groups[number]):
            self.tick(number)
        self._there += len(self._groups[number])
        self._describe()

    def _describe(self) -> None:
        self.bar.set_description(f"{self._there} of {self._wanted} trials")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def _steps(stack: list[Trial[Any]]) -> int:
    """Epochs of a stack; a network that is only measured counts as one."""
    horizon: int = stack[0].config.horizon
    return max(1, horizon)
