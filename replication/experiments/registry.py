"""The experiments by name, and where their records lie."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from replication import ROOT, reads
from replication.experiments.anatomy.experiment import ANATOMY
from replication.experiments.autoencoder.experiment import AUTOENCODER
from replication.experiments.cnn.experiment import CNN
from replication.experiments.experiment import Experiment
from replication.experiments.flow.experiment import FLOW
from replication.experiments.imagenette.experiment import IMAGENETTE
from replication.experiments.landscape.experiment import LANDSCAPE
from replication.experiments.management.experiment import MANAGEMENT
from replication.experiments.memory.experiment import MEMORY
from replication.experiments.through.experiment import THROUGH
from replication.experiments.unet.experiment import UNET
from replication.sweep.schema import VERSION
from replication.sweep.store import Store

EXPERIMENTS: Mapping[str, Experiment[Any]] = {
    experiment.name: experiment
    for experiment in (
        ANATOMY,
        AUTOENCODER,
        CNN,
        FLOW,
        IMAGENETTE,
        LANDSCAPE,
        MANAGEMENT,
        MEMORY,
        THROUGH,
        UNET,
    )
}


def experiment_of(name: str) -> Experiment[Any]:
    """The experiment of this name.

    Raises:
        KeyError: there is none; the message lists those that exist.
    """
    if name not in EXPERIMENTS:
        raise KeyError(f"unknown experiment {name!r}; known: {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def store_for(profile: str, folder: Path | None = None, until: int | None = None) -> Store:
    """Where a profile's records go: `quick` ones into the build, real ones into `results/`.

    `$ENTROPY_RESULTS` or `folder` moves the real ones; `until` reads every curve up to this epoch alone.
    """
    if profile == "quick":
        # Records of an older schema, which an earlier version may have left in a build, are another store.
        return Store(folder or ROOT / "_build" / "records" / f"schema-{VERSION}", until)
    return Store(folder or Path(os.environ.get("ENTROPY_RESULTS", ROOT / "results")), until)


def faults(store: Store) -> list[str]:
    """Why the records of a store cannot be decided on: what breaks the schema, and data of one name that differ."""
    found = store.validate({name: experiment.columns for name, experiment in EXPERIMENTS.items()})
    for name, experiment in EXPERIMENTS.items() if not found else ():
        table = experiment.table(store)
        for key, same in table.groupby(["data", *experiment.pictured]):
            if same.fingerprint.nunique() > 1:
                files = same.groupby("fingerprint").file.first()
                listed = ", ".join(f"{fingerprint} in {file}" for fingerprint, file in files.items())
                found.append(f"{name} has records of different data under one name {'/'.join(map(str, key))}: {listed}")
    return found


def benchmark(name: str, store: Store | None = None) -> dict[str, Any] | None:
    """What `benchmarks/<name>.py` measured last; None where there is no record of it."""
    path = (store or store_for("paper")).root / "benchmarks" / f"{name}-cpu.json"
    return json.loads(reads.read_text(path)) if reads.is_file(path) else None


def origin(outcomes: pd.DataFrame) -> str:
    """The records behind a figure in one line: how many trials, of what, at which scope, when and where."""
    days = sorted({started[:10] for started in outcomes.started})
    seen = {name: ", ".join(map(str, outcomes[name].unique())) for name in ("data", "scope", "device", "source")}
    made = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"records: {outcomes.trial.nunique()} trials on {seen['data']}, scope {seen['scope']}, "
        f"made {made} on {seen['device']}, source {seen['source']}"
    )
