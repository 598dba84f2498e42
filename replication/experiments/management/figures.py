"""Figures of the techniques."""

from collections.abc import Mapping
from itertools import cycle

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from replication.experiments.management.experiment import ENTROPIES
from replication.experiments.management.tables import GAINS
from replication.pages import plots

ENTROPY_NAMES: Mapping[str, str] = dict(zip(
    ENTROPIES, ("labels", "predictions", "shifted", "no class", "mask", "hidden", "inputs", "map"), strict=True
))  # fmt: skip
GAIN_NAMES: Mapping[str, str] = dict(zip(GAINS, ("accuracy", "calibration error", "accuracy, shifted"), strict=True))


def arrows(table: pd.DataFrame) -> Figure:
    """Techniques by entropies: the measured arrow with its size in nats, the source's beside it in grey."""
    techniques = list(dict.fromkeys(table.technique))
    figure, axes = plt.subplots(figsize=(7.2, 0.42 * len(techniques) + 0.9))
    for row in table.itertuples():
        x, y = ENTROPIES.index(row.measure), techniques.index(row.technique)
        if row.said:
            axes.plot(x - 0.34, y, marker="^" if row.said > 0 else "v", color="#888", markersize=7)
        if row.moved:
            colour = plots.PALETTE[0] if row.moved > 0 else plots.PALETTE[1]
            axes.plot(x - 0.12, y, marker="^" if row.moved > 0 else "v", color=colour, markersize=7)
            axes.annotate(f"{row.change:+.2g}", (x + 0.02, y), va="center", fontsize=8)
        elif row.low < 0 < row.high:
            axes.plot(x - 0.12, y, marker=".", color="#888")
    axes.set_xticks(range(len(ENTROPIES)), list(ENTROPY_NAMES.values()))
    axes.set_yticks(range(len(techniques)), techniques)
    axes.set(xlim=(-0.6, len(ENTROPIES) - 0.4), ylim=(len(techniques) - 0.4, -0.6))
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    return figure


def against(table: pd.DataFrame, entropy: str) -> Figure:
    """Each gain against the change of one entropy, a point for each technique at a strength."""
    wide = table.pivot(index=["technique", "strength"], columns="measure", values="change").reset_index()
    figure, axes = plt.subplots(1, len(GAINS), figsize=(7.2, 3.2))
    markers = "osD^v<>PX*dph"
    for panel, gain in zip(axes, GAINS, strict=True):
        for (name, group), marker, colour in zip(
            wide.groupby("technique", sort=False), cycle(markers), cycle(plots.PALETTE), strict=False
        ):
            label = name if panel is axes[0] else None
            panel.plot(group[entropy], group[gain], marker, color=colour, markersize=5, label=label)
        panel.axhline(0, color="#888", linewidth=0.8)
        panel.axvline(0, color="#888", linewidth=0.8)
        panel.set(xlabel=f"change of H({ENTROPY_NAMES[entropy]})", title=GAIN_NAMES[gain])
    figure.legend(loc="outside lower center", ncols=4)
    return figure
