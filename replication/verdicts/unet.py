"""Tests on the entropy flow of U-Nets (Section 5.5 and the conclusion)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from replication.experiments.owed import owed, unfinished
from replication.experiments.unet import tables
from replication.experiments.unet.experiment import UNET
from replication.statistics import effect
from replication.sweep.store import Array, Store
from replication.verdicts.contrast import named_runs
from replication.verdicts.decision import Effects, Region, decided
from replication.verdicts.records import check_names, deciding, scope
from replication.verdicts.verdict import Test, Verdict


def unguided(store: Store, data: str, where: Mapping[str, Any]) -> pd.DataFrame:
    """The networks without guidance, whether or not a guided one stands beside them.

    They serve every placement; here they count for the one that the claim names.
    """
    table = UNET.default(deciding(UNET, store, data), **where)
    return table[table.coefficient == 0].assign(layers=where["layers"][0])


def still_to_be_run(waiting: int, runs: Sequence[str], store: Store) -> Verdict:
    waits = unfinished(runs, store)
    named = f" ({named_runs(waits)})" if waits else ""
    note = f"Networks that are planned and still to be run: {waiting}{named}."
    return Verdict("undecided", note, waits=waits)


def of_plan(runs: Sequence[str], free: pd.DataFrame, data: str) -> tuple[pd.DataFrame, int]:
    """Of some unguided networks those that the runs give, and how many of the runs' are still to be made."""
    planned = {seed for run in runs for part in owed(run).parts if part["data"] == data for seed in part["seeds"]}
    trials = pd.concat([owed(run).rows(free) for run in runs]).trial
    made = free[free.trial.isin(trials)]
    return made, len(planned - set(made.seed))


class UNetFlow(Test):
    """A U over the layers of trained U-Nets, which training made: the parabola bends upwards, and more than before.

    That there is one is asked of log|c11|, the paper's measure, and is half of it: an untrained network has it as well.
    That training made it is asked of log|c11| and of the exact measure. T-tests over the seeds that the runs give.
    """

    kind: Literal["unet_flow"]
    runs: tuple[str, ...]
    where: dict[str, Any]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(UNET.name, where=self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        free, waiting = of_plan(self.runs, unguided(store, "coco", self.where), "coco")
        if waiting:
            return still_to_be_run(waiting, self.runs, store)
        free = free[~free.diverged.astype(bool)]
        taps, exact = (self.bends(store, free, measure) for measure in ("tap 1 1", "exact"))
        bends = np.stack([taps[1], taps[1] - taps[0], exact[1] - exact[0]])
        found, plain = effect(bends[1]), np.zeros(len(bends), bool)
        cells, more = Effects(bends, np.zeros_like(bends), plain, plain, plain), Region(above=0.0)
        shown, refuted = cells.supported(more), cells.refuted(more)
        there, made = str(decided(shown[:1], refuted[:1], "all")), str(decided(shown[1:], refuted[1:], "all"))
        status = "partly" if there == "holds" and made == "fails" else made if there == "holds" else there
        said = [f"{values.mean():+.2f} (p = {p:.1g})" for values, p in zip(bends, shown, strict=True)]
        note = f"mean log|c11| bends by {said[0]}; training made {said[1]} of it, and {said[2]} by the exact measure"
        covered = scope(UNET, free, ("layers",), self.where)
        return Verdict(status, note, found.mean, (found.low, found.high), covered)  # type: ignore[arg-type]

    def bends(self, store: Store, free: pd.DataFrame, measure: str) -> Array:
        """How much the parabola bends before and after training, `(2, seeds)`."""
        return np.array([
            [tables.curvature(means)[0] for _, means in tables.by_network(store, free, when, measure).items()]
            for when in ("before", "after")
        ])  # fmt: skip


class SameFlow(Test):
    """Training changes the layers' mean log|c11| alike on COCO and on drawn shapes.

    "As long as the model was well trained": networks whose masks overlap no true one are left out. Networks of one
    architecture are alike before they have seen anything, which no data can have taught them: the change is compared,
    of each network on shapes with the mean over those on COCO.
    """

    kind: Literal["same_flow"]
    runs: tuple[str, ...]
    threshold: float
    where: dict[str, Any]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(UNET.name, where=self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        made = {data: of_plan(self.runs, unguided(store, data, self.where), data) for data in ("coco", "shapes")}
        if waiting := sum(missing for _, missing in made.values()):
            return still_to_be_run(waiting, self.runs, store)
        marking = {data: table[table.test_iou > 0] for data, (table, _) in made.items()}
        if not all(map(len, marking.values())):
            return Verdict("undecided", "On one of the two data sets no network marks anything.")
        flows = {
            (data, when): tables.by_network(store, table, when, "tap 1 1")
            for data, table in marking.items()
            for when in ("before", "after")
        }
        return self.judged(flows, scope(UNET, pd.concat(marking.values()), ("layers",), self.where))

    def judged(self, flows: Mapping[tuple[str, str], pd.DataFrame], covered: str) -> Verdict:
        """From the means by layer of each network, `before` and `after` training on each data set."""
        made = {data: flows[data, "after"] - flows[data, "before"] for data in ("coco", "shapes")}
        alike = tables.with_mean(made["shapes"], made["coco"]).to_numpy()
        found, no = effect(alike), np.zeros(1, bool)
        cells, more = Effects(alike[None], np.zeros_like(alike[None]), no, no, no), Region(above=self.threshold)
        status = str(decided(cells.supported(more), cells.refuted(more), "all"))
        means = {key: each.mean(axis=1) for key, each in flows.items()}
        whole = means["coco", "after"].corr(means["shapes", "after"], method="spearman")
        untrained = [means[data, "after"].corr(means[data, "before"], method="spearman") for data in ("coco", "shapes")]
        own = [tables.among_themselves(each).mean() for each in made.values() if len(each.columns) > 1]
        among = " and ".join(f"{one:.2f}" for one in own[::-1])
        note = (
            f"{len(alike)} networks on shapes and {len(made['coco'].columns)} on COCO mark something; each "
            f"agrees with the mean of the others on the same data by {among}; "
            f"the whole pattern {whole:.2f}, and that with the one before training "
            + " and ".join(f"{one:.2f}" for one in untrained)
        )
        return Verdict(status, note, found.mean, (found.low, found.high), covered)  # type: ignore[arg-type]
