"""What a test says of a claim, and what every kind of test is."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict

from replication.sweep.store import Store
from replication.verdicts.sizes import Label

# "as printed": the paper's table says what the sentence says of it, which no run of ours replicates or could refute.
Status = Literal["holds", "partly", "fails", "undecided", "as printed", "not tested"]
VERDICTS: tuple[Status, ...] = get_args(Status)
OPEN: tuple[Status, ...] = ("undecided", "not tested")


@dataclass(frozen=True)
class Beside:
    """The same test read in another way."""

    reading: str
    status: Status
    effect: float
    interval: tuple[float, float]
    explored: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the records say of a claim.

    Args:
        status: over the cells that this book set out to run.
        note: the count, the width, the counterexample, or what it waits for.
        effect, interval: in the claim's measure, with 95%; NaN where there is none.
        scope: at which scale, and what it leaves open of the paper's cells.
        label: the effect against the printed one; empty where the paper prints none.
        over_paper: over all of the paper's cells, if it stands however those that were not run come out.
        explored: the effect is that of seeds that had been seen when the test was written; none of the plan is there.
        beside: other readings of the same sentence.
        waits: the runs of `plan.yml` that cells which are still open wait for.
    """

    status: Status
    note: str
    effect: float = np.nan
    interval: tuple[float, float] = (np.nan, np.nan)
    scope: str = ""
    label: Label | Literal[""] = ""
    over_paper: Status | Literal[""] = ""
    explored: bool = False
    beside: tuple[Beside, ...] = ()
    waits: tuple[str, ...] = ()


class Test(BaseModel, ABC):
    """A kind of test: its fields are the keys that a claim gives it, beside `kind`, which names it.

    Nothing in a test depends on a result: thresholds are in the ledger, numbers in the records.
    """

    __test__ = False  # for pytest, which collects what is called so
    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def decide(self, store: Store) -> Verdict:
        """The verdict; only records of scope `paper` or `reduced` count."""


class Checks:
    """Small computations that can fail, by the name of their function; each is done once."""

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], tuple[Status, str]]] = {}

    def register(self, check: Callable[[], tuple[Status, str]]) -> Callable[[], tuple[Status, str]]:
        self._checks[check.__name__] = cache(check)
        return check

    def known(self, name: str) -> str:
        if name not in self._checks:
            raise ValueError(f"there is no check {name!r}; known: {', '.join(self._checks)}")
        return name

    def result(self, name: str) -> tuple[Status, str]:
        return self._checks[name]()


def share(supported: int, of: int) -> Status:
    """All of them: holds; some: partly; none: fails."""
    return "holds" if supported == of else "partly" if supported else "fails"
