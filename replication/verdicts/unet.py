"""Tests on the entropy flow of U-Nets (Section 5.5 and the conclusion)."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from replication.experiments.owed import owed
from replication.experiments.unet import tables
from replication.experiments.unet.experiment import UNET
from replication.statistics import effect
from replication.sweep.store import Store
from replication.verdicts.decision import Effects, Region, decided
from replication.verdicts.records import check_names, deciding, not_tested, scope
from replication.verdicts.verdict import Test, Verdict


def unguided(store: Store, data: str, where: Mapping[str, Any]) -> pd.DataFrame:
    """The networks without guidance, whether or not a guided one stands beside them.

    They serve every placement; here they count for the one that the claim names.
    """
    table = UNET.default(deciding(UNET, store, data), **where)
    return table[table.coefficient == 0].assign(layers=where["layers"][0])


class UNetFlow(Test):
    """A U over the layers of trained U-Nets that training made: the parabola bends upwards by more than before it.

    By log|c11| and by the exact measure, each with a t-test over the seeds that the runs of `plan.yml` give: two cells,
    and both must be shown.
    """

    kind: Literal["unet_flow"]
    runs: tuple[str, ...]
    where: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(UNET.name, where=self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        free = unguided(store, "coco", self.where)
        planned = {seed for run in self.runs for part in owed(run).parts for seed in part["seeds"]}
        made = pd.concat([owed(run).rows(free) for run in self.runs])
        free = free[free.trial.isin(made.trial) & ~free.diverged.astype(bool)]
        if waiting := len(planned - set(free.seed)):
            named = " and ".join(self.runs)
            missing = f"{waiting} of {len(planned)} (run {named} of plan.yml)"
            return Verdict("undecided", f"Networks that are planned and still to be run: {missing}.")
        bends = np.array([self.bend(store, free, measure) for measure in ("tap 1 1", "exact")])
        found, plain = effect(bends[0]), np.zeros(len(bends), bool)
        cells, more = Effects(bends, np.zeros_like(bends), plain, plain, plain), Region(above=0.0)
        status = str(decided(cells.supported(more), cells.refuted(more), "all"))
        note = "; ".join(
            f"{tables.LABELS[measure]}: {values.mean():+.2f} more than before training, p = {p:.1g}"
            for measure, values, p in zip(("tap 1 1", "exact"), bends, cells.supported(more), strict=True)
        )
        covered = scope(UNET, free, ("layers",), self.where)
        return Verdict(status, note, found.mean, (found.low, found.high), covered)  # type: ignore[arg-type]

    def bend(self, store: Store, free: pd.DataFrame, measure: str) -> list[float]:
        """By seed, how much more the parabola bends after training."""
        label = tables.LABELS[measure]
        flows = [[tables.flow_table(store, free[free.trial == trial], when)[label] for when in ("before", "after")]
                 for trial in free.trial]  # fmt: skip
        return [tables.curvature(after)[0] - tables.curvature(before)[0] for before, after in flows]


class SameFlow(Test):
    """Training changes the layers' mean log|c11| alike on COCO and on drawn shapes.

    "As long as the model was well trained": networks whose masks overlap no true one are left out. Networks of one
    architecture are alike before they have seen anything, which no data can have taught them: the change is compared.
    """

    kind: Literal["same_flow"]
    threshold: float
    where: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(UNET.name, where=self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        free = {}
        for data in ("coco", "shapes"):
            table = unguided(store, data, self.where)
            if table.empty:
                return not_tested(UNET.name, data)
            free[data] = table[table.test_iou > 0]
        label = tables.LABELS["tap 1 1"]
        flows = {data: tables.flow_table(store, table, "after")[label] for data, table in free.items()}
        before = {data: tables.flow_table(store, table, "before")[label] for data, table in free.items()}
        alike = (flows["coco"] - before["coco"]).corr(flows["shapes"] - before["shapes"], method="spearman")
        whole = flows["coco"].corr(flows["shapes"], method="spearman")
        untrained = [flows[data].corr(before[data], method="spearman") for data in free]
        seeds = " and ".join(str(len(table)) for table in free.values())
        note = f"one pair, of {seeds} trained networks: what training changed {alike:+.2f}, "
        note += f"the whole pattern {whole:.2f}; the pattern with that before training " + " and ".join(
            f"{one:.2f}" for one in untrained
        )
        covered = scope(UNET, pd.concat(free.values()), ("layers",), self.where)
        return Verdict("holds" if alike >= self.threshold else "fails", note, alike, scope=covered)
