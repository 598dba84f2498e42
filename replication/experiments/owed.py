"""The runs that `plan.yml` fixes beforehand: their parts, the cells and seeds in them, the records that are theirs."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from replication import ROOT, reads
from replication.experiments.experiment import Experiment, Plan
from replication.experiments.registry import experiment_of
from replication.sweep.store import Store

FILE = ROOT / "plan.yml"
# A cell of a plan: the values of some fields, λ, or what else the experiment's treatment is, last.
Key = tuple[Any, ...]


class Reading(BaseModel):
    """What a run is read for: the claim it serves, what is compared, when, what counts as none, what is pooled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: str
    measure: str
    window: str
    margin: str | float
    pooled: str


class Run(BaseModel):
    """One run: parts as the file writes them, with values as records hold them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str = Field(coerce_numbers_to_str=True)
    experiment: str
    core_hours: float
    parts: list[dict[str, Any]]
    reads: list[Reading]

    @property
    def of(self) -> Experiment[Any]:
        return experiment_of(self.experiment)

    def plans(self) -> list[Plan]:
        """The parts as a sweep takes them."""
        config = self.of.config
        return [
            Plan.of(
                part["data"], part["seeds"],
                **{name: config.parsed(name, v) for name, v in part.items() if name not in ("data", "seeds")},
            )
            for part in self.parts
        ]  # fmt: skip

    def rows(self, table: pd.DataFrame, until: int | None = None) -> pd.DataFrame:
        """The outcomes that this run gives, or longer runs of the same networks; `until`: as the store cut its curves.

        Those of an earlier protocol are not. In the fields of guidance an unguided network is not asked.
        """
        table = table[table.protocol == self.of.protocol]
        kept = pd.Series(False, table.index)
        for part in self.parts:
            asked = self.of.stored_settings | part
            wanted = {("seed" if name == "seeds" else name): value for name, value in asked.items()}
            horizon = wanted.pop("horizon")
            long = table[table.horizon >= (horizon if until is None else min(horizon, until))]
            kept |= table.index.isin(self.of.select(long, **wanted).index)
        return table[kept]

    def cells(
        self, data: str, fields: Sequence[str], where: Mapping[str, Any], coefficients: Sequence[float] | None = None
    ) -> Iterator[tuple[Key, set[int]]]:
        """Each cell of guided networks on some data that the run sets out to make, with its seeds.

        Args:
            data: the data set.
            fields: what tells the cells apart, beside λ, which comes last.
            where: values of other fields; the default settings unless given.
            coefficients: λs, or other values of the treatment; those above 0 unless given.
        """
        for part in self.parts:
            values = {name: _listed(value) for name, value in (self.of.stored_settings | part).items()}
            asked = {name: _listed(value) for name, value in (self.of.stored_settings | dict(where)).items()}
            shared = {name: [v for v in each if v in asked.get(name, each)] for name, each in values.items()}
            chosen = [c for c in shared[self.of.treatment] if (c > 0 if coefficients is None else c in coefficients)]
            free = chosen == [0.0]
            empty = [name for name, each in shared.items() if not each and not (free and name in self.of.unguided)]
            if part["data"] == data and not empty:
                for key in product(*(shared[name] for name in fields), chosen):
                    yield key, set(part["seeds"])


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def runs(file: Path = FILE) -> dict[str, Run]:
    """Every run by its number.

    Raises:
        ValueError: the file is no list of runs, or one of them is not as it should be.
    """
    return _parsed(file.name, reads.read_text(file))


@lru_cache(maxsize=4)
def _parsed(name: str, text: str) -> dict[str, Run]:
    try:
        found = [Run.model_validate(each) for each in yaml.safe_load(text)]
    except (yaml.YAMLError, TypeError, ValidationError) as error:
        raise ValueError(f"{name} is no list of runs: {' '.join(str(error).split())}") from error
    return {run.run: run for run in found}


def unfinished(numbers: Sequence[str], store: Store) -> tuple[str, ...]:
    """Those of some runs of which not every network is there."""
    return tuple(number for number in numbers if networks(owed(number)) - there(owed(number), store))


def networks(run: Run) -> set[Key]:
    """A run's networks by data, seed and configuration, whatever their horizon."""
    return {network for plan in run.plans() for network in _of_part(run, plan)}


def _of_part(run: Run, plan: Plan) -> Iterator[Key]:
    names, values = zip(*plan.fields, strict=True)
    for seed, chosen in product(plan.seeds, product(*values)):
        stored = run.of.configured(**dict(zip(names, chosen, strict=True))).stored()
        # Of what records say of a network the fields alone: some say more, such as the names of guided layers.
        yield plan.data, seed, *(stored[name] for name in run.of.fields if name != "horizon")


def there(run: Run, store: Store) -> set[Key]:
    """The networks of a run that are there."""
    return named(run, run.rows(run.of.table(store)))


def named(run: Run, rows: pd.DataFrame) -> set[Key]:
    """Networks named as `networks` names them."""
    fields = [name for name in run.of.fields if name != "horizon"]
    return set(rows[["data", "seed", *fields]].itertuples(index=False, name=None))


def owed(number: str, file: Path = FILE) -> Run:
    """One run.

    Raises:
        KeyError: a run that the file does not have.
    """
    known = runs(file)
    if number not in known:
        raise KeyError(f"{file.name} has no run {number!r}; it has {', '.join(known)}")
    return known[number]
