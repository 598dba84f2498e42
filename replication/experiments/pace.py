"""How long training took on which device, from the records."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from replication.experiments.experiment import Experiment
from replication.experiments.registry import experiment_of
from replication.sweep.store import Store


class Setting(NamedTuple):
    """What makes networks alike in what they cost: fields that tell settings apart, values that all share, a name."""

    by: Sequence[str]
    where: Mapping[str, Any]
    written: Callable[[pd.DataFrame], "pd.Series[str]"]


SETTINGS: Mapping[str, Setting] = {
    "autoencoder": Setting(["data", "latent"], {}, lambda rows: rows.data + ", d = " + rows.latent.astype(str)),
    "cnn": Setting(["data", "architecture"], {"layers": "first"}, lambda rows: rows.data + ", " + rows.architecture),
    "imagenette": Setting(["architecture"], {"image": 64, "width": 0.25}, lambda rows: rows.architecture),
}


def paces(store: Store) -> pd.DataFrame:
    """Seconds of a network's epoch in each setting of each experiment that was trained on several devices."""
    found = []
    for name, setting in SETTINGS.items():
        rows = pace(experiment_of(name), store, setting.by, **setting.where)
        found.append(rows.assign(experiment=name, setting=setting.written(rows) if len(rows) else ""))
    return pd.concat(found)[["experiment", "setting", "device", "networks", "together", "seconds"]]


def shares(experiment: Experiment[Any], store: Store) -> pd.DataFrame:
    """Every network with the `seconds` that it took: its share of the time of its record.

    A record's time is shared out evenly among the networks that were trained `together` in it. Its clock starts anew
    when a training is taken up again (`resumed`): it took what its epochs took then.
    """
    trials, curves = experiment.table(store), store.curves(experiment.name)
    everything = store.trials(experiment.name)
    file = everything.set_index("trial").file
    together = trials.file.map(file.value_counts())
    trained = trials.file.map(curves.get("seconds", pd.Series(dtype=float)).groupby(curves.trial.map(file)).sum())
    trained = trained.fillna(0.0)
    seconds = trials.wall_seconds.clip(lower=trained) / together
    return trials.assign(together=together, resumed=trained > trials.wall_seconds, seconds=seconds)


def hours(taken: pd.DataFrame) -> dict[str, float]:
    """What some networks took: `core-hours` of a processor, `GPU-hours` beside them."""
    processor = taken.device.str.startswith("CPU")
    cores = (taken.seconds * taken.threads)[processor].sum()
    return {"core-hours": cores / 3600, "GPU-hours": taken.seconds[~processor].sum() / 3600}


def pace(experiment: Experiment[Any], store: Store, by: Sequence[str], **where: Any) -> pd.DataFrame:
    """Seconds of a network's epoch for each setting that was trained on several devices, with all that is measured.

    Medians over networks, of the default protocol and as `where` says. A training that was taken up again does not
    count: it was loaded and compiled more than once.
    """
    trials = shares(experiment, store)
    trials = trials[~trials.resumed].assign(seconds=lambda rows: rows.seconds / rows.horizon)
    trials = experiment.default(trials, **where)
    found = trials.groupby([*by, "device"]).agg(
        networks=("trial", "size"), together=("together", "median"), seconds=("seconds", "median")
    ).reset_index()  # fmt: skip
    return found[found.groupby(list(by)).device.transform("nunique") > 1]


def ratios(found: pd.DataFrame, by: Sequence[str] = ("experiment", "setting")) -> pd.Series:
    """How many times as long the processor takes as the fastest GPU, by setting."""
    processor = found.device.str.startswith("CPU")
    slow, fast = (found[rows].groupby(list(by)).seconds.min() for rows in (processor, ~processor))
    return (slow / fast).dropna()
