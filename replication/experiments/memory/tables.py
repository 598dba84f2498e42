"""Rows of curved memories as the chapter reads them."""

import numpy as np
import pandas as pd

from replication.experiments.memory.experiment import MEMORY, RECALLED
from replication.sweep.store import Store


def courses(store: Store, **where: object) -> pd.DataFrame:
    """The curves of the trials that have these values, each row with its trial's configuration."""
    trials = MEMORY.default(MEMORY.table(store), **where)
    about = trials[["trial", "data", "seed", *MEMORY.fields]].rename(columns={"load": "at_load"})
    return store.curves(MEMORY.name).merge(about, on="trial")


def at_rest(courses: pd.DataFrame, by: str) -> pd.DataFrame:
    """Overlap, squared overlaps with the others, S and T' over the last half of the blocks: mean over seeds, its error.

    A row for each curvature, temperature, size and place.
    """
    late = courses[courses.epoch > courses.horizon / 2]
    late = late.assign(felt=1 / late.effective if "effective" in late else 0.0)
    keys = ["curvature", "temperature", "size", by]
    measures = [name for name in ("overlap", "others", "s", "felt", "twin_overlap") if name in late]
    each = late.assign(**{by: late[by].round(4)}).groupby([*keys, "seed"])[measures].mean()
    groups = each.groupby(keys)
    error = (groups.overlap.std() / np.sqrt(groups.overlap.count())).rename("error")
    return groups.mean().join(error).reset_index()


def capacities(store: Store, outcomes: pd.DataFrame, **where: object) -> pd.DataFrame:
    """Mean capacity over seeds with its error, and the temperature felt at the loads that are recalled."""
    wanted = {"task": "capacity", "data": "random", **where}
    groups = MEMORY.default(outcomes, **wanted).groupby(["curvature", "temperature", "size"])
    found = groups.capacity.agg(["mean", "sem"]).rename(columns={"mean": "capacity", "sem": "error"})
    rest = at_rest(courses(store, **wanted), "load")
    recalled = rest[rest.overlap >= RECALLED].groupby(["curvature", "temperature", "size"])
    return found.join(recalled.felt.last()).reset_index()
