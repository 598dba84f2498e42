"""States of trainings that are under way, kept until their record is written."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from replication.files import cache_folder
from replication.sweep.trial import Trial


def _folder() -> Path:
    return cache_folder() / "checkpoints"


def checkpoint(trial: Trial[Any]) -> Path:
    """Where a trial's state is kept, in a folder that is its owner's alone."""
    _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    return _folder() / f"{trial.id}.pt"


def forget(trials: Iterable[str]) -> None:
    """Remove the states of trials that have a record."""
    for trial in trials:
        (_folder() / f"{trial}.pt").unlink(missing_ok=True)
