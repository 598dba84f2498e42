"""Tables of what the determinant does within autoencoders."""

import numpy as np
import pandas as pd

from replication.experiments.anatomy.experiment import ANATOMY
from replication.sweep.store import Store


def against_unguided(table: pd.DataFrame) -> pd.DataFrame:
    """Outcomes with what guidance costs the two groups of images, over the unguided network of the same seed.

    Beside `most_cost` (the tenth that differs most in the square part's pixels) and `others_cost` there are
    `most_part`, the part of the extra error that falls on that tenth, and `rms_square`, the root mean square of the
    square part's weights.
    """
    cell = ["data", "latent", "seed"]
    free = table[table.coefficient == 0].set_index(cell)[["error", "error_most", "error_others"]]
    free = free.reindex(pd.MultiIndex.from_frame(table[cell])).set_axis(table.index)
    return table.assign(
        most_cost=table.error_most / free.error_most,
        others_cost=table.error_others / free.error_others,
        most_part=0.1 * (table.error_most - free.error_most) / (table.error - free.error),
        rms_square=table.norm_square / table.latent,
    )


def turns(store: Store, table: pd.DataFrame) -> pd.DataFrame:
    """Where the mean test error of the most guided networks turns upwards before the end: the epoch of its least value,
    and there the share of the hidden signal and of saturated units, the latter without guidance, too."""
    rows = []
    curves = store.curves(ANATOMY.name).merge(table[["trial", "data", "latent", "coefficient"]], on="trial")
    for (data, latent), group in curves.groupby(["data", "latent"], sort=False):
        strongest = group.coefficient.max()
        means = group.groupby(["coefficient", "epoch"])[["error", "share_square", "saturated"]].mean()
        guided, free = means.loc[strongest], means.loc[0.0]
        epoch = guided.error.idxmin()
        if epoch < guided.index[-1]:
            rows.append({
                "data": data, "latent": latent, "coefficient": strongest, "epoch": epoch,
                "share": guided.share_square[epoch], "saturated": guided.saturated[epoch],
                "saturated unguided": free.saturated[epoch], "share at the end": guided.share_square.iloc[-1],
                "saturated at the end": guided.saturated.iloc[-1],
            })  # fmt: skip
    return pd.DataFrame(rows)


def where_errors_grow(store: Store, table: pd.DataFrame) -> pd.DataFrame:
    """By dimension, for the networks whose pictures are kept: the squared error with the strongest guidance over that
    without, of the numbers that the square part reads (`inside`) and of the others (`outside`)."""
    rows = {}
    for latent in sorted(table.latent.unique()):
        arrays, trials = kept_pictures(store, table, latent)
        if arrays:
            free, strong = (arrays["pixel_error"][place] for place in trials.index[[0, -1]])
            rows[latent] = {
                "inside": strong[:latent].mean() / free[:latent].mean(),
                "outside": strong[latent:].mean() / free[latent:].mean(),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def kept_pictures(store: Store, table: pd.DataFrame, latent: int) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """The arrays of the record that keeps some at this dimension, and its trials by λ; empty without one."""
    for file in table[table.latent == latent].file.unique():
        if arrays := store.artefacts(file, ANATOMY.name):
            trials = table[table.file == file].set_index("trial").loc[arrays["trials"]].reset_index()
            return arrays, trials.sort_values("coefficient")
    return {}, pd.DataFrame()
