"""Tests on entropy flow: what networks trained on ImageNet and untrained ones show (Section 5)."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from replication.experiments.flow.experiment import FLOW, TRAINED
from replication.experiments.flow.tables import by_layer, line_or_fan, means, network, outliers, standing_out
from replication.experiments.imagenette.experiment import placement
from replication.experiments.unet import tables as unet_tables
from replication.experiments.unet.experiment import UNET
from replication.networks.vgg_resnet import SCHEMES
from replication.sweep.store import Store
from replication.verdicts.records import deciding, not_tested, scope
from replication.verdicts.unet import unguided
from replication.verdicts.verdict import Status, Test, Verdict, share

# Status, note and effect; None: not run.
Decision = tuple[Status, str, float]


def early(table: pd.DataFrame) -> Decision | None:
    """Fig. 1, left: -2.2 in VGG-16's first layer, later layers lower."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    mean = means(rows)
    right = -2.4 <= mean.iloc[0] <= -2.0
    lower = int((mean.iloc[1:] < mean.iloc[0]).sum())
    status: Status = "holds" if right and lower == len(mean) - 1 else "partly" if right else "fails"
    note = f"first layer {mean.iloc[0]:.2f}; {lower} of the {len(mean) - 1} later layers are lower"
    return status, note, float(mean.iloc[0])


def settles(table: pd.DataFrame) -> Decision | None:
    """Fig. 1, left: the last three convolutions lie near -5.5."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    last = means(rows).iloc[-3:]
    inside = int(last.between(-5.8, -5.2).sum())
    status = share(inside, 3)
    return status, f"{inside} of 3 inside [-5.8, -5.2]: {', '.join(f'{value:.2f}' for value in last)}", last.mean()


def random_early(table: pd.DataFrame) -> Decision | None:
    """Fig. 1, right: the untrained network's first layer stands out less from its mean over layers."""
    if network(table, "vgg16", TRAINED).empty:
        return None
    relative = {}
    for source in (TRAINED, *SCHEMES):
        mean = means(network(table, "vgg16", source))
        relative[source] = mean.iloc[0] - mean.mean()
    gaps = {scheme: relative[TRAINED] - relative[scheme] for scheme in SCHEMES}
    positive = sum(gap > 0 for gap in gaps.values())
    status = share(positive, len(gaps))
    return status, "; ".join(f"{scheme}: {gap:+.2f}" for scheme, gap in gaps.items()), float(np.mean([*gaps.values()]))


def random_outliers(table: pd.DataFrame) -> Decision | None:
    """Far more outliers at random, in each reading of "per filter" and every scheme."""
    shares = outliers(table, "vgg16")
    if shares.empty or TRAINED not in set(shares.weights):
        return None
    total = shares.assign(share=shares.low + shares.high).pivot(index="weights", columns="reading", values="share")
    gaps = total.drop(index=TRAINED) - total.loc[TRAINED]
    positive = int((gaps > 0).to_numpy().sum())
    status = share(positive, gaps.size)
    spans = [f"{reading}: {gap.min():+.1%} to {gap.max():+.1%}" for reading, gap in gaps.items()]
    return status, f"random minus trained, over the schemes: {'; '.join(spans)}", float(gaps.to_numpy().mean())


def low_outliers(table: pd.DataFrame) -> Decision | None:
    """At random, all outliers are on the low side."""
    shares = outliers(table, "vgg16")
    shares = shares[(shares.weights != TRAINED) & (shares.reading == "slices")] if len(shares) else shares
    if shares.empty:
        return None
    low = (shares.low / (shares.low + shares.high)).min()
    return ("holds" if low == 1 else "partly" if low >= 0.9 else "fails"), f"at least {low:.2%} of them", low


def linear(table: pd.DataFrame) -> Decision | None:
    """At random, the drop grows linearly with the layer."""
    fits = {scheme: line_or_fan(network(table, "vgg16", scheme), scheme) for scheme in SCHEMES if len(table)}
    if not fits:
        return None
    better = [p < 0.05 for p, _, _ in fits.values()]
    not_worse = [line >= law for _, line, law in fits.values()]
    status: Status = "holds" if all(better) and all(not_worse) else "partly" if all(better) else "fails"
    note = "; ".join(f"{name}: R² {line:.3f} by layer, {law:.3f} by log fan" for name, (_, line, law) in fits.items())
    return status, note, float(np.mean([line - law for _, line, law in fits.values()]))


CHECKS: Mapping[str, Callable[[pd.DataFrame], Decision | None]] = {
    "vgg_early": early,
    "vgg_settles": settles,
    "random": random_early,
    "outliers": random_outliers,
    "outliers_low": low_outliers,
    "linear": linear,
}


class Flow(Test):
    """A decision on what the boxes of the networks' layers show."""

    kind: Literal["flow"]
    check: Literal["vgg_early", "vgg_settles", "random", "outliers", "outliers_low", "linear"]

    def decide(self, store: Store) -> Verdict:
        table = deciding(FLOW, store)
        decided = CHECKS[self.check](table)
        if decided is None:
            return not_tested(FLOW.name, TRAINED)
        status, note, size = decided
        deviation = "; ".join(sorted(set(table[table.architecture == "vgg16"].deviation) - {""}))
        return Verdict(status, note, size, scope=f"paper ({deviation})" if deviation else "paper")


class FlowConsistent(Test):
    """The layers that the paper's conclusion names preserve more than the others, in three networks by two measures.

    Holds with six of six, fails with none.
    """

    kind: Literal["flow_consistent"]
    where: dict[str, Any] = Field(default_factory=dict)

    def decide(self, store: Store) -> Verdict:
        table, unets = deciding(FLOW, store), unguided(store, "coco", self.where)
        trained = {name: network(table, name, TRAINED) for name in ("vgg16", "resnet50")}
        if unets.empty or any(rows.empty for rows in trained.values()):
            return not_tested(*((FLOW.name, TRAINED) if len(unets) else (UNET.name, "coco")))
        gaps = {}
        for name, layers in (("vgg16", "[1,2]"), ("resnet50", "pre-skip")):
            rows, named = by_layer(trained[name]), placement(name, layers)
            gaps[name] = [standing_out(rows[measure], named) for measure in ("log|c11|", "circular log-det")]
        rows = unet_tables.flow_table(store, unets, "after").set_index("number")
        labels = [unet_tables.LABELS[measure] for measure in ("tap 1 1", "exact")]
        gaps["U-Net"] = [standing_out(rows[label], unet_tables.FULL_SIZE) for label in labels]
        positive = sum(gap > 0 for pair in gaps.values() for gap in pair)
        note = "; ".join(
            f"{name}: {first:+.2f} by log|c11|, {exact:+.2f} exactly" for name, (first, exact) in gaps.items()
        )
        deviations = sorted({deviation for rows in trained.values() for deviation in rows.deviation} - {""})
        covered = ", ".join([scope(UNET, unets, ("layers",), self.where), *deviations])
        return Verdict(share(positive, 6), note, float(np.mean([first for first, _ in gaps.values()])), scope=covered)
