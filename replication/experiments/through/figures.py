"""Figures of the chapter on whole networks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from replication.pages import plots

COLOURS = dict(zip(("linear", "activation", "normalisation", "block", "gates"), plots.PALETTE, strict=False))


def along(rows: pd.DataFrame, networks: list[str]) -> Figure:
    """Entropy along the layers of a network, per dimension, relative to the input of its longest chain.

    Means over seeds, before training as a thin line; dots say what each layer is.
    """
    figure, panels = plt.subplots(1, len(networks), figsize=(7.2, 3.4), squeeze=False)
    for axes, network in zip(panels[0], networks, strict=True):
        found = rows[(rows.network == network) & (rows.chain > 0)]
        found = found[found.chain == found.chain.mode()[0]]
        found = found.assign(each=found.change / found.inputs)
        for trained, width in ((False, 0.8), (True, 1.8)):
            mean = found[found.trained == trained].groupby("layer").agg(each=("each", "mean"), part=("part", "first"))
            height = mean.each.cumsum()
            axes.plot(mean.index, height, color="black", linewidth=width)
            if trained:
                for part, colour in COLOURS.items():
                    chosen = mean.part == part
                    axes.plot(mean.index[chosen], height[chosen], "o", color=colour, markersize=5, linestyle="none")
        axes.set(title=network, xlabel="layer")
    panels[0, 0].set_ylabel("entropy less the input's\n(nats per dimension)")
    seen = rows[rows.network.isin(networks) & (rows.chain > 0)].part
    dots = [
        plt.Line2D([], [], color=c, marker="o", linestyle="none", label=p)
        for p, c in COLOURS.items()
        if (seen == p).any()
    ]
    lines = [
        plt.Line2D([], [], color="black", linewidth=w, label=name) for name, w in (("trained", 1.8), ("untrained", 0.8))
    ]
    figure.legend(handles=[*lines, *dots], loc="outside lower center", ncols=5)
    return figure


def shares(table: pd.DataFrame) -> Figure:
    """Each part's share of the absolute changes, untrained and trained, as bars."""
    figure, axes = plt.subplots(figsize=(7.2, 3.0))
    labels = [f"{network}, {'trained' if trained else 'untrained'}" for network, trained in table.index]
    left = np.zeros(len(table))
    for part in [name for name in COLOURS if name in table]:
        axes.barh(labels, table[part], left=left, color=COLOURS[part], label=part)
        left += table[part].to_numpy()
    axes.axvline(0.5, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.set(xlabel="share of the sum of absolute changes", xlim=(0, 1))
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def stages(by_network: dict[str, pd.DataFrame]) -> Figure:
    """The paper's number of a stage against its whole change, a colour for each seed."""
    figure, panels = plt.subplots(1, len(by_network), figsize=(7.2, 3.2), squeeze=False)
    for axes, (network, table) in zip(panels[0], by_network.items(), strict=True):
        for (seed, rows), colour in zip(table.groupby("seed"), plots.ramp(table.seed.nunique()), strict=True):
            axes.plot(rows.paper, rows.change, "o", color=colour, markersize=5, label=f"seed {seed}")
        axes.set(title=network, xlabel="the paper's number (nats)", ylabel="change of the whole stage (nats)")
    return figure


def branches(table: pd.DataFrame, accuracy: pd.Series) -> Figure:
    """The size of a branch's change against the accuracy that is lost without it, in points."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    lost = 100 * (table.seed.map(accuracy) - table["without"])
    for name, chosen, marker in (
        ("attention", table.stage % 2 == 1, "o"),
        ("multilayer perceptron", table.stage % 2 == 0, "s"),
    ):
        axes.plot(table.change.abs()[chosen], lost[chosen], marker, color=plots.PALETTE[marker == "s"], label=name)
    axes.set(xlabel="absolute change of entropy by the branch (nats)", ylabel="accuracy lost without it (points)")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def guided(table: pd.DataFrame) -> Figure:
    """Accuracy of guided LSTMs less that of the unguided one of the same seed, in points; the bar is the mean."""
    figure, axes = plt.subplots(figsize=(7.2, 2.6))
    free = table[table.coefficient == 0].set_index("seed").late_accuracy
    chosen = table[table.coefficient > 0]
    for place, (_, rows) in enumerate(chosen.groupby("coefficient")):
        points = 100 * (rows.late_accuracy.to_numpy() - free[rows.seed].to_numpy())
        axes.plot(points, np.full(len(points), place), "o", color=plots.PALETTE[0], alpha=0.6)
        axes.plot([points.mean()] * 2, [place - 0.3, place + 0.3], color=plots.PALETTE[1])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.axvspan(-0.2, 0.2, color="#8883", linewidth=0)
    axes.set_yticks(range(chosen.coefficient.nunique()), [f"λ = {c:g}" for c in sorted(chosen.coefficient.unique())])
    axes.set(xlabel="test accuracy, guided minus unguided (points)", ylim=(-0.6, chosen.coefficient.nunique() - 0.4))
    return figure
