"""Gains of guided classifiers over unguided ones, paired by seed, and Table 1 beside ours."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from replication import paper
from replication.experiments.cnn.experiment import CNN, FITTED_ON, write_widths
from replication.pages import plots
from replication.statistics import effect
from replication.sweep.store import Store

NOT_RUN = "none"


def gains(table: pd.DataFrame, measure: str = "test_accuracy") -> pd.DataFrame:
    """Mean paired difference to λ = 0 with its 95% t-interval, a row per form, placement and λ of one architecture."""
    rows = []
    for (form, layers), _ in table[table.coefficient != 0].groupby(["form", "layers"]):
        wide = CNN.compared(table, form=form, layers=layers).pivot(index="seed", columns="coefficient", values=measure)
        for c in wide.columns.drop(0.0):
            found = effect((wide[c] - wide[0.0]).dropna().to_numpy())
            rows.append({"form": form, "layers": layers, "coefficient": c, "gain": found.mean})
            rows[-1] |= {"low": found.low, "high": found.high, "seeds": found.n}
    return pd.DataFrame(rows)


def settings(outcomes: pd.DataFrame) -> pd.DataFrame:
    """What guidance gained in every setting that was run with the default protocol: a column for each, a row per |λ|.

    A cell is the mean paired difference of test accuracy to λ = 0 in points, with half of its 95% t-interval.
    """
    columns = {}
    kept = CNN.compared(CNN.default(outcomes))
    placed = ["data", "architecture", "layers"]
    for (data, architecture, layers), _ in kept[kept.coefficient != 0].groupby(placed):
        runs = CNN.compared(kept, data=data, architecture=architecture, layers=layers)
        cells = gains(runs)
        if cells.low.isna().all():
            continue
        sign = ", λ < 0" if (cells.coefficient < 0).all() else ""
        free = runs.test_accuracy[runs.coefficient == 0].mean()
        column = {"seeds": cells.seeds.min(), "accuracy, λ = 0": f"{free:.4f}"}
        for cell in cells.sort_values("coefficient", key=abs).itertuples():
            column[f"{abs(cell.coefficient):g}"] = f"{100 * cell.gain:+.2f} ± {50 * (cell.high - cell.low):.2f}"
        columns[f"{data}, {architecture}, {layers}{sign}"] = column
    return pd.DataFrame(columns).rename_axis("|λ|")


def gains_figure(store: Store, table: pd.DataFrame) -> Figure:
    """Gains in test accuracy by λ (left), the mean log|c11| of the first layer by epoch (right)."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.8))
    cells = gains(table)
    for shift, (form, group) in enumerate(cells.groupby("form")):
        at = np.arange(len(group)) + 0.15 * shift
        spread = np.where(np.isfinite([group.low, group.high]), [group.gain - group.low, group.high - group.gain], 0)
        panels[0].errorbar(at, group.gain * 100, spread * 100, fmt="o", capsize=3, label=form)
        panels[0].set_xticks(at, [f"{c:g}" for c in group.coefficient])
    panels[0].axhline(0, color="black", linewidth=0.6)
    panels[0].set(xlabel="λ", ylabel="gain in test accuracy (points)")
    panels[0].legend()
    form = sorted(table.form[table.coefficient != 0].unique())[-1]
    colours = plots.coefficient_colours(sorted(table.coefficient.unique()))
    curves = store.curves(CNN.name).merge(CNN.select(table, form=form)[["trial", "coefficient"]], on="trial")
    for c, group in curves.groupby("coefficient"):
        panels[1].plot(group.groupby("epoch").first_tap.mean(), color=colours[c], label=plots.coefficient_label(c))
    panels[1].set(xlabel="epoch", ylabel="mean log|c₁₁|, first layer (nats)", title=f"{form} form")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncol=4)
    return figure


# What the loss may have been: over how much of a kernel it adds up, and how large ε is. The first is as printed.
READINGS: dict[str, dict[str, float | str]] = {
    "sum, ε = 0.001": {"form": "reciprocal", "eps": 1e-3},
    "mean over the filters, ε = 0.001": {"form": "reciprocal-mean", "eps": 1e-3},
    "sum, ε = 0.5": {"form": "reciprocal", "eps": 0.5},
}


def readings(outcomes: pd.DataFrame, architecture: str) -> dict[str, pd.DataFrame]:
    """The runs of one architecture under each reading of the loss that has records, each with its unguided networks."""
    found = {name: default(outcomes, architecture, **reading) for name, reading in READINGS.items()}
    return {name: runs for name, runs in found.items() if len(runs)}


def readings_figure(found: dict[str, pd.DataFrame]) -> Figure:
    """Gains in test accuracy by λ (left), and accuracy against the mean log|c11| that training reached (right)."""
    figure, panels = plt.subplots(1, 2, figsize=(7.2, 3.8))
    for number, ((name, runs), marker) in enumerate(zip(found.items(), "os^", strict=False)):
        cells = gains(runs)
        at, spread = cells.coefficient * 1.15**number, np.array([cells.gain - cells.low, cells.high - cells.gain])
        panels[0].errorbar(at, 100 * cells.gain, 100 * spread, fmt=marker, color=f"C{number}", capsize=3)
        guided = runs[runs.coefficient != 0]
        panels[1].scatter(guided.first_tap, guided.test_accuracy, 16, f"C{number}", marker, label=name)
    free = pd.concat(list(found.values())).query("coefficient == 0").drop_duplicates("trial")
    panels[1].scatter(free.first_tap, free.test_accuracy, marker="x", color="black", label="without guidance")
    panels[0].axhline(0, color="black", linewidth=0.6)
    panels[0].set(xscale="log", xlabel="λ", ylabel="gain in test accuracy (points)")
    panels[1].set(xlabel="mean log|c₁₁|, first layer (nats)", ylabel="test accuracy")
    figure.legend(loc="outside lower center", ncol=2)
    return figure


def table_1(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Table 1 beside ours, a row per architecture: first layer, default protocol, real data."""
    rows = []
    for theirs in paper.table_1().itertuples():
        row = {
            "architecture": theirs.architecture, "base, paper": theirs.base_validation,
            "gain, paper": theirs.gain_validation,
        }  # fmt: skip
        ours = default(outcomes, theirs.architecture)
        rows.append(row | (_row(ours) if len(ours) else {"seeds": NOT_RUN}))
    return pd.DataFrame(rows)


def relabelled(table: pd.DataFrame, measure: str = "validation_accuracy", draws: int = 20_000) -> pd.Series:
    """What the paper's way of testing finds in these records when their λs are shuffled within each seed.

    The paper's way takes the best of the guided groups and asks by a one-tailed t-test whether it beats λ = 0 on
    the same images. Shuffled, no label means anything.

    Returns:
        `found`, the largest t of the records as they are; `printed`, its p-value as the paper would print it;
        `honest`, the share of shuffles with a t as large; `false positives`, the share with a p-value below 0.05.
    """
    wide = table.pivot(index="seed", columns="coefficient", values=measure).dropna()
    values = wide[[0.0, *wide.columns.drop(0.0)]].to_numpy()
    shuffled = np.random.default_rng(0).permuted(np.broadcast_to(values, (draws, *values.shape)), axis=2)
    found, null = _best_t(values), _best_t(shuffled)
    freedom = 2 * len(values) - 2
    return pd.Series(
        {
            "seeds": len(values), "λs": values.shape[1] - 1, "found": found, "printed": stats.t.sf(found, freedom),
            "honest": ((null >= found).sum() + 1) / (draws + 1),
            "false positives": (null > stats.t.isf(0.05, freedom)).mean(),
        }
    )  # fmt: skip


def _best_t(groups: np.ndarray) -> np.ndarray:
    """Largest two-sample t of the columns against the first, `(..., seeds, λ) -> (...)`."""
    mean, variance = groups.mean(-2), groups.var(-2, ddof=1)
    error = np.sqrt((variance[..., 1:] + variance[..., :1]) / groups.shape[-2])
    return ((mean[..., 1:] - mean[..., :1]) / error).max(-1)


FITTED = ("batch", "padding", "init", "slope")


def fit(store: Store) -> pd.DataFrame:
    """How near unguided networks come to Table 1's accuracies without guidance, a row per choice, the best first.

    `off` is the root of the mean squared difference to the printed accuracies on training and validation images
    over the architectures that were run, after the last epoch; `train` and `validation` are the mean differences.
    `nearest` is what `off` would be at the epoch where it is smallest.
    """
    architectures = list(map(write_widths, FITTED_ON))
    free = CNN.select(CNN.table(store), coefficient=0.0, data="cifar10", seed=0, architecture=architectures)
    if free.empty:
        return free
    curves = store.curves(CNN.name).merge(free[["trial", "architecture", *FITTED]], on="trial")
    curves = curves[curves.epoch > 0].merge(paper.table_1(), on="architecture")
    for split in ("train", "validation"):
        curves[split] = curves[f"{split}_accuracy"] - curves[f"base_{split}"]
    curves["off"] = (curves.train**2 + curves.validation**2) / 2
    means = curves.groupby([*FITTED, "epoch"])[["off", "train", "validation"]].mean()
    means = means.assign(off=means.off**0.5, architectures=curves.groupby([*FITTED, "epoch"]).size())
    # Choices are compared on the same networks.
    means = means[means.architectures == means.architectures.max()].reset_index("epoch")
    choices = means.groupby(level=list(FITTED))
    table = means[means.epoch == means.epoch.max()].assign(nearest=choices.off.min())
    at = choices.apply(lambda choice: choice.epoch.iloc[choice.off.argmin()])
    return table.assign(**{"at epoch": at}).sort_values("off").reset_index()


def default(table: pd.DataFrame, architecture: str, **changed) -> pd.DataFrame:
    """The runs of one architecture on CIFAR-10, first layer, under the default protocol or with some of it changed.

    Without a guided network among them there is nothing to compare, and no row.
    """
    wanted = {"data": "cifar10", "layers": "first", "architecture": architecture}
    return CNN.compared(CNN.default(table, **wanted, **changed))


def _row(ours: pd.DataFrame) -> dict[str, float | str]:
    """λ is chosen on validation and judged on test; and, in the paper's way, judged where it was chosen."""
    validated, tested = (gains(ours, f"{split}_accuracy") for split in ("validation", "test"))
    best = validated.gain.idxmax()
    return {
        "seeds": str(tested.seeds[best]), "base, ours": ours.test_accuracy[ours.coefficient == 0].mean(),
        "λ": f"{tested.coefficient[best]:g}", "gain, test": tested.gain[best], "gain from": tested.low[best],
        "gain to": tested.high[best], "gain, the paper's way": validated.gain[best],
    }  # fmt: skip
