"""Figures of the chapters on curved memories."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from replication.experiments.memory.experiment import RECALLED
from replication.memory import law, meanfield, replica
from replication.pages import plots


def one_pattern(shown: Mapping[float, Sequence[float]], size: int = 200) -> Figure:
    """The exact law of the overlap, a panel for each curvature and a line for each β."""
    figure, panels = plt.subplots(1, len(shown), figsize=(7.2, 2.8), sharey=True)
    for axes, (curvature, betas) in zip(panels, shown.items(), strict=True):
        for beta, colour in zip(betas, plots.ramp(len(betas)), strict=True):
            m, p = law.one_pattern(law.Law(curvature, beta), size)
            axes.plot(m, p / p.max(), color=colour, label=f"β = {beta:g}")
        axes.set(title=f"γ' = {curvature:g}", xlabel="overlap m")
        axes.legend(fontsize=8, loc="lower center")
    panels[0].set_ylabel("probability, relative to the largest")
    return figure


def mean_field(curvatures: Sequence[float]) -> Figure:
    """m against β in the mean field of one pattern; dashed where it is not stable."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    m = np.tanh(np.linspace(1e-3, 8, 6000))
    for curvature, colour in zip(curvatures, plots.ramp(len(curvatures)), strict=True):
        beta, node = meanfield.beta_at(m, curvature), meanfield.saddle_node(curvature)[0]
        axes.plot(beta[m > node], m[m > node], color=colour, label=f"γ' = {curvature:g}")
        axes.plot(beta[m <= node], m[m <= node], color=colour, linestyle="--", linewidth=1)
    axes.plot([0.5, 1], [0, 0], color="black")
    axes.plot([1, 1.6], [0, 0], color="black", linestyle="--", linewidth=1)
    axes.set(xlim=(0.5, 1.6), xlabel="β", ylabel="overlap m")
    axes.legend(fontsize=9)
    return figure


# What is gained, the claims against Hopfield at the same temperature and against its control, and which way is better.
_GAINS = [
    ("load that is held", "memory-more-patterns", "memory-more-patterns-cold", 1),
    ("overlap with pictures", "memory-more-patterns-pictures", "memory-more-patterns-pictures-cold", 1),
    ("overlap with the pattern", "memory-right-pattern", "memory-right-pattern-matched", 1),
    ("overlap missing in the cue", "memory-basin", "memory-basin-cold", -1),
    ("calm of the other patterns", "memory-interference", "memory-interference-matched", -1),
]


def gains(rows: pd.DataFrame) -> Figure:
    """Effects of negative curvature with their intervals, two for each measure; grey is the margin of each."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    known = rows.set_index("id")
    for place, (_, *claims, sign) in enumerate(_GAINS):
        margin = known.margin[claims[0]]
        axes.fill_betweenx([place - 0.35, place + 0.35], -margin, margin, color="#8884", linewidth=0)
        for claim, shift, colour, name in zip(
            claims, (-0.15, 0.15), plots.PALETTE[1::-1], ("at the same temperature", "against the control"), strict=True
        ):
            row = known.loc[claim]
            ends = sorted((sign * row.low, sign * row.high))
            axes.plot(ends, [place + shift] * 2, color=colour)
            label = None if place else name
            axes.plot(sign * row.effect, place + shift, "o", color=colour, markersize=5, label=label)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(_GAINS)), [name for name, *_ in _GAINS])
    axes.invert_yaxis()
    axes.set(xlabel="curved better than Hopfield by")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _colours(curvatures: Sequence[float]) -> dict[float, object]:
    """Ink without curvature, a scale from the most negative to the most positive for the others."""
    others = sorted(curvature for curvature in curvatures if curvature)
    return {0.0: "black", **dict(zip(others, plots.ramp(len(others)), strict=True))}


def recall(rest: pd.DataFrame) -> Figure:
    """Overlap against load, a colour for each curvature: dots of simulations, lines of the replica equations."""
    figure, axes = plt.subplots(figsize=(7.2, 3.4))
    curvatures = sorted(rest.curvature.unique())
    for curvature, colour in _colours(curvatures).items():
        rows = rest[rest.curvature == curvature]
        axes.errorbar(rows.load, rows.overlap, rows.error, color=colour, fmt="o", markersize=4, linewidth=1)
        exact = law.Law(curvature, 1 / rest.temperature.iloc[0])
        most = replica.capacity(exact)
        states = [replica.retrieval(float(load), exact) for load in most * np.linspace(0, 1, 15) ** 0.7]
        axes.plot([s.load for s in states if s], [s.m for s in states if s], color=colour, label=f"γ' = {curvature:g}")
    axes.set(xlabel="load α = M/N", ylabel="overlap with the stored pattern", ylim=(0, 1.02))
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def phases(points: pd.DataFrame, curvatures: Sequence[float]) -> Figure:
    """Where recall ends, by the nominal temperature and by that which spins feel: lines by replicas, dots simulated."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.4), sharey=True)
    nominal = np.linspace(0.06, 1.15, 14)
    for curvature, colour in _colours(curvatures).items():
        ends = [(t, replica.end(law.Law(curvature, 1 / t))) for t in nominal]
        known = [(t, state) for t, state in ends if state]
        panels[0].plot([s.load for _, s in known], [t for t, _ in known], color=colour, label=f"γ' = {curvature:g}")
        panels[1].plot([s.load for _, s in known], [1 / s.beta_effective for _, s in known], color=colour)
        rows = points[(points.curvature == curvature) & points.temperature.isin(_plain(points, curvature))]
        panels[0].plot(rows.capacity, rows.temperature, "o", color=colour, markersize=4)
        panels[1].plot(rows.capacity, rows.felt, "o", color=colour, markersize=4)
    panels[0].set(xlabel="load α", ylabel="temperature", title="nominal, T", ylim=(0, 1.2), xlim=(0, 0.165))
    panels[1].set(xlabel="load α", title="felt by the spins, T'", xlim=(0, 0.165))
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _plain(points: pd.DataFrame, curvature: float) -> list[float]:
    """The temperatures at which a state is counted as recall up to its end: warm ones fade before they are lost."""
    ends = {t: replica.end(law.Law(curvature, 1 / t)) for t in points.temperature.unique() if t}
    return [t for t, state in ends.items() if state and state.m > RECALLED + 0.05]


def cooled(points: pd.DataFrame) -> Figure:
    """Capacity against the temperature felt: Hopfield networks at several temperatures, curved ones at one."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    flat = points[points.curvature == 0].sort_values("temperature")
    flat = flat.assign(felt=flat.felt.fillna(0.0))
    axes.errorbar(flat.felt, flat.capacity, flat.error, fmt="o-", color="black", label="Hopfield, colder and colder")
    for curvature, colour in _colours(sorted(points.curvature.unique())).items():
        row = points[(points.curvature == curvature) & (points.temperature == flat.temperature.max())]
        if curvature and len(row):
            name = f"γ' = {curvature:g}, T = {row.temperature.iloc[0]:g}"
            axes.errorbar(row.felt, row.capacity, row.error, fmt="s", color=colour, label=name)
    axes.set(xlabel="temperature that the spins feel, T'", ylabel="load at which recall ends")
    axes.legend(fontsize=8)
    return figure


def sizes(points: pd.DataFrame) -> Figure:
    """Capacity against 1/N, a line for each curvature; at 0 what replicas say."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    for curvature, colour in _colours(sorted(points.curvature.unique())).items():
        rows = points[points.curvature == curvature].sort_values("size")
        axes.errorbar(1 / rows["size"], rows.capacity, rows.error, fmt="o", color=colour, label=f"γ' = {curvature:g}")
        slope, start = np.polyfit(1 / rows["size"], rows.capacity, 1)
        ends = np.array([0, (1 / rows["size"]).max()])
        axes.plot(ends, start + slope * ends, color=colour, linewidth=1)
        axes.plot(
            0, replica.capacity(law.Law(curvature, 1 / rows.temperature.iloc[0])), "D", color=colour, clip_on=False
        )
    axes.set(xlabel="1/N", ylabel="load at which recall ends", xlim=(0, None))
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def basins(rest: pd.DataFrame) -> Figure:
    """Overlap at the end against that of the cue, a line for each network."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    colours = _colours(sorted(rest.curvature.unique()))
    for (curvature, temperature), rows in rest.groupby(["curvature", "temperature"]):
        if temperature == 0 and curvature:
            continue  # the same as Hopfield's, spin by spin
        name = "Hopfield" if curvature == 0 else f"γ' = {curvature:g}"
        axes.errorbar(rows.cue, rows.overlap, rows.error, color=colours[curvature], marker="o", markersize=4,
                      linestyle="-" if temperature else "--", label=f"{name}, T = {temperature:g}")  # fmt: skip
    axes.axhline(RECALLED, color="black", linewidth=0.6)
    axes.set(xlabel="overlap of the cue", ylabel="overlap after 200 sweeps")
    axes.legend(fontsize=8)
    return figure


def speed(courses: pd.DataFrame) -> Figure:
    """Overlap against time, the median over seeds; dashed a Hopfield network at the final temperature."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    for curvature, colour in _colours(sorted(courses.curvature.unique())).items():
        rows = courses[(courses.curvature == curvature) & (courses.epoch > 0)].groupby("epoch")
        axes.plot(rows.overlap.median(), color=colour, label=f"γ' = {curvature:g}")
        if curvature:
            axes.plot(rows.twin_overlap.median(), color=colour, linestyle="--", linewidth=1)
    axes.axhline(0.5, color="black", linewidth=0.6)
    axes.set(xscale="log", xlabel="sweeps", ylabel="overlap")
    axes.legend(fontsize=9)
    return figure


def loops(courses: Mapping[str, tuple[pd.DataFrame, str]]) -> Figure:
    """What is measured against β, cooling and warming, the mean over seeds, a panel for each kind of network."""
    figure, panels = plt.subplots(1, len(courses), figsize=(7.2, 3.2), squeeze=False)
    for axes, (title, (rows, value)) in zip(panels[0], courses.items(), strict=True):
        for curvature, colour in _colours(sorted(rows.curvature.unique())).items():
            mean = rows[(rows.curvature == curvature) & (rows.epoch > 0)].groupby("epoch")[["beta", value]].mean()
            half = len(mean) // 2
            axes.plot(mean.beta[:half], mean[value][:half], color=colour, label=f"γ' = {curvature:g}")
            axes.plot(mean.beta[half:], mean[value][half:], color=colour, linestyle="--")
        axes.set(title=title, xlabel="β")
        axes.legend(fontsize=7)
    panels[0, 0].set_ylabel("|m|, S")
    return figure


def pictures(rest: pd.DataFrame) -> Figure:
    """Overlap with a stored picture against how many are stored, a line for each network; dashed at T = 0."""
    figure, axes = plt.subplots(figsize=(7.2, 3.2))
    colours = _colours(sorted(rest.curvature.unique()))
    for (curvature, temperature), rows in rest.groupby(["curvature", "temperature"]):
        name = f"γ' = {curvature:g}" if temperature else "Hopfield, T = 0"
        stored, line = (rows.load * rows["size"]).round(), "o-" if temperature else "o--"
        axes.errorbar(stored, rows.overlap, rows.error, fmt=line, markersize=3, color=colours[curvature], label=name)
    axes.set(xlabel="pictures stored", ylabel="overlap with the picture")
    figure.legend(loc="outside lower center", ncols=5)
    return figure
