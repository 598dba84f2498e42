"""Figures of what the determinant does within autoencoders."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.experiments.anatomy.experiment import ANATOMY
from replication.experiments.anatomy.tables import kept_pictures
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


def by_latent(table: pd.DataFrame, measures: dict[str, str], levels: dict[str, float]) -> Figure:
    """Measures at the last epoch against the latent dimension; small points are seeds, lines their means.

    A measure's level, where it has one, is a thin line.
    """
    colours = plots.coefficient_colours(sorted(table.coefficient.unique()))
    rows = -(-len(measures) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(7.2, 0.5 + 2.5 * rows), squeeze=False, sharex=True)
    for axes in panels.flat[len(measures) :]:
        axes.set_visible(False)
    for axes, (measure, title) in zip(panels.flat, measures.items(), strict=False):
        apart = 4.0  # pixels of an image, so that the λ of one dimension do not hide each other
        for place, (c, group) in enumerate(table.groupby("coefficient")):
            shift = apart * (place - len(colours) / 2)
            mean = group.groupby("latent")[measure].mean()
            axes.plot(mean.index + shift, mean, "_-", color=colours[c], label=plots.coefficient_label(c), markersize=9)
            axes.plot(group.latent + shift, group[measure], ".", color=colours[c], markersize=5)
        axes.set_xticks(sorted(table.latent.unique()))
        axes.set_xlim(table.latent.min() - 25, table.latent.max() + 25)
        if measure in levels:
            axes.axhline(levels[measure], color="#777777", linewidth=0.8)
        axes.set_title(title)
    for axes in panels[-1]:
        axes.set_xlabel("latent dimension d")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncol=5)
    return figure


def _picture(numbers: np.ndarray) -> np.ndarray:
    """A picture from its row of numbers: grey `(l, l)`, or `(l, l, 3)` of three planes, red, green and blue."""
    planes = 1 if round(len(numbers) ** 0.5) ** 2 == len(numbers) else 3
    side = round((len(numbers) / planes) ** 0.5)
    return np.moveaxis(numbers.reshape(planes, side, side), 0, -1).squeeze()


def worst(store: Store, table: pd.DataFrame, latent: int) -> Figure | None:
    """The test images on which the most guided network errs most, and what each network makes of them."""
    arrays, trials = kept_pictures(store, table, latent)
    if not arrays:
        return None
    rows = {"image": arrays["worst"]} | {
        plots.coefficient_label(row.coefficient): arrays["returned"][row.Index] for row in trials.itertuples()
    }
    figure, panels = plt.subplots(len(rows), 1, figsize=(6.0, 0.78 * len(rows)))
    for axes, (name, images) in zip(panels, rows.items(), strict=True):
        axes.imshow(np.concatenate([_picture(image) for image in images], axis=1), cmap="gray", vmin=0, vmax=255)
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def error_maps(store: Store, table: pd.DataFrame, latent: int) -> Figure | None:
    """Mean squared error by pixel over the test images, a map for each λ on one scale; the square part framed."""
    arrays, trials = kept_pictures(store, table, latent)
    if not arrays:
        return None
    figure, panels = plt.subplots(1, len(trials), figsize=(7.2, 2.0))
    maps = [_map(arrays["pixel_error"][row.Index]) for row in trials.itertuples()]
    top = max(float(each.max()) for each in maps)
    for axes, error, c in zip(panels, maps, trials.coefficient, strict=True):
        axes.imshow(error, cmap="gray", vmin=0, vmax=top)
        _frame(axes, error, latent)
        axes.set_title(plots.coefficient_label(c), fontsize=9)
        axes.set(xticks=[], yticks=[])
    return figure


def _map(errors: np.ndarray) -> np.ndarray:
    """Errors by place in the picture, in colour the mean over the three planes."""
    picture = _picture(errors)
    return picture.mean(-1) if picture.ndim == 3 else picture


def _frame(axes: Axes, picture: np.ndarray, latent: int) -> None:
    """A line below the square part, the first `latent` numbers of the picture (in colour of its red plane)."""
    axes.axhline(latent / len(picture) - 0.5, color=plots.PALETTE[1], linewidth=1)


def every_latent(store: Store, table: pd.DataFrame) -> Figure | None:
    """A column for each dimension: the test image on which the most guided network errs most, what the unguided and the
    most guided one make of it, and both networks' error by pixel over all images, on one scale; the square part framed.
    """
    kept = {latent: kept_pictures(store, table, latent) for latent in sorted(table.latent.unique())}
    kept = {latent: found for latent, found in kept.items() if found[0]}
    if not kept:
        return None
    top = max(float(_map(errors).max()) for arrays, _ in kept.values() for errors in arrays["pixel_error"])
    figure, panels = plt.subplots(5, len(kept), figsize=(7.2, 5.4), squeeze=False)
    for column, (latent, (arrays, trials)) in zip(panels.T, kept.items(), strict=True):
        column[0].set_title(f"d = {latent}", fontsize=9)
        for axes, (name, picture) in zip(column, _column(arrays, trials).items(), strict=True):
            axes.imshow(picture, cmap="gray", vmin=0, vmax=top if name.startswith("errors") else 255)
            _frame(axes, picture, latent)
            axes.set(xticks=[], yticks=[])
            if axes in panels[:, 0]:
                axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def _column(arrays: dict[str, np.ndarray], trials: pd.DataFrame) -> dict[str, np.ndarray]:
    """What `every_latent` shows of one dimension, from top to bottom."""
    ends = {plots.coefficient_label(row.coefficient): row.Index for row in trials.iloc[[0, -1]].itertuples()}
    return {
        "image": _picture(arrays["worst"][0]),
        **{name: _picture(arrays["returned"][place][0]) for name, place in ends.items()},
        **{f"errors,\n{name}": _map(arrays["pixel_error"][place]) for name, place in ends.items()},
    }


def by_seed(curves: pd.DataFrame, measures: dict[str, tuple[str, str]]) -> Figure:
    """Measures by epoch at one dimension, each with its title and the scale of its axis: a colour for each seed, λ = 0
    drawn through, the largest λ dotted."""
    figure, panels = plt.subplots(1, len(measures), figsize=(7.2, 3.0), squeeze=False)
    strongest, seeds = curves.coefficient.max(), curves.seed.nunique()
    colours = plots.PALETTE[:seeds] if seeds <= len(plots.PALETTE) else plots.ramp(seeds)
    for axes, (measure, (title, scale)) in zip(panels[0], measures.items(), strict=True):
        for colour, (seed, group) in zip(colours, curves.groupby("seed"), strict=True):
            for c, style in ((0.0, "-"), (strongest, ":")):
                line = group[group.coefficient == c]
                axes.plot(line.epoch, line[measure], style, color=colour, label=f"seed {seed}" if c == 0 else None)
        axes.set(xlabel="epoch", title=title, yscale=scale)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncol=5, fontsize=8)
    return figure
