"""How often each test says what: a thousand made-up ledgers a claim, without any effect and with the paper's.

Of a claim on a level: in the middle of its range, or on its bound.

Every cell gets its planned number of seeds. Their spread is that of the records, as uncertain as the seeds leave it: in
each ledger it is multiplied by √(df/χ²). Seeds shift all cells of a ledger alike as far as they do in the records.
Epochs are whole numbers, so that made-up ones have the ties of real ones; and where unguided runs of the records had
not stopped at the horizon, those of a made-up ledger have not, and leave a bound (not so in grids of t-tests).
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from replication import paper, reads
from replication.sweep.store import Array, Store
from replication.verdicts.cells import ROUNDED, Cell, Statistic, whole
from replication.verdicts.claim import Claim
from replication.verdicts.contrast import Contrast
from replication.verdicts.decision import LEAST_SEEDS, Decided, Effects
from replication.verdicts.grids import Signs
from replication.verdicts.levels import Level, Spread, Step

FILE = "operating.json"
DRAWS, GRID_DRAWS = 1000, 200
# Two groups that a step divides leave a tenth of the range within them; seven even steps have a sixth each.
TWO_GROUPS, EVEN = 0.9, 1 / 6
MARKED = float(np.log(1.5))  # the ratio of two groups that a printed grid tells apart


@dataclass(frozen=True)
class Inputs:
    """What made-up ledgers of a claim rest on.

    Args:
        keys: of the cells.
        seeds: how many each has.
        spreads: the standard deviation over seeds of each cell's effects.
        alike: the share of that variance which all cells of a seed have in common.
        known: degrees of freedom of the spreads.
        epochs: of the unguided network, where the measure is in whole epochs; 0 elsewhere.
        late: the cells in which an unguided run had not stopped at the horizon; of a level, any run.
    """

    keys: list[dict[str, Any]]
    seeds: list[int]
    spreads: list[float]
    alike: float
    known: int
    epochs: float
    late: list[bool]


def inputs(test: Contrast, store: Store) -> Inputs | None:
    """From the planned seeds of each cell, or from earlier ones where these are not there; None without a spread."""
    ours, before = test.tables(store)
    planned = test.grouped(test.cells(test.asked(), ours))
    seen = {str(dict(cell.key)): cell for cell in test.grouped(test.cells(test.seen(before), before))}
    chosen = [cell if len(cell.values) >= LEAST_SEEDS else seen.get(str(dict(cell.key)), cell) for cell in planned]
    # Where runs of either kind had come to the horizon, values are cut off there, and their spread is not theirs.
    bounded = [cell.only_above and (isinstance(test, Level) or cell.only_below) for cell in chosen]
    told = [len(cell.values) > 1 and not bound for cell, bound in zip(chosen, bounded, strict=True)]
    known = [cell for cell, tells in zip(chosen, told, strict=True) if tells]
    if not known:
        return None
    spreads = [float(cell.values.std()) if tells else np.nan for cell, tells in zip(chosen, told, strict=True)]
    spreads = [float(np.nanmedian(spreads)) if np.isnan(spread) else spread for spread in spreads]
    free, earlier = (table[table[test.of.treatment] == 0] for table in (ours, before))
    free = free if len(free) else earlier
    return Inputs(
        [dict(cell.key) for cell in planned], [_seeds(test, cell) for cell in planned],
        [float(f"{spread:.4g}") for spread in spreads], round(_alike(known), 3),
        int(np.median([len(cell.values) - 1 for cell in known])),
        round(float(free[test.measure].mean()), 1) if whole(test.measure) else 0.0,
        [cell.only_above if isinstance(test, Level) else cell.only_below for cell in chosen],
    )  # fmt: skip


def _seeds(test: Contrast, cell: Cell) -> int:
    """The planned seeds of a cell; of a pooled one the fewest that one of its members has."""
    members = [
        len(seeds)
        for key, seeds in test.asked().items()
        if all(test.keyed(key).get(name, value) == value for name, value in cell.key.items())
    ]
    return min(members)


def _alike(cells: list[Cell]) -> float:
    """Mean correlation over seeds between cells, where they share seeds; 0 for one cell."""
    table = pd.concat({i: cell.values for i, cell in enumerate(cells)}, axis=1)
    correlations = table.corr(min_periods=3).to_numpy()
    off = correlations[~np.eye(len(correlations), dtype=bool)]
    off = off[np.isfinite(off)]
    return float(np.clip(off.mean(), 0, 1)) if len(off) else 0.0


def scenarios(test: Contrast) -> dict[str, float]:
    """Effects, on the scale of the test: none, the printed one; of a level the middle of its range, or its bound."""
    if isinstance(test, Step):
        return {"none": EVEN, "the paper's": TWO_GROUPS}
    if isinstance(test, Level):
        ends = [test.scaled(end) for end in (test.claimed.above, test.claimed.below)]
        known = [end for end in ends if np.isfinite(end)]
        return {"in the middle" if len(known) == 2 else "on the bound": float(np.mean(known))}
    found = {"none": 0.0}
    if test.printed is not None:
        found["the paper's"] = test.scaled(test.printed)
    return found


def characteristics(test: Contrast, given: Inputs, seed: int = 0) -> dict[str, dict[str, float]]:
    """How often each verdict comes out, by scenario."""
    rng = np.random.default_rng(seed)
    if isinstance(test, Signs):
        return {name: _grid(test, given, marked, rng) for name, marked in (("none", 0.0), ("the paper's", MARKED))}
    cells = [Cell.absent(key, 0) for key in given.keys]
    return {
        name: _shares(test.status(made(test, given, effect, rng), cells).tolist())
        for name, effect in scenarios(test).items()
    }


def made(test: Contrast, given: Inputs, effect: float, rng: np.random.Generator) -> Effects:
    """A thousand ledgers, `(draws, cells, seeds)`, in which every cell has this effect."""
    values = effect + _noise(given, (DRAWS, len(given.seeds), max(given.seeds)), rng)
    rounding = np.zeros_like(values)
    if given.epochs:
        values, rounding = _in_whole_epochs(
            values, given.epochs, test.statistic if not isinstance(test, Level) else None
        )
    missing = np.arange(values.shape[-1]) >= np.array(given.seeds)[:, None]
    values = np.where(missing, np.nan, values)
    never = np.zeros(values.shape[:-1], bool)
    late = never | np.array(given.late)
    if isinstance(test, Level):
        return Effects(values, rounding, never, late, never)
    # A guided run that is no faster has not stopped either: then nothing is known of the cell.
    return Effects(values, rounding, late, late if effect >= 0 else never, never)


def _noise(given: Inputs, shape: tuple[int, int, int], rng: np.random.Generator) -> Array:
    draws, _, seeds = shape
    common, own = rng.standard_normal((draws, 1, seeds)), rng.standard_normal(shape)
    unsure = np.sqrt(given.known / rng.chisquare(given.known, (draws, 1, 1)))
    spreads = np.array(given.spreads)[:, None] * unsure
    return np.asarray(spreads * (given.alike**0.5 * common + (1 - given.alike) ** 0.5 * own))


def _in_whole_epochs(values: Array, epochs: float, statistic: Statistic | None) -> tuple[Array, Array]:
    """Effects as they are when both networks stop at whole epochs, and what rounding spreads them."""
    if statistic is None:
        return np.round(values), np.full_like(values, ROUNDED)
    base = round(epochs)
    if statistic == "difference":
        return np.round(values), np.full_like(values, ROUNDED * 2**0.5)
    guided = np.maximum(np.round(base * np.exp(values)), 1)
    return np.log(guided / base), ROUNDED * np.sqrt(1 / guided**2 + 1 / base**2)


def _shares(statuses: list[str]) -> dict[str, float]:
    counts = Counter(statuses)
    return {verdict: counts[verdict] / len(statuses) for verdict in get_args(Decided)}


def _grid(test: Signs, given: Inputs, marked: float, rng: np.random.Generator) -> dict[str, float]:
    """Grids in which the pairs that the paper marks differ by so much, and the others not."""
    theirs = paper.sign_grid(test.data, test.paper_measure)[1]
    signs = np.array([{"+": 1, "-": -1, ".": 0}[theirs.loc[key["row"], key["column"]]] for key in given.keys])
    statuses = []
    noise = _noise(given, (GRID_DRAWS, len(given.keys), max(given.seeds)), rng)
    for ledger in marked * signs[:, None] + noise:
        values = ledger
        rounding = np.zeros_like(values)
        if given.epochs:
            values, rounding = _in_whole_epochs(values, given.epochs, "ratio")
        cells = [
            Cell(key, pd.Series(row[:n]), pd.Series(spread[:n]))
            for key, n, row, spread in zip(given.keys, given.seeds, values, rounding, strict=True)
        ]
        statuses.append(test.judge(test.compared(cells)))
    return _shares([str(status) for status in statuses])


def kept(store: Store) -> pd.DataFrame:
    """The record as a table: a row for each claim and scenario, a column for each verdict; empty without a record."""
    path = store.root / FILE
    if not reads.is_file(path):
        return pd.DataFrame(columns=["claim", "effect", "seeds", *get_args(Decided)])
    rows = []
    for claim, found in json.loads(reads.read_text(path))["claims"].items():
        seeds = sorted(set(found["inputs"]["seeds"]))
        shown = "-".join(map(str, {seeds[0]: 0, seeds[-1]: 0}))
        rows += [{"claim": claim, "effect": name, "seeds": shown} | often for name, often in found["verdicts"].items()]
    return pd.DataFrame(rows)


def of_claims(claims: list[Claim], store: Store) -> dict[str, dict[str, Any]]:
    """Inputs and characteristics of every claim on runs that a made-up ledger can be decided for."""
    found = {}
    for claim in claims:
        test = claim.test
        if not isinstance(test, Contrast) or isinstance(test, Spread):
            continue
        given = inputs(test, store)
        if given is not None and (often := characteristics(test, given)):
            found[claim.id] = {"inputs": asdict(given), "verdicts": often}
    return found
