"""Figures of the autoencoder chapter, each from a table of outcomes or from stored curves."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from replication import paper
from replication.data.registry import load
from replication.experiments.autoencoder.experiment import AUTOENCODER, pictured
from replication.pages import plots
from replication.statistics import agreement, effect, sign_table
from replication.sweep.stopping import EarlyStopping
from replication.sweep.store import Store

# From here on the curves of different λ lie on top of each other: they are shown as one.
_STRONG = 0.01
_OPENS = 0.1  # the λ at which a reader begins


@dataclass(frozen=True)
class _Bundle:
    """One λ, or all strong ones."""

    label: str
    coefficients: list[float]
    colour: object


def _bundles(coefficients: Iterable[float]) -> list[_Bundle]:
    weak = sorted(c for c in coefficients if c < _STRONG)
    strong = sorted(c for c in coefficients if c >= _STRONG)
    colours = plots.coefficient_colours([*weak, *strong[:1]])
    bundles = [_Bundle(plots.coefficient_label(c), [c], colours[c]) for c in weak]
    if len(strong) > 1:
        bundles.append(_Bundle(f"λ from {strong[0]:g} to {strong[-1]:g}", strong, colours[strong[0]]))
    elif strong:
        bundles.append(_Bundle(plots.coefficient_label(strong[0]), strong, colours[strong[0]]))
    return bundles


def by_latent(outcomes: pd.DataFrame) -> Figure:
    """Figs 3(a)/5(a) and 4(a)/6(a): test MSE and stopping epoch against latent dimension, 95% t-intervals over seeds.

    Strong λ are one line, the mean over them, in a band from the least to the largest of their means. A triangle marks
    a mean to which runs belong that the horizon cut off: the stop would have come later.
    """
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.6))
    for axes, measure, label in zip(
        panels, ("test_mse", "stopping_epoch"), ("test MSE at the stopping epoch", "stopping epoch"), strict=True
    ):
        for shift, bundle in enumerate(_bundles(outcomes.coefficient.unique())):
            group = outcomes[outcomes.coefficient.isin(bundle.coefficients)]
            by_seed = group.groupby(["latent", "seed"])[measure].mean()
            points = [(latent, effect(cell.to_numpy())) for latent, cell in by_seed.groupby("latent")]
            at = np.array([latent for latent, _ in points]) * (1 + 0.01 * (shift - 2))
            mean = np.array([e.mean for _, e in points])
            spread = np.array([[e.mean - e.low, e.high - e.mean] for _, e in points]).T
            spread = np.where(np.isfinite(spread), spread, 0)
            axes.errorbar(
                at, mean, spread, color=bundle.colour, capsize=2, marker="o", markersize=3, linewidth=1.2,
                label=bundle.label,
            )  # fmt: skip
            each = group.groupby(["latent", "coefficient"])[measure].mean().unstack()
            axes.fill_between(at, each.min(axis=1), each.max(axis=1), color=bundle.colour, alpha=0.25, linewidth=0)
            cut = group.groupby("latent").censored.any().to_numpy(bool)
            axes.plot(at[cut], mean[cut], "^", color=bundle.colour, markersize=6, markerfacecolor="white")
        axes.set(xlabel="latent dimension d", ylabel=label)
    panels[0].set_yscale("log")
    panels[1].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


def grids(outcomes: pd.DataFrame, latent: int, measure: str, reference: tuple[str, str]) -> Figure:
    """A t-test grid three times: the paper's, ours at its α, ours with Holm's correction."""
    caption_latent, theirs = paper.sign_grid(*reference)
    figure, panels = plt.subplots(1, 3, figsize=(7.2, 2.9))
    plots.sign_grid(panels[0], theirs, f"paper, Fig. {paper.FIGURES[reference]} (d = {caption_latent})")
    for axes, name, corrected in ((panels[1], f"ours, d = {latent}", False), (panels[2], "Holm-corrected", True)):
        ours = signs(outcomes, latent, measure, corrected)
        plots.sign_grid(axes, ours, f"{name}: {agreement(ours, theirs):.0%} agree", theirs)
    return figure


def signs(outcomes: pd.DataFrame, latent: int, measure: str, corrected: bool = False) -> pd.DataFrame:
    """Our t-test grid at a dimension, signs of rows over columns."""
    at = outcomes[outcomes.latent == latent]
    return sign_table({c: group[measure].to_numpy() for c, group in at.groupby("coefficient")}, corrected=corrected)


def curves(store: Store, outcomes: pd.DataFrame, latent: int) -> Figure:
    """Mean validation MSE (left) and log|det W| (right) by epoch, strong λ as a band.

    A dot where the average run is stopped; a triangle at the end where the horizon cut runs off that had not stopped.
    """
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.6))
    at, means = _by_epoch(store, outcomes, latent)
    _errors(panels[0], at, means)
    _lines(panels[1], means, "log_abs_det")
    panels[0].set(title=f"d = {latent}")
    panels[1].set(xlabel="epoch", ylabel="log|det W| (nats)", title="what the loss raises")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


def stops(store: Store, outcomes: pd.DataFrame, latent: int) -> Figure:
    """The left half of `curves`, alone and labelled at its lines."""
    figure, axes = plt.subplots(figsize=(7.2, 2.5))
    at, means = _by_epoch(store, outcomes, latent)
    _errors(axes, at, means)
    last = means.index.get_level_values("epoch").max()
    for bundle in _bundles(at.coefficient.unique()):
        end = means.loc[bundle.coefficients].xs(last, level="epoch").validation_mse.mean()
        axes.annotate(bundle.label, (last, end), (6, 0), textcoords="offset points", va="center", color=bundle.colour)
    return figure


def _by_epoch(store: Store, outcomes: pd.DataFrame, latent: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The outcomes at one dimension, and the means of their curves by λ and epoch."""
    at = outcomes[outcomes.latent == latent]
    joined = store.curves(AUTOENCODER.name).merge(at[["trial", "coefficient"]], on="trial")
    return at, joined.groupby(["coefficient", "epoch"])[["validation_mse", "log_abs_det"]].mean()


def _lines(axes: Axes, means: pd.DataFrame, measure: str) -> None:
    for bundle in _bundles(means.index.unique("coefficient")):
        each = means.loc[bundle.coefficients, measure].unstack("coefficient")
        axes.plot(each.mean(axis=1), color=bundle.colour, label=bundle.label)
        axes.fill_between(each.index, each.min(axis=1), each.max(axis=1), color=bundle.colour, alpha=0.25, linewidth=0)


def _errors(axes: Axes, at: pd.DataFrame, means: pd.DataFrame) -> None:
    _lines(axes, means, "validation_mse")
    for bundle in _bundles(at.coefficient.unique()):
        runs = at[at.coefficient.isin(bundle.coefficients)]
        stop = round(runs.stopping_epoch.mean())
        error = means.loc[bundle.coefficients].xs(stop, level="epoch").validation_mse.mean()
        cut = bool(runs.censored.any())
        axes.plot(stop, error, "^" if cut else "o", color=bundle.colour, mfc="white" if cut else None, markersize=5)
    axes.set(xlabel="epoch", ylabel="validation MSE", yscale="log")


def explorable(store: Store, outcomes: pd.DataFrame, latent: int) -> dict:
    """What `curves` and `gallery` show, for a reader who picks λ: see `coefficients` in `live/figures.js`."""
    at = outcomes[outcomes.latent == latent]
    first = at[at.seed == 0].set_index("coefficient")
    joined = store.curves(AUTOENCODER.name).merge(at[["trial", "coefficient"]], on="trial")
    runs = []
    for c, group in joined[joined.epoch > 0].groupby("coefficient"):
        mean = group.groupby("epoch")[["validation_mse", "log_abs_det"]].mean()
        runs.append(
            {
                "label": plots.coefficient_label(c),
                "error": [float(f"{value:.4g}") for value in mean.validation_mse],
                "stop": round(at[at.coefficient == c].stopping_epoch.mean()),
                "late": bool(at[at.coefficient == c].censored.any()),
                "log_abs_det": round(float(mean.log_abs_det.iloc[-1]), 1),
                "picture": plots.strip([_picture(image) for image in _reconstructions(store, first.loc[c])]),
            }
        )
    originals = plots.strip([_picture(image) for image in pictured(store, outcomes)["originals"]])
    return {"title": f"validation MSE, d = {latent}", "originals": originals, "runs": runs}


def trainable(outcomes: pd.DataFrame) -> dict:
    """Tiny digits and how these trials were trained, for a reader who trains: see `live/train.js`.

    It opens at the smallest dimension at which guidance has doubled the error, or else where it has raised it most.
    """
    errors = outcomes.pivot_table(index="latent", columns="coefficient", values="test_mse")
    ratio = errors[_OPENS] / errors[0.0]
    levels, data = 16, load("digits")
    images = {
        name: {
            "text": base64.b64encode((data.flat(name) * levels).round().byte().numpy().tobytes()).decode(),
            "levels": levels,
            "pixels": data.flat(name).shape[1],
        }
        for name in ("train", "validation", "test")
    }
    opens = {"latent": min(ratio.index[ratio > 2], default=ratio.idxmax()), "coefficient": _OPENS}
    (settings,) = outcomes[["rate", "batch", "horizon"]].drop_duplicates().to_dict("records")
    return {
        "images": images, "latents": errors.index.tolist(), "coefficients": list(paper.COEFFICIENTS), "opens": opens,
        "patience": EarlyStopping().patience, **settings,
    }  # fmt: skip


def gallery(store: Store, outcomes: pd.DataFrame, latent: int, epoch: int | None = None) -> Figure:
    """Reconstructions of ten test images by seed 0: original, λ = 0, three guided networks.

    At one of the epochs that are kept (1, 5 and the horizon); at the horizon unless given.
    """
    at = outcomes[(outcomes.latent == latent) & (outcomes.seed == 0)].set_index("coefficient")
    shown = [c for c in (0.0, 1e-3, 0.1, 10.0) if c in at.index]
    rows = [pictured(store, outcomes)["originals"]] + [_reconstructions(store, at.loc[c], epoch) for c in shown]
    names = ["original"] + [plots.coefficient_label(c) for c in shown]
    figure, panels = plt.subplots(len(rows), 10, figsize=(7.2, 0.75 * len(rows)))
    for line, images, name in zip(panels, rows, names, strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(_picture(image) / 255, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def _reconstructions(store: Store, trial: pd.Series, epoch: int | None = None) -> np.ndarray:
    """`(10, pixels)` bytes of one trial."""
    arrays = store.artefacts(trial.file, AUTOENCODER.name)
    when = -1 if epoch is None else list(arrays["epochs"]).index(epoch)
    return arrays["reconstructions"][when, list(arrays["trials"]).index(trial.trial)]


def _picture(pixels: np.ndarray) -> np.ndarray:
    """A row of pixels as an image, in colour when there are three planes."""
    planes = 3 if len(pixels) % 3 == 0 else 1
    side = int(np.sqrt(len(pixels) / planes))
    image = np.asarray(pixels).reshape(planes, side, side).transpose(1, 2, 0)
    return image if planes == 3 else image[..., 0]


def time_to_quality(median: pd.DataFrame) -> Figure:
    """Median epochs to each test MSE, one panel for a latent dimension; a line ends where half of the runs do.

    So that lines which coincide run side by side, each λ is moved off the one before, up and to the left.
    """
    latents = sorted(median[median.epochs.notna()].latent.unique())
    colours = plots.coefficient_colours(sorted(median.coefficient.unique()))
    columns = min(4, len(latents))
    lines = -(-len(latents) // columns)
    figure, panels = plt.subplots(
        lines, columns, figsize=(7.2, 0.6 + 2.1 * lines), sharex=True, sharey=True, squeeze=False
    )
    for axes in panels.flat[len(latents) :]:
        axes.axis("off")
    beside = 0.9 / 72  # inches, each way
    for axes, latent in zip(panels.flat, latents, strict=False):
        for place, (c, line) in enumerate(median[median.latent == latent].groupby("coefficient")):
            line = line.sort_values("error", ascending=False)
            (drawn,) = axes.plot(
                line.error, line.epochs, marker="o", markersize=2, linewidth=1, color=colours[c],
                label=plots.coefficient_label(c), zorder=3 if c == 0 else 2,
            )  # fmt: skip
            moved = ScaledTranslation(-place * beside, place * beside, figure.dpi_scale_trans)
            drawn.set_transform(axes.transData + moved)  # once drawn: what is moved is not seen by the axes' limits
        axes.set(xscale="log", yscale="log", title=f"d = {latent}", xmargin=0.12, ymargin=0.1)
        axes.set_xticks([0.03, 0.01, 0.003], ["0.03", "0.01", "0.003"])
        axes.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
        axes.minorticks_off()
    panels[0, 0].invert_xaxis()
    for axes in panels.flat[max(len(latents) - columns, 0) : len(latents)]:  # the lowest of each column
        axes.set_xlabel("test MSE to reach")
        axes.tick_params(labelbottom=True)
    for axes in panels[:, 0]:
        axes.set_ylabel("epochs")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


def square_parts(deviation: np.ndarray, latents: tuple[int, ...]) -> Figure:
    """Which pixels the square part of each latent dimension reads, on the standard deviation of the pixels.

    The number is the share of the images' variance that lies in these pixels.
    """
    variance, side = deviation.astype(float) ** 2, int(np.sqrt(len(deviation)))
    figure, panels = plt.subplots(1, len(latents), figsize=(7.2, 1.5))
    for axes, d in zip(panels, latents, strict=True):
        axes.imshow(deviation.reshape(side, side), cmap="gray")
        read = np.zeros((side, side, 4))
        read.reshape(-1, 4)[:d] = (0.84, 0.37, 0.0, 0.6)
        axes.imshow(read)
        axes.set(xticks=[], yticks=[], title=f"d = {d}", xlabel=f"{variance[:d].sum() / variance.sum():.2g}")
    return figure


def determinant_growth(store: Store, outcomes: pd.DataFrame) -> Figure:
    """How log|det W| and the log-volume of the whole weight move from their start, per latent dimension."""
    latents, shown = sorted(outcomes.latent.unique()), [0.0, 1e-3, 10.0]
    colours = dict(zip(latents, plots.ramp(len(latents)), strict=True))
    joined = store.curves(AUTOENCODER.name).merge(outcomes[["trial", "coefficient", "latent"]], on="trial")
    figure, panels = plt.subplots(2, len(shown), figsize=(7.2, 4.6), sharex=True, sharey="row")
    for column, c in enumerate(shown):
        for latent, group in joined[joined.coefficient == c].groupby("latent"):
            mean = group.groupby("epoch")[["log_abs_det", "gram"]].mean()
            for axes, name in zip(panels[:, column], mean, strict=True):
                axes.plot((mean[name] - mean[name].iloc[0]) / latent, color=colours[latent], label=f"d = {latent}")
        panels[0, column].set(title=plots.coefficient_label(c))
        panels[1, column].set(xlabel="epoch")
    panels[0, 0].set(ylabel="square part:\nrise of log|det W| / d")
    panels[1, 0].set(ylabel="whole weight:\nrise of ½ log det(AAᵀ) / d")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


def underflow(table: pd.DataFrame) -> Figure:
    """Where the reciprocal loss has a gradient at initialisation: log10 of its norm.

    A cross marks a gradient of exactly zero, an exclamation mark one that is not finite. `table` is
    that of `autoencoder_analysis.reciprocal_gradients`.
    """
    cases = list(table.groupby(["dtype", "init"], sort=False))
    figure, panels = plt.subplots(1, len(cases), figsize=(7.2, 2.9), sharey=True)
    for axes, ((dtype, init), case) in zip(panels, cases, strict=True):
        wide = case.pivot(index="eps", columns="d", values="norm").sort_index()
        values = np.log10(wide.to_numpy(), where=wide.to_numpy() > 0, out=np.full(wide.shape, np.nan))
        scale = plt.get_cmap("viridis").with_extremes(bad="#c8c8c8")
        drawn = axes.imshow(values, cmap=scale, vmin=-60, vmax=10, aspect="auto", origin="lower")
        for mark, where in (("×", wide == 0), ("!", ~np.isfinite(wide))):
            for i, j in np.argwhere(where.to_numpy()):
                axes.text(j, i, mark, ha="center", va="center", fontsize=9)
        axes.set_xticks(range(len(wide.columns)), [str(d) for d in wide.columns], rotation=90)
        axes.set_yticks(range(len(wide.index)), [f"1e{round(np.log10(e))}" for e in wide.index])
        axes.set(xlabel="d", title=f"{dtype}, {init}")
    panels[0].set_ylabel("ε")
    figure.colorbar(drawn, ax=panels, label="log₁₀ norm of the gradient", shrink=0.9, extend="both")
    return figure
