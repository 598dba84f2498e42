"""What the boxes of `flow` say: the pattern over layers, outliers, and the decisions on the claims of Section 5."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from entropy_lib.experiments.flow import READINGS, TRAINED, outcomes
from entropy_lib.flow import select_layers
from entropy_lib.models import SCHEMES, fan
from entropy_lib.sweep.store import Store

Decision = tuple[str, str, float]
MEASURES = {"log|c11|": "tap 1 1", "log norm": "norm", "circular log-det": "exact"}


def network(table: pd.DataFrame, architecture: str, source: str, seed: int = 0) -> pd.DataFrame:
    """The rows of one network: `source` is `imagenet` or a scheme of random initialisation."""
    table = table[(table.architecture == architecture) & (table.seed == seed)] if len(table) else table
    if table.empty:
        return table
    return table[table.data == TRAINED] if source == TRAINED else table[table.scheme == source]


def means(rows: pd.DataFrame, measure: str = "tap 1 1", reading: str = "slices") -> pd.Series:
    """One measure's mean by layer of one network, indexed by the layer's name."""
    reading = "layer" if measure == "exact" else reading
    chosen = rows[(rows.measure == measure) & (rows.reading == reading)].sort_values("layer")
    return chosen.set_index("name")["mean"]


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """The three measures of one network side by side, a row per layer."""
    shapes = rows.drop_duplicates("layer").set_index("name")[["layer", "out", "in", "side"]]
    return shapes.assign(**{label: means(rows, measure) for label, measure in MEASURES.items()})


def agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation over layers between the three measures of one network."""
    return by_layer(rows)[list(MEASURES)].corr(method="spearman")


def chosen(rows: pd.DataFrame) -> dict[str, list[int]]:
    """Numbers of the layers that the rule of Fig. 7 picks, by each measure."""
    table = by_layer(rows)
    return {label: [int(table.layer[name]) for name in select_layers(table[label])] for label in MEASURES}


def standing_out(means: pd.Series, named: Sequence) -> float:
    """By how much the mean over the named layers exceeds that over the others."""
    inside = means.index.isin(named)
    return float(means[inside].mean() - means[~inside].mean())


def preserving(store: Store, architecture: str) -> list[str]:
    """Names of the layers that the rule picks from log|c11| of the network trained on ImageNet.

    Raises:
        FileNotFoundError: the store has no record of it.
    """
    rows = network(outcomes(store), architecture, TRAINED)
    if rows.empty:
        raise FileNotFoundError(
            f"{store.root} has no entropy flow of the trained {architecture}; `entropy-book sweep flow` makes it"
        )
    return select_layers(means(rows))


def outlier_share(rows: pd.DataFrame, reading: str, measure: str = "tap 1 1") -> tuple[float, float]:
    """Tukey outliers among all of a network's filters: the share on the low and on the high side."""
    chosen = rows[(rows.measure == measure) & (rows.reading == reading)]
    total = chosen["count"].sum()
    return chosen.outliers_low.sum() / total, chosen.outliers_high.sum() / total


def outliers(table: pd.DataFrame, architecture: str) -> pd.DataFrame:
    """Shares of outliers of log|c11| for every network and reading of "per filter"."""
    rows = []
    for source in (TRAINED, *SCHEMES):
        one = network(table, architecture, source)
        for reading in READINGS if len(one) else ():
            low, high = outlier_share(one, reading)
            rows.append({"weights": source, "reading": reading, "low": low, "high": high})
    return pd.DataFrame(rows)


def line_or_fan(rows: pd.DataFrame, scheme: str) -> tuple[float, float, float]:
    """Mean log|c11| by layer of an untrained network: the line's p-value and R², and R² of the scheme's log fan."""
    mean = means(rows)
    shapes = rows.drop_duplicates("layer").sort_values("layer")
    connections = fan(scheme, shapes["in"] * shapes.side**2, shapes["out"] * shapes.side**2)
    line = stats.linregress(shapes.layer, mean)
    return line.pvalue, line.rvalue**2, stats.linregress(np.log(connections), mean).rvalue ** 2


# --- Decisions -----------------------------------------------------------------------------------
# Each takes the table of records that may decide and gives status, note and effect; None: not run.


def early(table: pd.DataFrame) -> Decision | None:
    """Fig. 1, left: -2.2 in VGG-16's first layer, later layers lower."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    mean = means(rows)
    right = -2.4 <= mean.iloc[0] <= -2.0
    lower = int((mean.iloc[1:] < mean.iloc[0]).sum())
    status = "holds" if right and lower == len(mean) - 1 else "partly" if right else "fails"
    note = f"first layer {mean.iloc[0]:.2f}; {lower} of the {len(mean) - 1} later layers are lower"
    return status, note, mean.iloc[0]


def settles(table: pd.DataFrame) -> Decision | None:
    """Fig. 1, left: the last three convolutions lie near -5.5."""
    rows = network(table, "vgg16", TRAINED)
    if rows.empty:
        return None
    last = means(rows).iloc[-3:]
    inside = int(last.between(-5.8, -5.2).sum())
    status = "holds" if inside == 3 else "partly" if inside else "fails"
    return status, f"{inside} of 3 inside [-5.8, -5.2]: {', '.join(f'{value:.2f}' for value in last)}", last.mean()


def random_early(table: pd.DataFrame) -> Decision | None:
    """Fig. 1, right: the untrained network's first layer stands out less from its mean over layers."""
    if network(table, "vgg16", TRAINED).empty:
        return None
    relative = {}
    for source in (TRAINED, *SCHEMES):
        mean = means(network(table, "vgg16", source))
        relative[source] = mean.iloc[0] - mean.mean()
    gaps = {scheme: relative[TRAINED] - relative[scheme] for scheme in SCHEMES}
    positive = sum(gap > 0 for gap in gaps.values())
    status = "holds" if positive == len(gaps) else "partly" if positive else "fails"
    return status, "; ".join(f"{scheme}: {gap:+.2f}" for scheme, gap in gaps.items()), float(np.mean([*gaps.values()]))


def random_outliers(table: pd.DataFrame) -> Decision | None:
    """Far more outliers at random, in each reading of "per filter" and every scheme."""
    shares = outliers(table, "vgg16")
    if shares.empty or TRAINED not in set(shares.weights):
        return None
    total = shares.assign(share=shares.low + shares.high).pivot(index="weights", columns="reading", values="share")
    gaps = total.drop(index=TRAINED) - total.loc[TRAINED]
    positive = int((gaps > 0).to_numpy().sum())
    status = "holds" if positive == gaps.size else "partly" if positive else "fails"
    spans = [f"{reading}: {gap.min():+.1%} to {gap.max():+.1%}" for reading, gap in gaps.items()]
    return status, f"random minus trained, over the schemes: {'; '.join(spans)}", float(gaps.to_numpy().mean())


def low_outliers(table: pd.DataFrame) -> Decision | None:
    """At random, all outliers are on the low side."""
    shares = outliers(table, "vgg16")
    shares = shares[(shares.weights != TRAINED) & (shares.reading == "slices")] if len(shares) else shares
    if shares.empty:
        return None
    low = (shares.low / (shares.low + shares.high)).min()
    return ("holds" if low == 1 else "partly" if low >= 0.9 else "fails"), f"at least {low:.2%} of them", low


def linear(table: pd.DataFrame) -> Decision | None:
    """At random, the drop grows linearly with the layer."""
    fits = {scheme: line_or_fan(network(table, "vgg16", scheme), scheme) for scheme in SCHEMES if len(table)}
    if not fits:
        return None
    better = [p < 0.05 for p, _, _ in fits.values()]
    not_worse = [line >= law for _, line, law in fits.values()]
    status = "holds" if all(better) and all(not_worse) else "partly" if all(better) else "fails"
    note = "; ".join(f"{name}: R² {line:.3f} by layer, {law:.3f} by log fan" for name, (_, line, law) in fits.items())
    return status, note, float(np.mean([line - law for _, line, law in fits.values()]))


DECISIONS = {
    "vgg_early": early,
    "vgg_settles": settles,
    "random": random_early,
    "outliers": random_outliers,
    "outliers_low": low_outliers,
    "linear": linear,
}
