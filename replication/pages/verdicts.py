"""Rows of the ledger as pages show them."""

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from IPython.display import HTML
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from myst_nb import glue

from replication import ROOT, reads
from replication.pages.typeset import typeset
from replication.verdicts import ledger
from replication.verdicts.verdict import OPEN, VERDICTS

_MARKS = {"holds": "✓", "partly": "◐", "fails": "✗", "undecided": "?", "as printed": "▤", "not tested": "–"}
# The parts of the paper, as the home page lists them.
PARTS = {
    "theory and losses": ("3", "3.1", "3.2", "4.1", "4.2", "5.1"),
    "entropy flow": ("5",),
    "autoencoders": ("5.2",),
    "small classifiers": ("5.3",),
    "large classifiers": ("5.4",),
    "segmentation": ("5.5",),
    "introduction, conclusion": ("1", "6"),
    "a popular report": ("report",),
    "our predictions": ("ours",),
    "curved memories": ("memory",),
    "entropy landscapes": ("landscape",),
    "entropy management": ("management",),
}
# Who says it, before the place.
_SOURCES = {
    "paper": "",
    "report": "a popular report, ",
    "aguilera2025": "Aguilera and others (2025), ",
    "yang2025": "Yang and others (2025), ",
    "yang2025-summary": "a machine's summary of Yang and others (2025), ",
    "pakman2026": "Pakman and others (2026), ",
    "taming2025": "a blog post (2025), ",
    "ours": "this book, ",
}


def span(row: Any) -> str:
    """The 95% interval of a row's effect."""
    return ledger.span(row.low, row.high, row.unit)


def sentence(note: str) -> str:
    """A note with a capital, unless a formula begins it, and a full stop."""
    word = re.match(r"[a-z-]+(?=[\s,:;])", note)
    return (note[0].upper() + note[1:] if word else note).removesuffix(".") + "." if note else ""


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined
)
_templates.filters |= {
    "span": span, "source": _SOURCES.__getitem__,
    "mark": _MARKS.__getitem__, "css": lambda verdict: verdict.replace(" ", "-"), "typeset": typeset,
    "sentence": sentence,
}  # fmt: skip
_templates.tests["finite"] = math.isfinite


def render(rows: pd.DataFrame) -> HTML:
    """A table of claims; each row carries its claim and verdict for `shown`."""
    return filled("claims.html", groups=[("", list(rows.itertuples()))], says=_says(rows))


def by_part(rows: pd.DataFrame) -> HTML:
    """The table of all claims under the parts of the paper; `live/claims.js` filters and sorts it."""
    return filled("claims.html", groups=_parts(rows), says=_says(rows))


def _says(rows: pd.DataFrame) -> str:
    if (rows.kind == "prediction").all():
        return "what was predicted"
    return "the paper says" if (rows.source == "paper").all() else "what is said"


def marks(rows: pd.DataFrame) -> HTML:
    """All verdicts at a glance: a row for each part of the paper, a mark for each claim that leads to its row."""
    counts = {verdict: int((rows.verdict == verdict).sum()) for verdict in VERDICTS}
    return filled("marks.html", parts=_parts(rows), counts=counts)


def _parts(rows: pd.DataFrame) -> list[tuple[str, list[Any]]]:
    return [(part, list(rows[rows.section.isin(sections)].itertuples())) for part, sections in PARTS.items()]


# What the abstract promises, and the claim that says it; of accuracy it names no experiment: the nearest with a test.
PROMISES = {
    "fewer epochs": "ae-fewer-epochs",
    "fewer dimensions": "rich-representations",
    "higher accuracy": "better-generalisation",
}


def since_the_first(rows: pd.DataFrame) -> pd.DataFrame:
    """The claims of the first ledger whose verdict is another today, with the reason: a rule, or else new seeds."""
    first = yaml.safe_load(reads.read_text(ROOT / "first-ledger.yml"))
    now, why = rows.set_index("id").verdict, first["reasons"]
    return pd.DataFrame(
        [
            {"claim": name, "first": before, "now": now[name], "because of": why.get(name, "planned seeds")}
            for before, names in first["verdicts"].items()
            for name in names
            if now[name] != before
        ]
    )


def promises(rows: pd.DataFrame) -> HTML:
    """What the abstract promises, each with its verdict, in one line."""
    return filled("promises.html", promises=list(zip(PROMISES, _promised(rows), strict=True)))


def headlines(rows: pd.DataFrame) -> HTML:
    """The promises, each with its effect, what it waits for, and the first objection to it."""
    return filled("headlines.html", rows=_promised(rows), open=OPEN)


def _promised(rows: pd.DataFrame) -> list[Any]:
    return list(rows.set_index("id").loc[list(PROMISES.values())].reset_index().itertuples())


def waiting(rows: pd.DataFrame) -> int:
    """How many of the open claims wait for a planned run; the others' runs are there and leave them open."""
    return int((rows.verdict.isin(OPEN) & rows.waits.map(bool)).sum())


def not_run(rows: pd.DataFrame, progress: pd.DataFrame) -> pd.DataFrame:
    """The planned runs that open claims wait for: networks that are left, and the claims; most claims first."""
    claims = (
        rows[rows.verdict.isin(OPEN)].explode("waits").waits.value_counts().rename_axis("run").rename("open claims")
    )
    left = progress.assign(**{"to be made": progress.networks - progress["in results"]})
    found = left[["run", "experiment", "networks", "to be made", "core-hours expected"]].merge(
        claims.reset_index(), on="run"
    )
    found["command"] = [
        f'entropy-book sweep --planned "{run}"' if " " in run else f"entropy-book sweep --planned {run}"
        for run in found.run
    ]
    return found.sort_values("open claims", ascending=False)


def say(rows: pd.DataFrame) -> None:
    """Let prose take verdicts from the ledger: each of them is glued as `verdict-ID`."""
    for row in rows.itertuples():
        glue(f"verdict-{row.id}", row.verdict, display=False)


def shown(page: str) -> dict[str, str]:
    """Claim and verdict of every row of a page made by `render`."""
    return dict(re.findall(r'data-claim="([^"]+)" data-verdict="([^"]+)"', page))


def disagreeing(site: Path, rows: pd.DataFrame) -> list[str]:
    """Claims of which the built page of claims says something else than the ledger.

    Raises:
        FileNotFoundError: no such page has been built.
    """
    page = site / "notebooks" / "claims.html"
    if not page.exists():
        raise FileNotFoundError("there is no built book yet; `make book` builds it")
    said = shown(page.read_text(encoding="utf-8"))
    return [row.id for row in rows.itertuples() if said.get(row.id) != row.verdict]


def filled(template: str, **values: Any) -> HTML:
    """A template of `templates/` with its values."""
    return HTML(_templates.get_template(template).render(**values))
