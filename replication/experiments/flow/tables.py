"""What the boxes of `flow` say: the pattern over layers, outliers, and the decisions on the claims of Section 5."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from entropy_lib.filters import select_layers
from replication.experiments.flow.experiment import READINGS, TRAINED
from replication.networks.vgg_resnet import SCHEMES, fan

MEASURES = {"log|c11|": "tap 1 1", "log norm": "norm", "circular log-det": "exact"}


def network(table: pd.DataFrame, architecture: str, source: str, seed: int = 0) -> pd.DataFrame:
    """The rows of one network: `source` is `imagenet` or a scheme of random initialisation."""
    table = table[(table.architecture == architecture) & (table.seed == seed)]
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
