"""What a record must hold, and the checksum over all of it. `book/evidence.md` says it in words."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from replication.files import digest
from replication.sweep.trial import IDENTITY, Level, identity

VERSION = 2
LEVELS = get_args(Level)
PROVENANCE = ("library", "source", "python", "torch", "device", "threads", "started", "wall_seconds")
# What is measured layer by layer, or place by place, has a row for each of these too.
_BY_LAYER = ("layer", "measure", "reading", "point")
_TEXTS = ("trial", "name", "kind", "statement", "measure", "reading")
_OF_A_TRIAL = {"trial", *IDENTITY, "scope", "deviation"}


class InvalidRecord(ValueError):
    """A record breaks the schema; the message names the file and the fault."""


def checksum(curves: pd.DataFrame, described: Mapping[str, Any]) -> str:
    """Over every value of the curves and all that is said of them."""
    said = {name: value for name, value in described.items() if name != "checksum"}
    parts: list[bytes | str] = [json.dumps(said, sort_keys=True)]
    for name in curves:
        column = curves[name]
        numbers = pd.api.types.is_numeric_dtype(column)
        parts += [str(name), column.dtype.str if numbers else "text"]
        parts.append(np.ascontiguousarray(column).tobytes() if numbers else json.dumps(column.astype(str).tolist()))
    return digest(*parts)


def _demand(condition: object, fault: str) -> None:
    if not condition:
        raise InvalidRecord(fault)


def check(described: dict[str, Any], curves: pd.DataFrame, artefacts: str, path: Path) -> None:
    """Every rule for one record; the first that is broken is named.

    Raises:
        InvalidRecord: a rule is broken.
    """
    version = described["schema"]
    seal = f"; `entropy-book records {path.parent.parent} --seal` adds its checksum" if version == 1 else ""
    _demand(version == VERSION, f"schema {version}, expected {VERSION}{seal}")
    trials, provenance = described["trials"], described["provenance"]
    _demand(isinstance(trials, list) and trials, "its trials are no list")
    for trial in trials:
        _check_trial(trial, path)
    _check_provenance(provenance, trials)
    _demand(path.stem == digest(*(trial["trial"] for trial in trials)), "its name is not that of its trials")
    _check_curves(curves, {trial["trial"]: trial["config"]["horizon"] for trial in trials})
    _demand(described.get("artefacts") == artefacts, "the arrays beside it are not those that were written with it")
    _demand(described.get("checksum") == checksum(curves, described), "its checksum is another: a value was changed")


def _check_trial(trial: Any, path: Path) -> None:
    _demand(isinstance(trial, dict), "a trial is no mapping")
    missing, unknown = sorted(_OF_A_TRIAL - set(trial)), sorted(set(trial) - _OF_A_TRIAL)
    _demand(not missing, f"a trial lacks {', '.join(missing)}")
    _demand(not unknown, f"a trial has what none has: {', '.join(unknown)}")
    config = trial["config"]
    _demand(isinstance(config, dict), "a trial's configuration is no mapping")
    _demand("horizon" in config, "a trial's configuration lacks its horizon")
    _demand(not set(config) & _OF_A_TRIAL, f"a configuration may not have {', '.join(set(config) & _OF_A_TRIAL)}")
    for whole in (config["horizon"], trial["seed"], trial["protocol"]):
        _demand(type(whole) is int and whole >= 0, f"horizon, seed and protocol are counts, not {whole!r}")
    _check_texts({name: trial[name] for name in ("data", "fingerprint", "scope", "deviation")})
    _demand(identity(trial) == trial["trial"], f"trial {trial['trial']} does not match its description")
    _demand(trial["experiment"] == path.parent.name, f"belongs to {trial['experiment']}")
    _demand(trial["scope"] in LEVELS, f"scope {trial['scope']!r}, expected one of {', '.join(LEVELS)}")
    _demand(trial["scope"] != "reduced" or trial["deviation"], "a reduced record must name its deviation")


def _check_provenance(provenance: Any, trials: list[dict[str, Any]]) -> None:
    _demand(isinstance(provenance, dict), "its provenance is no mapping")
    missing = sorted(set(PROVENANCE) - set(provenance))
    _demand(not missing, f"provenance lacks {', '.join(missing)}")
    taken = _OF_A_TRIAL.union(*(trial["config"] for trial in trials)) & set(provenance)
    _demand(not taken, f"provenance may not have {', '.join(sorted(taken))}")
    _check_texts({name: value for name, value in provenance.items() if name not in ("threads", "wall_seconds")})


def _check_texts(texts: Mapping[str, Any]) -> None:
    """Pages show them: one line each, so that none can be read as markup of another kind."""
    for name, text in texts.items():
        _demand(isinstance(text, str) and (text.isprintable() or not text), f"{name} is no line of text: {text!r}")


def _check_curves(curves: pd.DataFrame, horizons: Mapping[str, int]) -> None:
    _demand(curves.columns.is_unique, "two columns of its curves have one name")
    _demand({"trial", "epoch"} <= set(curves), "curves lack the columns trial and epoch")
    _demand(set(curves.trial) == set(horizons), "curves and trial descriptions disagree")
    _demand(pd.api.types.is_integer_dtype(curves.epoch), "epochs are no whole numbers")
    for name in curves.columns.difference(_TEXTS):
        _demand(pd.api.types.is_numeric_dtype(curves[name]), f"its column {name} holds no numbers")
        _demand(curves[name].notna().any(), f"its column {name} holds no number at all")
    keys = ["trial", "epoch", *(name for name in _BY_LAYER if name in curves)]
    _demand(not curves.duplicated(keys).any(), f"two rows of its curves agree in {', '.join(keys)}")
    for trial, curve in curves.groupby("trial"):
        _demand(
            curve.epoch.drop_duplicates().tolist() == list(range(horizons[trial] + 1)),
            f"trial {trial} must have the epochs 0 to {horizons[trial]} in order",
        )


def check_ranges(curves: pd.DataFrame, ranges: Mapping[str, tuple[float, float]]) -> None:
    """The columns that an experiment needs are there, with values that they can have; NaN is a divergence."""
    for name, (low, high) in ranges.items():
        _demand(name in curves, f"its curves lack the column {name}")
        values = curves[name].dropna()
        _demand(values.between(low, high).all(), f"its column {name} has values beyond {low} and {high}")
