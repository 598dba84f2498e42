"""Claims as `claims.yml` states them: what the paper says, where, and the test that decides it."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from replication import reads
from replication.experiments.owed import runs
from replication.verdicts.flow import Flow, FlowConsistent
from replication.verdicts.grids import Signs
from replication.verdicts.landscape import Trend
from replication.verdicts.levels import Association, Benchmark, Level, Spread, Step
from replication.verdicts.mathematics import Mathematics
from replication.verdicts.memory import Cooled, Limit
from replication.verdicts.paired import FewerDimensions, NeedForDimension, Paired, Versus
from replication.verdicts.reanalysis import Reanalysis
from replication.verdicts.unet import SameFlow, UNetFlow

# A prediction is ours: what must be seen if an explanation is right.
Kind = Literal["mathematical", "statistical", "empirical", "prediction"]
# A new kind of test is a class and its name here.
AnyTest = Annotated[
    Mathematics
    | Reanalysis
    | Paired
    | Level
    | Association
    | Step
    | Spread
    | Signs
    | FewerDimensions
    | Versus
    | NeedForDimension
    | Benchmark
    | Flow
    | UNetFlow
    | SameFlow
    | FlowConsistent
    | Cooled
    | Limit
    | Trend,
    Field(discriminator="kind"),
]


# Who says it: the paper, a popular report on it and on other work, works beside it, a machine's summary of one of them,
# or this book.
Source = Literal["paper", "report", "aguilera2025", "yang2025", "yang2025-summary", "pakman2026", "taming2025", "ours"]


class InvalidClaim(ValueError):
    """An entry of claims.yml cannot be read; the message names the claim, the place in it, and what is allowed."""


class Claim(BaseModel):
    """One claim as the ledger states it.

    `objection` is what an author would say first against the verdict, `answered_by` the claim that answers it, beside
    the other readings that the test has itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]
    source: Source = "paper"
    section: str
    place: str
    quote: str
    kind: Kind
    measure: str
    threshold: str
    objection: str = ""
    answered_by: str = ""
    test: AnyTest


def load_claims(path: Path) -> list[Claim]:
    """Read the ledger.

    Raises:
        InvalidClaim: a key missing or unknown; a kind, test, experiment, data set, measure or run that does not exist;
            an id used twice. All faults are listed.
        ValueError: `plan.yml`, whose runs the tests name, is at fault itself.
    """
    runs()
    try:
        entries = yaml.safe_load(reads.read_text(path))
    except yaml.YAMLError as error:
        raise InvalidClaim(f"{path.name} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(entries, list) or not entries:
        raise InvalidClaim(f"{path.name} holds no list of claims")
    claims, faults = [], []
    for entry in entries:
        try:
            claims.append(Claim.model_validate(entry))
        except ValidationError as error:
            faults += [_fault(entry, found) for found in error.errors()]
    faults += [f"claim {name!r} is in the ledger twice" for name, n in Counter(c.id for c in claims).items() if n > 1]
    if faults:
        raise InvalidClaim(f"{path.name}: " + "; ".join(faults))
    return claims


def _fault(entry: Any, found: Any) -> str:
    """One fault in words: the claim, the place in it, and what is wrong there."""
    name = entry.get("id", "?") if isinstance(entry, dict) else entry
    # The tag of a discriminated union stands in the place, where it says nothing.
    place = ".".join(str(part) for k, part in enumerate(found["loc"]) if not (k == 1 and found["loc"][0] == "test"))
    return f"claim {name!r}, {place or 'entry'}: {found['msg'].removeprefix('Value error, ')}"
