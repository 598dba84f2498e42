"""A trial: what is run, and the identity under which its record is kept."""

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, Generic, Literal, Self, TypeVar

from replication.files import digest

Value = str | int | float | bool
Level = Literal["paper", "reduced", "quick"]
C = TypeVar("C", bound="Config")
T = TypeVar("T")


def as_text(read: Callable[[str], T], write: Callable[[T], str], default: Any = MISSING) -> Any:
    """A field of a :class:`Config` that stands in records as a text, `"32, 32"` for `(32, 32)`; parsed here alone."""
    return field(default=default, metadata={"read": read, "write": write})


@dataclass(frozen=True, kw_only=True)
class Config:
    """What may differ between the trials of an experiment; each experiment has its own dataclass below this one.

    A field without a default is part of the experiment's design. One with a default is a *setting* that the paper
    leaves open: verdicts rest on trials that have all defaults.
    """

    horizon: int  # epochs; 0 for what is measured and not trained

    def stored(self) -> dict[str, Value]:
        """The fields as a record holds them."""
        return self.stored_values({each.name: getattr(self, each.name) for each in fields(self)})

    @classmethod
    def stored_values(cls, values: Mapping[str, Any]) -> dict[str, Value]:
        """Some fields as a record holds them."""
        writers = {each.name: each.metadata.get("write") for each in fields(cls)}
        return {name: (writers[name] or (lambda same: same))(value) for name, value in values.items()}

    @classmethod
    def read(cls, stored: Mapping[str, Value]) -> Self:
        """The configuration that a record holds.

        Raises:
            ValueError: a field is missing or unknown.
        """
        known = {each.name for each in fields(cls)}
        if set(stored) != known:
            raise ValueError(f"fields missing or unknown: {', '.join(sorted(set(stored) ^ known))}")
        values: dict[str, Any] = {name: cls.parsed(name, value) for name, value in stored.items()}
        return cls(**values)

    @classmethod
    def parsed(cls, name: str, stored: Any) -> Any:
        """A field's value, or list of values, from what a record or a plan holds."""
        read = {each.name: each.metadata.get("read") for each in fields(cls)}.get(name)
        if not read:
            return stored
        return [read(each) for each in stored] if isinstance(stored, list) else read(stored)


@dataclass(frozen=True)
class Trial(Generic[C]):
    """One training run.

    Its identity is the experiment, the protocol number (raised by hand when training changes its
    meaning), the data and their fingerprint, the seed and the configuration. The source hash is
    provenance, not identity: a comment does not throw away hours of runs.
    """

    experiment: str
    protocol: int
    data: str
    fingerprint: str
    seed: int
    config: C

    @cached_property
    def id(self) -> str:
        return identity(self.describe())

    def describe(self) -> dict[str, Any]:
        """The identity as plain JSON."""
        return {
            "experiment": self.experiment,
            "protocol": self.protocol,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "config": self.config.stored(),
        }


IDENTITY = ("experiment", "protocol", "data", "fingerprint", "seed", "config")


def identity(described: Mapping[str, Any]) -> str:
    """The identity of a trial as a record describes it."""
    return digest(json.dumps({name: described[name] for name in IDENTITY}, sort_keys=True))


@dataclass(frozen=True)
class Scope:
    """What a trial can decide: `paper` all of it, `reduced` with its deviation named, `quick` nothing."""

    level: Level
    deviation: str = ""


def stacks(trials: Iterable[Trial[C]], key: Callable[[Trial[C]], Hashable]) -> list[list[Trial[C]]]:
    """Group the trials that can be trained as one, in order of first appearance."""
    groups: dict[Hashable, list[Trial[C]]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    return list(groups.values())
