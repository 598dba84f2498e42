"""Rows of whole networks as the chapter reads them."""

import numpy as np
import pandas as pd

from replication.experiments.through.experiment import THROUGH
from replication.sweep.store import Store

LINEAR = ("Linear", "Conv2d")
NORMS = ("BatchNorm2d", "LayerNorm")
ACTIVATIONS = ("LeakyReLU", "GELU", "ReLU")


def layers(store: Store) -> pd.DataFrame:
    """The rows of every unguided network's layers, with `network`, `seed`, and whether it was `trained`."""
    curves = store.curves(THROUGH.name)
    trials = THROUGH.table(store)
    free = trials[trials.coefficient == 0][["trial", "network", "seed", "horizon"]]
    rows = curves[curves.layer > 0].merge(free, on="trial")
    return rows.assign(trained=rows.epoch == rows.horizon, part=rows.kind.map(part))


def part(kind: str) -> str:
    """What a row belongs to."""
    for names, name in (
        (LINEAR, "linear"),
        (NORMS, "normalisation"),
        (ACTIVATIONS, "activation"),
        (("block",), "block"),
    ):
        if kind in names:
            return name
    return "LSTM" if kind == "LSTM" else "other"


def shares(rows: pd.DataFrame) -> pd.DataFrame:
    """By network and whether it was trained: the mean over seeds of each part's share of the absolute changes.

    An LSTM's row is two parts, log|det W_ho| and its gates.
    """
    finite = rows[(rows.within == 0) & np.isfinite(rows.change) & (rows.statement != "none")]
    finite = finite[finite.linear.notna() & (finite.part != "other")]
    cells = finite.part == "LSTM"
    gates = finite[cells].assign(part="gates", change=lambda table: table.change - table.linear)
    own = finite.assign(part=finite.part.where(~cells, "linear"), change=finite.change.where(~cells, finite.linear))
    sizes = pd.concat([own, gates]).assign(size=lambda table: table.change.abs())
    sums = sizes.groupby(["network", "trained", "seed", "part"])["size"].sum()
    return (
        (sums / sums.groupby(["network", "trained", "seed"]).transform("sum"))
        .groupby(["network", "trained", "part"])
        .mean()
        .unstack(fill_value=0.0)
    )


def stages(rows: pd.DataFrame, network: str) -> pd.DataFrame:
    """One row for each stage and seed of a trained network: the paper's number, the whole change, the accuracy lost."""
    found = rows[(rows.network == network) & rows.trained]
    inside = found[found.stage > 0]
    grouped = inside.groupby(["seed", "stage"])
    whole = inside[(inside.within == 0) & (inside.statement != "none")].groupby(["seed", "stage"]).change.sum()
    return pd.DataFrame({"paper": grouped.paper.mean(), "change": whole, "without": grouped.accuracy_without.first(),
                         "name": grouped.name.first()}).reset_index()  # fmt: skip


def lost(rows: pd.DataFrame, network: str) -> pd.DataFrame:
    """A large network's rows as a table: dimensions in and out, the statement, the change, what is lost."""
    found = rows[(rows.network == network) & rows.kind.isin([*LINEAR, *NORMS, *ACTIVATIONS, "MaxPool2d"])]
    table = pd.DataFrame({
        "layer": found.name, "kind": found.kind, "dimensions in": found.inputs, "out": found.outputs,
        "change (nats per dimension)": (found.change / found.inputs).where(np.isfinite(found.change)),
        "statement": found.statement, "dimensions lost": found.lost, "share lost": found.lost / found.inputs,
    })  # fmt: skip
    return table.dropna(axis=1, how="all")
