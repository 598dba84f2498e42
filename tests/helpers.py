"""What several tests make: trials on the digits, and outcomes without a training."""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from replication.experiments.autoencoder.experiment import AUTOENCODER, AutoencoderConfig, Init
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
