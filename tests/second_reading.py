"""The empirical claims read a second time: from the Parquet files to effects and intervals, with pandas and scipy.

Written from the words of `claims.yml`, `plan.yml` and the paper's tables in the ledger; nothing of the project is
imported. Where this and the ledger differ, one of them is wrong.
"""

import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml
from scipy import optimize, stats

ROOT = Path(__file__).parents[1]
LAMBDAS = [0.0, 1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]
LARGE, WIDE, STRONG = [100, 140, 180, 220, 260], [60, 100, 140, 180, 220, 260], LAMBDAS[3:]
# What an unguided network has no say in, and what the experiments leave as it is unless a claim says otherwise.
GUIDANCE = {"form", "eps", "layers", "technique"}
USUAL = {
    "autoencoder": {"batch": 32, "rate": 1e-3, "init": "torch", "form": "log", "eps": 1e-3},
    "anatomy": {"batch": 32, "rate": 1e-3, "init": "torch", "form": "log", "eps": 1e-3},
    "through": {"batch": 128, "rate": 1e-3},
    "memory": {},
    "landscape": {},
    "management": {"rate": 1e-3, "batch": 50, "examples": 2000},
    "cnn": {
        "batch": 32,
        "rate": 1e-3,
        "padding": "valid",
        "init": "glorot",
        "slope": 0.3,
        "form": "reciprocal",
        "eps": 1e-3,
    },
    "imagenette": {
        "batch": 32,
        "rate": 0.01,
        "momentum": 0.0,
        "precision": "bfloat16",
        "image": 64,
        "width": 0.25,
        "form": "reciprocal",
        "eps": 1e-3,
    },
    "unet": {
        "batch": 8,
        "rate": 1e-3,
        "precision": "bfloat16",
        "image": 96,
        "channels": 16,
        "form": "reciprocal",
        "eps": 1e-3,
    },
}


# --- Records ----------------------------------------------------------------------------------------


@lru_cache
def records(experiment: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trials and curves of an experiment."""
    trials, curves = [], []
    for path in sorted((ROOT / "results" / experiment).glob("*.parquet")):
        table = pq.read_table(path)
        described = json.loads(pq.read_metadata(path).metadata[b"entropy_lib"])
        trials += [{**t["config"], **t, "file": path.stem} for t in described["trials"]]
        curves.append(table.to_pandas())
    return pd.DataFrame(trials), pd.concat(curves) if curves else pd.DataFrame()


def stop(values: np.ndarray, patience: int, tolerance: float = 0.0) -> tuple[int, int, bool]:
    """Epochs of the stop and of the best value so far, counted from 1, and whether the run ended before it stopped."""
    best, at = math.inf, 0
    for epoch in range(1, len(values) + 1):
        if values[epoch - 1] < best - tolerance:
            best, at = values[epoch - 1], epoch
        elif epoch - at == patience:
            return epoch, at, False
    return len(values), at, True


@lru_cache
def autoencoders(until: int | None) -> pd.DataFrame:
    trials, curves = records("autoencoder")
    rows = {}
    for trial, curve in curves.groupby("trial"):
        curve = curve.sort_values("epoch")
        curve = curve[curve.epoch <= (until or math.inf)]
        watched, test = curve.validation_mse.to_numpy()[1:], curve.test_mse.to_numpy()
        row = {"curve": test, "length": len(test) - 1, "diverged": not np.isfinite(curve.validation_mse).all()}
        for name, tolerance in (("", 0.0), (" 1e-4", 1e-4), (" 1e-3", 1e-3)):
            row["stop" + name], best, row["late" + name] = stop(watched, 7, tolerance)
            if not name:
                row |= {"minimum": test[best], "at stop": test[row["stop"]]}
        rows[trial] = row
    return trials.set_index("trial").join(pd.DataFrame.from_dict(rows, orient="index"))


@lru_cache
def classifiers() -> pd.DataFrame:
    trials, curves = records("cnn")
    last = curves.sort_values("epoch").groupby("trial").tail(1).set_index("trial")
    return trials.set_index("trial").join(last[["test_accuracy", "train_accuracy", "first_tap"]]).assign(diverged=False)


@lru_cache
def large() -> pd.DataFrame:
    trials, curves = records("imagenette")
    rows = {}
    for trial, curve in curves.groupby("trial"):
        curve = curve.set_index("epoch").sort_index()
        best = curve.validation_accuracy[1:].idxmax()
        diverged = not np.isfinite(curve.train_loss).all()
        rows[trial] = {"accuracy": curve.test_accuracy[best], "best epoch": best, "diverged": diverged}
    return trials.set_index("trial").join(pd.DataFrame.from_dict(rows, orient="index"))


@lru_cache
def looked_into() -> pd.DataFrame:
    trials, curves = records("anatomy")
    if trials.empty:
        measured = ["share_square", "most", "blanking", "black", "saturated", "diverged"]
        return pd.DataFrame(columns=["data", "seed", "horizon", "coefficient", "latent", *USUAL["anatomy"], *measured])
    last = curves.sort_values("epoch").groupby("trial").tail(1).set_index("trial")
    last["most"], last["blanking"] = last.error_most / last.error_others, last.error_rest_blanked / last.error_rest
    last["black"] = last.error_rest_black / last.error_rest
    return trials.set_index("trial").join(last).assign(diverged=False)


@lru_cache
def whole() -> pd.DataFrame:
    trials, curves = records("through")
    measured = ["linear", "agreement", "overlap", "pruning", "late"]
    if trials.empty:
        return pd.DataFrame(
            columns=[
                "data",
                "seed",
                "horizon",
                "coefficient",
                "network",
                "layers",
                *USUAL["through"],
                *measured,
                "diverged",
            ]
        )
    rows = {}
    for trial, curve in curves.groupby("trial"):
        scores = curve[curve.layer == 0].set_index("epoch").test_accuracy
        flow = curve[(curve.layer > 0) & (curve.epoch == scores.index.max())]
        told = flow[(flow.within == 0) & (flow.statement != "none")]
        other = told.change - told.linear
        row = dict.fromkeys(measured, math.nan) | {"late": scores.sort_index().to_numpy()[-3:].mean()}
        if len(told) and not told.linear.isna().any():
            row["linear"] = told.linear.abs().sum() / (told.linear.abs().sum() + other.abs().sum())
        if flow.stage.max() > 0:
            paper = {stage: part.paper.mean() for stage, part in flow[flow.stage > 0].groupby("stage")}
            change = {stage: part.change.sum() for stage, part in told[told.stage > 0].groupby("stage")}
            lost = {
                stage: scores.iloc[-1] - part.accuracy_without.iloc[0]
                for stage, part in flow[flow.stage > 0].groupby("stage")
            }
            first, second, third = (
                np.array([each[stage] for stage in sorted(change)]) for each in (paper, change, lost)
            )
            if not np.isnan(first).any():
                row["agreement"] = stats.spearmanr(first, second)[0]
                picked = [set(np.flatnonzero(each > each.mean() + each.std())) for each in (first, second)]
                row["overlap"] = (
                    len(picked[0] & picked[1]) / len(picked[0] | picked[1]) if picked[0] | picked[1] else math.nan
                )
            row["pruning"] = stats.spearmanr(np.abs(second), third)[0] if len(set(third)) > 1 else math.nan
        rows[trial] = row
    return trials.set_index("trial").join(pd.DataFrame.from_dict(rows, orient="index")).assign(diverged=False)


Z = np.linspace(-9, 9, 1801)
DZ = np.exp(-(Z**2) / 2) / np.exp(-(Z**2) / 2).sum()


def solved(load: float, curvature: float, beta: float, start: np.ndarray) -> np.ndarray | None:
    """m, q and β' of a retrieval state of infinitely many spins, from a guess near it; none where it leads nowhere."""

    def wrong(x: np.ndarray) -> np.ndarray:
        m, q, felt = x
        r = q / (1 - felt * (1 - q)) ** 2
        t = np.tanh(felt * (m + np.sqrt(load * abs(r)) * Z))
        return np.array([t @ DZ - m, t**2 @ DZ - q, felt * (1 + curvature / 2 * theirs(load, m, q, felt)[0]) - beta])

    found, _, good, _ = optimize.fsolve(wrong, start, full_output=True, xtol=1e-13)
    return found if good == 1 and found[0] > 0.4 and np.abs(wrong(found)).max() < 1e-9 else None


def theirs(load: float, m: float, q: float, felt: float) -> tuple[float, float]:
    """S by the derivation, and by the published code's bracket."""
    first, second = ((1 - felt * part) / (1 - felt * (1 - q)) ** 2 for part in ((1 - q) ** 2, 1 - q**2))
    return m**2 + load * (first - 1), m**2 + load * (second - 1)


@lru_cache
def states(curvature: float, beta: float) -> tuple[dict[float, np.ndarray], float]:
    """Retrieval states by load, and the load at which they end, by following them in ever smaller steps."""
    hot = beta / (1 + curvature / 2) if curvature else beta
    at, last, step, known = 1e-4, np.array([0.97, 0.95, hot]), 0.01, {}
    while step > 1e-9:
        found = solved(at, curvature, beta, last)
        if found is None or abs(found[0] - last[0]) > 0.2:
            at, step = at - step / 2, step / 2
            continue
        known[at], last = found, found
        at += step
    return known, max(known)


@lru_cache
def state(load: float, curvature: float, beta: float) -> np.ndarray:
    known, _ = states(curvature, beta)
    return solved(load, curvature, beta, known[max(at for at in known if at <= load + 1e-12)])


def reaches(places: np.ndarray, overlaps: np.ndarray) -> float:
    """Where a line through overlaps first falls below 0.7."""
    for k, value in enumerate(np.nan_to_num(overlaps)):
        if value < 0.7:
            if k == 0:
                return places[0]
            return places[k - 1] + (overlaps[k - 1] - 0.7) / (overlaps[k - 1] - value) * (places[k] - places[k - 1])
    return places[-1]


@lru_cache
def memories() -> pd.DataFrame:
    trials, curves = records("memory")
    rows = {}
    named = trials.set_index("trial")
    for name, curve in curves.groupby("trial"):
        about, row = named.loc[name], {}
        curve = curve.astype({n: float for n in curve.columns if curve[n].dtype == np.float32})
        end = curve.epoch.max()
        if about.task in ("capacity", "basin"):
            mean = (
                curve[curve.epoch > end / 2]
                .groupby("point")[
                    [n for n in ("overlap", "others", "s", "load", "cue", "twin_overlap", "twin_others") if n in curve]
                ]
                .mean()
            )
        if about.task == "basin":
            back = mean.iloc[::-1]
            row["basin"] = -reaches(-back.cue.to_numpy(), back.overlap.to_numpy())
        elif about.task == "capacity":
            row["capacity"] = reaches(mean.load.to_numpy(), mean.overlap.to_numpy())
            row["everywhere"] = mean.overlap.fillna(0).mean()
            if about["data"] == "random" and about.temperature == 0.5:
                row |= at_rest(mean, about.curvature, 1 / about.temperature)
        elif about.task == "speed":
            first = {
                n: next((k for k, v in enumerate(curve[n]) if v >= 0.5), len(curve))
                for n in ("overlap", "twin_overlap")
                if n in curve and curve[n].notna().all()
            }
            row = {"until": first["overlap"], "late": first["overlap"] > end}
            row["cold"] = first["overlap"] / first.get("twin_overlap", math.nan)
        else:
            value = curve["overlap" if about.task == "loop" else "s"].to_numpy()[1:]
            beta, half = curve.beta.to_numpy()[1:], len(value) // 2
            gap = value[half:][::-1] - value[:half]
            row["area"] = ((gap[1:] + gap[:-1]) / 2 * np.diff(beta[:half])).sum()
        rows[name] = row
    found = named.join(pd.DataFrame.from_dict(rows, orient="index"))
    return found.assign(coefficient=found.curvature, diverged=False)


def at_rest(mean: pd.DataFrame, curvature: float, beta: float) -> dict[str, float]:
    """Means over the loads at which a network, or a Hopfield network, is far enough from forgetting."""
    near, own = (mean[mean.load <= 0.8 * states(g, beta)[1]] for g in (0.0, curvature))
    row = {"near": near.overlap.mean(), "near others": near.others.mean()}
    if own.empty:
        return row
    told = [state(load, curvature, beta) for load in own.load]
    row["gap"] = np.mean([own_m - m for own_m, (m, _, _) in zip(own.overlap, told, strict=True)])
    both = np.array([theirs(load, *each) for load, each in zip(own.load, told, strict=True)])
    row["energy"] = (own.s.to_numpy() - both[:, 0]).mean()
    off = np.abs(own.s.to_numpy()[:, None] - both).mean(axis=0)
    row["bracket"] = off[1] - off[0]
    if "twin_overlap" in own:
        row["matched"] = (own.overlap - own.twin_overlap).mean()
        row["matched others"] = (own.others - own.twin_others).mean()
    return row


READ = ("Adam, Glorot", "Adam, box clamped", "errors of Adam, Glorot", "stopped", "factor", "prior")


@lru_cache
def landscapes() -> pd.DataFrame:
    """Of each draw and width what equilibrium is ahead by, between bins of a quarter in ln L from -6 up."""
    trials, curves = records("landscape")
    about = ["data", "width", "depth", "examples", "seed"]
    if trials.empty:
        return pd.DataFrame(columns=[*about, "coefficient", "way", "start", "horizon", "diverged", *READ])
    trials = trials[trials.scope != "quick"]
    windows = {"speech": (range(26, 28), range(24, 26))}  # ln L from 0.5 to 1, and from 0 to 0.5
    usual = range(18, 20), range(14, 18)  # from -1.5 to -1, and from -2.5 to -1.5
    known = {}
    for name, curve in curves[curves.trial.isin(trials.trial)].groupby("trial"):
        last = curve[curve.epoch == curve.epoch.max()].set_index("point")
        if last.get("swapped", pd.Series(dtype=float)).notna().any():
            late = curve[(curve.epoch > 0) & (curve["count"] > 0)]
            whole = (late.value * late["count"]).groupby(late.point).sum() / late["count"].groupby(late.point).sum()
            last = last.assign(value=whole.reindex(last.index))
        known[name] = last
    rows = []
    for key, group in trials.groupby(about):
        longest = group.sort_values(["horizon", "coldest"]).itertuples()
        ways = {(t.way, t.start): (known[t.trial], t._asdict()["count"]) for t in longest}
        if ("tempering", "even") not in ways:
            continue
        row = {
            "coefficient": group.coldest.max(),
            "diverged": False,
            "horizon": 20,
            "way": "tempering",
            "start": "even",
        }
        rows.append(dict(zip(about, key, strict=True)) | row | ahead(ways, *windows.get(key[0], usual)))
    table = pd.DataFrame(rows)
    return table.reindex(columns=list(dict.fromkeys([*table.columns, *READ])))


def ahead(ways: dict, upper: range, lower: range) -> dict[str, float]:
    first, second = (ways.get(("tempering", start), (None,))[0] for start in ("even", "trained"))
    glorot, held = ("Adam", "Glorot"), ("Adam", "box clamped")

    def mean(way: tuple[str, str], bins: range) -> float:
        return float(np.mean([ways[way][0].value[k] for k in bins]))

    def came(way: tuple[str, str]) -> bool:
        return way in ways and all(ways[way][0].visited[k] >= 0.75 * ways[way][1] for k in upper)

    row: dict[str, float] = {}
    if came(glorot) and came(held):
        row["prior"] = mean(held, upper) - mean(glorot, upper)
    if second is None or any(min(t.swapped) < 0.2 or max(t.trips) < 5 for t in (first, second)):
        return row
    apart = second.value - first.value

    def alike(bins: range) -> bool:
        gaps = np.array([apart[k] for k in bins])
        return bool(np.isfinite(gaps).all() and abs(gaps.mean()) <= 0.01 and np.abs(gaps).max() <= 0.02)

    both = (first.value + second.value) / 2
    high, deep = (float(np.mean([both[k] for k in bins])) for bins in (upper, lower))
    if alike(upper):
        row |= {f"{way}, {start}": high - mean((way, start), upper) for way, start in ways if came((way, start))}
        wrong = {way: [np.log((1 - ways[way][0].value[k]) / (1 - both[k])) for k in upper] for way in ways if came(way)}
        row |= {f"errors of {way}, {start}": float(np.mean(each)) for (way, start), each in wrong.items()}
        if came(glorot):
            row["factor"] = high / mean(glorot, upper)
    if alike(lower) and glorot in ways:
        row["stopped"] = deep - float(ways[glorot][0].stopped.iloc[0])
    return row


@lru_cache
def unets() -> pd.DataFrame:
    trials, curves = records("unet")
    rows = {}
    for trial, curve in curves.groupby("trial"):
        curve = curve.set_index("epoch").sort_index()
        at, _, late = stop(curve.validation_loss.to_numpy()[1:], 10, 0.01)
        mean = curve[["test_accuracy", "test_iou"]].loc[21:30].mean()
        row = {
            "stop": at,
            "late": late,
            "accuracy": mean.iloc[0],
            "iou": mean.iloc[1],
            "iou at stop": curve.test_iou[at],
        }
        rows[trial] = row | {
            "accuracy at stop": curve.test_accuracy[at],
            "diverged": not np.isfinite(curve.train_loss).all(),
        }
    return trials.set_index("trial").join(pd.DataFrame.from_dict(rows, orient="index"))


# --- Cells and seeds of the plan --------------------------------------------------------------------


# What a technique is said to be better than.
AGAINST = {
    ("mnist", "combination"): ("mnist", "smoothing", 0.01),
    ("mnist", "usual combination"): ("mnist", "smoothing", 0.01),
    ("mnist", "regulator"): ("mnist", "entropy", 0.2),
    ("cifar10", "usual combination"): ("cifar10", "dropout", 0.5),
    ("cifar10", "regulator"): ("cifar10", "entropy", 0.3),
}


@lru_cache
def managed() -> pd.DataFrame:
    """The last epoch of each network, and three differences between networks of one seed."""
    trials, curves = records("management")
    measured = ["gap", "calibration", "calibration_cooled", "test_accuracy", "test_nll", "nll_cooled", "entropy_hidden"]
    measured += ["shifted_accuracy", "entropy_test", "faster", "beyond", "beyond_nll"]
    if trials.empty:
        about = ["data", "seed", "horizon", "coefficient", "technique", *USUAL["management"], "diverged"]
        return pd.DataFrame(columns=[*about, *measured])
    last = curves.sort_values("epoch").groupby("trial").tail(1).set_index("trial").drop(columns="epoch")
    lost = ~np.isfinite(curves[curves.epoch > 0].groupby("trial").train_loss.sum())
    found = trials.set_index("trial").join(last).assign(diverged=lost).rename(columns={"strength": "coefficient"})
    found["gap"] = found.test_nll - found.train_nll
    found = found[(found.batch == 50) & (found.examples == found["data"].map({"mnist": 2000, "cifar10": 5000}))]
    slow = found[(found.rate == 1e-3) & ~found.diverged].set_index(["data", "technique", "coefficient", "seed"])
    for name, value in (("faster", "test_accuracy"), ("beyond", "test_accuracy"), ("beyond_nll", "test_nll")):
        rivals = AGAINST if name != "faster" else {}
        own = [(r.data, r.technique, r.coefficient) for r in found.itertuples()]
        beside = [(*rivals.get(key[:2], key), seed) for key, seed in zip(own, found.seed, strict=True)]
        found[name] = found[value].to_numpy() - slow[value].reindex(pd.MultiIndex.from_tuples(beside)).to_numpy()
    return found


@dataclass
class Reading:
    """One claim in the second reading; `value` names a column, `ratio` says how two are compared."""

    table: str
    value: str
    data: str
    runs: list[str]
    by: list[str] = field(default_factory=lambda: ["latent"])
    lambdas: list[float] = field(default_factory=lambda: LAMBDAS[1:])
    where: dict = field(default_factory=dict)
    ratio: bool = False
    best: str = ""  # of all cells the "least" or the "greatest" effect
    until: int | None = None
    kind: str = "guided against unguided"
    epochs: bool = False
    pooled: tuple[str, ...] = ()  # over what the mean is taken before anything else
    versus: tuple[str, ...] = ()  # of two kinds of guidance, told apart by the second of `by`, the one and the other


GRID = ["2", "5", "10"]
ALL = ("architecture", "layers", "coefficient")


def mnist(value: str, runs: list[str] | None = None, **more) -> Reading:
    until = None if value == "stop" else 50
    return Reading("autoencoder", value, "mnist", runs or GRID, until=until, epochs=value == "stop", **more)


def cifar(value: str, **more) -> Reading:
    return Reading("autoencoder", value, "cifar10", ["12, autoencoder"], epochs=value == "stop", **more)


def inside(value: str, latents: list[int], runs=("14",), data: str = "mnist", lambdas=(0.01, 10.0)) -> Reading:
    return Reading("anatomy", value, data, list(runs), lambdas=list(lambdas), where={"latent": latents}, kind="level")


def through(value: str, networks: list[str]) -> Reading:
    return Reading("through", value, "mnist", ["16"], ["network"], [0.0], {"network": networks}, kind="level")


def memory(value: str, curvatures: list[float], task: str = "capacity", **more) -> Reading:
    usual = {
        "capacity": (0.5, 4000),
        "basin": (0.5, 4000),
        "loop": (1.0, 1000),
        "glass": (1.0, 1000),
        "speed": (0.98, 100_000),
    }
    warmth, size = usual[task]
    where = {"task": task, "temperature": warmth, "size": size} | more.pop("where", {})
    return Reading("memory", value, "random", more.pop("runs", ["18"]), ["size"], curvatures, where, **more)


def landscape(value: str, **more) -> Reading:
    where = {"depth": 3, "examples": 40, "way": "tempering", "start": "even"}
    kind = more.pop("kind", "level")
    return Reading("landscape", value, "spirals", ["21", "22"], ["width"], [700.0], where, kind=kind, **more)


def flat(data: str, coldest: float, *runs: str) -> Reading:
    where = {"depth": 1, "examples": 100, "way": "tempering", "start": "even"}
    return Reading("landscape", "Adam, Glorot", data, list(runs), ["width"], [coldest], where, kind="level")


def technique(value: str, name: str, strength: float, data: str = "mnist", run: str = "28", **more) -> Reading:
    where = {"technique": [name], "rate": more.pop("rate", 1e-3)} | more.pop("where", {})
    return Reading("management", value, data, [run], ["technique"], [strength], where, **more)


def colour(value: str, name: str, strength: float, **more) -> Reading:
    return technique(value, name, strength, data="cifar10", run="31", where={"examples": 5000}, **more)


COLD = {"temperature": [0.5, 0.0]}
BELOW, FOUR = [-1.5, -1.2, -1.0, -0.8, -0.4], [-1.2, -0.8, 0.0, 0.8]
CNN_BY = {"by": ["architecture"], "where": {"layers": "first"}}
FED = {"by": ["layers"], "where": {"layers": ["19,24,29,34,39"]}}
OTHER = {"by": ["layers"], "where": {"layers": ["2", "2,3", "3,7,11,15", "3,7,11,15,19,24,29,34,39"]}}
SIDES = {"by": ["architecture", "layers"], "lambdas": [1e-3]}
FIRST, SECOND, RUN_1 = [1e-4, 1e-3], [0.01, 1.0], [1e-3, 1.0, 10.0]
READINGS = {
    "ae-four-times-faster": mnist("stop", ratio=True, best="least"),
    "ae-within-hundredth": mnist("minimum"),
    "ae-often-lower-mse": mnist("minimum"),
    "ae-bifurcation": mnist("minimum", where={"latent": LARGE}, kind="step"),
    "ae-low-group": mnist("minimum", where={"latent": LARGE}, lambdas=LAMBDAS[:3], kind="level"),
    "ae-high-group": mnist("minimum", where={"latent": LARGE}, lambdas=STRONG, kind="level"),
    "ae-small-intervals": mnist("minimum", lambdas=LAMBDAS, kind="spread"),
    "ae-fig-3b": mnist("minimum", ["5"], where={"latent": [60, 100]}, kind="grid mse 0.1"),
    "ae-similar-patterns": mnist("minimum", kind="signs mse 0.1"),
    "ae-order-of-thousandth": mnist("minimum"),
    "ae-over-forty": mnist("stop", ["5"], where={"latent": LARGE}, lambdas=[0.0], kind="level"),
    "ae-eight-to-ten": mnist("stop", where={"latent": LARGE}, kind="level"),
    "ae-eighty-percent": mnist("stop", ratio=True, where={"latent": LARGE}),
    "ae-much-lower-epochs": mnist("stop", ratio=True, where={"latent": LARGE[1:]}),
    "ae-fewer-epochs": mnist("stop", ratio=True, where={"latent": WIDE}),
    "ae-order-of-hundredth": mnist("minimum"),
    "ae-fig-4b": mnist("stop", ["2", "5"], where={"latent": [180]}, kind="grid stop 0.05"),
    "ae-marginally-higher": mnist("minimum", ratio=True, lambdas=STRONG),
    "ae-minima-more-quickly": mnist("quality", ratio=True, where={"latent": WIDE}),
    "ae-cifar-bifurcation": cifar("minimum", where={"latent": [100]}, kind="step"),
    "ae-cifar-marginally-higher": cifar("minimum", ratio=True, lambdas=STRONG, where={"latent": WIDE}),
    "ae-fig-5b": cifar("minimum", where={"latent": [60, 100]}, kind="grid cifar-mse 0.1"),
    "ae-cifar-stopping": cifar("stop", ratio=True, lambdas=STRONG, where={"latent": [100]}),
    "ae-fig-6b": cifar("stop", where={"latent": [60, 100]}, kind="grid stop 0.05"),
    "rich-representations": mnist("minimum", best="least", kind="next larger"),
    "report-fewer-epochs": mnist("quality", ratio=True),
    "report-fewer-dimensions": mnist("minimum", kind="next larger"),
    "equally-good-minima": mnist("minimum", ratio=True),
    "anatomy-share": inside("share_square", LARGE, ["14", "15"]),
    "anatomy-ink": inside("most", [100, 140], ["14", "15"]),
    "anatomy-blanking": inside("blanking", [100]),
    "anatomy-black": inside("black", [100]),
    "anatomy-unguided": inside("blanking", [100], lambdas=[0.0]),
    "anatomy-saturation": inside("saturated", [60, 140], data="cifar10", lambdas=[0.01, 0.1]),
    "anatomy-live": mnist(
        "minimum",
        ["11"],
        by=["latent", "form"],
        lambdas=STRONG,
        where={"latent": [100], "form": ["live", "log"]},
        ratio=True,
        versus=("live", "log"),
    ),
    "through-linear-share": through("linear", ["dense", "convolutional", "recurrent"]),
    "through-preserving": through("agreement", ["dense", "convolutional"]),
    "through-same-stages": through("overlap", ["dense", "convolutional"]),
    "pruning-by-flow": through("pruning", ["transformer"]),
    "through-lstm": Reading(
        "through",
        "late",
        "mnist",
        ["17"],
        ["network"],
        LAMBDAS[1:4],
        {"network": ["recurrent"], "layers": "output gate"},
        best="greatest",
    ),
    "memory-more-patterns": memory("capacity", BELOW),
    "memory-more-patterns-pictures": Reading(
        "memory", "everywhere", "cifar10", ["20"], ["size"], [-0.8, -0.6, -0.4, -0.2], {"temperature": 0.5}
    ),
    "memory-more-patterns-pictures-cold": Reading(
        "memory",
        "everywhere",
        "cifar10",
        ["20"],
        ["size"],
        [-0.8, -0.6, -0.4, -0.2],
        {"task": "capacity", "temperature": [0.5, 0.0]},
        kind="colder",
    ),
    "memory-more-patterns-cold": memory("capacity", BELOW, where=COLD, kind="colder"),
    "memory-zero-temperature": memory("capacity", [-0.8, 0.8], where={"temperature": 0.0}),
    "memory-right-pattern": memory("near", BELOW),
    "memory-right-pattern-matched": memory("matched", BELOW, kind="level"),
    "memory-same-states": memory("matched", [*BELOW, 0.4, 0.8, 1.2], kind="level"),
    "memory-basin": memory("basin", [-1.2, -0.8], "basin"),
    "memory-basin-cold": memory("basin", [-1.2, -0.8], "basin", where=COLD, kind="colder"),
    "memory-interference": memory("near others", BELOW),
    "memory-interference-matched": memory("matched others", BELOW, kind="level"),
    "memory-replica": memory("gap", FOUR, where={"size": [2000, 4000]}, kind="limit"),
    "memory-energy": memory("energy", FOUR, where={"size": [2000, 4000]}, kind="limit"),
    "memory-bracket": memory("bracket", FOUR, kind="level"),
    "memory-accelerates": memory("until", [-1.5, -1.2, -0.8], "speed", runs=["19"], ratio=True, epochs=True),
    "memory-accelerates-cold": memory("cold", [-1.5, -1.2, -0.8], "speed", runs=["19"], kind="level"),
    "memory-explosive": memory("area", [-1.5, -1.2, -1.0, -0.8], "loop"),
    "memory-glass": memory("area", [-1.2], "glass"),
    "landscape-outperforms": landscape("Adam, Glorot"),
    "landscape-outperforms-boxed": landscape("Adam, box clamped"),
    "landscape-outperforms-stopped": landscape("stopped"),
    "landscape-narrower": landscape("Adam, Glorot", kind="trend"),
    "landscape-narrower-boxed": landscape("Adam, box clamped", kind="trend"),
    "landscape-gains": landscape("Adam, Glorot", pooled=("width",)),
    "landscape-factor": landscape("factor", best="greatest"),
    "landscape-prior": landscape("prior"),
    "landscape-tabular": flat("diabetes", 400.0, "23"),
    "landscape-images": flat("mnist", 450.0, "25", "27"),
    "landscape-letters": flat("speech", 320.0, "26"),
    "landscape-volume": Reading(
        "landscape",
        "errors of Adam, Glorot",
        "spirals",
        ["24"],
        ["examples"],
        [300.0],
        {"depth": 3, "width": 6, "way": "tempering", "start": "even"},
        kind="trend",
    ),  # fmt: skip
    "management-smoothing-overfitting": technique("gap", "smoothing", 0.01),
    "management-smoothing-calibration": technique("calibration", "smoothing", 0.01),
    "management-smoothing-accuracy": technique("test_accuracy", "smoothing", 0.01),
    "management-dropout-hidden": technique("entropy_hidden", "dropout", 0.75),
    "management-augmentation-robust": technique("shifted_accuracy", "augmentation", 1.0),
    "management-entropy-peaked": technique("entropy_test", "entropy", 0.2),
    "management-distillation-calibration": technique("calibration", "distillation", 1.0),
    "management-sparse-accuracy": technique("test_accuracy", "L1", 0.1),
    "management-sparse-robust": technique("shifted_accuracy", "L1", 0.1),
    "management-norm-rates": technique("faster", "batch norm", 1.0, rate=0.03),
    "management-combination": technique("beyond", "combination", 0.01, kind="level"),
    "management-regulator": technique("beyond_nll", "regulator", 0.2, run="29", kind="level"),
    "management-log-det": technique("test_accuracy", "log-det", 0.001),
    "management-usual-combination": technique("beyond", "usual combination", 0.25, run="30", kind="level"),
    "management-smoothing-overfitting-cifar": colour("gap", "smoothing", 0.2),
    "management-smoothing-calibration-cifar": colour("calibration", "smoothing", 0.2),
    "management-smoothing-accuracy-cifar": colour("test_accuracy", "smoothing", 0.2),
    "management-dropout-hidden-cifar": colour("entropy_hidden", "dropout", 0.5),
    "management-augmentation-robust-cifar": colour("shifted_accuracy", "augmentation", 2.0),
    "management-entropy-peaked-cifar": colour("entropy_test", "entropy", 0.3),
    "management-distillation-calibration-cifar": colour("calibration", "distillation", 1.0),
    "management-sparse-accuracy-cifar": colour("test_accuracy", "L1", 0.1),
    "management-sparse-robust-cifar": colour("shifted_accuracy", "L1", 0.1),
    "management-norm-rates-cifar": colour("faster", "batch norm", 1.0, rate=0.03),
    "management-log-det-cifar": colour("test_accuracy", "log-det", 0.0001),
    "management-regulator-cifar": colour("beyond_nll", "regulator", 1.2, kind="level"),
    "management-usual-combination-cifar": colour("beyond", "usual combination", 0.5, kind="level"),
    "cnn-all-increase": Reading("cnn", "test_accuracy", "cifar10", ["4", "6"], lambdas=FIRST, **CNN_BY),
    "cnn-train-seeds": Reading("cnn", "train_accuracy", "cifar10", ["4", "6"], lambdas=FIRST, **CNN_BY),
    "cnn-all-layers": Reading("cnn", "test_accuracy", "cifar10", ["13"], by=["architecture"], where={"layers": "all"}),
    "cnn-mnist": Reading("cnn", "test_accuracy", "mnist", ["12, cnn"], **CNN_BY),
    "need-for-dimension": Reading(
        "cnn",
        "test_accuracy",
        "cifar10",
        ["4", "6", "12, cnn"],
        ["architecture"],
        FIRST,
        {"layers": "first", "architecture": ["[32]", "[32, 32, 32]"]},
        kind="need",
    ),
    "flow-hypothesis": Reading(
        "cnn",
        "test_accuracy",
        "cifar10",
        ["6", "8"],
        ["architecture"],
        [-c for c in LAMBDAS[1:]],
        {"layers": "last"},
        pooled=("coefficient",),
    ),
    "imagenette-improves": Reading("imagenette", "accuracy", "imagenette", ["7"], **SIDES),
    "imagenette-first-layer-seeds": Reading(
        "imagenette",
        "accuracy",
        "imagenette",
        ["7"],
        **SIDES,
        where={"architecture": "vgg16", "layers": ["[1]", "[1,2]"]},
        versus=("[1]", "[1,2]"),
    ),
    "imagenette-two-to-three-seeds": Reading("imagenette", "accuracy", "imagenette", ["7"], **SIDES, pooled=ALL),
    "large-models-convergence": Reading(
        "imagenette", "best epoch", "imagenette", ["7"], **SIDES, ratio=True, epochs=True, pooled=ALL
    ),
    "report-large-models": Reading(
        "imagenette", "best epoch", "imagenette", ["7"], **SIDES, ratio=True, epochs=True, pooled=ALL
    ),
    "unet-accuracy-seeds": Reading("unet", "accuracy", "coco", ["1"], lambdas=RUN_1, **FED),
    "unet-equivalent-accuracy": Reading("unet", "accuracy", "coco", ["1"], lambdas=RUN_1, **FED),
    "unet-iou-seeds": Reading("unet", "iou", "coco", ["1"], lambdas=RUN_1, **FED),
    "unet-ten-percent-seeds": Reading(
        "unet", "stop", "coco", ["1", "33"], lambdas=[0.01, *RUN_1], **FED, ratio=True, best="least", epochs=True
    ),
    "unet-thirty-percent-longer": Reading(
        "unet", "stop", "coco", ["3"], lambdas=SECOND, **OTHER, ratio=True, epochs=True, pooled=ALL
    ),
    "unet-other-placements": Reading(
        "unet", "accuracy", "coco", ["3"], lambdas=SECOND, **OTHER, pooled=("coefficient",)
    ),
    "unet-small-lambda-seeds": Reading(
        "unet", "stop", "coco", ["12, unet"], lambdas=[1e-4], **FED, ratio=True, epochs=True
    ),
    "unet-large-lambda": Reading("unet", "stop", "coco", ["1"], lambdas=[10.0], **FED, ratio=True, epochs=True),
    "unet-masks": Reading("unet", "iou", "coco", ["1"], lambdas=[1e-3], **FED),
    "report-tied": Reading(
        "cnn",
        "test_accuracy",
        "cifar10",
        ["9"],
        ["form", "eps"],
        [1e-3, 0.1, 10.0],
        {"architecture": "[32]", "layers": "first", "form": ["reciprocal", "reciprocal-mean"], "eps": [1e-3, 0.5]},
        kind="association first_tap",
    ),  # fmt: skip
    "report-cifar10": Reading("cnn", "test_accuracy", "cifar10", ["4", "6"], lambdas=FIRST, **CNN_BY, pooled=ALL),
    "better-generalisation": Reading(
        "cnn", "test_accuracy", "cifar10", ["4", "6"], lambdas=FIRST, **CNN_BY, pooled=ALL
    ),
}


Cells = dict[tuple, dict[int, float]]
TREATMENTS = ("coefficient", "curvature", "coldest", "strength")


@lru_cache
def listed(file: str) -> list[dict]:
    return yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))


def planned(reading: Reading, data: str) -> Cells:
    """By cell, as the plan has them, the seeds, each with the epochs that it has to run."""
    cells: Cells = {}
    for run in listed("plan.yml"):
        for part in run["parts"] if str(run["run"]) in reading.runs else ():
            usual = {name: USUAL[reading.table][name] for name in ("form", "eps") if name in USUAL[reading.table]}
            told = usual | part
            values = {name: value if isinstance(value, list) else [value] for name, value in told.items()}
            for name, wanted in (usual | reading.where).items():
                if name in values and not (name in GUIDANCE and reading.lambdas == [0.0]):
                    values[name] = [v for v in values[name] if v in (wanted if isinstance(wanted, list) else [wanted])]
            if part["data"] == data and all(values.values()):
                for key in product(
                    *(values[name] for name in reading.by), next(values[name] for name in TREATMENTS if name in values)
                ):
                    if key[-1] in reading.lambdas:
                        horizon = min(part["horizon"], reading.until or math.inf)
                        known = cells.setdefault(key, {})
                        known |= {seed: min(horizon, known.get(seed, math.inf)) for seed in part["seeds"]}
    return cells


# --- Effects by seed --------------------------------------------------------------------------------

ROUND = 1 / math.sqrt(12)


def compare(guided: pd.Series, free: pd.Series, reading: Reading) -> pd.DataFrame:
    """Effects by seed and what rounding alone would spread them."""
    both = pd.concat([guided, free], axis=1, keys=["guided", "free"], join="inner").sort_index().astype(float)
    unit = ROUND if reading.epochs or reading.value == "quality" else 0.0
    if reading.ratio:
        effect = np.log(both.guided / both.free)
        return pd.DataFrame({"effect": effect, "rounding": unit * np.hypot(1 / both.guided, 1 / both.free)})
    return pd.DataFrame({"effect": both.guided - both.free, "rounding": unit * math.sqrt(2)})


def even(rows: pd.DataFrame, value: str, seeds: pd.Index) -> pd.Series:
    """Where runs had not stopped, none counts as later than the shortest of these."""
    values = rows.loc[seeds, value].astype(float)
    late = rows.loc[seeds, "late"].astype(bool) if value in ("stop", "until") else pd.Series(False, seeds)
    return values.clip(upper=values[late].min()) if late.any() else values


def at(table: pd.DataFrame, names: list[str], key: tuple, seeds: dict[int, float] | set[int] | None) -> pd.DataFrame:
    """The networks of a cell, the longest run of each; unguided ones whatever they say of guidance."""
    kept = table.coefficient == key[-1]
    for name, value in zip(names, key, strict=False):
        kept &= (table[name] == value) if not (key[-1] == 0 and name in GUIDANCE) else True
    if seeds is not None:
        kept &= table.seed.isin(seeds)
    if isinstance(seeds, dict):
        kept &= table.horizon >= table.seed.map(seeds).fillna(math.inf)
    return table[kept].sort_values("horizon").drop_duplicates("seed", keep="last").set_index("seed")


def quality(guided: pd.DataFrame, free: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Epochs to the unguided error of epoch 5, both networks', and whether the guided one never got there."""
    target = free.curve.map(lambda c: c[5])

    def first(row: pd.Series) -> int:
        reached = np.flatnonzero(row.curve <= target[row.name])
        return int(reached[0]) if len(reached) else len(row.curve)

    common = guided.index.intersection(free.index)
    ours, theirs = (pd.Series({seed: first(each.loc[seed]) for seed in common}, dtype=float) for each in (guided, free))
    return ours, theirs, ours > guided.loc[common].length


def cells_of(reading: Reading, table: pd.DataFrame, cells: Cells, planned: bool) -> list[dict]:
    found = []
    sizes = sorted({key[0] for key in cells})
    for key, seeds in cells.items():
        guided = at(table, reading.by, key, seeds if planned else None)
        base = (*key[:-1], 0.0)
        if reading.kind == "next larger":
            if key[0] == sizes[-1]:
                continue
            base = (sizes[sizes.index(key[0]) + 1], 0.0)
        if reading.versus:
            first, second = reading.versus
            if key[1] != first:
                continue
            base = (key[0], second, key[-1])
        free = at(table, reading.by, base, set(seeds) if planned else None)
        if reading.kind == "colder":
            cold = table[table.temperature == 0]
            guided, free = at(table[table.temperature != 0], [], key[-1:], seeds), at(cold, [], (0.0,), seeds)
        if reading.kind == "level":
            effects = pd.DataFrame(
                {"effect": even(guided, reading.value, guided.index), "rounding": ROUND if reading.epochs else 0.0}
            )
            effects = effects.dropna().sort_index()
            late = {"below": False, "above": bool(reading.epochs and guided.late.any())}
            diverged = guided.diverged.any()
        elif reading.value == "quality":
            ours, theirs, never = quality(guided, free)
            effects, late = compare(ours, theirs, reading), {"below": False, "above": bool(never.any())}
            diverged = False
        else:
            seen = guided.index.intersection(free.index)
            effects = compare(even(guided, reading.value, seen), even(free, reading.value, seen), reading)
            late = {"below": False, "above": False}
            if reading.value in ("stop", "until"):
                late = {"below": bool(free.late[seen].any()), "above": bool(guided.late[seen].any())}
            diverged = guided.diverged[seen].any() or free.diverged[seen].any()
        ready = planned and len(effects) == len(seeds) >= 5 and not diverged
        found.append({"key": key, "effects": effects, "late": late, "ready": ready})
    return found


def averaged(cells: list[dict]) -> pd.DataFrame:
    """Seed by seed over cells; where each has five and they share fewer, in the order of their seeds."""
    frames = [cell["effects"] for cell in cells]
    common = set.intersection(*(set(frame.index) for frame in frames))
    if common and (len(common) >= 5 or min(map(len, frames)) < 5):
        frames = [frame.loc[sorted(common)] for frame in frames]
    else:
        shortest = min(map(len, frames))
        frames = [frame.iloc[:shortest].reset_index(drop=True) for frame in frames]
    effect = sum(frame.effect for frame in frames) / len(frames)
    rounding = sum(frame.rounding**2 for frame in frames) ** 0.5 / len(frames)
    return pd.DataFrame({"effect": effect, "rounding": rounding})


def interval(effects: pd.DataFrame, level: float = 0.95) -> tuple[float, float, float]:
    n, mean = len(effects), effects.effect.mean()
    if n < 2:
        return mean, -math.inf, math.inf
    spread = max(effects.effect.std(), math.sqrt((effects.rounding**2).mean()))
    half = stats.t.ppf(0.5 + level / 2, n - 1) * spread / math.sqrt(n)
    return mean, mean - half, mean + half


def size(reading: Reading, cells: list[dict]) -> tuple[float, float, float]:
    chosen = [cell for cell in cells if cell["ready"]] or [cell for cell in cells if len(cell["effects"])]
    late = {side: any(cell["late"][side] for cell in chosen) for side in ("below", "above")}
    if reading.best:
        pick = max if reading.best == "greatest" else min
        best = pick(chosen, key=lambda cell: cell["effects"].effect.mean())
        late = best["late"]
        found = interval(best["effects"], 1 - 0.05 / len(chosen))
    else:
        found = interval(averaged(chosen))
    mean, low, high = found
    low, high = (-math.inf if late["below"] else low), (math.inf if late["above"] else high)
    return tuple(math.exp(v) for v in (mean, low, high)) if reading.ratio else (mean, low, high)


def evidence(reading: Reading, data: str | None = None) -> tuple[pd.DataFrame, Cells]:
    """The networks with the usual settings, and the cells of the plan with their seeds."""
    data = data or reading.data
    tables = {
        "cnn": classifiers,
        "imagenette": large,
        "unet": unets,
        "anatomy": looked_into,
        "through": whole,
        "memory": memories,
        "landscape": landscapes,
        "management": managed,
    }
    rows = autoencoders(reading.until) if reading.table == "autoencoder" else tables[reading.table]()
    kept = rows.data == data
    said = {n: v for n, v in reading.where.items() if n in ("rate", "examples", "form", "eps")}
    for name, value in (USUAL[reading.table] | said).items():
        wanted = value if isinstance(value, list) else [value]
        kept &= rows[name].isin(wanted) | ((rows.coefficient == 0) & (name in GUIDANCE))
    if "architecture" in reading.where:
        wanted = reading.where["architecture"]
        kept &= rows.architecture.isin(wanted if isinstance(wanted, list) else [wanted])
    for name, wanted in reading.where.items() if reading.table in ("memory", "landscape") else ():
        kept &= rows[name].isin(wanted if isinstance(wanted, list) else [wanted])
    if "layers" in reading.where:
        wanted = reading.where["layers"]
        kept &= rows.layers.isin(wanted if isinstance(wanted, list) else [wanted]) | (rows.coefficient == 0)
    return rows[kept], planned(reading, data)


def made(reading: Reading, rows: pd.DataFrame, cells: Cells) -> set[int]:
    """The seeds of the plan of which some guided network of the claim is there."""
    found = (at(rows, reading.by, key, seeds).index for key, seeds in cells.items())
    return {seed for index in found for seed in index}


# --- Claims that are read in another way ------------------------------------------------------------

SIGNS = {
    "mse": ".------ +.----- ++.---- +++.... +++.... +++.... +++....",
    "stop": ".++++++ -.+++++ --.++++ ---.... ---.... ---.... ---....",
    "cifar-mse": "...---- ...---- ...---- +++.... +++.... +++.... +++....",
}


def grid(reading: Reading, rows: pd.DataFrame, asked: dict) -> tuple[float, float, float]:
    """The share of a printed grid's cells in which ours say the same, at least and at most."""
    words, which, margin = reading.kind.split()
    printed = SIGNS[which].split()
    agree = unknown = total = 0
    for latent in dict.fromkeys(key[0] for key in asked):
        seeds = set(next(seeds for key, seeds in reversed(asked.items()) if key[0] == latent))
        groups = {c: at(rows, ["latent"], (latent, c), seeds) for c in LAMBDAS}
        for (i, a), (j, b) in permutations(enumerate(LAMBDAS), 2):
            theirs = printed[i][j]
            if words == "signs" and theirs == ".":
                continue
            total += 1
            seen = groups[a].index.intersection(groups[b].index)
            row, column = (even(groups[c], reading.value, seen) for c in (a, b))
            ratio = compare(row, column, Reading(**vars(reading) | {"ratio": True}))
            late = [bool(groups[c].late[ratio.index].any()) if reading.value == "stop" else False for c in (a, b)]
            if len(ratio) < 5 or all(late):
                unknown += 1
                continue
            mean, low, high = interval(ratio, 0.99)
            _, low90, high90 = interval(ratio, 0.9)
            says = set()
            # Of rounded values the sign test must say so, too, and a tie speaks for neither side.
            signs = {side: stats.binom.sf((side * ratio.effect > 0).sum() - 1, len(ratio), 0.5) for side in (1, -1)}
            rounded = ratio.rounding.any()
            if low > 0 and not late[1] and not (rounded and signs[1] > 0.05):
                says.add("+")
            if high < 0 and not late[0] and not (rounded and signs[-1] > 0.05):
                says.add("-")
            if not any(late) and -math.log1p(float(margin)) < low90 and high90 < math.log1p(float(margin)):
                says.add(".")
            agree, unknown = agree + (theirs in says), unknown + (not says)
    if unknown == total:
        return (math.nan,) * 3
    return agree / total, agree / total, (agree + unknown) / total


def steps(reading: Reading, rows: pd.DataFrame, asked: dict, planned: bool) -> list[dict]:
    """The share of the range of log MSE between λ = 0.001 and 0.01, by dimension and seed."""
    cells = []
    for latent in dict.fromkeys(key[0] for key in asked):
        seeds = set().union(*(s for key, s in asked.items() if key[0] == latent)) if planned else None
        values = {c: at(rows, ["latent"], (latent, c), seeds)[reading.value].astype(float) for c in LAMBDAS}
        logs = np.log(pd.DataFrame(values)).dropna()
        share = (logs[0.01] - logs[0.001]) / (logs.max(axis=1) - logs.min(axis=1))
        whole = {key[1] for key in asked if key[0] == latent} >= set(LAMBDAS[1:])
        ready = planned and whole and len(share) == len(seeds or ())
        effects = pd.DataFrame({"effect": share, "rounding": 0.0})
        cells.append({"key": (latent,), "effects": effects, "late": {"below": False, "above": False}, "ready": ready})
    return cells


def spread(reading: Reading, rows: pd.DataFrame, asked: dict) -> tuple[float, float, float]:
    width, by_latent = stats.t.ppf(0.975, 9) / math.sqrt(10), {}
    for key, seeds in asked.items():
        values = at(rows, ["latent"], key, seeds)[reading.value].astype(float)
        if len(values) < len(seeds):
            return math.nan, math.nan, math.nan
        by_latent.setdefault(key[0], []).append(width * values.std() / values.mean())
    return float(np.median([np.median(each) for each in by_latent.values()])), math.nan, math.nan


def need(reading: Reading) -> tuple[float, float, float]:
    """The mean of two effects: the gain on hard images, and that gain minus the gain on easy ones."""
    gains: list[pd.Series] = []
    for data in ("cifar10", "mnist"):
        rows, asked = evidence(reading, data)
        cells = cells_of(reading, rows, asked, True)
        if cells and min(len(cell["effects"]) for cell in cells):
            gains.append(averaged(cells).effect.reset_index(drop=True))
        elif data == "cifar10":
            return math.nan, math.nan, math.nan
    hard, *easy = gains  # while nothing is known of the easy ones, the first reading alone
    effect = (hard + (hard - easy[0])) / 2 if easy else hard
    return interval(pd.DataFrame({"effect": effect, "rounding": 0.0}).dropna())


def read(name: str) -> tuple[float, float, float]:
    """Effect and interval: of the plan's seeds, or of earlier ones while there is no pair of them."""
    reading = READINGS[name]
    if reading.kind == "need":
        return need(reading)
    rows, asked = evidence(reading)
    if reading.kind.startswith(("grid", "signs")):
        return grid(reading, rows, asked)
    if reading.kind == "spread":
        return spread(reading, rows, asked)
    cells = grouped(reading, effects_of(reading, rows, asked, True))
    if not any(len(cell["effects"]) for cell in cells):
        old = rows[~rows.seed.isin(made(reading, rows, asked))]
        seen = {key: seeds for key, seeds in asked.items() if len(at(old, reading.by, key, None))}
        cells = grouped(reading, effects_of(reading, old, seen, False))
    return size(reading, cells) if any(len(cell["effects"]) for cell in cells) else (math.nan,) * 3


# --- What the words of a claim make of its effects --------------------------------------------------


def verdict(name: str) -> str:
    """By the bounds, the margin and the number of cells that the ledger's entry names; "undecided" without a record."""
    reading = READINGS[name]
    (said,) = [each["test"] for each in listed("claims.yml") if each["id"] == name]
    rows, asked = evidence(reading)
    cells = grouped(reading, effects_of(reading, rows, asked, True))
    if not any(len(cell["effects"]) for cell in cells):
        return "undecided"
    p_values = [for_and_against(cell, said) for cell in cells]
    if said.get("some"):
        groups: dict[tuple, list[tuple[float, float]]] = {}
        for cell, each in zip(cells, p_values, strict=True):
            groups.setdefault(cell["key"][:-1], []).append(each)
        p_values = [(len(g) * min(s for s, _ in g), max(r for _, r in g)) for g in groups.values()]
    supporting = sorted(1.0 if against <= 0.05 else p for p, against in p_values)
    refuting = sorted(against for _, against in p_values)
    n, share = len(p_values), said.get("quantifier", "all")
    wanted = {"all": n, "any": 1}.get(share) or math.ceil(share * n - 1e-9)
    shown = lambda count, p: (n - count + 1) * p[count - 1] <= 0.05  # noqa: E731
    if shown(n - wanted + 1, refuting):
        half = share == "all" and n > 1 and shown(math.ceil(n / 2), supporting)
        return "partly" if half else "fails"
    return "holds" if shown(wanted, supporting) else "undecided"


def for_and_against(cell: dict, said: dict) -> tuple[float, float]:
    """That the cell's effect lies within the bounds, and that it lies without: p-values."""
    ratio = said.get("statistic") == "ratio"
    scaled = lambda value: (math.log(value) if value > 0 else -math.inf) if ratio else value  # noqa: E731
    margin, printed = said.get("margin", 0.0), said.get("printed")
    margin = math.log1p(margin) if ratio else margin
    if printed is not None and abs(scaled(printed)) <= margin:
        margin = 0.0  # too wide to refute anything
    inside, outside = [], []
    for side, bound in said["claimed"].items():
        inside.append(beyond(cell, scaled(bound), side))
        moved = scaled(bound) + (margin if side == "above" else -margin) * (scaled(bound) == 0)
        outside.append(beyond(cell, moved, "below" if side == "above" else "above"))
    return max(inside), min(1.0, len(outside) * min(outside))


def beyond(cell: dict, bound: float, side: str) -> float:
    """One-sided p-value that the mean lies on a side of a bound; 1 where the cell cannot say so."""
    table = cell["effects"]
    if not cell["ready"] or cell["late"]["below" if side == "above" else "above"]:
        return 1.0
    values = (table.effect - bound) * (1 if side == "above" else -1)
    least = math.sqrt((table.rounding**2).mean())
    if least and stats.binomtest(int((values > 0).sum()), len(values), alternative="greater").pvalue > 0.05:
        return 1.0
    spread = max(values.std(), least)
    if not spread:  # the same number from every seed
        return float(values.mean() <= 0)
    return float(stats.t.sf(values.mean() / (spread / math.sqrt(len(values))), len(values) - 1))


def effects_of(reading: Reading, rows: pd.DataFrame, cells: dict, planned: bool) -> list[dict]:
    ways = {"step": steps, "limit": limits, "trend": trends, "association": associations}
    return ways.get(reading.kind.split()[0], cells_of)(reading, rows, cells, planned)


def limits(reading: Reading, rows: pd.DataFrame, asked: dict, planned: bool) -> list[dict]:
    """A line in 1/N through the sizes, seed by seed, and where it meets 0."""
    cells = []
    for curvature in dict.fromkeys(key[-1] for key in asked):
        sizes = [key[0] for key in asked if key[-1] == curvature]
        seeds = set(asked[sizes[0], curvature]) if planned else None
        each = [at(rows, ["size"], (size, curvature), seeds)[reading.value].astype(float) for size in sizes]
        wide = pd.concat(each, axis=1).dropna().sort_index()
        ends = [stats.linregress([1 / size for size in sizes], row)[1] for row in wide.to_numpy()]
        effects = pd.DataFrame({"effect": ends, "rounding": 0.0}, wide.index)
        ready = planned and len(effects) == len(seeds or ()) >= 5
        cells.append(
            {"key": (curvature,), "effects": effects, "late": {"below": False, "above": False}, "ready": ready}
        )
    return cells


def associations(reading: Reading, rows: pd.DataFrame, asked: dict, ours: bool) -> list[dict]:
    """Spearman's correlation of two measures over the networks of a seed, the unguided one among them."""
    effects, lost = pd.Series(dtype=float), False
    seeds = set(next(iter(asked.values()))) if ours and asked else set()
    if asked and len(asked) == len(planned(reading, reading.data)):
        keys = [*asked, (*next(iter(asked))[:-1], 0.0)]
        groups = [at(rows, reading.by, key, seeds or None) for key in keys]
        ranks = []
        for name in (reading.value, reading.kind.split()[1]):
            wide = pd.concat([group[name].astype(float) for group in groups], axis=1, keys=range(len(keys)))
            ranks.append(wide.dropna().sort_index().rank(axis=1))
        lost = any(group.diverged.any() for group in groups)
        effects = ranks[0].T.corrwith(ranks[1].T).dropna()
    table = pd.DataFrame({"effect": effects, "rounding": 0.0})
    ready = ours and len(table) == len(seeds) >= 5 and not lost
    return [{"key": (), "effects": table, "late": {"below": False, "above": False}, "ready": ready}]


def trends(reading: Reading, rows: pd.DataFrame, asked: dict, planned: bool) -> list[dict]:
    """The slope per doubling of what the cells differ in, seed by seed."""
    seeds = set(next(iter(asked.values()))) if planned else None
    each = {key[0]: at(rows, reading.by, key, seeds)[reading.value].astype(float) for key in asked}
    wide = pd.DataFrame(each).dropna().sort_index()
    slopes = [stats.linregress([math.log2(place) for place in wide], row)[0] for row in wide.to_numpy()]
    effects = pd.DataFrame({"effect": slopes, "rounding": 0.0}, wide.index, dtype=float)
    ready = planned and len(effects) == len(seeds or ()) >= 5
    return [{"key": (), "effects": effects, "late": {"below": False, "above": False}, "ready": ready}]


def grouped(reading: Reading, cells: list[dict]) -> list[dict]:
    """Cells that differ in the pooled fields alone, as one each; nothing where one of them has nothing."""
    if not reading.pooled:
        return cells
    groups: dict[tuple, list[dict]] = {}
    for cell in cells:
        named = dict(zip([*reading.by, "coefficient"], cell["key"], strict=True))
        groups.setdefault(tuple(v for name, v in named.items() if name not in reading.pooled), []).append(cell)
    return [
        {
            "key": key,
            "effects": averaged(group),
            "late": {side: any(cell["late"][side] for cell in group) for side in ("below", "above")},
            "ready": all(cell["ready"] for cell in group),
        }
        for key, group in groups.items()
    ]


# --- Networks that are measured, not trained --------------------------------------------------------

SCHEMES = ("torchvision", "pytorch", "glorot")
VGG = {"[1,2]": (1, 2)}


def boxes(architecture: str, source: str, measure: str = "tap 1 1", reading: str = "slices") -> pd.DataFrame:
    """By layer, in order: the boxes of one network, `imagenet` or a scheme of initialisation."""
    trials, curves = records("flow")
    chosen = trials[(trials.architecture == architecture) & (trials.seed == 0)]
    chosen = chosen[chosen.data == "imagenet"] if source == "imagenet" else chosen[chosen.scheme == source]
    rows = curves[curves.trial.isin(chosen.trial)]
    return rows[(rows.measure == measure) & (rows.reading == reading)].sort_values("layer").reset_index(drop=True)


def outlier_share(rows: pd.DataFrame) -> pd.Series:
    return (rows.outliers_low + rows.outliers_high) / rows["count"]


def exponential() -> float:
    mean = boxes("vgg16", "imagenet")["mean"].to_numpy()
    x, n = np.arange(1, len(mean) + 1), len(mean)
    left, _ = optimize.curve_fit(lambda t, a, b, k: a + b * np.exp(-k * t), x, mean, p0=(-5.5, 4, 0.5), maxfev=20_000)
    errors = [((mean - (left[0] + left[1] * np.exp(-left[2] * x))) ** 2).sum()]
    for other in (x, np.log(x)):
        errors.append(np.linalg.lstsq(np.stack([np.ones(n), other], 1), mean, rcond=None)[1][0])
    aic = [n * math.log(error / n) + 2 * k for error, k in zip(errors, (3, 2, 2), strict=True)]
    return aic[0] - min(aic[1:])


def measured(name: str) -> float:
    """The effect of a claim on what was measured and not trained."""
    trained = boxes("vgg16", "imagenet")
    random = {scheme: boxes("vgg16", scheme) for scheme in SCHEMES}
    if name == "flow-vgg-early":
        return trained["mean"][0]
    if name == "flow-vgg-settles":
        return trained["mean"].tail(3).mean()
    if name == "flow-random":
        ahead = lambda rows: rows["mean"][0] - rows["mean"].mean()  # noqa: E731
        return ahead(trained) - np.mean([ahead(rows) for rows in random.values()])
    if name == "flow-outliers":
        gaps = []
        for reading, scheme in product(("slices", "first input", "mean over inputs"), SCHEMES):
            both = [boxes("vgg16", source, reading=reading) for source in (scheme, "imagenet")]
            share = [(b.outliers_low.sum() + b.outliers_high.sum()) / b["count"].sum() for b in both]
            gaps.append(share[0] - share[1])
        return np.mean(gaps)
    if name == "flow-outliers-low":
        return min(b.outliers_low.sum() / (b.outliers_low.sum() + b.outliers_high.sum()) for b in random.values())
    if name == "flow-trained-outliers-low":
        return trained.outliers_low.sum() / (trained.outliers_low.sum() + trained.outliers_high.sum())
    if name == "flow-outliers-rarer-later":
        return outlier_share(trained).rank().corr(trained.layer.rank())
    if name == "flow-random-outliers-later":
        return np.mean([outlier_share(b).rank().corr(b.layer.rank()) for b in random.values()])
    if name == "flow-uniform":
        return np.mean([((trained.q3 - trained.q1) - (b.q3 - b.q1)).mean() for b in random.values()])
    if name == "flow-exponential":
        return exponential()
    if name == "flow-linear":
        return np.mean([straight(scheme, rows) for scheme, rows in random.items()])
    if name == "flow-unet":
        seeds = set(range(3, 13))
        return float(np.mean(bends(sorted(seeds), 0))) if seeds <= set(of_unets("coco", marking=False)) else math.nan
    if name == "flow-same-architecture":
        taught, drawn = ({seed: (f[1] - f[0])[:, 0, 0] for seed, f in of_unets(d).items()} for d in ("coco", "shapes"))
        if not set(range(3, 13)) <= set(of_unets("coco", marking=False)) or 20 not in of_unets("shapes", marking=False):
            return math.nan
        mean = pd.Series(np.mean([taught[seed] for seed in taught if seed >= 3], axis=0)).rank()
        return float(np.mean([pd.Series(each).rank().corr(mean) for seed, each in drawn.items() if seed >= 3]))
    if name == "flow-consistent":
        if not set(range(3, 13)) <= set(of_unets("coco", marking=False)):
            return math.nan
        last = np.mean([(f[1] - f[0])[:, 0, 0] for s, f in of_unets("coco", marking=False).items() if s >= 3], axis=0)
        return np.mean([standing("vgg16", VGG["[1,2]"]), standing("resnet50", before_skips()), apart(last, FULL_SIZE)])
    if name == "ae-same-epoch-time":
        found = json.loads((ROOT / "results" / "benchmarks" / "sweep-cpu.json").read_text(encoding="utf-8"))
        return pd.DataFrame(found["speed"]).plain_ratio.mean()
    raise KeyError(name)


def straight(scheme: str, rows: pd.DataFrame) -> float:
    """How much better a line through the layers is than one through the logarithm of the fan, in R²."""
    area = rows.side**2
    fans = {"torchvision": rows.out * area, "pytorch": rows["in"] * area, "glorot": (rows["in"] + rows.out) * area}
    return rows.layer.corr(rows["mean"]) ** 2 - np.log(fans[scheme]).corr(rows["mean"]) ** 2


def apart(values: np.ndarray, named: list[bool]) -> float:
    """The mean over the named layers minus that over the others."""
    return values[named].mean() - values[np.logical_not(named)].mean()


def standing(architecture: str, layers: tuple[int, ...]) -> float:
    """How far training has set layers apart, by their place in the network."""
    means = {source: boxes(architecture, source) for source in ("imagenet", *SCHEMES)}
    here = means["imagenet"].layer  # of the trained ResNet-50 the last stage is missing but for its first convolution
    means = {source: rows[rows.layer.isin(here)] for source, rows in means.items()}
    found = {source: apart(rows["mean"].to_numpy(), rows.layer.isin(layers).tolist()) for source, rows in means.items()}
    return found["imagenet"] - np.mean([found[scheme] for scheme in SCHEMES])


def before_skips() -> tuple[int, ...]:
    """In ResNet-50 the first convolution and the third of every block but the last."""
    rows = boxes("resnet50", "glorot")
    ends = rows.layer[rows.name.str.endswith("conv3")].tolist()
    return (1, *ends[:-1])


# Of a U-Net's nineteen convolutions two at the beginning and three at the end have the picture's size.
FULL_SIZE = [True] * 2 + [False] * 14 + [True] * 3


def of_unets(data: str, marking: bool = True) -> dict[int, np.ndarray]:
    """By seed the boxes before and after training of U-Nets, or of those alone whose masks overlap true ones."""
    trials, curves = records("unet")
    last = curves.sort_values("epoch").groupby("trial").test_iou.last()
    usual = {"data": data, "coefficient": 0.0, "image": 96, "channels": 16, "batch": 8}
    kept = trials[(trials[list(usual)] == pd.Series(usual)).all(axis=1) & (trials.trial.map(last > 0) | (not marking))]
    read = {row.seed: np.load(ROOT / "results" / "unet" / f"{row.file}.npz") for row in kept.itertuples()}
    return {row.seed: read[row.seed][f"{row.trial}-flow"] for row in kept.itertuples()}


def bends(seeds: list[int], measure: int) -> list[float]:
    """By seed, how much more a parabola through a measure by layer bends upwards after training than before it."""
    order = np.linspace(-1, 1, len(FULL_SIZE))
    found = of_unets("coco", marking=False)
    return [np.diff([np.polyfit(order, means, 2)[0] for means in found[seed][:, :, measure, 0]])[0] for seed in seeds]


MEASURED = [
    "flow-vgg-early", "flow-vgg-settles", "flow-random", "flow-outliers", "flow-outliers-low",
    "flow-trained-outliers-low", "flow-outliers-rarer-later", "flow-random-outliers-later", "flow-uniform",
    "flow-exponential", "flow-linear", "flow-unet", "flow-same-architecture", "flow-consistent",
    "ae-same-epoch-time",
]  # fmt: skip
