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


def pace(experiment: Experiment[Any], store: Store, by: Sequence[str], **where: Any) -> pd.DataFrame:
    """Seconds of a network's epoch for each setting that was trained on several devices, with all that is measured.

    A record's time is shared out among the networks that were trained `together` in it; medians over networks, of
    the default protocol and as `where` says. A training that was taken up again has the time of its last part alone
    and does not count.
    """
    trials, curves = experiment.table(store), store.curves(experiment.name)
    files = trials.set_index("trial").file
    trained = curves.get("seconds", pd.Series(dtype=float)).groupby(curves.trial.map(files)).sum()
    trials = trials[trials.wall_seconds >= trials.file.map(trained).fillna(0.0)]
    together = trials.groupby("file").trial.transform("size")
    trials = trials.assign(together=together, seconds=trials.wall_seconds / (together * trials.horizon))
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
