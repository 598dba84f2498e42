"""States of trainings that are under way, kept until their record is written."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from replication.files import cache_folder, cache_path
from replication.sweep.trial import Trial


def checkpoint(trial: Trial[Any]) -> Path:
    """Where a trial's state is kept, in a folder that is its owner's alone."""
    folder = cache_folder() / "checkpoints"
    folder.mkdir(exist_ok=True, mode=0o700)
    return folder / f"{trial.id}.pt"


def forget(trials: Iterable[str]) -> None:
    """Remove the states of trials that have a record; one that cannot be removed costs space alone."""
    for trial in trials:
        with suppress(OSError):
            (cache_path() / "checkpoints" / f"{trial}.pt").unlink(missing_ok=True)
