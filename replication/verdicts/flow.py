"""Tests on entropy flow: what networks trained on ImageNet and untrained ones show (Section 5)."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import AfterValidator
from scipy import optimize, stats

from replication.experiments.flow.experiment import FLOW, TRAINED
from replication.experiments.flow.tables import (
    by_layer,
    line_or_fan,
    means,
    network,
    outlier_share,
    outliers,
    standing_out,
)
from replication.experiments.imagenette.experiment import placement
from replication.experiments.unet import tables as unet_tables
from replication.experiments.unet.experiment import UNET
from replication.networks.vgg_resnet import SCHEMES
from replication.sweep.store import Array, Store
from replication.verdicts.records import deciding, known, not_tested, scope
from replication.verdicts.unet import of_plan, still_to_be_run, unguided
from replication.verdicts.verdict import Status, Test, Verdict, share

# Status, note and effect; None: not run.
Decision = tuple[Status, str, float]


def drawn(table: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    """The untrained VGG-16 by its scheme of initialisation; None where one is not there."""
    found = {scheme: network(table, "vgg16", scheme) for scheme in SCHEMES if len(table)}
    return found if found and not any(rows.empty for rows in found.values()) else None


def trained_and_drawn(table: pd.DataFrame) -> dict[str, pd.DataFrame] | None:
    """The trained VGG-16 as well, first."""
    trained, untrained = network(table, "vgg16", TRAINED), drawn(table)
    return {TRAINED: trained, **untrained} if len(trained) and untrained else None


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
    found = trained_and_drawn(table)
    if not found:
        return None
    mean = {source: means(rows) for source, rows in found.items()}
    relative = {source: each.iloc[0] - each.mean() for source, each in mean.items()}
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
    note = f"at least {low:.2%} of them lie on the low side"
    return ("holds" if low == 1 else "partly" if low >= 0.9 else "fails"), note, low


def linear(table: pd.DataFrame) -> Decision | None:
    """At random, the drop grows linearly with the layer."""
    found = drawn(table)
    if not found:
        return None
    fits = {scheme: line_or_fan(rows, scheme) for scheme, rows in found.items()}
    better = [p < 0.05 for p, _, _ in fits.values()]
    not_worse = [line >= law for _, line, law in fits.values()]
    status: Status = "undecided" if not all(better) else "holds" if all(not_worse) else "partly"
    note = "; ".join(f"{name}: R² {line:.3f} by layer, {law:.3f} by log fan" for name, (_, line, law) in fits.items())
    return status, note, float(np.mean([line - law for _, line, law in fits.values()]))


def trained_outliers_low(table: pd.DataFrame) -> Decision | None:
    """The trained network's outliers are larger drops than the norm, all of them."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    low, high = outlier_share(rows, "slices")
    kept = low / (low + high)
    note = f"{kept:.1%} of them lie on the low side"
    return ("holds" if high == 0 else "partly" if kept >= 0.9 else "fails"), note, kept


def outlier_trend(rows: pd.DataFrame, shares: bool = True) -> tuple[float, float]:
    """Spearman's correlation of a layer's outliers with its place, as a share of its filters or in numbers.

    And its one-sided p-value for a rise.
    """
    slices = rows[(rows.measure == "tap 1 1") & (rows.reading == "slices")].sort_values("layer")
    found = slices.outliers_low + slices.outliers_high
    trend = stats.spearmanr(slices.layer, found / slices["count"] if shares else found, alternative="greater")
    return float(trend.statistic), float(trend.pvalue)


def trained_outliers_rarer(table: pd.DataFrame) -> Decision | None:
    """Trained: the later the layer, the smaller its share of outliers."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    trend, p = outlier_trend(rows)
    status: Status = "holds" if p > 0.95 else "fails" if p < 0.05 else "undecided"
    side, shown = ("rises", p) if trend > 0 else ("falls", 1 - p)
    return status, f"rank correlation with the layer {trend:+.2f}; that it {side}: p = {shown:.2g}", trend


def random_outliers_later(table: pd.DataFrame) -> Decision | None:
    """At random, outliers are especially common in the later layers, in every scheme: in numbers and as a share."""
    networks = drawn(table)
    if not networks:
        return None
    trends = {
        name: {scheme: outlier_trend(rows, shares) for scheme, rows in networks.items()}
        for name, shares in (("in numbers", False), ("as a share", True))
    }
    rising = [all(p < 0.05 for _, p in found.values()) for found in trends.values()]
    falling = [any(p > 0.95 for _, p in found.values()) for found in trends.values()]
    status: Status = "holds" if all(rising) else "partly" if any(rising) else "fails" if all(falling) else "undecided"
    note = "; ".join(
        f"{name} " + ", ".join(f"{trend:+.2f} ({scheme}, p = {p:.2g})" for scheme, (trend, p) in found.items())
        for name, found in trends.items()
    )
    return (
        status,
        f"rank correlation with the layer {note}",
        float(np.mean([trend for trend, _ in trends["as a share"].values()])),
    )


def uniform(table: pd.DataFrame) -> Decision | None:
    """A trained network's filters differ less: the interquartile range of log|c11|, layer by layer, against random."""
    found = trained_and_drawn(table)
    if not found:
        return None
    width = {}
    for source, rows in found.items():
        slices = rows[(rows.measure == "tap 1 1") & (rows.reading == "slices")].sort_values("layer")
        width[source] = (slices.q3 - slices.q1).to_numpy()
    narrower = {scheme: int((width[TRAINED] < width[scheme]).sum()) for scheme in SCHEMES}
    layers = len(width[TRAINED])
    shown, refuted = (
        sum(stats.binomtest(n, layers, alternative=side).pvalue < 0.05 for n in narrower.values())
        for side in ("greater", "less")
    )
    status: Status = share(shown, 3) if shown or refuted == 3 else "undecided"
    note = "; ".join(f"{scheme}: narrower in {n} of {layers} layers" for scheme, n in narrower.items())
    return status, note, float(np.mean([np.mean(width[TRAINED] - width[scheme]) for scheme in SCHEMES]))


def exponential(table: pd.DataFrame) -> Decision | None:
    """Trained: the means fall exponentially towards a level, rather than in a line or with the layer's logarithm."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    mean = means(rows).to_numpy()
    layer = np.arange(1.0, len(mean) + 1)

    def curve(x: Array, level: float, height: float, rate: float) -> Array:
        return np.asarray(level + height * np.exp(-rate * x))

    fitted, _ = optimize.curve_fit(curve, layer, mean, (mean[-1], mean[0] - mean[-1], 0.5), maxfev=10_000)
    sums = {"exponential": float(((mean - curve(layer, *fitted)) ** 2).sum())}
    for name, x in (("line", layer), ("logarithm", np.log(layer))):
        sums[name] = float(((mean - np.polyval(np.polyfit(x, mean, 1), x)) ** 2).sum())
    n, more = len(mean), {"exponential": 3, "line": 2, "logarithm": 2}
    aic = {name: n * np.log(total / n) + 2 * more[name] for name, total in sums.items()}
    best = min(aic, key=lambda name: aic[name])
    note = "Akaike's criterion: " + ", ".join(f"{name} {value:.1f}" for name, value in aic.items())
    return (
        ("holds" if best == "exponential" else "fails"),
        note,
        aic["exponential"] - min(aic["line"], aic["logarithm"]),
    )


CHECKS: Mapping[str, Callable[[pd.DataFrame], Decision | None]] = {
    "vgg_early": early,
    "vgg_settles": settles,
    "random": random_early,
    "outliers": random_outliers,
    "outliers_low": low_outliers,
    "linear": linear,
    "trained_outliers_low": trained_outliers_low,
    "trained_outliers_rarer": trained_outliers_rarer,
    "random_outliers_later": random_outliers_later,
    "uniform": uniform,
    "exponential": exponential,
}


class Flow(Test):
    """A decision on what the boxes of the networks' layers show."""

    kind: Literal["flow"]
    check: Annotated[str, AfterValidator(lambda name: known("check", list(CHECKS), name))]

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

    That is what the networks *learned* only as far as it is not there before training: from the gap of a trained
    network that of the untrained one is taken (of VGG-16 and ResNet-50 the mean over three schemes of initialisation),
    over the same layers: of the trained ResNet-50 some are missing. Holds with six of six, fails with none. The U-Nets
    are those of the runs.
    """

    kind: Literal["flow_consistent"]
    runs: tuple[str, ...]
    where: dict[str, Any]

    def decide(self, store: Store) -> Verdict:
        table = deciding(FLOW, store)
        unets, waiting = of_plan(self.runs, unguided(store, "coco", self.where), "coco")
        if waiting:
            return still_to_be_run(waiting, self.runs, store)
        trained = {name: network(table, name, TRAINED) for name in ("vgg16", "resnet50")}
        untrained = {name: [network(table, name, scheme) for scheme in SCHEMES] for name in trained}
        if any(rows.empty for name in trained for rows in (trained[name], *untrained[name])):
            return not_tested(FLOW.name, TRAINED)
        gaps = {}
        for name, layers in (("vgg16", "[1,2]"), ("resnet50", "pre-skip")):
            after, named = by_layer(trained[name]), placement(name, layers)
            before = [by_layer(rows).loc[after.index] for rows in untrained[name]]
            gaps[name] = [
                standing_out(after[measure], named)
                - float(np.mean([standing_out(rows[measure], named) for rows in before]))
                for measure in ("log|c11|", "circular log-det")
            ]
        flows = {when: unet_tables.flow_table(store, unets, when).set_index("number") for when in ("before", "after")}
        labels = [unet_tables.LABELS[measure] for measure in ("tap 1 1", "exact")]
        gaps["U-Net"] = [
            standing_out(flows["after"][label], unet_tables.FULL_SIZE)
            - standing_out(flows["before"][label], unet_tables.FULL_SIZE)
            for label in labels
        ]
        positive = sum(gap > 0 for pair in gaps.values() for gap in pair)
        note = "; ".join(
            f"{name}: {first:+.2f} by log|c11|, {exact:+.2f} exactly" for name, (first, exact) in gaps.items()
        )
        deviations = sorted({deviation for rows in trained.values() for deviation in rows.deviation} - {""})
        covered = ", ".join([scope(UNET, unets, ("layers",), self.where), *deviations])
        return Verdict(share(positive, 6), note, float(np.mean([first for first, _ in gaps.values()])), scope=covered)
