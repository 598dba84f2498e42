"""Effects against effects: the paper's number, ours with its interval, and the margin, a row for each claim."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.pages.plots import PALETTE
from replication.verdicts.sizes import Label

_COLOURS: dict[Label, str] = {
    "opposite": PALETTE[1], "equivalent to none": PALETTE[4], "smaller than printed": PALETTE[3],
    "consistent with the printed": PALETTE[2], "larger than printed": PALETTE[0],
}  # fmt: skip


def unit(row: pd.Series) -> str:
    """What an effect is a difference or a ratio of, as an axis says it."""
    statistic, _, measure = row.unit.partition(" of ")
    for part, name in (("epoch", "epochs"), ("accuracy", "accuracy"), ("iou", "IoU"), ("mse", "MSE")):
        if part in measure:
            return f"{name}, guided over unguided" if statistic == "ratio" else f"{name}, guided minus unguided"
    raise ValueError(f"no axis is known for {row.unit!r}")


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The claims that have a printed effect and one of ours."""
    kept = rows[rows.printed.notna() & np.isfinite(rows.effect)]
    return kept.assign(axis=[unit(row) for _, row in kept.iterrows()])


def figure(rows: pd.DataFrame) -> Figure:
    """One panel for each unit. A hollow point is of seeds that explore; an interval without an end is a bound."""
    rows = shown(rows)
    axes_of = list(dict.fromkeys(rows.axis))
    heights = [(rows.axis == name).sum() + 0.9 for name in axes_of]
    drawn, panels = plt.subplots(
        len(axes_of), 1, figsize=(7.2, 0.42 * sum(heights) + 0.5), height_ratios=heights, squeeze=False
    )
    for axes, name in zip(panels[:, 0], axes_of, strict=True):
        _panel(axes, rows[rows.axis == name], name)
    return drawn


def _panel(axes: Axes, rows: pd.DataFrame, name: str) -> None:
    ratio = name.endswith("over unguided")
    none = 1.0 if ratio else 0.0
    if ratio:
        axes.set_xscale("log")
    known = pd.concat([rows.effect, rows.printed, rows.low.replace(0.0, np.nan), rows.high])
    known = known[np.isfinite(known)]
    ends = _limits(known.min(), known.max(), none, ratio)
    for place, row in enumerate(rows.itertuples()):
        band = (none / (1 + row.margin), none * (1 + row.margin)) if ratio else (-row.margin, row.margin)
        axes.barh(place, band[1] - band[0], left=band[0], height=0.8, color="#9994", zorder=0)
        colour = _COLOURS.get(row.label, "#777777")
        low, high = max(row.low, ends[0]), min(row.high, ends[1])
        axes.plot([low, high], [place, place], color=colour, linewidth=2)
        for bound, end, marker in ((row.low, ends[0], "<"), (row.high, ends[1], ">")):
            if (bound < ends[0]) or (bound > ends[1]):
                axes.plot(end, place, marker, color=colour, markersize=5, clip_on=False)
        filled = "white" if row.explored else colour
        axes.plot(row.effect, place, "o", color=colour, markerfacecolor=filled, markersize=6)
        axes.plot(row.printed, place, "D", color="black", markersize=5, markerfacecolor="none", zorder=3)
    axes.axvline(none, color="#777777", linewidth=0.8)
    axes.set(xlim=ends, ylim=(len(rows) - 0.5, -0.5), xlabel=name)
    said = ["explored" if row.explored else row.label or "waits" for row in rows.itertuples()]
    names = [f"{name}\n{label}" for name, label in zip(rows.id, said, strict=True)]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    if ratio:
        ticks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if ends[0] <= t <= ends[1]]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.minorticks_off()


def _limits(least: float, most: float, none: float, ratio: bool) -> tuple[float, float]:
    """The ends of an axis that shows every number and no effect, with some room."""
    least, most = min(least, none), max(most, none)
    if ratio:
        room = (most / least) ** 0.06
        return least / room, most * room
    room = (most - least) * 0.06
    return least - room, most + room
