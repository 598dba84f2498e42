"""Figures of the techniques."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.experiments.management.experiment import ENTROPIES
from replication.experiments.management.tables import GAINS
from replication.experiments.management.techniques import TECHNIQUES
from replication.pages import plots

ENTROPY_NAMES: Mapping[str, str] = dict(zip(
    ENTROPIES, ("labels", "predictions", "shifted", "no class", "mask", "hidden", "inputs", "map"), strict=True
))  # fmt: skip
GAIN_NAMES: Mapping[str, str] = dict(zip(GAINS, ("accuracy", "calibration error", "accuracy, shifted"), strict=True))


TECHNIQUE_NAMES: Mapping[str, str] = {
    "entropy": "entropy regularisation", "regulator": "target entropy", "smoothing": "label smoothing",
    "L1": "L1, shrinking", "log-det": "log-det, the paper's",
}  # fmt: skip


def named(technique: str) -> str:
    """What a reader calls a technique."""
    return TECHNIQUE_NAMES.get(technique, technique)


def arrows(table: pd.DataFrame) -> Figure:
    """Techniques by entropies: the measured arrow with its size in nats, the source's beside it in grey."""
    techniques = [name for name in TECHNIQUES if name in set(table.technique)]
    halves = ENTROPIES[:4], ENTROPIES[4:]
    figure, axes = plt.subplots(1, 2, figsize=(7.2, 0.4 * len(techniques) + 0.8), sharey=True)
    for panel, names in zip(axes, halves, strict=True):
        for row in table[table.measure.isin(names)].itertuples():
            _arrow(panel, names.index(row.measure), techniques.index(row.technique), row)
        panel.set_xticks(range(len(names)), [ENTROPY_NAMES[name] for name in names])
        panel.set(xlim=(-0.6, len(names) - 0.4), ylim=(len(techniques) - 0.4, -0.6))
        panel.tick_params(length=0)
        panel.tick_params(axis="x", labelsize="small")
        panel.xaxis.tick_top()
    axes[0].set_yticks(range(len(techniques)), [named(name) for name in techniques])
    return figure


def _arrow(panel: Axes, x: int, y: int, row: Any) -> None:
    if row.said:
        panel.plot(x - 0.36, y, marker="^" if row.said > 0 else "v", color="#888", markersize=6)
    if row.moved:
        colour = plots.PALETTE[0] if row.moved > 0 else plots.PALETTE[1]
        panel.plot(x - 0.17, y, marker="^" if row.moved > 0 else "v", color=colour, markersize=6)
        panel.annotate(_short(row.change), (x - 0.06, y), va="center", fontsize=7)
    elif row.p < 1:
        panel.plot(x - 0.17, y, marker=".", color="#888")


def _short(change: float) -> str:
    """Two digits, or whole nats, with no zero before the point."""
    if np.isinf(change):
        return "−∞"
    text = f"{change:+.0f}" if abs(change) >= 10 else f"{float(f'{change:.2g}'):+}"
    return text.replace("0.", ".", 1).replace("-", "−")


def against(table: pd.DataFrame, entropy: str) -> Figure:
    """Each gain against the change of one entropy, a point for each technique at a strength."""
    wide = table.pivot(index=["technique", "strength"], columns="measure", values="change").reset_index()
    figure, axes = plt.subplots(1, len(GAINS), figsize=(7.2, 3.2))
    markers = "osD^v<>PX*dph"
    for panel, gain in zip(axes, GAINS, strict=True):
        for (name, group), marker, colour in zip(
            wide.groupby("technique", sort=False), cycle(markers), cycle(plots.PALETTE), strict=False
        ):
            label = named(name) if panel is axes[0] else None
            panel.plot(group[entropy], group[gain], marker, color=colour, markersize=5, label=label)
        panel.axhline(0, color="#888", linewidth=0.8)
        panel.axvline(0, color="#888", linewidth=0.8)
        panel.set_xscale("symlog", linthresh=0.01)
        panel.set_xticks([0, 0.01, 0.1, 1], ["0", ".01", ".1", "1"])
        panel.set(xlabel=f"change of H({ENTROPY_NAMES[entropy]})", title=GAIN_NAMES[gain])
        panel.set_xlim(right=2 * wide[entropy].max())
    figure.legend(loc="outside lower center", ncols=3)
    return figure
