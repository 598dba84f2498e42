"""What several tests make: trials on the digits, and outcomes without a training."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from replication import ROOT
from replication.experiments.autoencoder.experiment import AUTOENCODER, AutoencoderConfig
from replication.experiments.autoencoder.training import Init
from replication.experiments.experiment import Experiment, Plan
from replication.provenance import machine
from replication.sweep.run import Where
from replication.sweep.trial import Trial

PROVENANCE = {**machine(), "source": "0" * 16, "started": "2026-01-01T00:00:00+00:00", "wall_seconds": 1.0}
QUIET = Where(progress=False)


def digits_trials(
    horizon=3, coefficients=(0.0, 1e-3, 10.0), seeds=(0, 1), latent=6, init="torch", **settings
) -> list[Trial[AutoencoderConfig]]:
    """Autoencoders of the digits; without guidance they keep the form that is asked for."""
    fingerprint = AUTOENCODER.fingerprint("digits", None)
    shared = {"latent": latent, "horizon": horizon, "init": Init.read(init), **settings}
    return [
        Trial("autoencoder", 1, "digits", fingerprint, seed, AutoencoderConfig(coefficient=c, **shared))
        for seed in seeds
        for c in coefficients
    ]


def trials(experiment: Experiment, data: str, seeds: Iterable[int] = (0,), **fields: Any) -> list[Trial]:
    return experiment.trials(Plan.of(data, seeds, **fields))


def outcomes(experiment: Experiment, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A table of outcomes made up from what differs: each row is a trial with the default settings.

    What a row does not say of measures is 0; without guidance it has the experiment's own words for that.
    """
    usual = {
        "experiment": experiment.name, "protocol": experiment.protocol, "fingerprint": "f", "scope": "reduced",
        "deviation": "", "horizon": 50, "seed": 0,
    }  # fmt: skip
    made = []
    for number, row in enumerate(rows):
        free = experiment.unguided if row.get("coefficient", 1) == 0 else {}
        free = experiment.config.stored_values(free)
        measures = dict.fromkeys(experiment.measures, 0)
        made.append(usual | experiment.stored_settings | measures | {"trial": f"t{number}"} | row | free)
    return pd.DataFrame(made)


def started(folder: Path, script: str, *arguments: object, **options: Any) -> subprocess.Popen:
    """A process of its own that runs a script with the tests at hand; workers find its functions in the file."""
    path = folder / "script.py"
    if not path.exists():  # a second process of the same script may start while the first one reads it
        path.write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path), str(folder), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, cwd=ROOT, **options)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.time() + 60
    while not condition() and time.time() < deadline:
        time.sleep(0.1)
    assert condition()


def takes_its_workers_along(parent: subprocess.Popen, folder: Path) -> bool:
    """Whether two workers, which leave their numbers in the folder, end when their parent is killed."""
    wait_until(lambda: len(list(folder.glob("pid-*"))) == 2)
    workers = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    return True
