"""plan.yml: the runs that are owed, fixed beforehand."""

from pathlib import Path

import pytest
import yaml

from replication.experiments.registry import owed, store_for
from replication.sweep.store import Store
from replication.verdicts.claim import load_claims

ROOT = Path(__file__).parent.parent
RUNS = yaml.safe_load((ROOT / "plan.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run["run"]))
def test_every_run_names_its_cells_seeds_and_reading(run):
    experiment, parts = owed(str(run["run"]))
    for part in parts:
        names = [name for name, _ in part.fields]
        assert set(names) <= set(experiment.fields) and "horizon" in names and part.seeds
        values = {name: values[0] for name, values in part.fields}
        assert experiment.config(**values).stored()
    claims = {claim.id for claim in load_claims(ROOT / "claims.yml")}
    for read in run["reads"]:
        assert set(read) == {"claim", "measure", "window", "margin", "pooled"}
        assert read["claim"].endswith(" (new)") or read["claim"] in claims


def test_a_run_that_is_not_planned_is_refused():
    with pytest.raises(KeyError, match="no run '99'; it has 1, 2"):
        owed("99")


def test_pending_records_are_valid_planned_and_not_decided_on():
    pending, planned = Store(ROOT / "results-pending"), set()
    assert pending.validate() == []
    for run in RUNS:
        experiment, parts = owed(str(run["run"]))
        planned |= {(experiment.name, seed) for part in parts for seed in part.seeds}
        kept = pending.trials(experiment.name)
        assert not set(kept.trial) & store_for("paper").finished(experiment.name)
    for name in {name for name, _ in planned}:
        assert {(name, seed) for seed in pending.trials(name).seed} <= planned
