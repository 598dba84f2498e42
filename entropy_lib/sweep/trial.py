"""A trial: what is run, and the identity under which its record is kept."""

import json
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from entropy_lib.files import digest

Value = str | int | float | bool


@dataclass(frozen=True)
class Trial:
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
    config: tuple[tuple[str, Value], ...]

    @classmethod
    def of(cls, experiment: str, protocol: int, data: str, fingerprint: str, seed: int, **config: Value) -> "Trial":
        return cls(experiment, protocol, data, fingerprint, seed, tuple(sorted(config.items())))

    def __getitem__(self, name: str) -> Any:
        """A value of the configuration; whoever asks knows its type."""
        return dict(self.config)[name]

    @cached_property
    def id(self) -> str:
        return digest(json.dumps(self.describe(), sort_keys=True))

    def describe(self) -> dict:
        """The identity as plain JSON."""
        return {
            "experiment": self.experiment,
            "protocol": self.protocol,
            "data": self.data,
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "config": dict(self.config),
        }


def stacks(trials: Iterable[Trial], key: Callable[[Trial], Hashable]) -> list[list[Trial]]:
    """Group the trials that can be trained as one, in order of first appearance."""
    groups: dict[Hashable, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(key(trial), []).append(trial)
    return list(groups.values())
