"""How long training took on which device, from the records."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from replication.experiments.experiment import Experiment
from replication.sweep.store import Store


def pace(experiment: Experiment[Any], store: Store, by: Sequence[str], **where: Any) -> pd.DataFrame:
    """Seconds of a network's epoch for each setting that was trained on several devices, with all that is measured.

    A record's time is shared out among the networks that were trained `together` in it; medians over networks, of
    the default protocol and as `where` says.
    """
    trials = experiment.table(store)
    together = trials.groupby("file").trial.transform("size")
    trials = trials.assign(together=together, seconds=trials.wall_seconds / (together * trials.horizon))
    trials = experiment.default(trials, **where)
    found = trials.groupby([*by, "device"]).agg(
        networks=("trial", "size"), together=("together", "median"), seconds=("seconds", "median")
    ).reset_index()  # fmt: skip
    return found[found.groupby(list(by)).device.transform("nunique") > 1]


def ratios(paces: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """How many times as long the processor takes as the fastest GPU, by setting."""
    processor = paces.device.str.startswith("CPU")
    slow, fast = (paces[rows].groupby(list(by)).seconds.min() for rows in (processor, ~processor))
    return (slow / fast).dropna()
