"""The store: one immutable Parquet file per finished stack of trials.

`book/evidence.md` documents the schema. Nothing is read from a file that breaks it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from replication import reads
from replication.files import digest, write_atomically
from replication.sweep import schema
from replication.sweep.schema import InvalidRecord
from replication.sweep.trial import IDENTITY, Scope, Trial

__all__ = ["Array", "InvalidRecord", "StackResult", "Store"]
# Bytes of the file of arrays beside a record, for each of its trials.
ARTEFACT_LIMIT = 1_000_000
_METADATA = b"entropy_lib"
_COLUMNS = ["trial", *IDENTITY[:-1], "scope", "deviation", *schema.PROVENANCE, "file"]
Array = np.ndarray[Any, Any]
# The values that a column of curves may have, by experiment and name.
Ranges = Mapping[str, Mapping[str, tuple[float, float]]]


@dataclass(frozen=True)
class StackResult:
    """What training a stack gives: curves (a row per trial and epoch, or layer of it) and small arrays for pictures."""

    curves: pd.DataFrame
    artefacts: Mapping[str, Array] = field(default_factory=dict)


class Store:
    """Records below one folder, `root/<experiment>/<stack>.parquet`, artefacts beside them as `.npz`.

    Every method that reads raises `InvalidRecord` at a file that breaks the schema or its checksum.

    Args:
        root: the folder.
        until: read every curve up to this epoch alone, as if no run had been longer.
    """

    def __init__(self, root: Path | str, until: int | None = None):
        self.root, self.until = Path(root), until

    def files(self, experiment: str) -> list[Path]:
        reads.records(self.root / experiment)
        return sorted((self.root / experiment).glob("[!.]*.parquet"))

    @contextmanager
    def writing(self, experiment: str) -> Iterator[None]:
        """Be the one who writes records of this experiment here, after whoever does so now.

        Raises:
            OSError: the folder cannot be written.
        """
        folder = self.root / experiment
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(f"waiting for the sweep that is writing to {folder}", flush=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

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
        path = self.root / stack[0].experiment / f"{digest(*(trial.id for trial in stack))}.parquet"
        if path.exists():
            raise InvalidRecord(f"{path.name} exists already: records are never overwritten")
        arrays = path.with_suffix(".npz")
        if result.artefacts:
            write_atomically(arrays, lambda temporary: _save_arrays(temporary, result.artefacts))
        described = {"schema": schema.VERSION, "trials": trials, "provenance": dict(provenance)}
        # The Parquet file comes last: while it is absent, the stack counts as not run.
        return _write(path, pa.Table.from_pandas(result.curves, preserve_index=False), described, arrays)

    def finished(self, experiment: str) -> set[str]:
        """Identities of the trials that have a record."""
        return {trial["trial"] for path in self.files(experiment) for trial in _read(path).described["trials"]}

    def trials(self, experiment: str) -> pd.DataFrame:
        """One row per trial: identity, configuration (one column each), scope, provenance, file.

        Without a record the columns of the configuration are missing, the others are there.
        """
        rows = []
        for path in self.files(experiment):
            described = _read(path).described
            for trial in described["trials"]:
                config = trial["config"]
                rest = {name: value for name, value in trial.items() if name != "config"}
                rows.append({**rest, **config, **described["provenance"], "file": path.name})
        table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=_COLUMNS)
        if rows and self.until is not None:
            table["horizon"] = table.horizon.clip(upper=self.until)
        doubled = table[table.duplicated("trial")]
        if len(doubled):
            raise InvalidRecord(f"trials stored twice; remove one of the records: {', '.join(doubled.file.unique())}")
        return table

    def curves(self, experiment: str) -> pd.DataFrame:
        """One row per trial and epoch, to be joined with `trials` on `trial`."""
        frames = [_read(path).curves for path in self.files(experiment)]
        curves = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["trial", "epoch"])
        return curves if self.until is None else curves[curves.epoch <= self.until]

    def artefacts(self, file: str, experiment: str) -> dict[str, Array]:
        """The arrays kept beside one record; empty when there are none."""
        path = self.root / experiment / file
        _read(path)
        if not path.with_suffix(".npz").exists():
            return {}
        with np.load(path.with_suffix(".npz")) as arrays:
            return dict(arrays)

    def validate(self, ranges: Ranges | None = None) -> list[str]:
        """Every fault of every record below the root; an empty list means that all is well.

        With `ranges` the columns that an experiment needs are asked for, too, and what values they may have.
        """
        faults: list[str] = []
        owners: dict[str, str] = {}
        for path in sorted(self.root.glob("[!.]*/[!.]*.parquet")):
            try:
                record = _read(path)
                with _naming(path):
                    schema.check_ranges(record.curves, (ranges or {}).get(path.parent.name, {}))
            except InvalidRecord as fault:
                faults.append(str(fault))
                continue
            # Said here and not when it is written: what was trained for hours is kept first. A trial may keep as much
            # in a stack as alone, for what is trained together depends on the device.
            arrays, limit = path.with_suffix(".npz"), ARTEFACT_LIMIT * len(record.described["trials"])
            if arrays.exists() and (size := arrays.stat().st_size) > limit:
                faults.append(f"{arrays.name}: {size:,} bytes of arrays, more than {limit:,}, a megabyte a trial")
            for trial in (each["trial"] for each in record.described["trials"]):
                if trial in owners:
                    faults.append(f"{path.name}: trial {trial} is also in {owners[trial]}")
                owners[trial] = path.name
        left = [path for path in self.root.glob("[!.]*/[!.]*.npz") if not path.with_suffix(".parquet").exists()]
        return faults + [
            f"{path.name}: no record stands beside these arrays, which a killed run left; run it again or remove them"
            for path in left
        ]

    def seal(self) -> int:
        """Give records of schema 1, which had none, a checksum; their curves and descriptions stay as they are."""
        sealed = 0
        for path in sorted(self.root.glob("[!.]*/[!.]*.parquet")):
            with _naming(path):
                described = _described(path)
            if described["schema"] == 1:
                _write(path, pq.read_table(path), described | {"schema": schema.VERSION}, path.with_suffix(".npz"))
                sealed += 1
        return sealed


def _save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write(path: Path, table: pa.Table, described: dict[str, Any], arrays: Path) -> Path:
    described["artefacts"] = _digest(arrays)
    described["checksum"] = schema.checksum(table.to_pandas(), described)
    kept = table.replace_schema_metadata({_METADATA: json.dumps(described)})
    return write_atomically(path, lambda temporary: pq.write_table(kept, temporary, compression="zstd"))


@dataclass(frozen=True)
class _Record:
    """What a file says of its trials, and their curves, which nobody may change: they are read once."""

    described: dict[str, Any]
    curves: pd.DataFrame


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Faults found within are those of this file."""
    try:
        yield
    except InvalidRecord as fault:
        raise InvalidRecord(f"{path.name}: {fault}") from None
    except Exception as error:  # a damaged file may raise whatever its reader raises
        raise InvalidRecord(f"{path.name}: cannot be read ({type(error).__name__}: {error})") from error


def _read(path: Path) -> _Record:
    """A record, once the whole file has passed every check of the schema."""
    there = path.stat()
    arrays = path.with_suffix(".npz")
    beside = arrays.stat() if arrays.exists() else None
    return _checked(path, there.st_mtime_ns, there.st_size, beside and beside.st_mtime_ns, beside and beside.st_size)


@lru_cache(maxsize=4096)
def _checked(path: Path, *unchanged: object) -> _Record:
    with _naming(path):
        record = _Record(_described(path), pq.read_table(path).to_pandas())
        schema.check(record.described, record.curves, _digest(path.with_suffix(".npz")), path)
    return record


def _digest(arrays: Path) -> str:
    return digest(arrays.read_bytes()) if arrays.exists() else ""


def _described(path: Path) -> dict[str, Any]:
    try:
        # The file's own metadata, which other writers keep, and not that of the Arrow schema within it.
        raw = (pq.read_metadata(path).metadata or {}).get(_METADATA)
    except (pa.ArrowInvalid, OSError) as error:
        raise InvalidRecord(f"not a Parquet file ({error})") from error
    if raw is None:
        raise InvalidRecord("holds no trial descriptions; was it written by Store.write?")
    try:
        described = json.loads(raw)
    except ValueError:  # neither JSON nor text
        described = None
    if not isinstance(described, dict) or not {"schema", "trials", "provenance"} <= set(described):
        raise InvalidRecord("its description is not JSON with schema, trials and provenance")
    return described
