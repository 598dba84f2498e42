"""Run a sweep on this machine: train what has no record yet, stack by stack."""

import platform
import time
from collections.abc import Callable, Hashable
from datetime import UTC, datetime
from typing import Protocol

import torch
from tqdm import tqdm

from entropy_lib import __version__
from entropy_lib.files import source_hash
from entropy_lib.sweep.store import StackResult, Store
from entropy_lib.sweep.trial import Trial, stacks


class TrainStack(Protocol):
    """Train all trials of a stack to their horizon, calling `tick()` after every epoch."""

    def __call__(self, stack: list[Trial], device: str, tick: Callable[[], object]) -> StackResult: ...


def run(
    trials: list[Trial],
    train_stack: TrainStack,
    store: Store,
    stack_by: Callable[[Trial], Hashable],
    scope: Callable[[Trial], tuple[str, str]],
    device: str = "cpu",
    progress: bool = True,
) -> int:
    """Train the trials that have no record and keep one file per finished stack.

    Args:
        trials: all trials wanted; those already in the store are left alone.
        train_stack: trains a list of trials together.
        store: where records are kept.
        stack_by: trials with equal keys are trained as one.
        scope: a trial's scope and, when reduced, its deviation.
        device: handed to `train_stack`.
        progress: draw a progress bar on the terminal.

    Returns:
        The number of trials trained now.
    """
    finished = {name: store.finished(name) for name in {trial.experiment for trial in trials}}
    missing = [trial for trial in trials if trial.id not in finished[trial.experiment]]
    source = source_hash()
    bar = tqdm(
        total=sum(trial["horizon"] for trial in missing),
        unit="epoch", desc=f"{len(missing)} of {len(trials)} trials to run", disable=not progress or not missing,
    )  # fmt: skip
    with bar:
        for stack in stacks(missing, stack_by):
            started, clock = datetime.now(UTC), time.perf_counter()
            result = train_stack(stack, device, lambda stack=stack: bar.update(len(stack)))
            provenance = {
                **machine(device),
                "source": source,
                "started": started.isoformat(timespec="seconds"),
                "wall_seconds": round(time.perf_counter() - clock, 3),
            }
            store.write(stack, result, [scope(trial) for trial in stack], provenance)
    return len(missing)


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
