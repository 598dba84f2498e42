"""Effects against effects: a printed number, ours with its interval, and the margin, a row for each claim.

Drawn as a table of HTML, so that it fits a phone, follows the page's colours, and is filtered with the claims.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.ticker import MaxNLocator

from replication.pages.verdicts import filled, span

_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)
_OURS = (
    "Dot and line: ours with its 95% interval, hollow where earlier seeds only explore, an arrow where the interval "
    "has no end."
)
_MARGIN = "Grey: the margin within which an effect counts as none."


@dataclass(frozen=True)
class Axis:
    """A linear axis, or for ratios a logarithmic one, that shows every number of its rows and no effect."""

    name: str
    low: float
    high: float
    ratio: bool

    @property
    def none(self) -> float:
        """No effect."""
        return 1.0 if self.ratio else 0.0

    def at(self, value: float) -> float:
        """Place of a value in percent of the axis, within it."""
        low, high, value = (np.log(v) if self.ratio else v for v in (self.low, self.high, max(value, self.low)))
        return round(float(np.clip(100 * (value - low) / (high - low), 0, 100)), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        values = _TICKS if self.ratio else MaxNLocator(5).tick_values(self.low, self.high)
        return [(self.at(v), f"{v:g}".replace("-", "−")) for v in values if self.low <= v <= self.high]

    @classmethod
    def of(cls, name: str, rows: pd.DataFrame) -> "Axis":
        known = pd.concat([rows.effect, rows.printed, rows.low, rows.high])
        (ratio,) = set(rows.unit.str.startswith("ratio"))
        known = known[np.isfinite(known) & ((known > 0) if ratio else True)]
        least, most = min(known.min(), float(ratio)), max(known.max(), float(ratio))
        if ratio:
            room = (most / least) ** 0.06
            return cls(name, least / room, most * room, True)
        room = (most - least) * 0.06
        return cls(name, least - room, most + room, False)


def unit(row: pd.Series) -> str:
    """What an effect is a difference or a ratio of, as an axis says it."""
    statistic, _, measure = row.unit.partition(" of ")
    for part, name in (("epoch", "epochs"), ("accuracy", "accuracy"), ("iou", "IoU"), ("mse", "MSE")):
        if part in measure and statistic != "value":
            return f"{name}, guided over unguided" if statistic == "ratio" else f"{name}, guided minus unguided"
    raise ValueError(f"no axis is known for {row.unit!r}")


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """The claims that have a printed effect and one of ours."""
    kept = rows[rows.printed.notna() & np.isfinite(rows.effect)]
    return kept.assign(axis=[unit(row) for _, row in kept.iterrows()])


def render(rows: pd.DataFrame) -> HTML:
    """A group of rows for each unit, over a caption that states the finding and how to read the marks."""
    rows = shown(rows)
    finding = f"Ours against {len(rows)} printed size{'s' * (len(rows) != 1)}: {_counted(rows)}."
    how = f"Diamond: the paper's number. {_OURS} {_MARGIN}"
    return _grouped(rows, f"{finding} {how}")


def alone(rows: pd.DataFrame, units: Mapping[str, str]) -> HTML:
    """Ours where nothing is printed to set it against; `units` names the axis of each measure.

    Raises:
        ValueError: a measure without an axis.
    """
    rows = rows[np.isfinite(rows.effect)]
    if missing := {row.unit.partition(" of ")[2] for row in rows.itertuples()} - set(units):
        raise ValueError(f"no axis is known for {', '.join(sorted(missing))}")
    axes = [units[row.unit.partition(" of ")[2]] for row in rows.itertuples()]
    return _grouped(rows.assign(axis=axes), f"{len(rows)} effects: {_counted(rows)}. {_OURS} {_MARGIN}")


def _grouped(rows: pd.DataFrame, caption: str) -> HTML:
    axes = []
    for name in dict.fromkeys(rows.axis):
        group = rows[rows.axis == name]
        axis = Axis.of(name, group)
        drawn = [_row(axis, row) for row in group.itertuples()]
        axes.append({"name": name, "none": axis.at(axis.none), "ticks": axis.ticks, "rows": drawn})
    return filled("forest.html", axes=axes, caption=caption)


def _said(row: Any) -> str:
    """How ours lies to the printed size; the verdict where none is printed."""
    if row.explored:
        return "only explored"
    return (row.label or "waits") if np.isfinite(row.printed) else row.verdict


def _counted(rows: pd.DataFrame) -> str:
    plural = {"holds": "hold", "fails": "fail"}
    counts = pd.Series([plural.get(said := _said(row), said) for row in rows.itertuples()], dtype=str).value_counts()
    return ", ".join(f"{count} {said}" for said, count in counts.items()) or "none has a record yet"


def _row(axis: Axis, row: Any) -> dict[str, Any]:
    band = (1 / (1 + row.margin), 1 + row.margin) if axis.ratio else (-row.margin, row.margin)
    said, printed = _said(row), np.isfinite(row.printed)
    theirs = f", the paper's {row.printed:.3g}" if printed else ""
    return {
        "id": row.id, "said": said, "css": said.replace(" ", "-"), "margin": [axis.at(end) for end in band],
        "interval": [axis.at(row.low), axis.at(row.high)], "open": [row.low < axis.low, row.high > axis.high],
        "effect": axis.at(row.effect), "printed": axis.at(row.printed) if printed else None,
        "spoken": f"{row.id}: {said}; ours {row.effect:.3g}{span(row)}{theirs}, margin {row.margin:g}",
    }  # fmt: skip
