"""The store: one immutable Parquet file per finished stack of trials.

`book/evidence.md` documents the schema; `validate` checks it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from replication import reads
from replication.files import digest, write_atomically
from replication.sweep.trial import IDENTITY, Level, Scope, Trial, identity

SCHEMA = 1
LEVELS = get_args(Level)
ARTEFACT_LIMIT = 1_000_000
_METADATA = b"entropy_lib"
# What is measured layer by layer has a row for each of these too.
_BY_LAYER = ("layer", "measure", "reading")
_PROVENANCE = ("library", "source", "python", "torch", "device", "threads", "started", "wall_seconds")
_COLUMNS = ["trial", *IDENTITY[:-1], "scope", "deviation", *_PROVENANCE, "file"]
Array = np.ndarray[Any, Any]


class InvalidRecord(ValueError):
    """A record breaks the schema; the message names the file and the fault."""


@dataclass(frozen=True)
class StackResult:
    """What training a stack gives: curves (a row per trial and epoch, or layer of it) and small arrays for pictures."""

    curves: pd.DataFrame
    artefacts: Mapping[str, Array] = field(default_factory=dict)


class Store:
    """Records below one folder, `root/<experiment>/<stack>.parquet`, artefacts beside them as `.npz`."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def files(self, experiment: str) -> list[Path]:
        reads.records(self.root / experiment)
        return sorted((self.root / experiment).glob("*.parquet"))

    def write(
        self,
        stack: Sequence[Trial[Any]],
        result: StackResult,
        scopes: Sequence[Scope],
        provenance: Mapping[str, object],
    ) -> Path:
        """Keep one finished stack with each trial's scope."""
        trials = [
            {"trial": trial.id, **trial.describe(), "scope": scope.level, "deviation": scope.deviation}
            for trial, scope in zip(stack, scopes, strict=True)
        ]
        metadata = {"schema": SCHEMA, "trials": trials, "provenance": dict(provenance)}
        table = pa.Table.from_pandas(result.curves, preserve_index=False)
        table = table.replace_schema_metadata({_METADATA: json.dumps(metadata)})
        path = self.root / stack[0].experiment / f"{digest(*(trial.id for trial in stack))}.parquet"
        if path.exists():
            raise InvalidRecord(f"{path.name} exists already: records are never overwritten")
        if result.artefacts:
            size = sum(array.nbytes for array in result.artefacts.values())
            if size > ARTEFACT_LIMIT:
                raise InvalidRecord(f"artefacts of {path.name} hold {size:,} bytes, more than {ARTEFACT_LIMIT:,}")
            write_atomically(path.with_suffix(".npz"), lambda temporary: _save_arrays(temporary, result.artefacts))
        # The Parquet file comes last: while it is absent, the stack counts as not run.
        return write_atomically(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))

    def finished(self, experiment: str) -> set[str]:
        """Identities of the trials that have a record."""
        return {trial["trial"] for path in self.files(experiment) for trial in _metadata(path)["trials"]}

    def trials(self, experiment: str) -> pd.DataFrame:
        """One row per trial: identity, configuration (one column each), scope, provenance, file.

        Without a record the columns of the configuration are missing, the others are there.
        """
        rows = []
        for path in self.files(experiment):
            metadata = _metadata(path)
            for trial in metadata["trials"]:
                config = trial["config"]
                rest = {name: value for name, value in trial.items() if name != "config"}
                rows.append({**rest, **config, **metadata["provenance"], "file": path.name})
        table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=_COLUMNS)
        doubled = table[table.duplicated("trial")]
        if len(doubled):
            raise InvalidRecord(f"trials stored twice; remove one of the records: {', '.join(doubled.file.unique())}")
        return table

    def curves(self, experiment: str) -> pd.DataFrame:
        """One row per trial and epoch, to be joined with `trials` on `trial`."""
        frames = [pq.read_table(path).to_pandas() for path in self.files(experiment)]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["trial", "epoch"])

    def artefacts(self, file: str, experiment: str) -> dict[str, Array]:
        """The arrays kept beside one record; empty when there are none."""
        path = (self.root / experiment / file).with_suffix(".npz")
        if not path.exists():
            return {}
        with np.load(path) as arrays:
            return dict(arrays)

    def validate(self) -> list[str]:
        """Every fault of every record below the root; an empty list means that all is well."""
        faults: list[str] = []
        owners: dict[str, str] = {}
        for path in sorted(self.root.glob("*/*.parquet")):
            try:
                trials = _validated(path)
            except InvalidRecord as fault:
                faults.append(str(fault))
                continue
            for trial in trials:
                if trial in owners:
                    faults.append(f"{path.name}: trial {trial} is also in {owners[trial]}")
                owners[trial] = path.name
        return faults


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _metadata(path: Path) -> dict[str, Any]:
    try:
        raw = (pq.read_schema(path).metadata or {}).get(_METADATA)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidRecord(f"{path.name}: not a Parquet file ({error})") from error
    if raw is None:
        raise InvalidRecord(f"{path.name}: holds no trial descriptions; was it written by Store.write?")
    try:
        metadata: dict[str, Any] = json.loads(raw)
        if {"schema", "trials", "provenance"} <= set(metadata):
            return metadata
    except (json.JSONDecodeError, TypeError):
        pass
    raise InvalidRecord(f"{path.name}: its description is not JSON with schema, trials and provenance")


def _validated(path: Path) -> list[str]:
    """The identities in one record, after every check of the schema."""

    def demand(condition: bool, fault: str) -> None:
        if not condition:
            raise InvalidRecord(f"{path.name}: {fault}")

    metadata = _metadata(path)
    demand(metadata.get("schema") == SCHEMA, f"schema {metadata.get('schema')}, expected {SCHEMA}")
    missing = set(_PROVENANCE) - set(metadata["provenance"])
    demand(not missing, f"provenance lacks {', '.join(sorted(missing))}")
    for described in metadata["trials"]:
        needed = {"trial", *IDENTITY, "scope", "deviation"}
        demand(needed <= set(described), f"a trial lacks {', '.join(sorted(needed - set(described)))}")
        demand("horizon" in described["config"], "a trial's configuration lacks its horizon")
        demand(identity(described) == described["trial"], f"trial {described['trial']} does not match its description")
        demand(described["experiment"] == path.parent.name, f"belongs to {described['experiment']}")
        demand(described["scope"] in LEVELS, f"scope {described['scope']!r}, expected one of {', '.join(LEVELS)}")
        demand(described["scope"] != "reduced" or described["deviation"], "a reduced record must name its deviation")
    curves = pq.read_table(path).to_pandas()
    demand({"trial", "epoch"} <= set(curves), "curves lack the columns trial and epoch")
    known = {described["trial"]: described["config"].get("horizon") for described in metadata["trials"]}
    demand(set(curves.trial) == set(known), "curves and trial descriptions disagree")
    keys = ["trial", "epoch", *(name for name in _BY_LAYER if name in curves)]
    demand(not curves.duplicated(keys).any(), f"two rows of its curves agree in {', '.join(keys)}")
    for trial, curve in curves.groupby("trial"):
        demand(
            curve.epoch.drop_duplicates().tolist() == list(range(known[trial] + 1)),
            f"trial {trial} must have the epochs 0 to {known[trial]} in order",
        )
    return list(known)
