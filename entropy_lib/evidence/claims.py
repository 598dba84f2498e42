"""The ledger: each claim of `claims.yml`, the test fixed for it, and the verdict from the records.

A claim names a test of this module, or of `mathematics` or `reanalysis`, by its key `test.kind`.
Nothing here depends on a result: thresholds are in the ledger, numbers in the records.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats

from entropy_lib.evidence import mathematics, paper, reanalysis
from entropy_lib.evidence.statistics import Effect, agreement, detectable, effect, holm, p_one_sided, sign_table
from entropy_lib.experiments import autoencoder
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

    @property
    def family(self) -> str:
        """Claims of one section and kind share one Holm correction."""
        return f"{self.section.split('.')[0]} {self.kind}"


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


# Outcomes of an experiment: one row per trial. Experiments that are not built yet have no entry,
# and their claims are "not tested".
OUTCOMES: dict[str, Callable[[Store], pd.DataFrame]] = {"autoencoder": autoencoder.outcomes}
# The paper's replications, to say how a record's set of seeds compares.
PAPER_SEEDS = 10


def load_claims(path: Path) -> list[Claim]:
    """Read the ledger.

    Raises:
        InvalidClaim: a key missing or unknown, a kind or test that does not exist, an id used twice.
    """
    claims = []
    for entry in yaml.safe_load(path.read_text()):
        if set(entry) != _REQUIRED:
            fault = sorted(_REQUIRED ^ set(entry))
            raise InvalidClaim(f"claim {entry.get('id', '?')!r}: keys missing or unknown: {', '.join(fault)}")
        claim = Claim(**entry)
        if claim.kind not in KINDS:
            raise InvalidClaim(f"claim {claim.id!r}: kind {claim.kind!r}, expected one of {', '.join(KINDS)}")
        if claim.test.get("kind") not in _TESTS:
            raise InvalidClaim(f"claim {claim.id!r}: test {claim.test.get('kind')!r}, known: {', '.join(_TESTS)}")
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


def _paired(
    store: Store,
    experiment: str,
    data: str,
    measure: str,
    claimed: str,
    threshold: float,
    statistic: str = "difference",
    coefficients: str | list[float] = "all",
    quantifier: str = "all",
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
    frame = _records(store, experiment, data, where)
    if frame.empty:
        return _not_tested(experiment, data)
    cells = []
    for key, group in frame.groupby(list(by)):
        wide = group.pivot_table(index="seed", columns="coefficient", values=measure)
        if 0.0 not in wide:
            continue
        guided = [c for c in wide if c != 0 and (coefficients == "all" or c in coefficients)]
        if choose_by and guided:
            chosen = group[group.coefficient.isin(guided)].groupby("coefficient")[choose_by].mean()
            guided = [chosen.idxmin() if choose_by.endswith("mse") else chosen.idxmax()]
        for c in guided:
            base, other = wide[0.0], wide[c]
            values = (other / base if statistic == "ratio" else other - base).dropna().to_numpy()
            if len(values):
                cells.append((*key, c, values))
    if not cells:
        return _not_tested(experiment, data)
    opposite = {"below": "above", "above": "below"}[claimed]
    supported = holm([p_one_sided(cell[-1], threshold, claimed) for cell in cells]) < 0.05
    contradicted = holm([p_one_sided(cell[-1], threshold, opposite) for cell in cells]) < 0.05
    means = np.array([cell[-1].mean() for cell in cells])
    best = cells[int(means.argmin() if claimed == "below" else means.argmax())]
    pooled = pd.concat([pd.Series(cell[-1]) for cell in cells], axis=1).mean(axis=1).to_numpy()
    summary = effect(best[-1] if quantifier == "any" else pooled)
    note = (
        f"{supported.sum()} of {len(cells)} cells support, {contradicted.sum()} contradict; best cell "
        f"{', '.join(f'{n} {v:g}' for n, v in zip((*by, 'λ'), best[:-1], strict=True))}"
    )
    status = _quantified(supported, contradicted, quantifier)
    if status == "fails" and quantifier == "any" and _missing_sizes(frame):
        status, note = "undecided", f"{note}; latent dimensions that were not run may still support it"
    elif status == "undecided":
        powers = [detectable(cell[-1]) for cell in cells if len(cell[-1]) > 1]
        note += (
            f"; a shift of {max(powers):.2g} would be found with power 0.8 in the noisiest cell"
            if powers
            else "; one seed gives no interval"
        )
    return Verdict(status, note, summary.mean, (summary.low, summary.high), _scope(frame))


def _quantified(supported: np.ndarray, contradicted: np.ndarray, quantifier: str | float) -> str:
    """Join the cells' results: `all`, `any`, or at least a share of them must support."""
    needed = {"all": len(supported), "any": 1}.get(quantifier) or np.ceil(float(quantifier) * len(supported))
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
    by: tuple[str, ...] = ("latent",),
) -> Verdict:
    """The mean of a measure lies within [low, high] in every cell of `by` and λ (whole 95% interval)."""
    frame = _records(store, experiment, data, where)
    frame = frame[frame.coefficient.isin(coefficients)] if len(frame) else frame
    if frame.empty:
        return _not_tested(experiment, data)
    summaries: list[Effect] = [effect(group[measure]) for _, group in frame.groupby([*by, "coefficient"])]
    inside = np.array([low <= s.low and s.high <= high for s in summaries])
    outside = np.array([s.high < low or s.low > high for s in summaries])
    overall = effect(frame.groupby("seed")[measure].mean())
    note = f"{inside.sum()} of {len(summaries)} cells inside [{low:g}, {high:g}], {outside.sum()} outside"
    status = _quantified(inside, outside, "all")
    return Verdict(status, note, overall.mean, (overall.low, overall.high), _scope(frame))


def _spread(store: Store, experiment: str, data: str, measure: str, threshold: float) -> Verdict:
    """The half-width of the 95% interval that the paper's ten replications would give, relative to the mean.

    Estimated from each cell's standard deviation, so that the answer does not depend on how many
    seeds were run; cells with fewer than three are left out.
    """
    frame = _records(store, experiment, data, None)
    if frame.empty:
        return _not_tested(experiment, data)
    cells = [group[measure] for _, group in frame.groupby(["latent", "coefficient"]) if len(group) >= 3]
    if not cells:
        return Verdict("undecided", "no cell has three seeds yet", scope=_scope(frame))
    width = stats.t.ppf(0.975, PAPER_SEEDS - 1) / np.sqrt(PAPER_SEEDS)
    relative = np.array([width * cell.std() / abs(cell.mean()) for cell in cells])
    share = float((relative < threshold).mean())
    status = "holds" if share >= 0.9 else "partly" if share >= 0.5 else "fails"
    return Verdict(status, f"{share:.0%} of {len(relative)} cells below {threshold:.0%}", share, scope=_scope(frame))


def _signs(store: Store, experiment: str, data: str, measure: str, paper_measure: str, threshold: float) -> Verdict:
    """The t-test grid of Figs 3(b)-6(b), recomputed at the latent dimension nearest to the caption's."""
    frame = _records(store, experiment, data, None)
    latent, theirs = paper.sign_grid(data, paper_measure)
    if frame.empty:
        return _not_tested(experiment, data)
    nearest = min(frame.latent.unique(), key=lambda d: abs(d - latent))
    at = frame[frame.latent == nearest]
    samples = {c: group[measure].to_numpy() for c, group in at.groupby("coefficient")}
    if set(samples) != set(paper.COEFFICIENTS) or min(map(len, samples.values())) < 2:
        return Verdict("not tested", "needs every λ and at least two seeds", scope=_scope(frame))
    share = agreement(sign_table(samples), theirs)
    status = "holds" if share >= threshold else "partly" if share >= 0.5 else "fails"
    return Verdict(
        status, f"{share:.0%} of the cells agree at d = {nearest} (caption: {latent})", share, scope=_scope(at)
    )


def _fewer_dimensions(store: Store, experiment: str, data: str, measure: str) -> Verdict:
    """Is a guided network of some latent dimension as good as the unguided one of the next larger?"""
    frame = _records(store, experiment, data, None)
    sizes = sorted(frame.latent.unique()) if len(frame) else []
    if len(sizes) < 2:
        return _not_tested(experiment, data)
    cells = []
    for small, large in zip(sizes, sizes[1:], strict=False):
        base = frame[(frame.latent == large) & (frame.coefficient == 0)].set_index("seed")[measure]
        for c, group in frame[(frame.latent == small) & (frame.coefficient > 0)].groupby("coefficient"):
            cells.append((small, large, c, (group.set_index("seed")[measure] - base).dropna().to_numpy()))
    supported = holm([p_one_sided(cell[-1], 0.0, "below") for cell in cells]) < 0.05
    contradicted = holm([p_one_sided(cell[-1], 0.0, "above") for cell in cells]) < 0.05
    best = min(cells, key=lambda cell: cell[-1].mean())
    summary = effect(best[-1])
    note = f"{supported.sum()} of {len(cells)} pairs support, {contradicted.sum()} contradict"
    status = _quantified(supported, contradicted, "any")
    if status == "fails" and _missing_sizes(frame):
        status, note = "undecided", f"{note}; latent dimensions that were not run may still support it"
    return Verdict(status, note, summary.mean, (summary.low, summary.high), _scope(frame))


def _pending(store: Store, experiment: str, rule: str) -> Verdict:
    """A claim whose experiment has no records; `rule` is the decision rule, fixed now."""
    return Verdict("not tested", f"no records of the experiment {experiment!r} yet; rule: {rule}")


_TESTS: dict[str, Callable[..., Verdict]] = {
    "mathematics": _mathematics,
    "reanalysis": _reanalysis,
    "paired": _paired,
    "level": _level,
    "spread": _spread,
    "signs": _signs,
    "fewer_dimensions": _fewer_dimensions,
    "pending": _pending,
}


def _records(store: Store, experiment: str, data: str, where: dict | None) -> pd.DataFrame:
    """Outcomes that may decide: scope paper or reduced, the given data, the default protocol."""
    if experiment not in OUTCOMES:
        return pd.DataFrame()
    frame = OUTCOMES[experiment](store)
    if frame.empty:
        return frame
    frame = frame[(frame.data == data) & (frame.scope != "quick")]
    where = {**(autoencoder.PROTOCOL_VARIABLES if experiment == "autoencoder" else {}), **(where or {})}
    for name, value in where.items():
        frame = frame[frame[name].isin(value if isinstance(value, list) else [value])]
    return frame


def _scope(frame: pd.DataFrame) -> str:
    """`paper` with all of the paper's replications, else `reduced` with what is missing."""
    seeds = frame.groupby(["latent", "coefficient"]).seed.nunique().min()
    missing = []
    if seeds < PAPER_SEEDS:
        missing.append(f"{seeds} of {PAPER_SEEDS} seeds")
    if _missing_sizes(frame):
        missing.append(f"{frame.latent.nunique()} of {len(autoencoder.PAPER_LATENTS)} latent dimensions")
    if (frame.scope == "reduced").any():
        missing.append("; ".join(sorted(frame[frame.scope == "reduced"].deviation.unique())))
    return f"reduced ({', '.join(missing)})" if missing else "paper"


def _missing_sizes(frame: pd.DataFrame) -> bool:
    """Existence cannot be refuted while some of the paper's latent dimensions have no record."""
    return frame.latent.nunique() < len(autoencoder.PAPER_LATENTS)


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
            f'<tr data-claim="{row.id}" data-verdict="{row.verdict}"><td>{mark}</td>'
            f"<td><q>{escape(row.quote)}</q><small>{escape(row.place)}</small>"
            f"<small>Test: {escape(row.measure)}; {escape(row.threshold)}.</small></td>"
            f"<td>{found}<small>{escape(row.scope)}</small></td></tr>"
        )
    head = "<tr><th>verdict</th><th>claim, and the test fixed for it</th><th>what was found</th></tr>"
    body = f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody>"
    return _Html(f'<div class="wide"><table class="claims">{body}</table></div>')


def shown(page: str) -> dict[str, str]:
    """Claim and verdict of every row of a page made by `render`."""
    return dict(re.findall(r'data-claim="([^"]+)" data-verdict="([^"]+)"', page))
