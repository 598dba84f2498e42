"""Table 3 beside ours, the spread over seeds, the U of Fig. 9, and the masks of Fig. 10."""

from collections.abc import Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from replication import paper
from replication.experiments.unet.experiment import FED_UP, FIELDS, LAYERS, MEASURES, UNET, write_layers
from replication.pages import plots
from replication.statistics import effect
from replication.sweep.store import Store

# The convolutions on maps of the image's own size, at the beginning and the end.
FULL_SIZE = (2, 3, 38, 39, 40)
LABELS = {"tap 1 1": "mean log|c₁₁|", "norm": "mean log norm", "exact": "circular log-det"}


def fed_up(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The networks with the loss on the layers that are fed upwards, and those without it."""
    return UNET.compared(outcomes, layers=write_layers(FED_UP))


def table_3(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Table 3's λs with epochs, seconds per epoch, accuracy and IoU, the paper's and ours (means over seeds).

    Seconds are the median over the seeds that every λ has: others may come from another machine, or a busier one.
    """
    ours = fed_up(outcomes)
    timed = ours[ours.groupby("seed").coefficient.transform("nunique") == ours.coefficient.nunique()]
    seconds = (timed.training_seconds / timed.stopping_epoch).groupby(timed.coefficient).median()
    rows = []
    for theirs in paper.table_3().itertuples():
        row = {
            "λ": theirs.coefficient,
            "epochs, paper": theirs.epochs,
            "seconds per epoch, paper": theirs.seconds / theirs.epochs,
        }
        row |= {"accuracy, paper": theirs.accuracy, "IoU, paper": theirs.iou}
        here = ours[ours.coefficient == theirs.coefficient]
        if len(here):
            late = " (not all stopped)" if here.censored.any() else ""
            row |= {"seeds": str(len(here)), "epochs": f"{here.stopping_epoch.mean():.1f}{late}"}
            row |= {"seconds per epoch": seconds.get(theirs.coefficient)}
            row |= {"accuracy": here.test_accuracy.mean(), "IoU, pooled": here.test_pooled_iou.mean()}
            row |= {"IoU per image": here.test_iou.mean()}
        rows.append(row | ({} if len(here) else {"seeds": "none"}))
    return pd.DataFrame(rows)


def spread(outcomes: pd.DataFrame) -> pd.DataFrame:
    """Standard deviation over seeds of unguided networks, and the largest difference to λ = 0 that Table 3 prints."""
    free = outcomes[outcomes.coefficient == 0]
    if len(free) < 2:
        return pd.DataFrame()
    printed = paper.table_3().set_index("coefficient")
    rows = []
    for ours, theirs in (("test_accuracy", "accuracy"), ("test_pooled_iou", "iou")):
        largest = (printed[theirs] - printed[theirs][0.0]).abs().max()
        rows.append({"measure": theirs, "seeds": len(free), "standard deviation": free[ours].std()})
        rows[-1] |= {"of a difference of two runs": free[ours].std() * 2**0.5, "largest difference in Table 3": largest}
    return pd.DataFrame(rows)


def mute(outcomes: pd.DataFrame) -> set[int]:
    """The seeds whose unguided network marks nothing at all."""
    free = outcomes[outcomes.coefficient == 0]
    return set(free.seed[free.test_iou == 0])


def gains(outcomes: pd.DataFrame) -> pd.DataFrame:
    """What each λ adds to accuracy and IoU (means of late epochs), seed by seed, with 95%.

    Over all seeds, and over those whose unguided network marks something.
    """
    rows = []
    for measure, name in (("late_accuracy", "accuracy"), ("late_iou", "IoU")):
        wide = outcomes.pivot(index="seed", columns="coefficient", values=measure)
        for which, kept in (("all seeds", wide), ("seeds that mark something", wide.drop(list(mute(outcomes))))):
            for c in wide.columns.drop(0.0):
                found = effect((kept[c] - kept[0.0]).dropna().to_numpy())
                rows.append(
                    {"measure": name, "seeds": which, "λ": c, "mean": found.mean, "low": found.low, "high": found.high}
                )
    return pd.DataFrame(rows)


def flow_table(store: Store, outcomes: pd.DataFrame, when: str) -> pd.DataFrame:
    """Mean by layer of each measure, averaged over the given networks, `before` or `after` training."""
    kept = [store.artefacts(row.file, UNET.name)[f"{row.trial}-flow"] for row in outcomes.itertuples()]
    boxes = np.mean(kept, axis=0)[("before", "after").index(when)]
    means = pd.DataFrame(boxes[:, :, FIELDS.index("mean")], columns=[LABELS[measure] for measure in MEASURES])
    return means.assign(number=list(LAYERS), name=list(LAYERS.values()))


def by_network(store: Store, outcomes: pd.DataFrame, when: str, measure: str) -> pd.DataFrame:
    """A measure's mean, `before` or `after` training: a row for each layer's number, a column for each network."""
    each = {trial: flow_table(store, outcomes[outcomes.trial == trial], when) for trial in outcomes.trial}
    return pd.DataFrame({trial: table.set_index("number")[LABELS[measure]] for trial, table in each.items()})


def changes(store: Store, outcomes: pd.DataFrame, measure: str) -> pd.DataFrame:
    """What training added to it."""
    before, after = (by_network(store, outcomes, when, measure) for when in ("before", "after"))
    return after - before


def with_mean(changed: pd.DataFrame, taught: pd.DataFrame) -> pd.Series:
    """Spearman's correlation over layers of each network with the mean of those of the other kind."""
    return changed.corrwith(taught.mean(axis=1), method="spearman")


def among_themselves(changed: pd.DataFrame) -> pd.Series:
    """Spearman's correlation over layers of each network with the mean of the others of its kind."""
    return pd.concat([with_mean(changed[[one]], changed.drop(columns=one)) for one in changed])


def alike(added: Mapping[str, Mapping[str, pd.DataFrame]]) -> pd.DataFrame:
    """By measure, how well the networks of each data set agree with the mean of their own kind and of the other."""
    rows = []
    for measure, by_data in added.items():
        for here, there in product(by_data, repeat=2):
            own = here == there
            found = among_themselves(by_data[here]) if own else with_mean(by_data[here], by_data[there])
            rows.append(
                {"measure": LABELS[measure], "each network on": here,
                 "with the mean of": f"the others on {there}" if own else f"those on {there}",
                 "networks": len(found), "mean": found.mean(), "least": found.min(), "most": found.max()}
            )  # fmt: skip
    return pd.DataFrame(rows)


def curvature(means: pd.Series) -> tuple[float, float]:
    """Coefficient of the square in a parabola over the layers' order, and its two-sided p-value: positive is a U."""
    from statsmodels.regression.linear_model import OLS  # takes a second to import

    order = np.linspace(-1, 1, len(means))
    fitted = OLS(means.to_numpy(), np.stack([np.ones_like(order), order, order**2], 1)).fit()
    return float(fitted.params[2]), float(fitted.pvalues[2])


def flow_figure(store: Store, outcomes: pd.DataFrame) -> Figure:
    """The three measures by layer, before and after training, over the numbers of Fig. 9."""
    figure, panels = plt.subplots(len(LABELS), 1, figsize=(7.2, 6.6), sharex=True)
    for when, style in (("before", ":"), ("after", "-")):
        table = flow_table(store, outcomes, when)
        for panel, label in zip(panels, LABELS.values(), strict=True):
            panel.plot(range(len(table)), table[label], style, marker="o", markersize=3, label=f"{when} training")
            panel.set_xticks(range(len(table)), table.number)
            panel.set(title=label, ylabel="nats")
    panels[-1].set_xlabel("layer")
    panels[0].legend()
    return figure


def changes_figure(added: Mapping[str, Mapping[str, pd.DataFrame]]) -> Figure:
    """What training added by layer, by measure and data set: thin for each network, thick for the mean."""
    figure, panels = plt.subplots(len(added), 1, figsize=(7.2, 0.8 + 2.2 * len(added)), sharex=True, squeeze=False)
    for panel, (measure, by_data) in zip(panels.flat, added.items(), strict=True):
        panel.axhline(0, color="grey", linewidth=0.6)
        for colour, (data, networks) in zip(plots.PALETTE, by_data.items(), strict=False):
            panel.plot(networks.to_numpy(), color=colour, linewidth=0.6, alpha=0.5)
            panel.plot(
                networks.mean(axis=1).to_numpy(),
                color=colour,
                marker="o",
                markersize=3,
                linewidth=1.8,
                label=f"on {data}",
            )
        panel.set_xticks(range(len(LAYERS)), list(LAYERS))
        panel.set(title=LABELS[measure], ylabel="nats added")
    panels[-1, 0].set_xlabel("layer")
    panels[0, 0].legend()
    return figure


def masks_figure(
    store: Store, outcomes: pd.DataFrame, images: Sequence[np.ndarray | None], masks: np.ndarray, seed: int = 0
) -> Figure:
    """Pictures, their true masks, and what networks of one seed predict for them, a column for each λ.

    A picture that may not be shown is None, and left out.
    """
    kept = [place for place, picture in enumerate(images) if picture is not None]
    shown = outcomes[outcomes.seed == seed].sort_values("coefficient")
    columns = ["picture", "true mask", *(plots.coefficient_label(c) for c in shown.coefficient)]
    predictions = [store.artefacts(row.file, UNET.name)[f"{row.trial}-masks"] for row in shown.itertuples()]
    size = (1.25 * len(columns), 1.25 * len(kept))
    figure, panels = plt.subplots(len(kept), len(columns), figsize=size, squeeze=False)
    for row, line in zip(kept, panels, strict=True):
        for panel, title, picture in zip(
            line, columns, [images[row], masks[row], *(p[row] for p in predictions)], strict=True
        ):
            panel.axis("off")
            panel.imshow(picture, cmap="gray", vmin=0, vmax=picture.max() if title == "true mask" else 255)
            if row == kept[0]:
                panel.set_title(title, fontsize=9)
    return figure
