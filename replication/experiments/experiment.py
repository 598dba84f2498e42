"""An experiment: what differs between its trials, the parts of its profiles, and which networks are compared."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from itertools import product
from typing import Any, Generic

import pandas as pd

from replication.sweep.store import StackResult, Store
from replication.sweep.trial import C, Scope, Trial

# Keywords of a part: a list stands for each of its entries, anything else for itself.
Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """One part of a profile: every combination of the listed values of the configuration's fields, for each seed."""

    data: str
    seeds: tuple[int, ...]
    fields: tuple[tuple[str, tuple[Any, ...]], ...]

    @classmethod
    def of(cls, data: str, seeds: Iterable[int], **given: Any) -> "Plan":
        """A part; a list among the fields stands for each of its entries."""
        values = {name: tuple(value) if isinstance(value, list) else (value,) for name, value in given.items()}
        return cls(data, tuple(seeds), tuple(values.items()))

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        """The values that a field takes in this part; none when the part leaves it at its default."""
        return dict(self.fields).get(name, ())

    def but(self, **changed: Any) -> "Plan":
        """The same part with other values for some fields."""
        return Plan.of(self.data, self.seeds, **{name: list(values) for name, values in self.fields} | changed)


@dataclass(frozen=True)
class Cells:
    """What a claim ranges over in the paper: the values of a column of outcomes, and their name in the plural."""

    plural: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """All that a sweep, a verdict and a page need to know of an experiment.

    Args:
        name: of its folder, its records and its chapter's command.
        protocol: raised by hand when training changes its meaning.
        config: the dataclass of its trials' configurations.
        profiles: the parts of each profile, in the order in which they are run.
        train, stack_by, scope: as a sweep needs them.
        fingerprint: of the data that a configuration asks for.
        outcomes: one row per trial (of the flow: per layer) with its measures; called with a store that has records.
        measures: what outcomes hold beside the trial itself.
        columns: what its curves must hold, with the least and the greatest value.
        pictured: the fields on which, beside the data set, the data's fingerprint depends.
        cells: the paper's grid by column of outcomes.
        seeds: the paper's replications.
        treatment: the field that says how strongly the thing in question is done, and 0 where it is not: λ, usually.
        unguided: what a network without guidance has for the fields that describe guidance, so that it is one trial
            and is trained once, whatever it is compared with.
        on_gpu: whether it trains on the device that a sweep hands it, or on the processor whatever that is.
    """

    name: str
    protocol: int
    config: type[C]
    profiles: Mapping[str, Sequence[Plan]]
    train: Callable[[list[Trial[C]], str, Callable[[], object]], StackResult]
    stack_by: Callable[[Trial[C], str], Hashable]
    scope: Callable[[Trial[C]], Scope]
    fingerprint: Callable[[str, C], str]
    outcomes: Callable[[Store], pd.DataFrame]
    measures: tuple[str, ...]
    columns: Mapping[str, tuple[float, float]]
    pictured: tuple[str, ...] = ()
    cells: Mapping[str, Cells] = field(default_factory=dict)
    seeds: int = 1
    treatment: str = "coefficient"
    unguided: dict[str, Any] = field(default_factory=dict)
    on_gpu: bool = True

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the configuration's fields, as columns of records hold them."""
        return tuple(each.name for each in fields(self.config))

    @property
    def settings(self) -> dict[str, Any]:
        """What the paper leaves open, with the values on which verdicts rest."""
        return {each.name: each.default for each in fields(self.config) if each.default is not MISSING}

    def settings_of(self, plan: Plan) -> dict[str, Any]:
        """A part's settings and horizon, as a page shows them: several values of one in a text."""
        given = {name: values[0] if len(values) == 1 else ", ".join(map(str, values)) for name, values in plan.fields}
        return {name: given.get(name, default) for name, default in self.settings.items()} | {
            "horizon": given["horizon"]
        }

    @property
    def stored_settings(self) -> dict[str, Any]:
        """The settings as columns of records hold them."""
        return dict(self.config.stored_values(self.settings))

    # --- What is run ------------------------------------------------------------------------------

    def grid(self, profile: str, data: str | None = None, seeds: int | None = None) -> list[Trial[C]]:
        """The trials of a profile, each once; only those on `data`, with another number of `seeds`, when given.

        Raises:
            KeyError: an unknown profile, or data on which it has no runs; the message lists the known ones.
        """
        if profile not in self.profiles:
            raise KeyError(f"unknown profile {profile!r}; known: {', '.join(self.profiles)}")
        known = list(dict.fromkeys(plan.data for plan in self.profiles[profile]))
        if data not in (None, *known):
            raise KeyError(f"the profile {profile!r} has no runs on {data!r}; it has {', '.join(known)}")
        plans = [plan for plan in self.profiles[profile] if data in (None, plan.data)]
        return self.trials(*(replace(plan, seeds=tuple(range(seeds))) if seeds else plan for plan in plans))

    def trials(self, *plans: Plan) -> list[Trial[C]]:
        """The trials of these parts, each once.

        Raises:
            KeyError: a part names a field that the configuration does not have.
        """
        return list(dict.fromkeys(trial for plan in plans for trial in self._of(plan)))

    def _of(self, plan: Plan) -> Iterable[Trial[C]]:
        names = [name for name, _ in plan.fields]
        if unknown := set(names) - set(self.fields):
            raise KeyError(f"{self.name} has no field {min(unknown)!r}; its fields are {', '.join(self.fields)}")
        for seed, values in product(plan.seeds, product(*(values for _, values in plan.fields))):
            config = self.configured(**dict(zip(names, values, strict=True)))
            yield Trial(self.name, self.protocol, plan.data, self.fingerprint(plan.data, config), seed, config)

    def configured(self, **values: Any) -> C:
        """A configuration; without guidance it gets the values of `unguided`."""
        return self.config(**values | (self.unguided if values.get(self.treatment) == 0 else {}))

    # --- What is compared ---------------------------------------------------------------------------

    def table(self, store: Store) -> pd.DataFrame:
        """The store's trials of this experiment; its columns are there without a record, too.

        Of two records of one network that differ in the horizon alone the longer one counts: it holds the other. Where
        a store cuts them to one length they are the same, and which of the two is taken does not depend on the order.
        """
        trials = store.trials(self.name)
        if trials.empty:
            return trials.reindex(columns=[*trials.columns, *self.fields])
        same = ["data", "fingerprint", "protocol", "seed", *(name for name in self.fields if name != "horizon")]
        return trials[~trials.sort_values(["horizon", "trial"]).duplicated(same, keep="last").reindex(trials.index)]

    def summarised(self, store: Store) -> pd.DataFrame:
        """The outcomes; without a record, no row of them."""
        trials = self.table(store)
        columns = dict.fromkeys([*trials.columns, *self.measures, *self.cells])
        return self.outcomes(store) if len(trials) else trials.reindex(columns=list(columns))

    def select(self, table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
        """The rows whose columns have the wanted values, a list standing for any of its entries.

        A network without guidance belongs beside every guided one: in the fields of `unguided` it is not asked.
        """
        kept = pd.Series(True, table.index)
        for name, value in wanted.items():
            matches = table[name].isin(value if isinstance(value, list) else [value])
            kept &= matches | (table[self.treatment] == 0) if name in self.unguided else matches
        return table[kept]

    def default(self, table: pd.DataFrame, **changed: Any) -> pd.DataFrame:
        """The rows made under the current protocol with the default settings, or with some of them changed."""
        return self.select(table, **{"protocol": self.protocol, **self.stored_settings, **changed})

    def unguided_beside(self, guided: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
        """The networks without guidance that differ from some of the guided ones in nothing else."""
        # A longer run of the same network holds the shorter one.
        described = {self.treatment, "horizon", *self.unguided}
        same = ["data", "fingerprint", "protocol", *(name for name in self.fields if name not in described)]
        return table[table[self.treatment] == 0].merge(guided[same].drop_duplicates(), on=same)

    def compared(self, table: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
        """The guided networks that have the wanted values, and those without guidance beside them, each once."""
        guided = self.select(table[table[self.treatment] != 0], **wanted)
        return pd.concat([self.unguided_beside(guided, table), guided], ignore_index=True)
