"""Figures of the autoencoder chapter, each from a table of outcomes or from stored curves."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from entropy_lib import plots
from entropy_lib.evidence import paper
from entropy_lib.evidence.statistics import agreement, effect, sign_table
from entropy_lib.experiments.autoencoder import EXPERIMENT
from entropy_lib.sweep.store import Store


def origin(outcomes: pd.DataFrame) -> str:
    """The records behind a figure in one line: how many trials, of what, at which scope, when and where."""
    days = sorted({started[:10] for started in outcomes.started})
    seen = {name: ", ".join(map(str, outcomes[name].unique())) for name in ("data", "scope", "device", "source")}
    made = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"records: {len(outcomes)} trials on {seen['data']}, scope {seen['scope']}, "
        f"made {made} on {seen['device']}, source {seen['source']}"
    )


def by_latent(outcomes: pd.DataFrame) -> Figure:
    """Figs 3(a)/5(a) and 4(a)/6(a): test MSE and stopping epoch against latent dimension, 95% t-intervals."""
    colours = plots.coefficient_colours(sorted(outcomes.coefficient.unique()))
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.6))
    for axes, measure, label in zip(
        panels, ("test_mse", "stopping_epoch"), ("test MSE at the stopping epoch", "stopping epoch"), strict=True
    ):
        for shift, (coefficient, group) in enumerate(outcomes.groupby("coefficient")):
            points = [(latent, effect(cell[measure].to_numpy())) for latent, cell in group.groupby("latent")]
            at = np.array([latent for latent, _ in points]) * (1 + 0.01 * (shift - 3))
            mean = np.array([e.mean for _, e in points])
            spread = np.array([[e.mean - e.low, e.high - e.mean] for _, e in points]).T
            spread = np.where(np.isfinite(spread), spread, 0)
            axes.errorbar(
                at, mean, spread, color=colours[coefficient], capsize=2, marker="o", markersize=3, linewidth=1.2,
                label=plots.coefficient_label(coefficient),
            )  # fmt: skip
        axes.set(xlabel="latent dimension d", ylabel=label)
    panels[0].set_yscale("log")
    panels[1].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


def grids(outcomes: pd.DataFrame, latent: int, measure: str, reference: tuple[str, str]) -> Figure:
    """A t-test grid three times: the paper's, ours at its α, ours with Holm's correction."""
    at = outcomes[outcomes.latent == latent]
    samples = {c: group[measure].to_numpy() for c, group in at.groupby("coefficient")}
    caption_latent, theirs = paper.sign_grid(*reference)
    figure, panels = plt.subplots(1, 3, figsize=(7.2, 2.9))
    plots.sign_grid(panels[0], theirs, f"paper, Fig. {paper.FIGURES[reference]} (d = {caption_latent})")
    for axes, name, corrected in ((panels[1], f"ours, d = {latent}", False), (panels[2], "Holm-corrected", True)):
        ours = sign_table(samples, corrected=corrected)
        plots.sign_grid(axes, ours, f"{name}: {agreement(ours, theirs):.0%} agree", theirs)
    return figure


def curves(store: Store, outcomes: pd.DataFrame, latent: int) -> Figure:
    """Mean validation MSE (left; a dot where the average run is stopped) and log|det W| (right) by epoch."""
    colours = plots.coefficient_colours(sorted(outcomes.coefficient.unique()))
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.6))
    at = outcomes[outcomes.latent == latent]
    stops = at.groupby("coefficient").stopping_epoch.mean().round().astype(int)
    joined = store.curves(EXPERIMENT).merge(at[["trial", "coefficient"]], on="trial")
    for c, group in joined.groupby("coefficient"):
        mean = group.groupby("epoch")[["validation_mse", "log_abs_det"]].mean()
        panels[0].plot(mean.validation_mse, color=colours[c], label=plots.coefficient_label(c))
        panels[0].plot(stops[c], mean.validation_mse[stops[c]], "o", color=colours[c], markersize=5)
        panels[1].plot(mean.log_abs_det, color=colours[c])
    panels[0].set(xlabel="epoch", ylabel="validation MSE", yscale="log", title=f"d = {latent}")
    panels[1].set(xlabel="epoch", ylabel="log|det W| (nats)", title="what the loss raises")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


def gallery(store: Store, outcomes: pd.DataFrame, latent: int, originals: np.ndarray) -> Figure:
    """Reconstructions of ten test images by seed 0 at the horizon: original, λ = 0, three guided networks."""
    at = outcomes[(outcomes.latent == latent) & (outcomes.seed == 0)].set_index("coefficient")
    shown = [c for c in (0.0, 1e-3, 0.1, 10.0) if c in at.index]
    arrays = store.artefacts(at.file.iloc[0], EXPERIMENT)
    rows = [originals] + [arrays["reconstructions"][-1, list(arrays["trials"]).index(at.trial[c])] for c in shown]
    names = ["original"] + [plots.coefficient_label(c) for c in shown]
    side = int(np.sqrt(originals.shape[-1]))
    figure, panels = plt.subplots(len(rows), 10, figsize=(7.2, 0.75 * len(rows)))
    for line, images, name in zip(panels, rows, names, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image.reshape(side, side), cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure
