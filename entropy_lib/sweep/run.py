"""Run a sweep: train what has no record yet, stack by stack, here or elsewhere."""

import platform
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Protocol

import torch
from tqdm import tqdm

from entropy_lib import __version__
from entropy_lib.files import source_hash
from entropy_lib.sweep import workers as where
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial, stacks

# Of the code as it was loaded: a file that changes while a sweep runs does not change what it runs.
_SOURCE = source_hash()


class TrainStack(Protocol):
    """Train all trials of a stack to their horizon, calling `tick()` after every epoch."""

    def __call__(self, stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult: ...


def run(
    trials: list[Trial],
    train_stack: TrainStack,
    store: Store,
    stack_by: Callable[[Trial, str], Hashable],
    scope: Callable[[Trial], tuple[str, str]],
    device: str = "cpu",
    progress: bool = True,
    workers: int = 1,
    cluster: str | None = None,
) -> int:
    """Train the trials that have no record and keep one file per finished stack.

    Args:
        trials: all trials wanted; those already in the store are left alone.
        train_stack: trains a list of trials together; with workers or a cluster it must be importable there.
        store: where records are kept; only this process writes to it.
        stack_by: trials with equal keys on a device are trained as one.
        scope: a trial's scope and, when reduced, its deviation.
        device: handed to `train_stack`.
        progress: draw a progress bar on the terminal.
        workers: processes of this machine that train side by side, one thread each.
        cluster: train on Dask workers instead: `"local"`, or a scheduler's address.

    Returns:
        The number of trials trained now.
    """
    finished = {name: store.finished(name) for name in {trial.experiment for trial in trials}}
    missing = [trial for trial in trials if trial.id not in finished[trial.experiment]]
    groups = stacks(missing, lambda trial: stack_by(trial, device))
    jobs = [(train_stack, stack, device) for stack in groups]
    with _Progress(groups, len(trials), progress) as bar:
        if cluster:
            results = where.on_dask(_train, jobs, bar.tick, cluster)
        elif min(workers, len(jobs)) > 1:
            results = where.in_processes(_train, jobs, bar.tick, min(workers, len(jobs)))
        else:
            results = where.in_process(_train, jobs, bar.tick)
        for number, (result, provenance) in results:
            stack = groups[number]
            store.write(stack, result, [scope(trial) for trial in stack], provenance)
            bar.finish(number)
    return len(missing)


def _train(
    tick: Callable[[], object], train_stack: TrainStack, stack: list[Trial], device: str
) -> tuple[StackResult, dict]:
    """One job, done where the worker is: provenance is the worker's."""
    started, clock = datetime.now(UTC), time.perf_counter()
    result = train_stack(stack, device, tick)
    return result, {
        **machine(device),
        "source": _SOURCE,
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round(time.perf_counter() - clock, 3),
    }


class _Progress:
    """A bar over trial-epochs; a stack that had to be started again is not counted twice."""

    def __init__(self, groups: list[list[Trial]], wanted: int, shown: bool):
        self._groups, self._epochs = groups, [0] * len(groups)
        self._there, self._wanted = wanted - sum(map(len, groups)), wanted
        total = sum(len(stack) * _steps(stack) for stack in groups)
        self._bar = tqdm(total=total, unit="epoch", disable=not shown or not groups, smoothing=0.05)
        self._describe()

    def tick(self, number: int) -> None:
        if self._epochs[number] < _steps(self._groups[number]):
            self._epochs[number] += 1
            self._bar.update(len(self._groups[number]))

    def finish(self, number: int) -> None:
        while self._epochs[number] < _steps(self._groups[number]):
            self.tick(number)
        self._there += len(self._groups[number])
        self._describe()

    def _describe(self) -> None:
        self._bar.set_description(f"{self._there} of {self._wanted} trials")

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _steps(stack: list[Trial]) -> int:
    """Epochs of a stack; a network that is only measured counts as one."""
    return max(1, int(stack[0]["horizon"]))


def machine(device: str = "cpu") -> dict[str, object]:
    """Versions and hardware, as records and figures state them."""
    cuda = torch.device(device).type == "cuda"
    return {
        "library": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU, {platform.machine()}",
        "threads": torch.get_num_threads(),
    }
