"""The ledger: each claim of `claims.yml`, the test fixed for it, and the verdict from the records.

A claim names a test of this module, or of `mathematics` or `reanalysis`, by its key `test.kind`.
Nothing here depends on a result: thresholds are in the ledger, numbers in the records.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from html import escape
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from entropy_lib.evidence import mathematics, paper, reanalysis
from entropy_lib.evidence.statistics import detectable, effect, holm, p_one_sided, sign_table
from entropy_lib.experiments import EXPERIMENTS, flow_analysis, imagenette, plans, unet, unet_analysis
from entropy_lib.sweep.store import Store

VERDICTS = ("holds", "partly", "fails", "undecided", "not tested")
KINDS = ("mathematical", "statistical", "empirical")
_REQUIRED = {"id", "section", "place", "quote", "kind", "measure", "threshold", "test"}


class InvalidClaim(ValueError):
    """An entry of claims.yml lacks a key or names an unknown test."""


@dataclass(frozen=True)
class Claim:
    """One claim as the ledger states it."""

    id: str
    section: str
    place: str
    quote: str
    kind: str
    measure: str
    threshold: str
    test: dict


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim.

    `effect` and `interval` are in the claim's measure (NaN where there is none); `scope` says at
    which scale; `note` gives the count, the power or the counterexample.
    """

    status: str
    note: str
    effect: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)
    scope: str = ""


# The paper's replications, to say how a record's set of seeds compares.


def load_claims(path: Path) -> list[Claim]:
    """Read the ledger.

    Raises:
        InvalidClaim: a key missing or unknown, a kind or test that does not exist, an id used twice.
    """
    claims: list[Claim] = []
    for entry in yaml.safe_load(path.read_text()):
        if set(entry) != _REQUIRED:
            fault = sorted(_REQUIRED ^ set(entry))
            raise InvalidClaim(f"claim {entry.get('id', '?')!r}: keys missing or unknown: {', '.join(fault)}")
        claim = Claim(**entry)
        if claim.kind not in KINDS:
            raise InvalidClaim(f"claim {claim.id!r}: kind {claim.kind!r}, expected one of {', '.join(KINDS)}")
        if claim.test.get("kind") not in _TESTS:
            raise InvalidClaim(f"claim {claim.id!r}: test {claim.test.get('kind')!r}, known: {', '.join(_TESTS)}")
        try:
            signature(_TESTS[claim.test["kind"]]).bind(None, **{k: v for k, v in claim.test.items() if k != "kind"})
        except TypeError as error:
            raise InvalidClaim(f"claim {claim.id!r}: {error}") from None
        if claim.id in {other.id for other in claims}:
            raise InvalidClaim(f"claim {claim.id!r} is in the ledger twice")
        claims.append(claim)
    return claims


def decide(claim: Claim, store: Store) -> Verdict:
    """The verdict on one claim; only records of scope `paper` or `reduced` count."""
    arguments = {name: value for name, value in claim.test.items() if name != "kind"}
    return _TESTS[claim.test["kind"]](store, **arguments)


def ledger(claims: list[Claim], store: Store) -> pd.DataFrame:
    """All claims with their verdicts, one row each, in the ledger's order."""
    rows = []
    for claim in claims:
        verdict = decide(claim, store)
        if verdict.status not in VERDICTS:
            raise ValueError(f"claim {claim.id!r} got the verdict {verdict.status!r}")
        rows.append(
            {
                "id": claim.id, "section": claim.section, "place": claim.place, "quote": claim.quote,
                "kind": claim.kind, "measure": claim.measure, "threshold": claim.threshold,
                "verdict": verdict.status, "effect": verdict.effect, "low": verdict.interval[0],
                "high": verdict.interval[1], "scope": verdict.scope, "note": verdict.note,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


# --- Tests ---------------------------------------------------------------------------------------


def _mathematics(store: Store, check: str) -> Verdict:
    return Verdict(*_computed(mathematics, check), scope="proof and computation")


def _reanalysis(store: Store, check: str) -> Verdict:
    return Verdict(*_computed(reanalysis, check), scope="the paper's tables")


@cache
def _computed(module, check: str) -> tuple[str, str]:
    return getattr(module, check)()


@dataclass(frozen=True)
class _Cell:
    """One combination of fields and λ: paired effects by seed, and what they can decide.

    A run that has not stopped at the horizon gives a bound: a censored unguided run makes the effect
    an upper bound, which can support "below" and contradict "above" but not the other way round; a censored
    guided run makes it a lower bound. A cell with a diverged run decides nothing.
    """

    name: str
    values: pd.Series
    upper_bound: bool = False
    lower_bound: bool = False
    diverged: int = 0

    def p(self, threshold: float, side: str) -> float:
        """One-sided p-value that the effect lies on this side, 1 where a bound or a divergence forbids it."""
        blocked = self.lower_bound if side == "below" else self.upper_bound
        return 1.0 if blocked or self.diverged else p_one_sided(self.values.to_numpy(), threshold, side)


def _cell(name: str, base: pd.DataFrame, guided: pd.DataFrame, measure: str, statistic: str) -> _Cell:
    """Pair two groups of runs by seed."""
    base, guided = base.set_index("seed"), guided.set_index("seed")
    both = base.index.intersection(guided.index)
    base, guided = base.loc[both], guided.loc[both]
    values = guided[measure] / base[measure] if statistic == "ratio" else guided[measure] - base[measure]
    diverged = int((base.get("diverged", False) | guided.get("diverged", False)).sum()) if "diverged" in base else 0
    return _Cell(name, values, _censored(base, measure).any(), _censored(guided, measure).any(), diverged)


def _censored(frame: pd.DataFrame, measure: str) -> pd.Series:
    """Which runs' measures are only a lower bound because the horizon came first."""
    if measure == "stopping_epoch" and "censored" in frame:
        return frame.censored.astype(bool)
    if measure == "epochs_to_quality":
        return frame.epochs_to_quality > frame.horizon
    return pd.Series(False, frame.index)


def _paired(
    store: Store,
    experiment: str,
    data: str,
    measure: str,
    claimed: str,
    threshold: float,
    statistic: str = "difference",
    coefficients: str | list[float] = "positive",
    quantifier: str | float = "all",
    by: tuple[str, ...] = ("latent",),
    where: dict | None = None,
    choose_by: str = "",
) -> Verdict:
    """Guided against unguided, paired by seed, in each cell of `by` and λ.

    A cell supports the claim when the mean paired difference (or ratio) lies on the claimed side
    of the threshold with Holm-adjusted one-sided p < 0.05 over the cells; it contradicts it when
    the mean lies on the other side, also with adjusted p < 0.05. `quantifier` asks for `all`
    cells, `any`, or a share. With `choose_by`, λ is the best by that (validation) measure in each
    `by` cell, and one cell is left for each.
    """
    frame = _records(store, experiment, data, where, by)
    cells = []
    for key, group in frame.groupby(list(by)) if len(frame) else ():
        base = group[group.coefficient == 0]
        wanted = group.coefficient > 0 if coefficients == "positive" else group.coefficient.isin(coefficients)
        guided = group[wanted & (group.coefficient != 0)]
        if choose_by and len(guided):
            scores = guided.groupby("coefficient")[choose_by].mean()
            guided = guided[guided.coefficient == (scores.idxmin() if choose_by.endswith("mse") else scores.idxmax())]
        for c, runs in guided.groupby("coefficient"):
            name = ", ".join(f"{n} {v}" for n, v in zip((*by, "λ"), (*key, f"{c:g}"), strict=True))
            cells.append(_cell(name, base, runs, measure, statistic))
    verdict = _over_cells(cells, claimed, threshold, quantifier, frame, _not_tested(experiment, data), by, where)
    if choose_by and cells:
        return replace(verdict, note=f"{verdict.note}; chosen on validation: {' | '.join(cell.name for cell in cells)}")
    return verdict


def _fewer_dimensions(store: Store, experiment: str, data: str, measure: str) -> Verdict:
    """Is a guided network of some latent dimension as good as the unguided one of the next larger?"""
    frame = _records(store, experiment, data, None)
    sizes = sorted(frame.latent.unique()) if len(frame) else []
    cells = [
        _cell(
            f"{small} for {large}, λ {c:g}",
            frame[(frame.latent == large) & (frame.coefficient == 0)], runs, measure, "difference",
        )
        for small, large in zip(sizes, sizes[1:], strict=False)
        for c, runs in frame[(frame.latent == small) & (frame.coefficient > 0)].groupby("coefficient")
    ]  # fmt: skip
    return _over_cells(cells, "below", 0.0, "any", frame, _not_tested(experiment, data))


def _gain_difference(store: Store, experiment: str, data: list[str], measure: str, choose_by: str) -> Verdict:
    """The gain on one data set minus that on another, paired by seed, each with the λ that its validation split picks.

    On each set the architectures that were run are averaged.
    """
    where = {"layers": "first"}
    frames = [_records(store, experiment, name, where, ("architecture",)) for name in data]
    gains = []
    for name, frame in zip(data, frames, strict=True):
        if frame.empty or not (frame.coefficient > 0).any():
            return _not_tested(experiment, name)
        by_architecture = [_chosen_gain(group, measure, choose_by) for _, group in frame.groupby("architecture")]
        gains.append(pd.concat(by_architecture, axis=1).mean(axis=1))
    difference = (gains[0] - gains[1]).dropna()
    p = p_one_sided(difference.to_numpy(), 0.0, "above")
    against = p_one_sided(difference.to_numpy(), 0.0, "below")
    status = "holds" if p < 0.05 else "fails" if against < 0.05 else "undecided"
    summary = effect(difference.to_numpy())
    note = (
        f"gain of {gains[0].mean():+.4f} on {data[0]}, of {gains[1].mean():+.4f} on {data[1]}; {len(difference)} seeds"
    )
    return Verdict(
        status, f"{note}, p = {p:.2g}", summary.mean, (summary.low, summary.high), _scope(frames[0], ("architecture",))
    )


def _chosen_gain(group: pd.DataFrame, measure: str, choose_by: str) -> pd.Series:
    """Paired gain by seed of the λ > 0 that is best by another measure."""
    guided = group[group.coefficient > 0]
    best = guided.groupby("coefficient")[choose_by].mean().idxmax()
    by_seed = group.pivot(index="seed", columns="coefficient", values=measure)
    return by_seed[best] - by_seed[0.0]


def _over_cells(
    cells: list[_Cell],
    claimed: str,
    threshold: float,
    quantifier: str | float,
    frame: pd.DataFrame,
    otherwise: Verdict,
    by: tuple[str, ...] = ("latent",),
    where: dict | None = None,
) -> Verdict:
    """Decide a claim from its cells; the reported effect is the mean over cells, or the best cell for `any`."""
    cells = [cell for cell in cells if len(cell.values)]
    if not cells:
        return otherwise
    opposite = {"below": "above", "above": "below"}[claimed]
    supported = holm([cell.p(threshold, claimed) for cell in cells]) < 0.05
    contradicted = holm([cell.p(threshold, opposite) for cell in cells]) < 0.05
    status = _quantified(supported, contradicted, quantifier)
    notes = [f"{supported.sum()} of {len(cells)} cells support, {contradicted.sum()} contradict"]
    if bounds := sum(cell.upper_bound or cell.lower_bound for cell in cells):
        notes.append(f"{bounds} give only a bound because runs had not stopped at the horizon")
    if diverged := sum(cell.diverged for cell in cells):
        notes.append(f"{diverged} pairs diverged")
    if status == "fails" and quantifier != "all" and (missing := _missing_cells(frame, where)):
        status = "undecided"
        notes.append(f"only {' and '.join(missing)} were run, the others may still support it")
    if status == "undecided":
        notes.append(_power(cells))
    if quantifier == "any":
        best = (min if claimed == "below" else max)(cells, key=lambda cell: cell.values.mean())
        # The best of many is reported with an interval that allows for the choice.
        summary = effect(best.values.to_numpy(), level=1 - 0.05 / len(cells))
        notes.append(f"effect of the best cell ({best.name})")
    else:
        summary = effect(pd.concat([cell.values for cell in cells], axis=1).mean(axis=1).to_numpy())
    return Verdict(status, "; ".join(notes), summary.mean, (summary.low, summary.high), _scope(frame, by, where))


def _power(cells: list[_Cell]) -> str:
    """The shift that the noisiest cell would have shown, at the level that Holm asks of its first cell."""
    free = [cell.values.to_numpy() for cell in cells if not (cell.upper_bound or cell.lower_bound or cell.diverged)]
    shifts = [detectable(values, alpha=0.05 / len(cells)) for values in free if len(values) > 1 and np.ptp(values) > 0]
    if not shifts:
        return "too few seeds, or only bounds, to state a power"
    return f"a shift of {max(shifts):.2g} would be found with power 0.8 in the noisiest cell"


def _quantified(supported: np.ndarray, contradicted: np.ndarray, quantifier: str | float) -> str:
    """Join the cells' results: `all`, `any`, or at least a share of them must support."""
    named: dict[str | float, int] = {"all": len(supported), "any": 1}
    needed = named.get(quantifier) or np.ceil(float(quantifier) * len(supported))
    if supported.sum() >= needed:
        return "holds"
    if len(supported) - contradicted.sum() < needed:
        # Enough cells speak against it that the rest cannot rescue it.
        return "partly" if supported.any() else "fails"
    return "undecided"


def _level(
    store: Store,
    experiment: str,
    data: str,
    measure: str,
    coefficients: list[float],
    low: float,
    high: float,
    where: dict | None = None,
) -> Verdict:
    """The mean of a measure lies within [low, high] in every cell (its whole 95% interval).

    Where a run had not stopped at the horizon the mean is a lower bound: it can leave the interval
    upwards, and lie inside only when there is no upper end.
    """
    frame = _records(store, experiment, data, where)
    frame = frame[frame.coefficient.isin(coefficients)] if len(frame) else frame
    if frame.empty:
        return _not_tested(experiment, data)
    groups = [group for _, group in frame.groupby(["latent", "coefficient"])]
    summaries = [effect(group[measure].to_numpy()) for group in groups]
    bounds = np.array([_censored(group, measure).any() for group in groups])
    inside = np.array([low <= s.low and s.high <= high for s in summaries]) & ~(bounds & np.isfinite(high))
    outside = np.array([s.low > high or (s.high < low and not b) for s, b in zip(summaries, bounds, strict=True)])
    overall = effect(frame.groupby("seed")[measure].mean().to_numpy())
    note = f"{inside.sum()} of {len(groups)} cells inside [{low:g}, {high:g}], {outside.sum()} outside"
    if bounds.any():
        note += f"; {bounds.sum()} give only a lower bound because runs had not stopped at the horizon"
    status = _quantified(inside, outside, "all")
    if status == "undecided":
        widest = max(s.high - s.mean for s in summaries)
        note += f"; the widest interval is ± {widest:.2g}" if np.isfinite(widest) else "; a cell has one seed only"
    return Verdict(status, note, overall.mean, (overall.low, overall.high), _scope(frame, where=where))


def _spread(store: Store, experiment: str, data: str, measure: str, threshold: float) -> Verdict:
    """The half-width of the 95% interval that the paper's ten replications would give, relative to the mean.

    Estimated from each cell's standard deviation, so that the answer does not depend on how many
    seeds were run; cells with fewer than three, or with a diverged run, are left out.
    """
    frame = _records(store, experiment, data, None)
    if frame.empty:
        return _not_tested(experiment, data)
    groups = [group[measure] for _, group in frame.groupby(["latent", "coefficient"])]
    cells = [cell for cell in groups if len(cell) >= 3 and cell.notna().all()]
    if not cells:
        return Verdict("undecided", "no cell has three seeds yet", scope=_scope(frame))
    width = stats.t.ppf(0.975, _paper_seeds(frame) - 1) / np.sqrt(_paper_seeds(frame))
    relative = np.array([width * cell.std() / abs(cell.mean()) for cell in cells])
    share = float((relative < threshold).mean())
    status = "holds" if share >= 0.9 else "partly" if share >= 0.5 else "fails"
    return Verdict(status, f"{share:.0%} of {len(relative)} cells below {threshold:.0%}", share, scope=_scope(frame))


def _signs(
    store: Store, experiment: str, data: str, measure: str, paper_measure: str, latents: list[int], threshold: float
) -> Verdict:
    """The t-test grid of Figs 3(b)-6(b), recomputed at the grid's dimension or dimensions nearest to the caption's.

    Unknown, and neither agreement nor disagreement, are pairs of which both had not stopped at the
    horizon, and differences of the paper's that fewer seeds than its ten do not show.
    """
    frame = _records(store, experiment, data, None)
    caption, theirs = paper.sign_grid(data, paper_measure)
    frame = frame[frame.latent.isin(latents)] if len(frame) else frame
    if frame.empty:
        return Verdict("not tested", f"no records of {experiment} on {data} at d in {latents} (caption: {caption})")
    agree = unknown = total = 0
    for _, at in frame.groupby("latent"):
        groups = dict(iter(at.groupby("coefficient")))
        if set(groups) != set(paper.COEFFICIENTS) or min(map(len, groups.values())) < 2:
            return Verdict("not tested", "needs every λ and at least two seeds", scope=_scope(frame))
        ours = sign_table({c: group[measure].to_numpy() for c, group in groups.items()})
        late = {c: _censored(group, measure).any() for c, group in groups.items()}
        few = min(map(len, groups.values())) < _paper_seeds(frame)
        for a in theirs.index:
            for b in theirs.columns.drop(a):
                total += 1
                if (late[a] and late[b]) or (few and ours.loc[a, b] == "." != theirs.loc[a, b]):
                    unknown += 1
                else:
                    agree += ours.loc[a, b] == theirs.loc[a, b]
    low, high = agree / total, (agree + unknown) / total
    status = "undecided"
    if low >= threshold:
        status = "holds"
    elif high < 0.5:
        status = "fails"
    elif low >= 0.5 and high < threshold:
        status = "partly"
    dimensions = ", ".join(map(str, sorted(frame.latent.unique())))
    note = f"{agree} of {total} cells agree, {unknown} unknown, at d = {dimensions} (caption: {caption})"
    return Verdict(status, note, low, (low, high), _scope(frame, where={"latent": latents}))


def _benchmark(store: Store, column: str, threshold: float) -> Verdict:
    """Every row of the benchmark's speed table lies below the threshold: holds; some: partly; none: fails."""
    path = store.root / "benchmarks" / "sweep-cpu.json"
    if not path.exists():
        return Verdict("not tested", f"{path.name} is missing; `python benchmarks/sweep.py` writes it")
    measured = json.loads(path.read_text())
    values = pd.DataFrame(measured["speed"])[column]
    below = int((values < threshold).sum())
    status = "holds" if below == len(values) else "partly" if below else "fails"
    note = f"{below} of {len(values)} rows below {threshold:g}; from {values.min():.2g} to {values.max():.2g}"
    made = measured["provenance"]
    return Verdict(status, note, values.mean(), scope=f"reduced (noise of MNIST's shape, on {made['device']})")


def _flow(store: Store, check: str) -> Verdict:
    """A decision of `flow_analysis` on what networks trained on ImageNet and untrained ones show."""
    table = _outcomes("flow", store.root, tuple(path.name for path in store.files("flow")))
    table = table[table.scope != "quick"] if len(table) else table
    decided = flow_analysis.DECISIONS[check](table)
    if decided is None:
        return _not_tested("flow", "imagenet")
    status, note, size = decided
    deviation = "; ".join(sorted(set(table[table.architecture == "vgg16"].deviation) - {""}))
    return Verdict(status, note, size, scope=f"paper ({deviation})" if deviation else "paper")


def _unguided_unets(store: Store, data: str, where: dict) -> pd.DataFrame:
    """λ = 0, once for each seed, with guided partners or without."""
    free = {name: [value, unet.PROTOCOL_VARIABLES[name]] for name, value in plans.UNGUIDED.items()}
    anywhere = {name: value for name, value in where.items() if name != "layers"}
    frame = _records(store, "unet", data, anywhere | free, ("layers",))
    if frame.empty:
        return frame
    return frame[frame.coefficient == 0].drop_duplicates("trial").assign(layers=where["layers"][0])


def _unet_flow(store: Store, where: dict) -> Verdict:
    """A U over the layers of trained U-Nets: a parabola that bends upwards, p < 0.05, by log|c11| and exactly."""
    free = _unguided_unets(store, "coco", where)
    if free.empty:
        return _not_tested("unet", "coco")
    means = unet_analysis.flow_table(store, free, "after")
    bends = {measure: unet_analysis.curvature(means[unet_analysis.LABELS[measure]]) for measure in ("tap 1 1", "exact")}
    bent = [bend > 0 and p < 0.05 for bend, p in bends.values()]
    note = "; ".join(
        f"{unet_analysis.LABELS[measure]}: {bend:+.2f}, p = {p:.1g}" for measure, (bend, p) in bends.items()
    )
    status = "holds" if all(bent) else "partly" if any(bent) else "fails"
    return Verdict(status, note, bends["tap 1 1"][0], scope=_scope(free, ("layers",), where))


def _same_flow(store: Store, where: dict, threshold: float) -> Verdict:
    """U-Nets trained on COCO and on drawn shapes order their layers alike by log|c11|.

    "As long as the model was well trained": networks whose masks overlap no true one are left out.
    The note says how alike the network before training orders them, which no data can have taught it.
    """
    free = {data: _unguided_unets(store, data, where) for data in ("coco", "shapes")}
    for data, frame in free.items():
        if frame.empty:
            return _not_tested("unet", data)
        free[data] = frame[frame.test_iou > 0]
    label = unet_analysis.LABELS["tap 1 1"]
    flows = {data: unet_analysis.flow_table(store, frame, "after")[label] for data, frame in free.items()}
    untrained = unet_analysis.flow_table(store, free["coco"], "before")[label]
    alike = flows["coco"].corr(flows["shapes"], method="spearman")
    before = [flow.corr(untrained, method="spearman") for flow in flows.values()]
    seeds = " and ".join(str(len(frame)) for frame in free.values())
    note = f"one pair, of {seeds} trained networks, {alike:.2f}; each with the network before training: "
    note += " and ".join(f"{one:.2f}" for one in before)
    status = "holds" if alike >= threshold else "fails"
    return Verdict(status, note, alike, scope=_scope(pd.concat(free.values()), ("layers",), where))


def _flow_consistent(store: Store, where: dict) -> Verdict:
    """The layers that the paper's conclusion names preserve more than the others, in three networks by two measures.

    Holds with six of six, fails with none.
    """
    table = _outcomes("flow", store.root, tuple(path.name for path in store.files("flow")))
    unets = _unguided_unets(store, "coco", where)
    trained = {name: flow_analysis.network(table, name, "imagenet") for name in ("vgg16", "resnet50")}
    if unets.empty or any(rows.empty for rows in trained.values()):
        return _not_tested("flow" if len(unets) else "unet", "imagenet" if len(unets) else "coco")
    gaps = {}
    for name, layers in (("vgg16", "[1,2]"), ("resnet50", "pre-skip")):
        means = flow_analysis.by_layer(trained[name])
        named = imagenette.placement(name, layers)
        gaps[name] = [flow_analysis.standing_out(means[m], named) for m in ("log|c11|", "circular log-det")]
    means = unet_analysis.flow_table(store, unets, "after").set_index("number")
    labels = [unet_analysis.LABELS[measure] for measure in ("tap 1 1", "exact")]
    gaps["U-Net"] = [flow_analysis.standing_out(means[label], unet_analysis.FULL_SIZE) for label in labels]
    positive = sum(gap > 0 for pair in gaps.values() for gap in pair)
    status = "holds" if positive == 6 else "partly" if positive else "fails"
    note = "; ".join(f"{name}: {first:+.2f} by log|c11|, {exact:+.2f} exactly" for name, (first, exact) in gaps.items())
    deviations = sorted({deviation for rows in trained.values() for deviation in rows.deviation} - {""})
    scope = ", ".join([_scope(unets, ("layers",), where), *deviations])
    return Verdict(status, note, float(np.mean([first for first, _ in gaps.values()])), scope=scope)


_TESTS: dict[str, Callable[..., Verdict]] = {
    "mathematics": _mathematics,
    "reanalysis": _reanalysis,
    "paired": _paired,
    "level": _level,
    "spread": _spread,
    "signs": _signs,
    "fewer_dimensions": _fewer_dimensions,
    "benchmark": _benchmark,
    "gain_difference": _gain_difference,
    "flow": _flow,
    "unet_flow": _unet_flow,
    "same_flow": _same_flow,
    "flow_consistent": _flow_consistent,
}


def _records(
    store: Store, experiment: str, data: str, where: dict | None, by: tuple[str, ...] = ("latent",)
) -> pd.DataFrame:
    """Outcomes that may decide: scope paper or reduced, the given data, the current default protocol.

    Raises:
        ValueError: two records for one seed, cell and λ; they may not be averaged silently.
    """
    if experiment not in EXPERIMENTS:
        return pd.DataFrame()
    module = EXPERIMENTS[experiment]
    frame = _outcomes(experiment, store.root, tuple(path.name for path in store.files(experiment)))
    if frame.empty:
        return frame
    protocol = {"protocol": module.PROTOCOL, **module.PROTOCOL_VARIABLES}
    frame = plans.matching(frame[frame.scope != "quick"], {"data": data, **protocol, **(where or {})})
    doubled = frame[frame.duplicated([*by, "coefficient", "seed"], keep=False)]
    if len(doubled):
        raise ValueError(f"{experiment} on {data} has several records for one seed: {', '.join(doubled.trial)}")
    return frame


@lru_cache(maxsize=4)
def _outcomes(experiment: str, root: Path, files: tuple[str, ...]) -> pd.DataFrame:
    """Computed once for a ledger: files never change, so their names say which records these are."""
    return EXPERIMENTS[experiment].outcomes(Store(root))


def _scope(frame: pd.DataFrame, by: tuple[str, ...] = ("latent",), where: dict | None = None) -> str:
    """`paper` with all of the paper's replications, else `reduced` with what is missing; then the deviations."""
    missing = []
    seeds, wanted = frame.groupby([*by, "coefficient"]).seed.nunique().min(), _paper_seeds(frame)
    if seeds < wanted:
        missing.append(f"{seeds} of {wanted} seeds")
    missing += _missing_cells(frame, where)
    deviations = "; ".join(sorted(frame.deviation.unique()))
    if missing or (frame.scope == "reduced").any():
        return f"reduced ({', '.join([*missing, deviations])})"
    return f"paper ({deviations})" if deviations else "paper"


def _paper_seeds(frame: pd.DataFrame) -> int:
    return EXPERIMENTS[frame.experiment.iloc[0]].PAPER_SEEDS


def _missing_cells(frame: pd.DataFrame, where: dict | None = None) -> list[str]:
    """Which of the paper's latent dimensions or architectures have no record, as "3 of 9 architectures".

    Existence cannot be refuted while there are some.
    """
    missing = []
    for column, (plural, values) in EXPERIMENTS[frame.experiment.iloc[0]].PAPER_CELLS.items():
        asked = (where or {}).get(column, values)
        wanted = set(values) & set(asked if isinstance(asked, (list, tuple)) else [asked])
        if not wanted <= set(frame[column]):
            missing.append(f"{len(wanted & set(frame[column]))} of {len(wanted)} {plural}")
    return missing


def _not_tested(experiment: str, data: str) -> Verdict:
    return Verdict("not tested", f"no records of {experiment} on {data} that may decide")


# --- The page ------------------------------------------------------------------------------------

_MARKS = {"holds": "✓", "partly": "◐", "fails": "✗", "undecided": "?", "not tested": "–"}


class _Html:
    """Something that Jupyter shows as HTML."""

    def __init__(self, text: str):
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def render(table: pd.DataFrame) -> _Html:
    """The ledger as the page shows it; each row carries its claim and verdict for `shown`."""
    rows = []
    for row in table.itertuples():
        scale = "<small>at reduced scale</small>" if row.scope.startswith("reduced") else ""
        css = row.verdict.replace(" ", "-")
        mark = f'<span class="verdict {css}">{_MARKS[row.verdict]} {row.verdict}</span>{scale}'
        size = "" if np.isnan(row.effect) else f"effect {row.effect:.3g}"
        if np.isfinite(row.low) and np.isfinite(row.high):
            size += f" (95% interval {row.low:.3g} to {row.high:.3g})"
        found = "<br>".join(escape(text) for text in (size, row.note) if text)
        rows.append(
            f'<tr id="{row.id}" data-claim="{row.id}" data-verdict="{row.verdict}"><td>{mark}</td>'
            f"<td><q>{escape(row.quote)}</q><small>{escape(row.place)}</small>"
            f"<small>Test: {escape(row.measure)}; {escape(row.threshold)}.</small></td>"
            f"<td>{found}<small>{escape(row.scope)}</small></td></tr>"
        )
    head = "<tr><th>verdict</th><th>claim, and the test fixed for it</th><th>what was found</th></tr>"
    body = f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody>"
    return _Html(f'<div class="wide" tabindex="0"><table class="claims">{body}</table></div>')


PARTS = {
    "theory and losses": ("3", "3.1", "3.2", "4.1", "4.2", "5.1"),
    "entropy flow": ("5",),
    "autoencoders": ("5.2",),
    "small classifiers": ("5.3",),
    "large classifiers": ("5.4",),
    "segmentation": ("5.5",),
    "introduction, conclusion": ("1", "6"),
}


def marks(table: pd.DataFrame) -> _Html:
    """All verdicts at a glance: a row for each part of the paper, a mark for each claim that leads to its row."""
    rows = []
    for part, sections in PARTS.items():
        links = [
            f'<a class="verdict {row.verdict.replace(" ", "-")}" href="claims.html#{row.id}" '
            f'title="{escape(row.quote)}: {row.verdict}" aria-label="{row.id}: {row.verdict}">{_MARKS[row.verdict]}</a>'
            for row in table[table.section.isin(sections)].itertuples()
        ]
        rows.append(f'<tr><th scope="row">{part}</th><td>{" ".join(links)}</td></tr>')
    counts = table.verdict.value_counts()
    legend = " ".join(
        f'<span class="verdict {verdict.replace(" ", "-")}">{_MARKS[verdict]} {verdict} {counts.get(verdict, 0)}</span>'
        for verdict in VERDICTS
    )
    return _Html(f'<table class="marks"><tbody>{"".join(rows)}</tbody></table><p class="marks">{legend}</p>')


def shown(page: str) -> dict[str, str]:
    """Claim and verdict of every row of a page made by `render`."""
    return dict(re.findall(r'data-claim="([^"]+)" data-verdict="([^"]+)"', page))
