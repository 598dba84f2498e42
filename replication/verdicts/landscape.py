"""How a measure changes along a field whose values are numbers, and what files of other authors say."""

from typing import Literal

import numpy as np
import pandas as pd

from replication import published
from replication.verdicts.cells import Cell
from replication.verdicts.contrast import Asked, Contrast
from replication.verdicts.paired import chosen
from replication.verdicts.reanalysis import CHECKS, Decision


class Trend(Contrast):
    """The slope of the measure per doubling of a field, seed by seed, over all of the field's planned values."""

    kind: Literal["trend"]
    over: str

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        if not asked:
            return []
        seeds = set.intersection(*asked.values())
        rows = pd.concat([chosen(table, self.keyed(key), seeds) for key in asked])
        wide = rows.pivot(index="seed", columns=self.over, values=self.measure).dropna()
        places = np.log2(wide.columns.to_numpy(dtype=float))
        slopes = pd.Series(np.polyfit(places, wide.to_numpy().T, 1)[0] if len(wide) else [], wide.index, dtype=float)
        return [Cell({}, slopes, pd.Series(0.0, slopes.index), missing=len(seeds - set(slopes.index)))]


# --- Published curves -------------------------------------------------------------------------------------


def published_gains() -> pd.Series:
    """The landscape's accuracy less SGD's, mean over ln L from -7 to -1, by the number of channels."""
    table = published.mnist()
    return (table.landscape - table.sgd).groupby(table.channels).mean()


def _listed(gains: pd.Series) -> str:
    return ", ".join(f"{gain:+.3f} with {channels} channels" for channels, gain in gains.items())


@CHECKS.register
def published_outperform() -> Decision:
    gains = published_gains()
    ahead = int((gains > 0).sum())
    return ("as printed" if ahead == len(gains) else "partly" if ahead else "fails"), _listed(gains)


@CHECKS.register
def published_narrower() -> Decision:
    """The gain falls from each network to the next wider one."""
    gains = published_gains()
    return ("as printed" if gains.is_monotonic_decreasing else "fails"), _listed(gains)
