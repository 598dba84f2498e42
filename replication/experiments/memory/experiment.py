"""Curved associative memories against Hopfield networks: how much they store, from how far they recall, how fast.

A trial is one network and one seed, in one of five tasks:

- `capacity`: start at a pattern and stay there, for one number of stored patterns after another;
- `basin`: start at a damaged pattern and find it, for one damage after another;
- `speed`: one stored pattern, from an overlap of 0.1;
- `loop`: one stored pattern, cooled and warmed again;
- `glass`: random couplings instead of patterns, cooled and warmed again.

Networks of one seed share patterns, starts and chances, whatever their curvature.
"""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import pandas as pd

from replication.data.registry import load
from replication.experiments.experiment import Experiment, Plan
from replication.memory import meanfield, patterns, replica
from replication.memory.dynamics import Course, run, run_couplings
from replication.memory.law import Law, VanishingBracket
from replication.sweep.store import Array, StackResult, Store
from replication.sweep.trial import Config, Scope, Trial

RANDOM = "random"  # patterns drawn by the seed
LOADS = tuple(round(0.01 * k, 2) for k in range(1, 17))
COUNTS = tuple(range(5, 75, 5))  # of pictures
CUES = tuple(round(0.1 * k, 1) for k in range(1, 11))
RECALLED = 0.7  # an overlap below is no recall; remnants of 0.35 are none either
START = 0.1
# How far below the replica capacity the loads lie at which states are compared: nearer to it they are metastable.
WITHIN = 0.8


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(Config):
    """One network: its task, its curvature γ', its nominal temperature T = 1/β, its spins.

    `horizon` counts blocks of `sweeps` sweeps; `load` is that of the task `basin`, and 0 elsewhere.
    """

    task: str
    curvature: float
    temperature: float
    size: int
    sweeps: int
    load: float

    @property
    def law(self) -> Law:
        return Law(self.curvature, 1 / self.temperature if self.temperature else inf)


# --- What is run ----------------------------------------------------------------------------------------

CURVATURES = [-1.5, -1.2, -1.0, -0.8, -0.4, 0.0, 0.4, 0.8, 1.2]
_THREE = [-0.8, 0.0, 0.8]
_CAPACITY: dict[str, Any] = {"task": "capacity", "horizon": 10, "sweeps": 20, "load": 0.0}
_BASIN: dict[str, Any] = {"task": "basin", "horizon": 10, "sweeps": 20, "load": 0.05}
_LOOP: dict[str, Any] = {"horizon": 2 * 57, "sweeps": 50, "temperature": 1.0, "load": 0.0}
_SPEED: dict[str, Any] = {"task": "speed", "horizon": 300, "sweeps": 1, "temperature": 0.98, "load": 0.0}
_SMALL: dict[str, Any] = {"horizon": 4, "sweeps": 10, "size": 300}
_PICTURES: dict[str, Any] = {"task": "capacity", "horizon": 3, "sweeps": 10, "size": 3072, "load": 0.0}


def _grid(seeds: int, sizes: list[int], pictures: list[float], repeats: int) -> list[Plan]:
    largest = max(sizes)
    return [
        Plan.of(RANDOM, range(seeds), **_CAPACITY, temperature=0.5, size=sizes, curvature=CURVATURES),
        Plan.of(RANDOM, range(seeds), **_CAPACITY, temperature=0.0, size=largest, curvature=_THREE),
        Plan.of(RANDOM, range(seeds), **_CAPACITY, temperature=[0.1, 0.2, 0.3, 0.4], size=largest, curvature=0.0),
        Plan.of(RANDOM, range(seeds // 2), **_CAPACITY, temperature=[0.1, 0.3, 0.7, 0.9], size=2000, curvature=_THREE),
        Plan.of(RANDOM, range(seeds), **_BASIN, temperature=[0.5, 0.0], size=largest, curvature=[-1.2, *_THREE]),
        Plan.of(RANDOM, range(seeds), **_SPEED, size=100_000, curvature=[-1.5, -1.2, -0.8, 0.0]),
        Plan.of(RANDOM, range(seeds), task="loop", **_LOOP, size=1000, curvature=[-1.5, -1.2, -1.0, -0.8, 0.0]),
        Plan.of(RANDOM, range(seeds), task="glass", **_LOOP, size=1000, curvature=[-1.2, -1.0, -0.8, 0.0]),
        Plan.of("cifar10", range(repeats), **_PICTURES, temperature=0.5, curvature=pictures),
        Plan.of("cifar10", range(repeats), **_PICTURES, temperature=0.0, curvature=0.0),
    ]  # fmt: skip


PROFILES = {
    "quick": [
        Plan.of(RANDOM, range(2), **_CAPACITY | _SMALL, temperature=0.5, curvature=[-0.8, 0.0, 0.8]),
        Plan.of(RANDOM, range(2), **_BASIN | _SMALL, temperature=[0.5, 0.0], curvature=[-0.8, 0.0]),
        Plan.of(RANDOM, range(1), **_SPEED | {"size": 300}, curvature=[-1.5, 0.0]),
        Plan.of(RANDOM, range(1), task=["loop", "glass"], **_LOOP | {"sweeps": 10, "size": 300}, curvature=[-1.2, 0.0]),
    ],
    "laptop": _grid(20, [500, 1000, 2000, 4000], [-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8], 50),
    "paper": _grid(20, [500, 1000, 2000, 4000, 8000, 16000], [round(0.05 * k, 2) for k in range(-20, 21)], 500),
}  # fmt: skip


def fingerprint(data: str, config: MemoryConfig) -> str:
    return "" if data == RANDOM else load(data).fingerprint


def scope(trial: Trial[MemoryConfig]) -> Scope:
    """What a record can decide: the source's statements are on networks without end, and on 500 draws of pictures."""
    if trial.config.size < 500:
        return Scope("quick", f"{trial.config.size} spins")
    if trial.data != RANDOM:
        return Scope("reduced", f"pictures of CIFAR-10 instead of CIFAR-100; {load(trial.data).deviation}")
    return Scope("reduced", "networks of finite size")


def stack_by(trial: Trial[MemoryConfig], device: str = "cpu") -> Hashable:
    """Networks that share patterns and chances and are measured at the same places."""
    config = trial.config
    return trial.data, trial.seed, config.task, config.size, config.temperature, config.load, config.sweeps


def train_stack(stack: list[Trial[MemoryConfig]], device: str, tick: Callable[[], object]) -> StackResult:
    """Every network of the stack at every place; nothing is trained, and the processor does it."""
    frames = []
    for trial in stack:
        for point, frame in enumerate(_TASKS[trial.config.task](trial)):
            frames.append(frame.assign(point=point, trial=trial.id))
    for _ in range(stack[0].config.horizon):
        tick()
    table = pd.concat(frames, ignore_index=True).sort_values(["trial", "epoch", "point"], kind="stable")
    measured = table.columns.difference(["trial", "epoch", "point"])
    table[measured] = table[measured].astype(np.float32)
    return StackResult(table.dropna(axis=1, how="all").reset_index(drop=True))


def _chances(trial: Trial[MemoryConfig], point: int, which: int = 0) -> np.random.Generator:
    """The same for every curvature."""
    return np.random.default_rng([trial.seed, trial.config.size, point, which, 1])


def _stored(trial: Trial[MemoryConfig], count: int) -> Array:
    if trial.data != RANDOM:
        return patterns.pictures(count, trial.seed)
    return patterns.random(count, trial.config.size, trial.seed)


def _damaged(pattern: Array, overlap: float, random: np.random.Generator) -> Array:
    """The pattern with as many spins turned as leave it this overlap."""
    state = pattern.copy()
    turned = round(len(state) * (1 - overlap) / 2)
    state[random.permutation(len(state))[:turned]] *= -1
    return state


def _rows(law: Law, start: Array, stored: Array, course: Course) -> pd.DataFrame:
    """A row for the start, and one for each block."""
    overlaps = stored.astype(np.int32) @ start.astype(np.int32) / len(start)
    s = float((overlaps**2).sum() - len(stored) / len(start))
    felt = law.beta / (1 + law.curvature / 2 * s)
    first = {
        "overlap": overlaps[0],
        "others": (overlaps[1:] ** 2).sum(),
        "s": s,
        "effective": felt if felt > 0 else np.nan,
    }
    blocks = {name: getattr(course, name) for name in first}
    table = pd.concat([pd.DataFrame([first]), pd.DataFrame(blocks)], ignore_index=True)
    return table.rename_axis("epoch").reset_index()


def _course(
    trial: Trial[MemoryConfig], law: Law, stored: Array, start: Array, random: np.random.Generator
) -> pd.DataFrame:
    """The course from a start; where the bracket vanishes there is none. At T = 0 β' is no number."""
    config, state = trial.config, start.copy()
    try:
        course = run(law, stored, state, random, config.horizon, config.sweeps)
    except VanishingBracket:
        none = np.full(config.horizon, np.nan)
        course = Course(none, none, none, none)
    return _rows(law, start, stored, course).replace({"effective": {inf: np.nan}})


def _capacity(trial: Trial[MemoryConfig]) -> Iterator[pd.DataFrame]:
    """A frame for each load; beside a curved network its twin, a Hopfield network at its own mean β'."""
    size = trial.config.size
    counts = [max(1, round(each * size)) for each in LOADS] if trial.data == RANDOM else list(COUNTS)
    everything = _stored(trial, max(counts))
    for point, count in enumerate(counts):
        stored, start = everything[:count], everything[0]
        table = _course(trial, trial.config.law, stored, start, _chances(trial, point))
        late = table.effective[len(table) // 2 :].mean()
        if trial.config.curvature and np.isfinite(late):
            twin = _course(trial, Law(0.0, float(late)), stored, start, _chances(trial, point, 1))
            table = table.assign(twin_overlap=twin.overlap, twin_others=twin.others)
        yield table.assign(load=count / size)


def _basin(trial: Trial[MemoryConfig]) -> Iterator[pd.DataFrame]:
    """A frame for each cue, which is the pattern's overlap with the start."""
    config = trial.config
    stored = _stored(trial, max(1, round(config.load * config.size)))
    for point, cue in enumerate(CUES):
        start = _damaged(stored[0], cue, _chances(trial, point, 2))
        table = _course(trial, config.law, stored, start, _chances(trial, point))
        yield table.assign(cue=cue)


def _speed(trial: Trial[MemoryConfig]) -> Iterator[pd.DataFrame]:
    """One pattern from a small overlap; beside a curved network a Hopfield network at its final β'.

    That is the β' at the overlap at which it comes to rest, by the mean field.
    """
    config, stored = trial.config, _stored(trial, 1)
    start = _damaged(stored[0], START, _chances(trial, 0, 2))
    table = _course(trial, config.law, stored, start, _chances(trial, 0))
    if config.curvature:
        final = float(config.law.effective(meanfield.stable(config.law)[-1] ** 2))
        twin = _course(trial, Law(0.0, final), stored, start, _chances(trial, 0, 1))
        table = table.assign(twin_overlap=twin.overlap)
    yield table.filter(["epoch", "overlap", "twin_overlap"])


def _scanned(horizon: int) -> Array:
    """β from 0.3 to 1.42 in even steps, and back."""
    up = np.linspace(0.3, 1.42, horizon // 2)
    return np.concatenate([up, up[::-1]])


def _loop(trial: Trial[MemoryConfig]) -> Iterator[pd.DataFrame]:
    """Cooled and warmed again, each block at its own β, from where the last one ended."""
    config, random = trial.config, _chances(trial, 0)
    stored = _stored(trial, 1)
    state = 2 * random.integers(0, 2, config.size, dtype=np.int8) - 1
    yield _ramp(trial, state, lambda law: run(law, stored, state, random, 1, config.sweeps))


def _glass(trial: Trial[MemoryConfig]) -> Iterator[pd.DataFrame]:
    config, random = trial.config, _chances(trial, 0)
    upper = np.triu(
        np.random.default_rng([trial.seed, config.size]).normal(0, config.size**-0.5, (config.size,) * 2), 1
    )
    couplings = upper + upper.T
    state = 2 * random.integers(0, 2, config.size, dtype=np.int8) - 1
    yield _ramp(trial, state, lambda law: run_couplings(law, couplings, state, random, 1, config.sweeps))


def _ramp(trial: Trial[MemoryConfig], state: Array, at: Callable[[Law], Course]) -> pd.DataFrame:
    rows: list[dict[str, float]] = [{"epoch": 0, "beta": np.nan}]
    for epoch, beta in enumerate(_scanned(trial.config.horizon), start=1):
        course = at(Law(trial.config.curvature, float(beta)))
        found = {"overlap": abs(course.overlap[0]), "s": course.s[0], "effective": course.effective[0]}
        rows.append({"epoch": epoch, "beta": beta, **found})
    return pd.DataFrame(rows)


_TASKS = {"capacity": _capacity, "basin": _basin, "speed": _speed, "loop": _loop, "glass": _glass}


# --- Outcomes -------------------------------------------------------------------------------------------


def outcomes(store: Store) -> pd.DataFrame:
    """One row per trial.

    - `capacity`: the load at which the overlap, over the last half of the blocks, falls below 0.7, between two loads by
      interpolation; the greatest one where it never does;
    - `mean_overlap`: over all loads; `late_overlap`, `late_others`: over those within 0.8 of the replica capacity;
    - `near_overlap`, `near_others`: over those within 0.8 of the capacity of a Hopfield network at the same β;
    - `matched_overlap`, `matched_others`: `late_…` less those of a Hopfield network at the same mean β';
    - `replica_gap`: `late_overlap` less what the replica equations say;
    - `s_gap`: S less what they say; `bracket_error`: how much further from S the map lies that has 1 - q² in the place
      of (1-q)²;
    - `basin`: the smallest overlap of a cue from which the pattern is found, by interpolation;
    - `sweeps_to_recall`: until the overlap is one half, and the horizon plus one where it never is;
      `over_cold`: this over what a Hopfield network at the final β' takes;
    - `area`: of the loop between cooling and warming, in |m| (loop) or S (glass), times β.
    """
    table, curves = MEMORY.table(store), store.curves(MEMORY.name)
    # Differences of means want the digits.
    curves = curves.astype(dict.fromkeys(curves.select_dtypes("float32"), float))
    configs = table.set_index("trial")
    late = curves[curves.epoch > curves.trial.map(configs.horizon) / 2]
    late = late.groupby(["trial", "point"], as_index=False).mean()
    late, whole = (dict(iter(each.groupby("trial"))) for each in (late, curves))
    rows = []
    for name, config in configs.iterrows():
        measured = _AT_REST.get(config.task) or _IN_TIME[config.task]
        found = measured((late if config.task in _AT_REST else whole)[name], config)
        lost = bool(whole[name].overlap[whole[name].epoch > 0].isna().any())
        rows.append({"trial": name, "diverged": lost and config.task != "capacity", **found})
    return table.merge(pd.DataFrame(rows), on="trial", validate="one_to_one")


def crossing(places: Array, overlaps: Array) -> float:
    """The first place at which overlaps fall below 0.7, by interpolation; the last where none does."""
    lost = np.flatnonzero(~(np.asarray(overlaps) >= RECALLED))
    if not len(lost):
        return float(places[-1])
    at = int(lost[0])
    if at == 0:
        return float(places[0])
    low = np.nan_to_num(overlaps[at])
    share = (overlaps[at - 1] - RECALLED) / (overlaps[at - 1] - low)
    return float(places[at - 1] + share * (places[at] - places[at - 1]))


def _of_capacity(late: pd.DataFrame, config: pd.Series) -> dict[str, Any]:
    at = {name: late[name].to_numpy() for name in late if name != "trial"}
    load, overlap = at["load"], at["overlap"]
    found = {"capacity": crossing(load, overlap), "mean_overlap": float(np.nan_to_num(overlap).mean())}
    if config.data != RANDOM or not config.temperature:
        return found
    law = Law(config.curvature, 1 / config.temperature)
    common, near = (load <= WITHIN * replica.capacity(each) for each in (Law(0.0, law.beta), law))
    if common.any():
        found |= {f"near_{name}": float(at[name][common].mean()) for name in ("overlap", "others")}
    if not near.any():
        return found
    states = [replica.retrieval(float(each), law) for each in load[near]]
    m, s, other = (
        np.array([getattr(state, name) for state in states if state]) for name in ("m", "s", "s_of_the_code")
    )
    found |= {f"late_{name}": float(at[name][near].mean()) for name in ("overlap", "others")}
    found |= {
        "replica_gap": float((overlap[near] - m).mean()),
        "s_gap": float((at["s"][near] - s).mean()),
        "bracket_error": float(np.abs(at["s"][near] - other).mean() - np.abs(at["s"][near] - s).mean()),
    }
    if config.curvature and "twin_overlap" in at:
        twins = ((name, at[name] - at[f"twin_{name}"]) for name in ("overlap", "others"))
        found |= {f"matched_{name}": float(gap[near].mean()) for name, gap in twins}
    return found


def _of_basin(late: pd.DataFrame, config: pd.Series) -> dict[str, Any]:
    late = late.sort_values("cue", ascending=False)
    return {"basin": -crossing(-late.cue.to_numpy(), late.overlap.to_numpy())}


def _of_speed(curve: pd.DataFrame, config: pd.Series) -> dict[str, Any]:
    found = {"sweeps_to_recall": _first(curve.overlap)}
    if "twin_overlap" in curve and config.curvature:
        found["over_cold"] = found["sweeps_to_recall"] / _first(curve.twin_overlap)
    return found


def _first(overlap: pd.Series) -> float:
    there = np.flatnonzero(overlap >= 0.5)
    return float(there[0]) if len(there) else float(len(overlap))


def _area(value: str) -> Callable[[pd.DataFrame, pd.Series], dict[str, Any]]:
    def measured(curve: pd.DataFrame, config: pd.Series) -> dict[str, Any]:
        values, beta = curve[value].to_numpy()[1:], curve.beta.to_numpy()[1:]
        half = len(values) // 2
        return {"area": float(np.trapezoid(values[half:][::-1] - values[:half], beta[:half]))}

    return measured


# Of means over the last half of the blocks, place by place, and of whole curves.
_AT_REST: dict[str, Callable[[pd.DataFrame, pd.Series], dict[str, Any]]] = {
    "capacity": _of_capacity,
    "basin": _of_basin,
}
_IN_TIME = {"speed": _of_speed, "loop": _area("overlap"), "glass": _area("s")}

MEMORY = Experiment(
    name="memory",
    protocol=1,
    config=MemoryConfig,
    profiles=PROFILES,
    train=train_stack,
    stack_by=stack_by,
    scope=scope,
    fingerprint=fingerprint,
    outcomes=outcomes,
    measures=(
        "capacity", "mean_overlap", "late_overlap", "late_others",
        "near_overlap", "near_others", "matched_overlap", "matched_others",
        "replica_gap", "s_gap", "bracket_error", "basin",
        "sweeps_to_recall", "over_cold", "area", "diverged",
    ),
    columns={"point": (0, np.inf)},
    treatment="curvature",
    on_gpu=False,
)  # fmt: skip
