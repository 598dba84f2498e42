"""The ledger: every claim with its verdict, decided once for whoever shows it.

`_build/ledger.json` keeps the rows with what they were decided from: code, claims, records. It is renewed when any of
it has changed.
"""

import json
from collections.abc import Sequence
from math import inf, isfinite, nan
from typing import Any

import pandas as pd

from replication import ROOT, reads
from replication.experiments.registry import faults, store_for
from replication.files import digest, write_atomically
from replication.provenance import computing
from replication.sweep.store import InvalidRecord, Store
from replication.verdicts.claim import Claim, load_claims
from replication.verdicts.contrast import Contrast
from replication.verdicts.grids import Signs
from replication.verdicts.verdict import Beside, Test

KEPT = ROOT / "_build" / "ledger.json"
_NUMBERS = ["effect", "low", "high", "printed", "margin"]


def decide(claims: Sequence[Claim], store: Store) -> pd.DataFrame:
    """All claims with their verdicts, one row each, in the ledger's order."""
    rows = []
    for claim in claims:
        verdict = claim.test.decide(store)
        stated = claim.model_dump(exclude={"test"})
        low, high = verdict.interval
        rows.append(
            stated
            | {"verdict": verdict.status, "effect": verdict.effect, "low": low, "high": high}
            | {"scope": verdict.scope, "note": verdict.note, "label": verdict.label, "explored": verdict.explored}
            | {
                "over_paper": verdict.over_paper,
                "waits": list(verdict.waits),
                "beside": [_beside(claim.test, other) for other in verdict.beside],
            }
            | _size(claim.test)
        )
    return pd.DataFrame(rows)


def _size(test: Test) -> dict[str, Any]:
    """What an effect is compared with, for a figure: the printed one and the margin, in the measure's unit."""
    if not isinstance(test, Contrast):
        return {"printed": nan, "margin": nan, "unit": ""}
    printed = nan if test.printed is None else test.printed
    return {"printed": printed, "margin": test.margin, "unit": _unit(test)}


def _unit(test: Contrast) -> str:
    if isinstance(test, Signs):
        return "share of signs"
    return f"{test.statistic if test.compares else 'value'} of {test.measure}"


def span(low: float, high: float, unit: str) -> str:
    """A 95% interval in words; of a bound the end that it has, where a ratio's lower end is 0.

    A share of signs has no interval: it reaches as far as the entries that are not sure would take it.
    """
    if unit.startswith("share"):
        return f" (up to {high:.3g} with those that are not sure)" if high > low else ""
    ends = [
        f"{end:.3g}" if isfinite(end) else "" for end in (-inf if unit.startswith("ratio") and low == 0 else low, high)
    ]
    if all(ends):
        return f" (95% interval {ends[0]} to {ends[1]})"
    return f" (95%: at least {ends[0]})" if ends[0] else f" (95%: at most {ends[1]})" if ends[1] else ""


def _beside(test: Test, other: Beside) -> dict[str, str]:
    """Another reading in words: its name, its verdict, its effect."""
    unit = _unit(test.read(test.beside[other.reading])) if isinstance(test, Contrast) else ""
    said = span(*other.interval, unit)
    if not said and other.interval[1] == inf:  # a test that has no interval has NaN
        said = " (no interval: runs had not stopped)"
    explored = "explored: " if other.explored else ""
    size = f"{explored}{other.effect:.3g}{' times' if unit.startswith('ratio') else ''}{said}"
    return {"reading": other.reading, "verdict": other.status, "effect": size if isfinite(other.effect) else ""}


def rows(section: str = "", prefix: str = "") -> pd.DataFrame:
    """Rows of the current ledger: all of them, those of one section, or those whose id begins so."""
    chosen = _chosen(current(), section, prefix)
    reads.note("ledger", json.dumps([section, prefix]), _fingerprint(chosen))
    return _table(chosen)


def current() -> list[dict[str, Any]]:
    """The ledger as the claims, records and code of this moment decide it, from the file where it is up to date."""
    store = store_for("paper")
    if KEPT.exists():
        kept = json.loads(KEPT.read_text(encoding="utf-8"))
        same = kept["root"] == str(store.root) and kept["code"] == computing()
        if same and not reads.changed(kept["reads"]):
            found: list[dict[str, Any]] = kept["rows"]
            return found
    with reads.recording():  # what no claim reads makes no page stale
        broken = faults(store)
    if broken:
        listed = "\n".join(broken)
        raise InvalidRecord(
            f"no verdict is drawn from records with faults, of which there are {len(broken)}:\n{listed}"
        )
    with reads.recording() as noted:
        table = decide(load_claims(ROOT / "claims.yml"), store)
    found = [
        {name: value if name not in _NUMBERS or isfinite(value) else str(value) for name, value in row.items()}
        for row in table.to_dict("records")
    ]
    content = {"root": str(store.root), "code": computing(), "reads": noted, "rows": found}
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_atomically(KEPT, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return found


def _chosen(found: list[dict[str, Any]], section: str, prefix: str) -> list[dict[str, Any]]:
    return [row for row in found if section in ("", row["section"]) and row["id"].startswith(prefix)]


def _table(found: list[dict[str, Any]]) -> pd.DataFrame:
    """As a frame; numbers that JSON does not have (nan, inf) stand in the file as texts."""
    return pd.DataFrame(found).astype(dict.fromkeys(_NUMBERS, float))


def _fingerprint(found: list[dict[str, Any]]) -> str:
    return digest(json.dumps(found, sort_keys=True))


def _now(selection: str) -> str:
    section, prefix = json.loads(selection)
    if not KEPT.exists():
        return "absent"
    return _fingerprint(_chosen(json.loads(KEPT.read_text(encoding="utf-8"))["rows"], section, prefix))


reads.offer("ledger", _now)
