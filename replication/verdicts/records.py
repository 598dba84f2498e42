"""The records that may decide, and what they cover of the paper's experiment."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import AfterValidator

from replication.data.registry import names as known_data
from replication.experiments.experiment import Experiment
from replication.experiments.registry import EXPERIMENTS
from replication.sweep.store import Store
from replication.verdicts.verdict import Verdict


def known(what: str, allowed: Sequence[str], given: str) -> str:
    if given not in allowed:
        raise ValueError(f"there is no {what} {given!r}; known: {', '.join(allowed)}")
    return given


ExperimentName = Annotated[str, AfterValidator(lambda name: known("experiment", list(EXPERIMENTS), name))]
# Beside the data sets, what an experiment draws itself.
_DRAWN = sorted(
    {plan.data for each in EXPERIMENTS.values() for plans in each.profiles.values() for plan in plans}
    - set(known_data())
)
DataName = Annotated[str, AfterValidator(lambda name: known("data set", [*known_data(), *_DRAWN], name))]


def check_names(
    experiment: str, measures: Sequence[str] = (), columns: Sequence[str] = (), where: Mapping[str, Any] | None = None
) -> None:
    """Refuse what outcomes of the experiment do not have.

    Raises:
        ValueError: a measure or a column that it does not have; the message lists those it has.
    """
    found = EXPERIMENTS[experiment]
    for measure in measures:
        known(f"measure of {experiment}", list(found.measures), measure)
    for column in [*columns, *(where or {})]:
        known(f"field of {experiment}", [*found.fields, *found.cells], column)


def outcomes(experiment: Experiment[Any], store: Store) -> pd.DataFrame:
    """The experiment's outcomes, computed once: records never change, so their names say which these are."""
    files = tuple(path.name for path in store.files(experiment.name))
    return _outcomes(experiment.name, store.root, store.until, files)


@lru_cache(maxsize=32)
def _outcomes(name: str, root: Path, until: int | None, files: tuple[str, ...]) -> pd.DataFrame:
    return EXPERIMENTS[name].summarised(Store(root, until))


def deciding(experiment: Experiment[Any], store: Store, data: str | None = None) -> pd.DataFrame:
    """The outcomes of scope paper or reduced, on one data set where it is named."""
    table = outcomes(experiment, store)
    return table[(table.scope != "quick") & ((table.data == data) if data else True)]


def once(experiment: Experiment[Any], table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The table, in which no cell has two records for one seed.

    Raises:
        ValueError: it has; they may not be averaged silently.
    """
    doubled = table[table.duplicated([*by, experiment.treatment, "seed"], keep=False)]
    if len(doubled):
        raise ValueError(f"{experiment.name} has several records for one seed: {', '.join(doubled.trial)}")
    return table


def scope(
    experiment: Experiment[Any],
    table: pd.DataFrame,
    by: Sequence[str] = ("latent",),
    where: Mapping[str, Any] | None = None,
) -> str:
    """`paper` with all of the paper's replications, else `reduced` with what is missing; then the deviations."""
    missing = []
    seeds = table.groupby([*by, experiment.treatment]).seed.nunique().min()
    if seeds < experiment.seeds:
        missing.append(f"{seeds} of {experiment.seeds} seeds")
    missing += missing_cells(experiment, table, where)
    deviations = "; ".join(sorted(table.deviation.unique()))
    if missing or (table.scope == "reduced").any():
        return f"reduced ({', '.join(filter(None, [*missing, deviations]))})"
    return f"paper ({deviations})" if deviations else "paper"


def paper_values(experiment: Experiment[Any], column: str, where: Mapping[str, Any] | None = None) -> set[Any]:
    """The paper's values of a column, as far as a claim asks for them."""
    values = experiment.cells[column].values
    asked = (where or {}).get(column, values)
    return set(values) & set(asked if isinstance(asked, (list, tuple)) else [asked])


def missing_cells(
    experiment: Experiment[Any], table: pd.DataFrame, where: Mapping[str, Any] | None = None
) -> list[str]:
    """Which of the paper's latent dimensions or architectures have no record, as "3 of 9 architectures".

    Existence cannot be refuted while there are some.
    """
    missing = []
    for column, cells in experiment.cells.items():
        wanted = paper_values(experiment, column, where)
        if not wanted <= set(table[column]):
            missing.append(f"{len(wanted & set(table[column]))} of {len(wanted)} {cells.plural}")
    return missing


def not_tested(experiment: str, data: str) -> Verdict:
    return Verdict("not tested", f"no records of {experiment} on {data} that may decide")
