"""The ledger's effects and intervals against a second reading of the same records, written from words alone."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from replication.experiments.cnn.experiment import CNN
from replication.experiments.registry import store_for
from replication.sweep.stopping import EarlyStopping
from replication.verdicts import cells, contrast, ledger, records
from replication.verdicts.unet import unguided
from tests import second_reading
from tests.helpers import outcomes

OWN_RULES = ("grid", "signs", "spread", "need")


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    found = ledger.rows()
    return found[found.kind.isin(["empirical", "prediction"])].set_index("id")


def differing(rows: pd.DataFrame, names) -> list[str]:
    """Claims whose effect or interval the second reading does not find to a millionth."""
    wrong = []
    for name in names:
        ours = rows.loc[name, ["effect", "low", "high"]].to_numpy(float)
        theirs = second_reading.read(name)
        if not np.allclose(ours, theirs, rtol=1e-6, atol=1e-9, equal_nan=True):
            wrong.append(f"{name}: {ours} and {theirs}")
    return wrong


def test_every_empirical_claim_is_read_twice(rows):
    read = set(second_reading.READINGS) | set(second_reading.MEASURED)
    assert read == set(rows.index)


def test_the_ledger_and_the_second_reading_agree(rows):
    assert differing(rows, second_reading.READINGS) == []
    for name in second_reading.MEASURED:
        assert second_reading.measured(name) == pytest.approx(rows.effect[name], rel=1e-6, nan_ok=True), name


def test_the_verdicts_follow_from_the_effects_by_the_ledgers_words(rows):
    """Of every claim but grids, widths and the mean of two readings, which have a rule of their own."""
    names = [name for name, each in second_reading.READINGS.items() if each.kind.split()[0] not in OWN_RULES]
    ours = rows.verdict[names].replace("not tested", "undecided")
    theirs = pd.Series({name: second_reading.verdict(name) for name in names})
    assert len(names) > 90 and {"holds", "fails", "undecided"} <= set(ours)
    assert ours[ours != theirs].to_dict() == {}


@pytest.mark.parametrize(("place", "measure"), [(0, "tap 1 1"), (2, "exact")])
def test_the_bend_of_the_flow_through_trained_u_nets_is_read_twice(place, measure):
    (claim,) = [claim for claim in ledger.load_claims(ledger.ROOT / "claims.yml") if claim.id == "flow-unet"]
    store = store_for("paper")
    free = unguided(store, "coco", claim.test.where).sort_values("seed")
    before, after = claim.test.bends(store, free, measure)
    ours = after - before
    assert len(ours) >= 10
    np.testing.assert_allclose(ours, second_reading.bends(free.seed.tolist(), place), rtol=1e-6)


@pytest.mark.parametrize("lost", [False, True])
def test_what_goes_with_what_is_read_twice(monkeypatch, lost):
    """Made-up networks, among them unguided ones of another architecture, and one that diverged."""
    (claim,) = [claim for claim in ledger.load_claims(ledger.ROOT / "claims.yml") if claim.id == "report-tied"]
    rng = np.random.default_rng(1)
    arms = [
        ("none", 1e-3, 0.0),
        *((f, e, c) for f, e in (("reciprocal-mean", 1e-3), ("reciprocal", 0.5)) for c in (1e-3, 0.1, 10.0)),
    ]
    rows = [
        {"data": "cifar10", "architecture": width, "layers": "first" if c else "none", "form": form, "eps": eps}
        | {"coefficient": c, "seed": seed, "test_accuracy": rng.normal(), "first_tap": rng.normal()}
        for seed in range(5, 10)
        for width, form, eps, c in [("[64]", "none", 1e-3, 0.0), *(("[32]", *arm) for arm in arms)]
    ]
    made = outcomes(CNN, rows).assign(horizon=20, diverged=False)
    if lost:
        made.loc[3, ["first_tap", "diverged"]] = np.nan, True
    monkeypatch.setattr(contrast, "deciding", lambda experiment, store, data=None: made)
    monkeypatch.setattr(second_reading, "classifiers", lambda: made.set_index("trial"))
    ours, theirs = claim.test.decide(store_for("paper")), second_reading.read("report-tied")
    np.testing.assert_allclose([ours.effect, *ours.interval], theirs, rtol=1e-9)
    assert abs(ours.effect) < 1 and (ours.status == "undecided" or not lost)


# Small enough to be decided again within a test, and each with something to get wrong.
CHECKED = ["ae-eighty-percent", "ae-within-hundredth", "cnn-all-increase"]


def decided(names) -> pd.DataFrame:
    records._outcomes.cache_clear()
    claims = [c for c in ledger.load_claims(ledger.ROOT / "claims.yml") if c.id in names]
    claims = [c.model_copy(update={"test": c.test.model_copy(update={"beside": {}})}) for c in claims]
    found = ledger.decide(claims, store_for("paper")).set_index("id")
    records._outcomes.cache_clear()
    return found


def swapped(key, base, guided, measure, statistic):
    return PAIRED(key, guided, base, measure, statistic)


def mispaired(key, base, guided, measure, statistic):
    return PAIRED(key, base.assign(seed=np.roll(base.seed, 1)), guided, measure, statistic)


PAIRED, STOP, COMPARE = cells.paired, EarlyStopping.__call__, second_reading.compare


def one_late(self, values):
    found = STOP(self, values)
    return type(found)(min(found.epoch + 1, len(values)), found.best_epoch, found.censored)


@pytest.mark.parametrize("error", ["a sign", "a pairing", "a stop"])
def test_a_deliberate_error_in_the_replication_is_caught(monkeypatch, error):
    from replication.verdicts import paired

    if error == "a stop":
        monkeypatch.setattr(EarlyStopping, "__call__", one_late)
    else:
        monkeypatch.setattr(paired, "paired", {"a sign": swapped, "a pairing": mispaired}[error])
    assert differing(decided(CHECKED), CHECKED)


@pytest.mark.parametrize("error", ["a sign", "a pairing", "a stop"])
def test_a_deliberate_error_in_the_second_reading_is_caught(monkeypatch, rows, error):
    stop = second_reading.stop
    # Tables of stops are kept; this error is in how they are made.
    monkeypatch.setattr(second_reading, "autoencoders", second_reading.autoencoders.__wrapped__)
    monkeypatch.setattr(second_reading, "unets", second_reading.unets.__wrapped__)
    if error == "a stop":
        monkeypatch.setattr(
            second_reading, "stop", lambda v, p, t=0.0: (min(stop(v, p, t)[0] + 1, len(v)), *stop(v, p, t)[1:])
        )
    elif error == "a sign":
        monkeypatch.setattr(second_reading, "compare", lambda g, f, r: COMPARE(f, g, r))
    else:
        rolled = lambda f: pd.Series(np.roll(f.to_numpy(), 1), f.index)  # noqa: E731
        monkeypatch.setattr(second_reading, "compare", lambda g, f, r: COMPARE(g, rolled(f.sort_index()), r))
    assert differing(rows, CHECKED)


def test_the_second_reading_imports_nothing_of_the_project(tmp_path):
    """By itself, from a folder where nothing of the project is near, it loads none of it."""
    script = (
        "import runpy, sys\n"
        f"runpy.run_path({str(second_reading.ROOT / 'tests' / 'second_reading.py')!r})\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('replication', 'entropy_lib', 'tests')])"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout.strip() == "[]"
    assert math.isfinite(second_reading.read("ae-eighty-percent")[0])
