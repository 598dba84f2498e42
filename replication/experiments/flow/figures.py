"""Figures of the chapter on entropy flow: Figs 1 and 8 as the paper draws them, and what they leave out."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.experiments.flow.experiment import TRAINED
from replication.experiments.flow.tables import MEASURES, by_layer, means, network
from replication.networks.vgg_resnet import SCHEMES
from replication.pages import plots

NAMES = {TRAINED: "trained on ImageNet", **{scheme: f"random, {scheme}" for scheme in SCHEMES}}


def boxes(networks: dict[str, pd.DataFrame]) -> Figure:
    """log|c11| per filter by layer as in Figs 1 and 8, a panel for each network; thin lines reach to the
    farthest outliers."""
    lines, columns = (len(networks) + 1) // 2, min(len(networks), 2)
    size = (7.2, 2.5 * lines if columns == 2 else 3.2)
    figure, panels = plt.subplots(lines, columns, figsize=size, sharey=True, squeeze=False)
    for axes, (title, rows) in zip(panels.flat, networks.items(), strict=False):
        _boxes(axes, rows[(rows.measure == "tap 1 1") & (rows.reading == "slices")].sort_values("layer"))
        axes.set(title=title)
    for axes in panels[:, 0]:
        axes.set_ylabel("log|c₁₁| per filter (nats)")
    for axes in panels[-1]:
        axes.set_xlabel("convolution")
    return figure


def _boxes(axes: Axes, layers: pd.DataFrame) -> None:
    """Boxes from the stored quartiles, the mean as a dot."""
    names = {"median": "med", "q1": "q1", "q3": "q3", "low": "whislo", "high": "whishi", "mean": "mean"}
    stats = layers[list(names)].rename(columns=names).assign(fliers=[[]] * len(layers)).to_dict("records")
    dot = {"marker": "o", "markerfacecolor": "black", "markeredgecolor": "black", "markersize": 3}
    line = {"color": plots.PALETTE[0]}
    axes.bxp(stats, positions=layers.layer, showmeans=True, meanprops=dot, boxprops=line, medianprops=line, widths=0.6)
    for whisker, farthest in ((layers.low, layers.lowest), (layers.high, layers.highest)):
        axes.vlines(layers.layer, whisker, farthest, color=plots.PALETTE[1], linewidth=0.6)
    ticks = layers.layer[:: 1 if len(layers) <= 16 else 4]
    axes.set_xticks(ticks, [str(number) for number in ticks])


def taps(table: pd.DataFrame, architecture: str, sources: list[str]) -> Figure:
    """The mean of log|c| by layer for each of the nine taps of 3 x 3 kernels, c11 in black."""
    figure, panels = plt.subplots(1, len(sources), figsize=(7.2, 3.0), sharey=True, squeeze=False)
    for axes, source in zip(panels[0], sources, strict=True):
        rows = network(table, architecture, source)
        rows = rows[rows.side == 3]
        for tap in sorted(rows.measure[rows.measure.str.startswith("tap")].unique(), reverse=True):
            mean, first, centre = means(rows, tap), tap == "tap 1 1", tap == "tap 2 2"
            axes.plot(
                range(1, len(mean) + 1), mean, marker="o", markersize=3 if first else 2,
                color="black" if first else plots.PALETTE[1] if centre else "#888888",
                linewidth=1.8 if first else 1.0, zorder=3 if first else 2,
                label="c₁₁, the first" if first else "the centre" if centre else "others" if tap == "tap 3 3" else None,
            )  # fmt: skip
        axes.set(title=NAMES[source], xlabel="convolution")
    panels[0, 0].set_ylabel("mean of log|tap| (nats)")
    panels[0, 0].legend()
    return figure


def measures(table: pd.DataFrame, architecture: str) -> Figure:
    """The three measures by layer, trained and untrained, one panel each."""
    figure, panels = plt.subplots(1, 3, figsize=(7.2, 3.0))
    for axes, label in zip(panels, MEASURES, strict=True):
        for colour, source in zip(["#000000", *plots.PALETTE], NAMES, strict=False):
            rows = network(table, architecture, source)
            if len(rows):
                layers = by_layer(rows)
                axes.plot(
                    layers.layer, layers[label], marker="o", markersize=2.5, linewidth=1.2, color=colour,
                    label=NAMES[source],
                )  # fmt: skip
        axes.set(title=label, xlabel="convolution")
    panels[0].set_ylabel("mean over filters (nats)")
    panels[2].set_ylabel("per pixel and channel (nats)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=2)
    return figure
