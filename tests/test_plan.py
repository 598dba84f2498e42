"""plan.yml: the runs that are owed, fixed beforehand."""

import json
import math
import re
from itertools import product
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from replication.experiments.experiment import Experiment
from replication.experiments.owed import Run, owed, runs, unfinished
from replication.experiments.progress import progress
from replication.experiments.registry import EXPERIMENTS, store_for
from replication.pages.verdicts import waiting
from replication.sweep.store import Store
from replication.verdicts.claim import load_claims
from replication.verdicts.contrast import Contrast, named_runs
from replication.verdicts.decision import LEAST_SEEDS
from tests.helpers import outcomes

ROOT = Path(__file__).parent.parent
RUNS = runs()
CLAIMS = {claim.id: claim for claim in load_claims(ROOT / "claims.yml")}
DECIDED = {name: claim.test for name, claim in CLAIMS.items() if isinstance(claim.test, Contrast)}


@pytest.mark.parametrize("run", RUNS.values(), ids=lambda run: run.run)
def test_every_run_names_its_cells_seeds_and_claims(run):
    for part in run.plans():
        names = [name for name, _ in part.fields]
        assert set(names) <= set(run.of.fields) and "horizon" in names and part.seeds
        values = {name: values[0] for name, values in part.fields}
        assert run.of.config(**values).stored()
    for read in run.reads:
        test = CLAIMS[read.claim].test
        others = [test.read(changed) for changed in getattr(test, "beside", {}).values()]
        assert any(run.run in each.runs for each in (test, *others)), read.claim


def bounds(test) -> set[float]:
    """The margin of a test and of its other readings, and the numbers that they put the effect between."""
    found = set()
    for each in (test, *(test.read(changed) for changed in getattr(test, "beside", {}).values())):
        claimed = (
            [v for v in (each.claimed.above, each.claimed.below) if abs(v) < math.inf]
            if hasattr(each, "claimed")
            else []
        )
        found |= {abs(v) for v in claimed} | {abs(v - 1) for v in claimed}  # "10 %" of a ratio is 1.1
        found |= {getattr(each, name) for name in ("margin", "threshold") if hasattr(each, name)}
    return found


@pytest.mark.parametrize("run", RUNS.values(), ids=lambda run: run.run)
def test_margins_and_windows_of_the_plan_are_those_of_the_tests(run):
    for read in run.reads:
        test, stated = CLAIMS[read.claim].test, str(read.margin).replace("none", "")
        unit = 100 if "%" in stated else 1
        for number in re.findall(r"\d+(?:\.\d+)?", stated):
            assert any(math.isclose(float(number) / unit, each, abs_tol=1e-9) for each in bounds(test)), read
        if "the stop beside it" in read.window:
            assert "at the stop" in test.beside, read.claim


def network(experiment: Experiment, data: str, seed: int, config: dict) -> tuple:
    """What tells networks apart: their data, seed and fields but the horizon."""
    return data, seed, *(config[name] for name in experiment.fields if name != "horizon")


def described(store: Store, experiment: Experiment) -> dict[tuple, int]:
    """The longest horizon of each network, read from the metadata of the files."""
    found: dict[tuple, int] = {}
    for path in store.files(experiment.name):
        for trial in json.loads(pq.read_schema(path).metadata[b"entropy_lib"])["trials"]:
            if trial["protocol"] == experiment.protocol:
                name = network(experiment, trial["data"], trial["seed"], trial["config"])
                found[name] = max(found.get(name, 0), trial["config"]["horizon"])
    return found


def wanted_of(run: Run) -> dict[tuple, int]:
    """Every network that a run sets out to make, with its longest horizon."""
    found: dict[tuple, int] = {}
    for plan in run.plans():
        names, values = zip(*plan.fields, strict=True)
        for seed, chosen in product(plan.seeds, product(*values)):
            config = run.of.configured(**dict(zip(names, chosen, strict=True))).stored()
            name = network(run.of, plan.data, seed, config)
            found[name] = max(found.get(name, 0), config["horizon"])
    return found


def test_what_is_there_of_a_run_is_counted():
    """Against the files' own descriptions: a network counts once, however long it was trained."""
    store = store_for("paper")
    there = {name: described(store, EXPERIMENTS[name]) for name in {run.experiment for run in RUNS.values()}}
    for row in progress(store, Store(ROOT / "nowhere")).to_dict("records"):
        run = RUNS[row["run"]]
        wanted = wanted_of(run)
        networks = [name for name, horizon in wanted.items() if there[run.experiment].get(name, -1) >= horizon]
        assert row["in results"] == len(networks) <= row["networks"] == len(wanted) and row["pending"] == 0, run.run
        assert unfinished([run.run], store) == (run.run,) * (len(networks) < row["networks"])


def test_a_note_names_the_runs_of_which_networks_are_missing():
    store = store_for("paper")
    rows = progress(store, Store(ROOT / "nowhere"))
    whole = rows.run[rows["in results"] == rows.networks].iloc[0]
    assert unfinished([whole], Store(ROOT / "nowhere")) == (whole,) and unfinished([whole], store) == ()
    for owed_still in rows.run[rows["in results"] < rows.networks][:1]:
        assert unfinished([whole, owed_still], store) == (owed_still,)
    assert named_runs(["3"]) == "run 3 of plan.yml" and named_runs(["1", "3"]) == "runs 1 and 3 of plan.yml"
    # Open claims that name a run wait for it; a claim that is decided does not, whatever its other cells wait for.
    rows = pd.DataFrame({"verdict": ["undecided", "fails", "undecided"], "waits": [["3"], ["3"], []]})
    assert waiting(rows) == 1


@pytest.mark.parametrize("test", DECIDED.values(), ids=list(DECIDED))
def test_every_claim_on_runs_has_cells_with_five_seeds_in_the_plan(test):
    """In its own reading and in those beside it."""
    asked = test.asked()
    assert asked and all(len(seeds) >= LEAST_SEEDS for seeds in asked.values())
    for changed in test.beside.values():
        other = test.read(changed)
        assert other.asked() and all(len(seeds) >= LEAST_SEEDS for seeds in other.asked().values())


def test_the_cells_of_a_plan_are_those_that_it_trains():
    """The file's own words against the trials that a sweep makes of them."""
    run = RUNS["3"]
    found = dict(run.cells("coco", ["layers"], {"image": 96, "channels": 16, "batch": 8, "layers": ["2", "2,3"]}))
    trials = {
        (stored["layers"], stored["coefficient"], seed)
        for plan in run.plans()
        for seed in plan.seeds
        for stored in [
            run.of.configured(**dict(zip([n for n, _ in plan.fields], values, strict=True))).stored()
            for values in product(*(v for _, v in plan.fields))
        ]
    }
    expected = {(layers, c, seed) for layers, c, seed in trials if c > 0 and layers in ("2", "2,3")}
    assert {(*key, seed) for key, seeds in found.items() for seed in seeds} == expected


def test_a_longer_run_of_the_same_network_stands_for_the_shorter_one():
    part = {"data": "mnist", "latent": [100], "seeds": [3], "horizon": 50, "coefficient": [0.0, 0.1]}
    run = Run(run="x", experiment="autoencoder", core_hours=1, parts=[part], reads=[])
    rows = [{"data": "mnist", "latent": 100, "seed": 3, "coefficient": c, "horizon": h, "trial": f"{c} {h}"}
            for c, h in ((0.0, 200), (0.1, 40), (0.1, 50))]  # fmt: skip
    table = outcomes(run.of, rows)
    assert set(run.rows(table).trial) == {"0.0 200", "0.1 50"}
    # Under an earlier protocol training meant something else: such a run has to be made again.
    assert run.rows(table.assign(protocol=run.of.protocol - 1)).empty


def test_a_run_that_is_not_planned_is_refused():
    with pytest.raises(KeyError, match="no run '99'; it has 1, 2"):
        owed("99")


def test_pending_records_are_valid_planned_and_not_decided_on():
    pending = Store(ROOT / "results-pending")
    assert pending.validate() == []
    for name in {run.experiment for run in RUNS.values()}:
        kept = pending.trials(name)
        assert not set(kept.trial) & store_for("paper").finished(name)
        planned = {
            seed for run in RUNS.values() if run.experiment == name for part in run.parts for seed in part["seeds"]
        }
        assert set(kept.seed) <= planned
