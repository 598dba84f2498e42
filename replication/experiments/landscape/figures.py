"""Figures of the chapters on entropy landscapes."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from replication.experiments.landscape.config import EVEN, TEMPERING
from replication.experiments.landscape.equilibrium import FINE, VALUES
from replication.experiments.landscape.experiment import ARRIVED
from replication.experiments.landscape.tables import HEIGHTS, LOGS, Density
from replication.experiments.landscape.tasks import TASKS
from replication.landscape.oracles import Found
from replication.pages import plots
from replication.statistics import effect


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


# --- The experiment -----------------------------------------------------------------------------------------

# What is drawn: its name, the way and the start; and the measure of what equilibrium is ahead by.
WAYS = {
    "Adam, Glorot's start": ("Adam", "Glorot", "over_adam_glorot"),
    "SGD, Glorot's start": ("SGD", "Glorot", "over_sgd_glorot"),
    "Adam, PyTorch's start": ("Adam", "PyTorch", "over_adam_pytorch"),
    "Adam, started in the box": ("Adam", "box", "over_adam_box"),
    "Adam, started and held there": ("Adam", "box clamped", "over_adam_box_clamped"),
}


def down(panels: Mapping[str, pd.DataFrame], value: str = "test accuracy") -> Figure:
    """The value against ln L in panels with a title each: equilibrium in black, optimisers in colours.

    Means over draws of the data, where three in four have been; dotted where fewer than three runs in four have.
    """
    alike = len({table.data.iloc[0] for table in panels.values()}) == 1
    figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 3.0), sharey=alike, squeeze=False)
    for panel, (title, table) in zip(axes[0], panels.items(), strict=True):
        low, high = TASKS[table.data.iloc[0]].window
        rows = table[table.log_loss.between(low - 1.5, high + 0.6)]
        of_bins = rows.groupby(["way", "start", "log_loss"])
        mean = of_bins[["value", "arrived"]].mean()
        # A mean over few of the draws would be that of other draws than its neighbour's.
        mean = mean.where(of_bins.value.count() >= ARRIVED * rows.seed.nunique()).reset_index()
        ways = {"equilibrium": (TEMPERING, EVEN), **{name: key[:2] for name, key in WAYS.items()}}
        for (name, (way, start)), colour in zip(ways.items(), ("black", *plots.PALETTE), strict=False):
            line = mean[(mean.way == way) & (mean.start == start)]
            there = line.value.where((line.arrived >= ARRIVED) | (way == TEMPERING))
            panel.plot(line.log_loss, line.value, color=colour, linewidth=1, linestyle=":")
            panel.plot(line.log_loss, there, color=colour, label=name if panel is axes[0][0] else None)
        panel.axvspan(low, high, facecolor="#888", alpha=0.15, linewidth=0)
        panel.set(title=title, xlabel="ln L")
        panel.invert_xaxis()
    axes[0][0].set_ylabel(value)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def advantage(outcomes: pd.DataFrame) -> Figure:
    """What equilibrium is ahead of each baseline by, against the width."""
    measures = {name: measure for name, (*_, measure) in WAYS.items()}
    return _intervals(outcomes, "width", measures, "width of the hidden layers", "equilibrium ahead by")


def volumes(outcomes: pd.DataFrame) -> Figure:
    """ln of the errors of three baselines over those in equilibrium, against the number of points to train on."""
    errors = {name: "errors" + measure.removeprefix("over") for name, (*_, measure) in WAYS.items()}
    measures = {name: measure for name, measure in errors.items() if outcomes[measure].notna().any()}
    return _intervals(outcomes, "examples", measures, "points to train on", "ln (errors / in equilibrium)")


def _intervals(outcomes: pd.DataFrame, by: str, measures: Mapping[str, str], across: str, up: str) -> Figure:
    """Means of each measure by a field, with intervals of 95% over draws of the data."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    values = sorted(outcomes[by].unique())
    for k, ((name, measure), colour) in enumerate(zip(measures.items(), plots.PALETTE, strict=False)):
        for place, value in enumerate(values):
            known = outcomes[outcomes[by] == value][measure].dropna().to_numpy()
            if len(known) > 1:
                found, x = effect(known), place + 0.13 * (k - (len(measures) - 1) / 2)
                axes.plot([x, x], [found.low, found.high], color=colour, linewidth=1.5)
                axes.plot(x, found.mean, "o", color=colour, markersize=5, label=None if place else name)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.set(xlabel=across, ylabel=up)
    figure.legend(loc="outside lower center", ncols=2)
    return figure


_LEVELS = range(-120, -19, 20)  # nats


def landscape(found: Density, rows: pd.DataFrame) -> Figure:
    """S of loss and value as a map with lines of equal S, the mean value of each loss, and optimisers' means on it."""
    figure, axes = plt.subplots(figsize=(7.2, 3.8))
    shown = np.ma.masked_invalid(found.both.T)
    axes.imshow(shown, extent=(FINE[0], FINE[-1], VALUES[0], VALUES[-1]), origin="lower", aspect="auto", cmap="viridis")
    lines = axes.contour(LOGS, HEIGHTS, shown, levels=_LEVELS, colors="white", linewidths=0.7, linestyles="solid")
    at = [int(np.argmin(np.abs(found.both.max(1) - level))) for level in _LEVELS]  # beside the line of means
    axes.clabel(lines, fontsize=7, fmt="%d", inline_spacing=1, manual=[(LOGS[k], found.values[k] + 0.07) for k in at])
    axes.plot(LOGS, found.values, color="black", label="mean of each loss")
    axes.plot(LOGS, found.likeliest, color="black", linestyle=":", label="likeliest")
    for (name, (way, start, _)), colour in list(zip(WAYS.items(), plots.PALETTE, strict=False))[::4]:
        line = rows[(rows.way == way) & (rows.start == start)]
        axes.plot(line.log_loss, line.value, "o", color=colour, markersize=4, markeredgecolor="white", label=name)
    axes.set(xlim=(0.8, -3.5), ylim=(0.3, 1), xlabel="ln L", ylabel="test accuracy")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def slope(found: Mapping[int, Density]) -> Figure:
    """S against ln L and its slope, a line for each width."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.0))
    for (width, each), colour in zip(found.items(), plots.ramp(len(found)), strict=True):
        seen = np.isfinite(each.entropy)
        left.plot(LOGS[seen], each.entropy[seen], color=colour, label=f"width {width}")
        right.plot(LOGS, 2 * each.slope, color=colour)
    for axes in (left, right):
        axes.set(xlabel="ln L", xlim=(0.5, -3.5))
    left.set_ylabel("S (nats)")
    right.set(ylabel="2 dS/d ln L", ylim=(0, None))
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def published(table: pd.DataFrame) -> Figure:
    """The authors' landscape less their SGD on MNIST, by ln L, a line for each network."""
    figure, axes = plt.subplots(figsize=(7.2, 3.0))
    for (channels, rows), colour in zip(table.groupby("channels"), plots.PALETTE, strict=False):
        axes.plot(rows.low + 0.5, rows.landscape - rows.sgd, "o-", color=colour, label=f"{channels} channels")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel="ln L", ylabel="landscape ahead of SGD by")
    axes.invert_xaxis()
    figure.legend(loc="outside lower center", ncols=3)
    return figure
