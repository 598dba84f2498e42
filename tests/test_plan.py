"""plan.yml: the runs that are owed, fixed beforehand."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

from entropy_lib.evidence.claims import load_claims
from entropy_lib.experiments import EXPERIMENTS, plans, training
from entropy_lib.sweep.trial import Trial

ROOT = Path(__file__).parent.parent
RUNS = yaml.safe_load((ROOT / "plan.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("run", RUNS, ids=lambda run: str(run["run"]))
def test_every_run_names_its_cells_seeds_and_reading(run):
    experiment, parts = plans.planned(ROOT / "plan.yml", str(run["run"]))
    known = {field.name for field in fields(EXPERIMENTS[experiment].Plan)}
    assert parts and all(set(part) <= known and isinstance(part["seeds"], tuple) for part in parts)
    assert run["reads"]
    claims = {claim.id for claim in load_claims(ROOT / "claims.yml")}
    for read in run["reads"]:
        assert set(read) == {"claim", "measure", "window", "margin", "pooled"}
        assert read["claim"].endswith(" (new)") or read["claim"] in claims


def test_seeds_are_counted_or_named():
    plan = EXPERIMENTS["autoencoder"].Plan("digits", (10,), (3, 12), 5, (0.0,))
    assert [trial.seed for trial in plan.trials()] == [3, 12]
    assert plans.numbers(2) == (0, 1)
    with pytest.raises(KeyError, match="no run '99'"):
        plans.planned(ROOT / "plan.yml", "99")


def test_the_mean_over_filters_is_the_sum_divided_by_them():
    kernel = torch.randn(4, 3, 3, 3, requires_grad=True)
    trial = Trial.of("cnn", 1, "digits", "x", 0, coefficient=0.5, eps=1e-3, form="reciprocal")
    mean = Trial.of("cnn", 1, "digits", "x", 0, coefficient=0.5, eps=1e-3, form="reciprocal-mean")
    torch.testing.assert_close(training.Guided([kernel], mean)() * 12, training.Guided([kernel], trial)())
    with pytest.raises(ValueError, match="form must be one of"):
        training.Guided([kernel], Trial.of("cnn", 1, "digits", "x", 0, coefficient=0.5, eps=1e-3, form="mean"))
