"""Table 2 beside ours, the noise that single runs hide, and what one step of descent does to a first layer."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import integrate, stats

from replication import paper
from replication.experiments.imagenette.experiment import IMAGENETTE
from replication.networks.vgg_resnet import convolutions, network
from replication.pages import plots
from replication.sweep.store import Store

NAMES = {"vgg16": "VGG", "resnet50": "ResNet"}
NOT_RUN = "–"


def largest(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The runs on the largest images, of the widest networks there and the longest of these: one protocol."""
    table = outcomes[outcomes.scope != "quick"]
    for name in ("image", "width", "horizon"):
        table = table[table[name] == table[name].max()]
    return table


def table_2(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Table 2, a row for each of its 18 settings; in each cell the paper's accuracy and, below it, ours.

    Ours are means over seeds of the accuracy on test photographs, with their number; where networks diverged it
    says how many.
    """
    rows, architectures = [], {name: architecture for architecture, name in NAMES.items()}
    for (model, strategy, layers), theirs in paper.table_2().groupby(["model", "strategy", "layers"], sort=False):
        setting = {"architecture": architectures[model], "strategy": strategy, "layers": layers.lower()}
        here = IMAGENETTE.compared(outcomes, **setting)
        cells = {
            f"λ = {c:g}": f"{printed:.3f}<br>{_cell(here, c)}"
            for c, printed in zip(theirs.coefficient, theirs.accuracy, strict=True)
        }
        rows.append({"network": model, "strategy": strategy, "layers": layers} | cells)
    return pd.DataFrame(rows)


def dots_figure(outcomes: pd.DataFrame) -> Figure:
    """Table 2 as dots: a line per setting, the paper's runs and our means over seeds, λ = 0 in black."""
    settings = list(paper.table_2().groupby(["model", "strategy", "layers"], sort=False))
    figure, axes = plt.subplots(figsize=(7.2, 5.4))
    architectures = {name: architecture for architecture, name in NAMES.items()}
    for place, ((model, strategy, layers), theirs) in enumerate(settings):
        here = IMAGENETTE.compared(
            outcomes, architecture=architectures[model], strategy=strategy, layers=layers.lower()
        )
        ours = here[~here.diverged].groupby("coefficient").test_accuracy.mean()
        theirs = theirs.set_index("coefficient").accuracy
        for values, marker, colour in ((theirs, "o", plots.PALETTE[0]), (ours, "s", plots.PALETTE[1])):
            guided = values.drop(0.0, errors="ignore")
            axes.plot(guided, [place] * len(guided), marker, color=colour, markersize=4, alpha=0.7, linestyle="none")
            if 0.0 in values:
                axes.plot(values[0.0], place, marker, color="black", markersize=6, markerfacecolor="none")
    short = {"none": "plain", "augmentation": "aug.", "augmentation + dropout": "aug. + drop."}
    names = [f"{model} {layers}, {short[strategy]}" for (model, strategy, layers), _ in settings]
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="accuracy", ylim=(len(names) - 0.5, -0.5))
    axes.grid(axis="y", color="#9994", linewidth=0.5)
    for marker, colour, label in (("o", plots.PALETTE[0], "paper, λ > 0"), ("s", plots.PALETTE[1], "ours, λ > 0")):
        axes.plot([], [], marker, color=colour, label=label)
    axes.plot([], [], "o", color="black", markerfacecolor="none", label="λ = 0")
    figure.legend(loc="outside lower center", ncol=3)
    return figure


def _cell(ours: pd.DataFrame, coefficient: float) -> str:
    ours = ours[ours.coefficient == coefficient]
    if ours.empty:
        return NOT_RUN
    kept = ours[~ours.diverged]
    mean = f"{kept.test_accuracy.mean():.3f} ({len(kept)})" if len(kept) else ""
    lost = f"{ours.diverged.sum()} diverged" if ours.diverged.any() else ""
    return ", ".join(filter(None, [mean, lost]))


def summary(outcomes: pd.DataFrame) -> pd.DataFrame:
    """A row per network and placement: how many guided runs diverged, and the range of mean accuracies of the others.

    `lowest` and `highest` are means over seeds on test photographs, over the λ > 0 of which no run diverged.
    """
    rows = []
    for cell, guided in outcomes[outcomes.coefficient > 0].groupby("cell"):
        free = IMAGENETTE.unguided_beside(guided, outcomes)
        safe = guided.groupby("coefficient").filter(lambda group: not group.diverged.any())
        means = safe.groupby("coefficient").test_accuracy.mean()
        rows.append({"network": cell, "guided runs": len(guided), "diverged": guided.diverged.sum()})
        rows[-1] |= {"from λ": guided.coefficient[guided.diverged].min(), "λ = 0": free.test_accuracy.mean()}
        rows[-1] |= {"spread over seeds": free.test_accuracy.std(), "lowest": means.min(), "highest": means.max()}
    return pd.DataFrame(rows)


def noise(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The spread of unguided networks over seeds, and what the best of six such networks gains by chance."""
    free = outcomes[outcomes.coefficient == 0]
    rows = []
    for (architecture, strategy), group in free.groupby(["architecture", "strategy"]):
        if len(group) > 1:
            spread = group.test_accuracy.std()
            rows.append({"network": NAMES[architecture], "strategy": strategy, "seeds": len(group)})
            rows[-1] |= {"mean": group.test_accuracy.mean(), "standard deviation": spread}
            rows[-1] |= {"difference of two": spread * 2**0.5, "best of six by chance": spread * best_of(6)}
    return pd.DataFrame(rows)


def best_of(count: int) -> float:
    """Expected largest of `count` standard normal numbers, ∫ x dΦ(x)^count."""
    return integrate.quad(lambda x: x * count * stats.norm.pdf(x) * stats.norm.cdf(x) ** (count - 1), -10, 10)[0]


def curves_figure(store: Store, outcomes: pd.DataFrame) -> Figure:
    """Accuracy on validation by epoch, a panel for each network and placement, a line for each λ (mean over seeds).

    Dotted where all networks diverged.
    """
    cells = list(outcomes.cell[outcomes.coefficient != 0].unique())
    rows = -(-len(cells) // 2)
    figure, panels = plt.subplots(rows, 2, figsize=(7.2, 3.2 * rows), sharey=True, squeeze=False)
    curves = store.curves(IMAGENETTE.name)
    colours = plots.coefficient_colours(sorted(outcomes.coefficient.unique()))
    for panel, cell in zip(panels.flat, cells, strict=False):
        shown, lost = IMAGENETTE.compared(outcomes, cell=cell), []
        for c, group in shown.groupby("coefficient"):
            if group.diverged.any():
                lost.append(f"{plots.coefficient_label(c)}: {group.diverged.sum()} of {len(group)} diverged")
            lines = curves[curves.trial.isin(group.trial)].groupby("epoch").validation_accuracy.mean()
            style = ":" if group.diverged.all() else "-"
            panel.plot(lines, style, color=colours[c], label=plots.coefficient_label(c))
        panel.set_xlabel("epoch")
        panel.set_title("\n".join([cell, *lost]), fontsize=9)
    for panel in panels.flat[len(cells) :]:
        panel.axis("off")
    for panel in panels[:, 0]:
        panel.set_ylabel("accuracy on validation")
    entries = {
        label: handle for panel in panels.flat for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncol=4)
    return figure


def first_steps(coefficients: tuple[float, ...], eps: float = 0.5) -> pd.DataFrame:
    """How far the first step of gradient descent throws the first taps of an untrained VGG-16's first layer.

    A step is rate x λ / (|c11| + ε)² from Eq. 25, summed over the filters as printed. Beside the largest of them the
    largest with other readings of the loss: the mean over the filters, the logarithmic form, another ε.
    """
    protocol = IMAGENETTE.settings
    model = network("vgg16", 10, protocol["image"], protocol["width"])
    taps = next(iter(convolutions(model).values())).weight.detach()[..., 0, 0].abs().flatten().double().numpy()
    rows = []
    for c in coefficients:
        step = protocol["rate"] * c / (taps + protocol["eps"]) ** 2
        rows.append({"λ": c, "median tap": np.median(taps), "median step": np.median(step)})
        rows[-1] |= {"longer than the tap": (step > taps).mean(), "largest": step.max()}
        rows[-1] |= {"of the mean": step.max() / len(taps), "of the logarithm": protocol["rate"] * c / taps.min()}
        rows[-1][f"with ε = {eps:g}"] = protocol["rate"] * c / (taps.min() + eps) ** 2
    return pd.DataFrame(rows)
