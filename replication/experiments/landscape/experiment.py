"""Small networks in equilibrium at a training loss against networks that optimisers trained to the same loss.

A trial is one draw of the data, one network, and one way: replica exchange (`way` is `tempering`) or an optimiser. All
trials of a seed share the data. Curves have a row for each block of sweeps or epochs and each bin of ln L (`point`).
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from replication.data.registry import load, names
from replication.experiments.experiment import Experiment, Plan
from replication.experiments.landscape import equilibrium, tasks, trained
from replication.experiments.landscape.bins import EDGES, of_trial
from replication.experiments.landscape.config import EVEN, TEMPERING, TRAINED, LandscapeConfig
from replication.experiments.landscape.tasks import DIABETES, DIGITS, LETTERS, SPIRALS, TASKS, Task
from replication.landscape import optimisers
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope, Trial

ARRIVED = 0.75  # the share of an optimiser's runs that must have come as low as every bin of the window
FEWEST = 8  # of them in the deep window
# What both runs of the sampler must show: swaps of all neighbours, round trips; and how far they may be apart, in the
# mean over the bins of a window and in the worst of them.
SWAPPED, TRIPS, AGREED, WORST = 0.2, 5, 0.01, 0.02

# --- What is run ----------------------------------------------------------------------------------------

_SAMPLED: dict[str, Any] = {"way": TEMPERING, "horizon": 20, "sweeps": 1000, "moves": 2}
_TRAINED: dict[str, Any] = {"coldest": 0.0, "count": 40, "horizon": 20, "moves": 32}
_QUICK: dict[str, Any] = {"width": 4, "depth": 2, "examples": 40}
_FLAT: dict[str, Any] = {"width": 8, "depth": 1, "examples": 100}


_OTHERS = [way for way in optimisers.WAYS if way != "Adam"]


def _grid(
    data: str, seeds: Iterable[int], net: Mapping[str, Any], coldest: float, count: int, sweeps: int = 1000,
    runs: int = 40, epochs: int = 5000, starts: Iterable[str] = optimisers.STARTS, others: Iterable[str] = (),
) -> list[Plan]:  # fmt: skip
    """Both starts of the sampler, Adam from some starts, other optimisers from Glorot's."""
    ladder = {**_SAMPLED, "sweeps": sweeps, "coldest": coldest, "count": count}
    training = {**_TRAINED, "sweeps": epochs // _TRAINED["horizon"], "count": runs}
    return [
        Plan.of(data, seeds, **net, **ladder, start=[EVEN, TRAINED]),
        Plan.of(data, seeds, **net, **training, way="Adam", start=list(starts)),
        *([Plan.of(data, seeds, **net, **training, way=list(others), start="Glorot")] if others else []),
    ]


# Examples and epochs, so that each network takes 10,000 steps.
_SIZES = ((40, 5000), (80, 3340), (160, 2000))

PROFILES = {
    "quick": [
        Plan.of(SPIRALS, range(1), **_QUICK, **_SAMPLED | {"horizon": 2, "sweeps": 200}, start=[EVEN, TRAINED],
                coldest=300.0, count=12),
        Plan.of(SPIRALS, range(1), **_QUICK, **_TRAINED | {"horizon": 4, "sweeps": 200}, way="Adam",
                start=["Glorot", "box clamped"]),
    ],
    "laptop": [
        *_grid(SPIRALS, range(8), {"width": [6, 8, 12], "depth": 3, "examples": 40}, 700.0, 32, others=_OTHERS),
        *_grid(DIABETES, range(8), _FLAT, 400.0, 24, others=_OTHERS),
        *_grid(DIGITS, range(5), _FLAT, 450.0, 30, sweeps=600, epochs=2000, others=_OTHERS),
        *_grid(LETTERS, range(5), _FLAT, 320.0, 26, sweeps=600, epochs=2000, others=_OTHERS),
        *(part for examples, epochs in _SIZES
          for part in _grid(SPIRALS, range(8, 16), {"width": 6, "depth": 3, "examples": examples}, 300.0, 24,
                            epochs=epochs, starts=["Glorot", "box clamped"], others=["SGD"])),
    ],
    "paper": [
        *_grid(SPIRALS, range(24), {"width": [6, 10, 15], "depth": 3, "examples": 40}, 1000.0, 44, runs=100,
               others=_OTHERS),
        *_grid(SPIRALS, range(24), {"width": [6, 12], "depth": 2, "examples": 40}, 1500.0, 40, runs=100),
    ],
}  # fmt: skip


def fingerprint(data: str, config: LandscapeConfig) -> str:
    return load(data).fingerprint if data in names() else ""


def scope(trial: Trial[LandscapeConfig]) -> Scope:
    """What a record can decide: small networks, and another way to equilibrium than the source's."""
    config = trial.config
    # An epoch takes at least so many steps; the more points, the fewer epochs are asked for.
    length = config.horizon * config.sweeps * (1 if config.way == TEMPERING else config.examples // config.moves)
    if length < 5000:
        return Scope("quick", f"{length} {'sweeps' if config.way == TEMPERING else 'steps'}")
    return Scope("reduced", "replica exchange instead of Wang-Landau, networks of some hundred parameters")


def stack_by(trial: Trial[LandscapeConfig], device: str = "cpu") -> Hashable:
    """Optimisers train all seeds as one; a run of the sampler is one by itself."""
    return trial.data, trial.config, trial.seed if trial.config.way == TEMPERING else None


def train_stack(stack: list[Trial[LandscapeConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Sampled or trained; the processor does it."""
    config, seeds = stack[0].config, [trial.seed for trial in stack]
    task = TASKS[stack[0].data]
    problems = [task.draw(seed, config.examples) for seed in seeds]
    layers = tasks.widths(problems[0], config.width, config.depth)
    if config.way == TEMPERING:
        curves, artefacts = equilibrium.sampled(problems[0], layers, config, seeds[0], tick)
        return StackResult(curves.assign(trial=stack[0].id), artefacts)
    blocks, artefacts = trained.followed(problems, layers, config, seeds, task.window[0], tick)
    curves = pd.concat([table.assign(trial=stack[k].id) for k, table in blocks], ignore_index=True)
    curves = curves.dropna(axis=1, how="all")
    return StackResult(curves.sort_values(["trial", "epoch", "point"], ignore_index=True), artefacts)


# --- Outcomes -------------------------------------------------------------------------------------------


def _named(way: str, start: str, window: str = "over") -> str:
    return f"{window}_{way}_{start}".lower().replace(" ", "_")


OVER = {_named(way, start): (way, start) for way in optimisers.WAYS for start in optimisers.STARTS}
_DEEP = {_named(way, start, "deep"): (way, start) for way, start in OVER.values()}
_GLOROT, _CLAMPED = ("Adam", "Glorot"), ("Adam", "box clamped")


def outcomes(store: Store) -> pd.DataFrame:
    """One row per trial; what compares stands in the row of the sampler that started evenly.

    With A(bin) the mean value, accuracy or R², of a bin of ln L: over all visits of the sampler, over runs of an
    optimiser. In equilibrium A is the mean of both starts.

    - `value`, `spread`: A, and the standard deviation between visits or runs, mean over the bins of the window;
    - `effective`: independent states that would give the sampler's A as exactly, in the bin that has fewest;
    - `swapped`, `trips`: the least share of swaps between neighbours, round trips; `starts`, `worst`: A of the other
      start less its own, its mean and its largest size in the window; `equilibrated`: all four are as they should be;
    - `over_…`: equilibrium less an optimiser from a start, mean over the bins of the window; absent where a run has not
      equilibrated, or fewer than three runs of an optimiser in four have come as low as each bin;
    - `deep_…`: the same in the deep window, of runs that get there, eight at least;
    - `errors_…`: ln of an optimiser's share of errors, 1 - A, over that in equilibrium, in the window;
    - `ratio_adam_glorot`: equilibrium over Adam's; `prior`: Adam held in the box from a start there, less Adam from
      Glorot's; `over_stopped`: equilibrium in the deep window less Adam stopped where it did best on validation points,
      of its runs that came to the window's end;
    - `arrived`: the share of an optimiser's runs that came to the window's end;
    - `together`: what eight states decide together, less the mean of single ones, in the window.
    """
    table, curves = counted(store), store.curves(LANDSCAPE.name)
    curves = curves[curves.trial.isin(table.trial)]  # without the shorter and the warmer of two runs
    of = table.set_index("trial")
    found = {
        name: _summary(curve, of.way[name] == TEMPERING, TASKS[of.data[name]])
        for name, curve in curves.groupby("trial")
    }
    rows = []
    for key, group in table.groupby(_NETWORK):
        if group.duplicated(["way", "start"]).any():
            raise ValueError(f"landscape has several records of one way for {key}")
        beside, task = {(row.way, row.start): (row, found[row.trial]) for row in group.itertuples()}, TASKS[key[0]]
        for row in group.itertuples():
            compared = _compared(beside, task) if (row.way, row.start) == (TEMPERING, EVEN) else {}
            arrived = found[row.trial].visited[_within(task.window)[0]] / row.count
            said = {"arrived": arrived if row.way != TEMPERING else np.nan, **found[row.trial].said}
            rows.append({"trial": row.trial, "diverged": False, **said, **compared})
    # What no record has yet is a column, too.
    measured = pd.DataFrame(rows).reindex(columns=["trial", *LANDSCAPE.measures])
    return table.merge(measured, on="trial", validate="one_to_one")


_NETWORK = ["data", "protocol", "seed", "width", "depth", "examples"]


def counted(store: Store) -> pd.DataFrame:
    """The trials that count: of the sampler's runs on one network from one start that whose ladder goes coldest. It
    reaches lower losses, and at one loss all states count alike on every ladder."""
    table = LANDSCAPE.table(store)
    sampled, beside = table.way == TEMPERING, [*_NETWORK, "way", "start"]
    warmer = table[sampled].sort_values("coldest").duplicated(beside, keep="last")
    return table.drop(warmer.index[warmer])


@dataclass(frozen=True)
class _Summary:
    """A trial's A and how many walkers or runs have been there, by bin; and what its row says."""

    value: pd.Series
    visited: pd.Series
    said: dict[str, Any]


_Beside = Mapping[tuple[str, str], tuple[Any, _Summary]]


def _within(window: tuple[float, float]) -> list[int]:
    return [k for k, (low, high) in enumerate(pairwise(EDGES)) if window[0] <= low and high <= window[1]]


def _summary(curve: pd.DataFrame, sampler: bool, task: Task) -> _Summary:
    means = of_trial(curve, sampler)
    window = _within(task.window)
    spread = np.sqrt((means.square - means.value**2).clip(lower=0))
    said = {"value": means.value[window].mean(skipna=False), "spread": spread[window].mean(skipna=False)}
    said |= {name: means[name].iloc[0] for name in ("swapped", "trips", "stopped") if name in means}
    if "effective" in means:
        said["effective"] = means.effective[window].min(skipna=False)
    if "together" in means:
        said["together"] = (means.together - means.value)[window].mean(skipna=False)
    return _Summary(means.value, means.visited, said)


def _compared(beside: _Beside, task: Task) -> dict[str, Any]:
    found = {key: summary for key, (_, summary) in beside.items()}
    compared: dict[str, Any] = {"equilibrated": 0.0}
    if _arrived(beside, _GLOROT, task) and _arrived(beside, _CLAMPED, task):
        compared["prior"] = found[_CLAMPED].said["value"] - found[_GLOROT].said["value"]
    mine, other = found[TEMPERING, EVEN], found.get((TEMPERING, TRAINED))
    if other is None:
        return compared
    apart = (other.value - mine.value)[_within(task.window)]
    compared |= {"starts": apart.mean(skipna=False), "worst": apart.abs().max()}
    if not all(each.said["swapped"] >= SWAPPED and each.said["trips"] >= TRIPS for each in (mine, other)):
        return compared
    equilibrium = (mine.value + other.value) / 2
    if _agree(mine, other, task.window):
        compared |= {"equilibrated": 1.0, **_in_window(equilibrium, beside, task)}
    if _agree(mine, other, task.deep):
        compared |= _in_the_deep(equilibrium, found, task)
    return compared


def _in_window(equilibrium: pd.Series, beside: _Beside, task: Task) -> dict[str, float]:
    window, compared = _within(task.window), {}
    for name, key in OVER.items():
        if _arrived(beside, key, task):
            mine, other = equilibrium[window], beside[key][1].value[window]
            compared[name] = (mine - other).mean(skipna=False)
            compared[_named(*key, "errors")] = np.log((1 - other) / (1 - mine)).mean(skipna=False)
    if _arrived(beside, _GLOROT, task):
        compared["ratio_adam_glorot"] = equilibrium[window].mean() / beside[_GLOROT][1].said["value"]
    return compared


def _in_the_deep(equilibrium: pd.Series, found: Mapping[tuple[str, str], _Summary], task: Task) -> dict[str, float]:
    window, compared = _within(task.deep), {}
    for name, key in _DEEP.items():
        if key in found and (found[key].visited[window] >= FEWEST).all():
            compared[name] = (equilibrium - found[key].value)[window].mean(skipna=False)
    if _GLOROT in found:
        compared["over_stopped"] = equilibrium[window].mean() - found[_GLOROT].said["stopped"]
    return compared


def _arrived(beside: _Beside, key: tuple[str, str], task: Task) -> bool:
    if key not in beside:
        return False
    row, summary = beside[key]
    return bool((summary.visited[_within(task.window)] >= ARRIVED * row.count).all())


def _agree(mine: _Summary, other: _Summary, window: tuple[float, float]) -> bool:
    """Whether two starts do; a bin where one of them has not been is a difference."""
    apart = (other.value - mine.value)[_within(window)]
    return bool(apart.notna().all() and abs(apart.mean()) <= AGREED and apart.abs().max() <= WORST)


_MEASURES = (
    *OVER, *_DEEP, *(_named(*key, "errors") for key in OVER.values()), "ratio_adam_glorot", "prior", "over_stopped",
    "worst", "arrived", "value", "spread", "together", "swapped", "trips", "effective", "starts", "equilibrated",
    "stopped", "diverged",
)  # fmt: skip

LANDSCAPE = Experiment(
    name="landscape",
    protocol=1,
    config=LandscapeConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=_MEASURES,
    columns={"point": (0, len(EDGES) - 2), "count": (0, np.inf), "value": (-np.inf, 1), "visited": (0, np.inf)},
    treatment="coldest",
    on_gpu=False,
)
