"""How far the planned runs have come, and what they took."""

import pandas as pd

from replication import ROOT
from replication.experiments.owed import named, networks, runs, there
from replication.experiments.pace import hours, shares
from replication.experiments.registry import experiment_of
from replication.sweep.store import Store


def progress(store: Store, pending: Store | None = None) -> pd.DataFrame:
    """Every run with what it was expected to take, how much of it is there, what that took, and the claims it serves.

    A network that serves several runs stands in each of them.
    """
    pending = pending or Store(ROOT / "results-pending")
    taken = {name: shares(experiment_of(name), store) for name in {run.experiment for run in runs().values()}}
    rows = []
    for run in runs().values():
        wanted, made = networks(run), run.rows(taken[run.experiment])
        about = {"run": run.run, "experiment": run.experiment, "claims": len({read.claim for read in run.reads})}
        done, waiting = len(wanted & named(run, made)), len(wanted & there(run, pending))
        counts = {"networks": len(wanted), "in results": done, "pending": waiting}
        rows.append(about | counts | {"core-hours expected": run.core_hours} | hours(made))
    return pd.DataFrame(rows)
