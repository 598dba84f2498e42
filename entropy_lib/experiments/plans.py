"""What the experiments share: profiles that are lists of plans, run in order, and the protocol of a trial."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

import pandas as pd
import yaml

from entropy_lib.sweep.trial import Trial

# What an unguided network has for the form of the loss, so that it is the same trial beside every one of them.
UNGUIDED: dict[str, float | str] = {"form": "none", "eps": 0.0}


# How many seeds, counted from 0, or which.
Seeds = int | tuple[int, ...]


def numbers(seeds: Seeds) -> tuple[int, ...]:
    """The seeds by number."""
    return tuple(range(seeds)) if isinstance(seeds, int) else seeds


class Plan(Protocol):
    """One part of a profile, on one data set; a frozen dataclass."""

    @property
    def data(self) -> str: ...

    def trials(self) -> list[Trial]: ...


AnyPlan = TypeVar("AnyPlan", bound=Plan)


def trials(
    profiles: Mapping[str, Sequence[AnyPlan]], profile: str, data: str | None = None, seeds: int | None = None
) -> list[Trial]:
    """The trials of a profile, each once; only those on `data`, with another number of `seeds`, when given.

    Raises:
        KeyError: an unknown profile, or data on which it has no runs; the message lists the known ones.
    """
    if profile not in profiles:
        raise KeyError(f"unknown profile {profile!r}; known: {', '.join(profiles)}")
    known = list(dict.fromkeys(plan.data for plan in profiles[profile]))
    if data not in (None, *known):
        raise KeyError(f"the profile {profile!r} has no runs on {data!r}; it has {', '.join(known)}")
    plans = [plan for plan in profiles[profile] if data in (None, plan.data)]
    plans = [replace(plan, seeds=seeds) if seeds else plan for plan in plans]  # type: ignore[type-var]
    return list(dict.fromkeys(trial for plan in plans for trial in plan.trials()))


def planned(file: Path, number: str) -> tuple[str, list[dict]]:
    """The experiment and the parts of one run that `plan.yml` fixes beforehand.

    Raises:
        KeyError: a run that the file does not have.
    """
    runs = {str(run["run"]): run for run in yaml.safe_load(file.read_text(encoding="utf-8"))}
    if number not in runs:
        raise KeyError(f"{file.name} has no run {number!r}; it has {', '.join(runs)}")
    parts = [
        {key: tuple(value) if isinstance(value, list) else value for key, value in part.items()}
        for part in runs[number]["parts"]
    ]
    return runs[number]["experiment"], parts


def protocol(changed: Mapping[str, float | str], defaults: Mapping[str, float | str]) -> dict[str, float | str]:
    """The protocol variables with some of them changed.

    Raises:
        KeyError: a variable that the experiment does not have.
    """
    unknown = set(changed) - set(defaults)
    if unknown:
        raise KeyError(f"unknown protocol variable {min(unknown)!r}; known: {', '.join(defaults)}")
    return {**defaults, **changed}


def matching(table: pd.DataFrame, wanted: Mapping[str, object]) -> pd.DataFrame:
    """The rows whose columns have the wanted values, a list standing for any of its entries; a table without rows
    may lack the columns."""
    for name, value in wanted.items():
        table = table[table[name].isin(value if isinstance(value, list) else [value])] if len(table) else table
    return table


def with_partners(table: pd.DataFrame, varied: Sequence[str], same: Sequence[str]) -> pd.DataFrame:
    """Outcomes in which an unguided network stands once beside each set of runs that it is to be paired with.

    One unguided network serves every form and placement of the loss: its rows get the values of `varied` of the
    guided networks that agree with it in `same`; where there are none it keeps its own.
    """
    free, bound = table[table.coefficient == 0], table[table.coefficient != 0]
    pairs = bound[[*same, *varied]].drop_duplicates()
    beside = free.drop(columns=list(varied)).merge(pairs, on=list(same))
    return pd.concat([bound, beside, free[~free.trial.isin(beside.trial)]], ignore_index=True)
