"""Figures of the chapter on the density of states."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from replication.landscape.oracles import Found
from replication.pages import plots


def oracles(found: Mapping[str, Found]) -> Figure:
    """S against the loss, exact and found, a panel for each system."""
    figure, panels = plt.subplots(1, len(found), figsize=(7.2, 3.0))
    for axes, (name, each) in zip(panels, found.items(), strict=True):
        known, seen = np.isfinite(each.exact), np.isfinite(each.entropy)
        axes.plot(each.loss[known], each.exact[known], color="black", linewidth=1)
        axes.plot(each.loss[seen], each.entropy[seen], "o", color=plots.PALETTE[1], markersize=3)
        axes.set(title=name, xlabel="loss L", xscale="log" if each.dimension else "linear")
    panels[0].set_ylabel("entropy S (nats)")
    return figure


def slopes(table: pd.DataFrame) -> Figure:
    """The ball's slope over d/2 by each way, against the dimension."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    dimensions = list(table.dimension.unique())
    for k, (way, rows) in enumerate(table.groupby("way", sort=False)):
        places = np.array([dimensions.index(d) for d in rows.dimension]) + 0.12 * (k - 1)
        axes.plot(places, rows.ratio, "os^"[k], color=plots.PALETTE[k], label=way)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(dimensions)), [str(d) for d in dimensions])
    axes.set(yscale="log", xlabel="dimension d", ylabel="slope of S over d/2")
    axes.set_yticks([1, 3, 10], ["1", "3", "10"])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=1)
    return figure
