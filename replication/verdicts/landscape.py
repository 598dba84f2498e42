"""How a measure changes along a field whose values are numbers, and what files of other authors say."""

from typing import ClassVar, Literal, Self

import numpy as np
import pandas as pd
from pydantic import model_validator

from replication import published
from replication.verdicts.cells import Cell
from replication.verdicts.contrast import Asked, Contrast
from replication.verdicts.paired import chosen
from replication.verdicts.reanalysis import CHECKS, Decision


class Trend(Contrast):
    """The slope of the measure per doubling of a field, seed by seed, over all of the field's planned values."""

    compares: ClassVar[bool] = False

    kind: Literal["trend"]
    over: str

    @model_validator(mode="after")
    def _along_a_field(self) -> Self:
        if self.over not in self.by:
            raise ValueError(f"over must be one of by, {', '.join(self.by)}, got {self.over!r}")
        return self

    def cells(self, asked: Asked, table: pd.DataFrame) -> list[Cell]:
        if not asked:
            return []
        seeds = set.intersection(*asked.values())
        rows = pd.concat([chosen(table, self.keyed(key), seeds) for key in asked])
        values = sorted({self.keyed(key)[self.over] for key in asked})
        wide = rows.pivot(index="seed", columns=self.over, values=self.measure).reindex(columns=values).dropna()
        places = np.log2(np.array(values, dtype=float))
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
