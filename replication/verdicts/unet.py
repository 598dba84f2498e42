"""Tests on the entropy flow of U-Nets (Section 5.5 and the conclusion)."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import pandas as pd
from pydantic import Field, model_validator

from replication.experiments.unet import tables
from replication.experiments.unet.experiment import UNET
from replication.sweep.store import Store
from replication.verdicts.records import check_names, deciding, not_tested, scope
from replication.verdicts.verdict import Test, Verdict, share


def unguided(store: Store, data: str, where: Mapping[str, Any]) -> pd.DataFrame:
    """The networks without guidance, whether or not a guided one stands beside them.

    They serve every placement; here they count for the one that the claim names.
    """
    table = UNET.default(deciding(UNET, store, data), **where)
    return table[table.coefficient == 0].assign(layers=where["layers"][0])


class UNetFlow(Test):
    """A U over the layers of trained U-Nets: a parabola that bends upwards, p < 0.05, by log|c11| and exactly."""

    kind: Literal["unet_flow"]
    where: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_names(UNET.name, where=self.where)
        return self

    def decide(self, store: Store) -> Verdict:
        free = unguided(store, "coco", self.where)
        if free.empty:
            return not_tested(UNET.name, "coco")
        means = tables.flow_table(store, free, "after")
        bends = {measure: tables.curvature(means[tables.LABELS[measure]]) for measure in ("tap 1 1", "exact")}
        bent = sum(bend > 0 and p < 0.05 for bend, p in bends.values())
        note = "; ".join(f"{tables.LABELS[measure]}: {bend:+.2f}, p = {p:.1g}" for measure, (bend, p) in bends.items())
        covered = scope(UNET, free, ("layers",), self.where)
        return Verdict(share(bent, len(bends)), note, bends["tap 1 1"][0], scope=covered)


class SameFlow(Test):
    """U-Nets trained on COCO and on drawn shapes order their layers alike by log|c11|.

    "As long as the model was well trained": networks whose masks overlap no true one are left out.
    The note says how alike the network before training orders them, which no data can have taught it.
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
        untrained = tables.flow_table(store, free["coco"], "before")[label]
        alike = flows["coco"].corr(flows["shapes"], method="spearman")
        before = [flow.corr(untrained, method="spearman") for flow in flows.values()]
        seeds = " and ".join(str(len(table)) for table in free.values())
        note = f"one pair, of {seeds} trained networks, {alike:.2f}; each with the network before training: "
        note += " and ".join(f"{one:.2f}" for one in before)
        covered = scope(UNET, pd.concat(free.values()), ("layers",), self.where)
        return Verdict("holds" if alike >= self.threshold else "fails", note, alike, scope=covered)
