"""Figures of what the determinant does within autoencoders."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from replication.experiments.anatomy.experiment import ANATOMY
from replication.pages import plots
from replication.sweep.store import Store


def by_epoch(store: Store, table: pd.DataFrame, latent: int, measures: dict[str, str]) -> Figure:
    """Some measures by epoch, a panel each, a line for each λ: means over seeds."""
    joined = store.curves(ANATOMY.name).merge(table[table.latent == latent][["trial", "coefficient"]], on="trial")
    colours = plots.coefficient_colours(sorted(joined.coefficient.unique()))
    figure, panels = plt.subplots(1, len(measures), figsize=(7.2, 3.0), squeeze=False)
    for axes, (measure, title) in zip(panels[0], measures.items(), strict=True):
        for c, group in joined.groupby("coefficient"):
            axes.plot(group.groupby("epoch")[measure].mean(), color=colours[c], label=plots.coefficient_label(c))
        axes.set(xlabel="epoch", title=title)
        if joined[measure].max() > 20 * max(joined[measure].median(), 1e-9):
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncol=5)
    return figure


def by_latent(table: pd.DataFrame, measures: dict[str, str], level: float | None = None) -> Figure:
    """Measures at the last epoch against the latent dimension; small points are seeds, lines their means."""
    colours = plots.coefficient_colours(sorted(table.coefficient.unique()))
    figure, panels = plt.subplots(1, len(measures), figsize=(7.2, 3.2), squeeze=False)
    for axes, (measure, title) in zip(panels[0], measures.items(), strict=True):
        apart = 4.0  # pixels of an image, so that the λ of one dimension do not hide each other
        for place, (c, group) in enumerate(table.groupby("coefficient")):
            shift = apart * (place - len(colours) / 2)
            mean = group.groupby("latent")[measure].mean()
            axes.plot(mean.index + shift, mean, "_-", color=colours[c], label=plots.coefficient_label(c), markersize=9)
            axes.plot(group.latent + shift, group[measure], ".", color=colours[c], markersize=5)
        axes.set_xticks(sorted(table.latent.unique()))
        axes.set_xlim(table.latent.min() - 25, table.latent.max() + 25)
        if level is not None:
            axes.axhline(level, color="#777777", linewidth=0.8)
        axes.set(xlabel="latent dimension d", title=title)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncol=5)
    return figure


def _pictured(store: Store, table: pd.DataFrame, latent: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The arrays of the record that keeps some at this dimension, and its trials by λ; empty without one."""
    for file in table[table.latent == latent].file.unique():
        if arrays := store.artefacts(file, ANATOMY.name):
            trials = table[table.file == file].set_index("trial").loc[arrays["trials"]].reset_index()
            return arrays, trials.sort_values("coefficient")
    return {}, pd.DataFrame()


def _square(pixels: np.ndarray) -> np.ndarray:
    """A picture from its row of pixels: grey, or colour where there are three times as many."""
    side = round((len(pixels) / 3) ** 0.5) if len(pixels) % 3 == 0 and len(pixels) > 784 else round(len(pixels) ** 0.5)
    return pixels.reshape(side, side, 3) if len(pixels) == 3 * side * side else pixels.reshape(side, side)


def worst(store: Store, table: pd.DataFrame, latent: int) -> Figure | None:
    """The test images on which the most guided network errs most, and what each network makes of them."""
    arrays, trials = _pictured(store, table, latent)
    if not arrays:
        return None
    rows = {"image": arrays["worst"]} | {
        plots.coefficient_label(row.coefficient): arrays["returned"][row.Index] for row in trials.itertuples()
    }
    figure, panels = plt.subplots(len(rows), 1, figsize=(6.0, 0.78 * len(rows)))
    for axes, (name, images) in zip(panels, rows.items(), strict=True):
        axes.imshow(np.concatenate([_square(image) for image in images], axis=1), cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def error_maps(store: Store, table: pd.DataFrame, latent: int) -> Figure | None:
    """Mean squared error by pixel over the test images, a map for each λ on one scale; the square part framed."""
    arrays, trials = _pictured(store, table, latent)
    if not arrays:
        return None
    figure, panels = plt.subplots(1, len(trials), figsize=(7.2, 2.0))
    maps = [arrays["pixel_error"][row.Index] for row in trials.itertuples()]
    side = round(len(maps[0]) ** 0.5)
    top = max(float(each.max()) for each in maps)
    for axes, error, c in zip(panels, maps, trials.coefficient, strict=True):
        axes.imshow(error.reshape(side, side), cmap="gray", vmin=0, vmax=top)
        axes.axhline(latent / side - 0.5, color=plots.PALETTE[1], linewidth=1)
        axes.set_title(plots.coefficient_label(c), fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def stuck(curves: pd.DataFrame) -> Figure:
    """Test error by epoch at one dimension: a colour for each seed, λ = 0 drawn through, the largest λ dotted."""
    figure, axes = plt.subplots(figsize=(7.2, 3.0))
    strongest = curves.coefficient.max()
    for colour, (seed, group) in zip(plots.PALETTE * 3, curves.groupby("seed"), strict=False):
        for c, style in ((0.0, "-"), (strongest, ":")):
            line = group[group.coefficient == c]
            axes.plot(line.epoch, line.test_mse, style, color=colour, label=f"seed {seed}" if c == 0 else None)
    axes.set(xlabel="epoch", ylabel="test MSE", yscale="log")
    axes.legend(ncol=5, fontsize=8)
    return figure
