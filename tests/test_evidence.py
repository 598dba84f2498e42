"""Statistics, the paper's tables, and that verdicts follow from records and from nothing else."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from replication import paper, reads
from replication.experiments.autoencoder.experiment import AUTOENCODER, PAPER_LATENTS
from replication.experiments.cnn.experiment import CNN
from replication.experiments.registry import store_for
from replication.pages.verdicts import marks, render, shown
from replication.statistics import agreement, detectable, effect, holm, p_one_sided, sign_table
from replication.sweep.store import Store
from replication.verdicts import ledger, mathematics, reanalysis
from replication.verdicts.claim import Claim, InvalidClaim, load_claims
from replication.verdicts.verdict import VERDICTS, Verdict
from tests.helpers import outcomes

ROOT = Path(__file__).parents[1]
samples = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=12)


@given(samples)
def test_effect_is_the_t_interval(values):
    found = effect(np.array(values))
    low, high = (
        stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
        if np.ptp(values)
        else (values[0],) * 2
    )
    assert found.mean == pytest.approx(np.mean(values)) and found.n == len(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_effect_of_one_value_knows_nothing_and_of_none_refuses():
    assert effect(np.array([3.0])).low == -np.inf
    with pytest.raises(ValueError, match="at least one"):
        effect(np.array([]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_against_its_definition(p_values):
    order = np.argsort(p_values)
    expected, running = np.empty(len(p_values)), 0.0
    for rank, index in enumerate(order):
        running = max(running, (len(p_values) - rank) * p_values[index])
        expected[index] = min(running, 1.0)
    np.testing.assert_allclose(holm(p_values), expected)


def test_holm_is_that_of_statsmodels():
    p_values = np.random.default_rng(0).random(40) ** 3
    np.testing.assert_allclose(holm(p_values), multipletests(p_values, method="holm")[1])


def test_holm_leaves_nan_out():
    assert np.isnan(holm([0.01, np.nan])[1]) and holm([0.01, np.nan])[0] == pytest.approx(0.01)


@given(samples, st.floats(-50, 50))
def test_one_sided_p_values_are_complementary(values, threshold):
    below, above = (p_one_sided(np.array(values), threshold, side) for side in ("below", "above"))
    if np.ptp(values):
        assert below + above == pytest.approx(1)
    elif values[0] != threshold:
        assert {below, above} == {0.5 ** len(values), 1.0}


def test_sign_table_is_antisymmetric_and_finds_a_clear_difference():
    rng = np.random.default_rng(0)
    groups = {0.0: rng.normal(0, 1, 10), 1.0: rng.normal(9, 1, 10), 2.0: rng.normal(0, 1, 10)}
    grid = sign_table(groups)
    assert grid.loc[1.0, 0.0] == "+" and grid.loc[0.0, 1.0] == "-" and grid.loc[0.0, 2.0] == "."
    assert agreement(grid, grid.T.replace({"+": "-", "-": "+"})) == 1
    null = {float(k): rng.normal(0, 1, 10) for k in range(40)}
    plain, corrected = (sign_table(null, 0.05, corrected=flag) for flag in (False, True))
    assert (corrected != ".").sum().sum() < (plain != ".").sum().sum()


def test_detectable_shift_is_detected_with_the_stated_power():
    rng = np.random.default_rng(1)
    sample = rng.normal(0, 2, 10)
    shift = detectable(sample)
    draws = rng.normal(shift, sample.std(ddof=1), (4000, 10))
    power = np.mean(stats.ttest_1samp(draws, 0, axis=1, alternative="greater").pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.03)


def test_the_papers_grids_are_antisymmetric():
    for data in ("mnist", "cifar10"):
        for measure in ("mse", "stopping_epoch"):
            grid = paper.sign_grid(data, measure)[1]
            assert grid.shape == (7, 7)
            assert (grid.T.replace({"+": "-", "-": "+"}) == grid).all(axis=None)


def test_the_papers_tables_are_complete():
    one, two, three = paper.table_1(), paper.table_2(), paper.table_3()
    assert len(one) == 9 and one.p_validation.between(0, 0.05).all() and one.p_train.notna().sum() == 1
    assert len(two) == 126 and two.groupby(["model", "strategy", "layers"]).ngroups == 18
    assert ((two.accuracy * 500).round(6) % 1 == 0).all()
    assert len(three) == 7 and three.coefficient.tolist() == list(paper.COEFFICIENTS)
    assert (one.base_validation < one.base_train).all()


def test_best_of_six_null_against_a_direct_simulation():
    rng = np.random.default_rng(5)
    hits, of_the_best_mean = [], []
    for _ in range(1500):
        groups = rng.standard_normal((7, 10))
        p = stats.ttest_ind(groups[1:], groups[:1], axis=1, alternative="greater").pvalue
        hits.append(p.min() < 0.05)
        of_the_best_mean.append(p[groups[1:].mean(1).argmax()] < 0.05)
    assert reanalysis.false_positive_rate() == pytest.approx(np.mean(hits), abs=0.03)
    assert reanalysis.false_positive_rate(by_mean=True) == pytest.approx(np.mean(of_the_best_mean), abs=0.03)


# --- The ledger ------------------------------------------------------------------------------------


def test_the_ledger_is_well_formed_and_every_check_it_names_exists():
    claims = load_claims(ROOT / "claims.yml")
    assert len(claims) > 60
    for claim in claims:
        if claim.test.kind in ("mathematics", "reanalysis"):
            module = {"mathematics": mathematics, "reanalysis": reanalysis}[claim.test.kind]
            assert callable(getattr(module, claim.test.check))
    sections = {claim.section for claim in claims}
    assert {"1", "3", "3.1", "3.2", "4.1", "4.2", "5", "5.1", "5.2", "5.3", "5.4", "5.5", "6"} <= sections


# A change of an entry, and what the refusal says of it.
BROKEN = {
    "missing key": ({"quote": None}, "quote: Field required"),
    "kind": ({"kind": "poetic"}, "kind: .*'mathematical', 'statistical' or 'empirical'"),
    "test": ({"test.kind": "vibes"}, "test: .*'vibes'.*'mathematics'.*'paired'"),
    "key of a test": ({"test.chek": "x"}, r"test\.chek: Extra inputs"),
    "experiment": ({"test.experiment": "autoencodre"}, "no experiment 'autoencodre'; known: autoencoder"),
    "data": ({"test.data": "minst"}, r"test\.data: there is no data set 'minst'; known: digits, mnist"),
    "measure": ({"test.measure": "tset_mse"}, "no measure of autoencoder 'tset_mse'; known: .*test_mse"),
    "chosen by": ({"test.choose_by": "validation"}, "no measure of autoencoder 'validation'"),
    "side": ({"test.claimed": "under"}, r"test\.claimed: .*'below' or 'above'"),
    "cells": ({"test.by": ["latnet"]}, "no field of autoencoder 'latnet'; known: .*latent"),
    "where": ({"test.where": {"batchsize": 1}}, "no field of autoencoder 'batchsize'; known: .*batch"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_claims_are_refused(tmp_path, name):
    entries = yaml.safe_load((ROOT / "claims.yml").read_text())
    entry = next(entry for entry in entries if entry["id"] == "ae-four-times-faster")
    changes, message = BROKEN[name]
    for place, value in changes.items():
        inside, _, key = place.rpartition(".")
        target = entry[inside] if inside else entry
        target.pop(key) if value is None else target.update({key: value})
    (tmp_path / "claims.yml").write_text(yaml.safe_dump([entry]))
    with pytest.raises(InvalidClaim, match=f"claims.yml: claim 'ae-four-times-faster', .*{message}"):
        load_claims(tmp_path / "claims.yml")


def test_a_check_that_does_not_exist_is_refused_and_all_faults_are_listed(tmp_path):
    entries = yaml.safe_load((ROOT / "claims.yml").read_text())[:3]
    entries[0]["test"]["check"] = "theorem_22"
    entries[1]["id"] = entries[2]["id"]
    (tmp_path / "claims.yml").write_text(yaml.safe_dump(entries))
    with pytest.raises(InvalidClaim, match="no check 'theorem_22'; known: theorem_2, .*in the ledger twice"):
        load_claims(tmp_path / "claims.yml")


def outcomes_table(effect_by_latent: dict[int, float], scope="paper", seeds=10, noise=0.001) -> pd.DataFrame:
    """Made-up outcomes: guided test MSE is the unguided one plus an effect."""
    rng = np.random.default_rng(0)
    rows = []
    for latent, shift in effect_by_latent.items():
        for seed in range(seeds):
            for c in paper.COEFFICIENTS:
                mse = 0.01 + (shift if c else 0.0) + noise * rng.standard_normal()
                stop = 40 if c == 0 else 9
                rows.append(
                    {"data": "mnist", "scope": scope, "seed": seed, "latent": latent, "coefficient": c}
                    | {"test_mse": mse, "validation_mse": mse, "stopping_epoch": stop + rng.integers(0, 2)}
                )
    return outcomes(AUTOENCODER, rows)


@pytest.fixture
def records(made_outcomes):
    """Let the ledger see a given table of outcomes of the autoencoders."""

    def use(table: pd.DataFrame) -> Store:
        made_outcomes(AUTOENCODER, table)
        return Store("nowhere")

    return use


def claim_with(test: dict) -> Claim:
    stated = dict.fromkeys(("id", "section", "place", "quote", "measure", "threshold"), "x")
    return Claim(**stated, kind="empirical", test=test)


def paired(**arguments) -> Claim:
    return claim_with(
        {"kind": "paired", "experiment": "autoencoder", "data": "mnist", "measure": "test_mse"} | arguments
    )


def decide(claim: Claim, store: Store) -> Verdict:
    return claim.test.decide(store)


ALL = dict.fromkeys(PAPER_LATENTS, 0.0)


@pytest.mark.parametrize(
    ("shifts", "quantifier", "status"),
    [
        (dict.fromkeys(ALL, -0.005), "all", "holds"),
        (dict.fromkeys(ALL, 0.005), "all", "fails"),
        (ALL | {20: -0.005, 60: 0.005}, "all", "partly"),
        (ALL | {20: -0.005}, "any", "holds"),
        (ALL | {20: -0.005}, 0.1, "holds"),
        (ALL, "all", "undecided"),
    ],
)
def test_verdicts_follow_the_records(records, shifts, quantifier, status):
    store = records(outcomes_table(shifts))
    verdict = decide(paired(claimed="below", threshold=0.0, quantifier=quantifier), store)
    assert verdict.status == status and verdict.scope == "paper"
    assert verdict.interval[0] <= verdict.effect <= verdict.interval[1]
    assert status != "undecided" or "power 0.8" in verdict.note


def test_quick_records_decide_nothing(records):
    claim = paired(claimed="below", threshold=0.0)
    assert decide(claim, records(outcomes_table(ALL, scope="quick"))).status == "not tested"
    assert decide(claim, records(outcomes_table(ALL)[:0])).status == "not tested"


def test_a_reduced_record_says_so_and_cannot_refute_existence(records):
    store = records(outcomes_table({20: 0.005, 60: 0.005}, seeds=3, noise=1e-5))
    every, some = (decide(paired(claimed="below", threshold=0.0, quantifier=q), store) for q in ("all", "any"))
    assert every.status == "fails" and some.status == "undecided"
    assert "3 of 10 seeds" in every.scope and "2 of 7 latent dimensions" in every.scope


def test_a_claim_on_most_architectures_waits_for_them(made_outcomes):
    """One of nine architectures, worse when guided, refutes "in all" and not "in most"."""
    rows = [
        {"data": "cifar10", "deviation": "copies"}
        | {"architecture": "[32]", "seed": seed, "coefficient": c, "layers": "first"}
        | dict.fromkeys(("test_accuracy", "validation_accuracy"), 0.6 - 0.1 * (c > 0) + 0.001 * (seed * c % 0.7))
        for seed in range(6)
        for c in (0.0, 0.1, 10.0)
    ]
    made_outcomes(CNN, outcomes(CNN, rows))
    claims = {claim.id: claim for claim in load_claims(ROOT / "claims.yml")}
    every, most = (decide(claims[name], Store("nowhere")) for name in ("cnn-all-increase", "better-generalisation"))
    assert every.status == "fails" and "1 of 9 architectures" in every.scope and "chosen on validation" in every.note
    assert most.status == "undecided" and "only 1 of 9 architectures were run" in most.note


def stopping(base: int, guided: int, late: set[str], seeds=10) -> pd.DataFrame:
    """Outcomes with stopping epochs that vary a little; `late` says which groups were censored."""
    table = outcomes_table(ALL, seeds=seeds)
    table["stopping_epoch"] = np.where(table.coefficient == 0, base, guided) - table.seed % 2
    table["censored"] = np.where(table.coefficient == 0, "base" in late, "guided" in late)
    return table


@pytest.mark.parametrize(
    ("late", "threshold", "status"),
    [
        (set(), 0.25, "fails"),  # 15 / 50, both stopped: contradicted
        ({"base"}, 0.25, "undecided"),  # the unguided run goes on: 0.3 is only an upper bound
        ({"base"}, 0.5, "holds"),  # an upper bound below the threshold decides
        ({"guided"}, 0.25, "fails"),  # a lower bound above it decides as well
        ({"guided"}, 0.5, "undecided"),
        ({"base", "guided"}, 0.5, "undecided"),
    ],
)
def test_censored_runs_give_bounds(records, late, threshold, status):
    claim = paired(measure="stopping_epoch", statistic="ratio", claimed="below", threshold=threshold)
    verdict = decide(claim, records(stopping(50, 15, late)))
    assert verdict.status == status and ("bound" in verdict.note) == bool(late)


def test_a_diverged_run_supports_nothing(records):
    table = outcomes_table(dict.fromkeys(ALL, -0.005))
    table["diverged"] = (table.coefficient == 10.0) & (table.seed == 3)
    verdict = decide(paired(claimed="below", threshold=0.0), records(table))
    assert verdict.status == "undecided" and "7 pairs diverged" in verdict.note


def test_two_records_for_one_seed_are_refused(records):
    table = outcomes_table(ALL)
    doubled = pd.concat([table, table.iloc[:1]]).assign(trial="t")
    with pytest.raises(ValueError, match="several records for one seed"):
        decide(paired(claimed="below", threshold=0.0), records(doubled))


def test_another_protocol_is_left_out(records):
    table = outcomes_table(ALL).assign(protocol=AUTOENCODER.protocol + 1)
    assert decide(paired(claimed="below", threshold=0.0), records(table)).status == "not tested"


def test_a_claim_on_some_dimensions_wants_only_those(records):
    where = {"latent": [100, 140, 180, 220, 260]}
    store = records(outcomes_table(dict.fromkeys(ALL, 0.005)))
    verdict = decide(paired(claimed="below", threshold=0.0, quantifier="any", where=where), store)
    assert verdict.status == "fails" and verdict.scope.startswith("paper")


def test_the_coefficient_is_chosen_on_validation_and_judged_on_test(records):
    table = outcomes_table(dict.fromkeys(ALL, 0.005))
    lucky = table.coefficient == 0.1
    table.loc[lucky, "validation_mse"] = 0.0  # best on validation, worse on test
    table.loc[table.coefficient == 1.0, "test_mse"] = 0.0  # best on test: must not be picked
    verdict = decide(paired(claimed="below", threshold=0.0, choose_by="validation_mse"), records(table))
    assert verdict.status == "fails" and "λ 0.1" in verdict.note


def test_ratio_level_spread_signs_and_fewer_dimensions(records):
    store = records(outcomes_table(dict.fromkeys(ALL, 0.005), noise=1e-5))
    base = {"experiment": "autoencoder", "data": "mnist"}

    def found(kind, **arguments) -> Verdict:
        return decide(claim_with({"kind": kind} | base | arguments), store)

    def verdict(kind, **arguments) -> str:
        return found(kind, **arguments).status

    ratio = {"measure": "stopping_epoch", "statistic": "ratio", "claimed": "below"}
    assert verdict("paired", **ratio, threshold=0.3) == "holds"
    assert verdict("paired", **ratio, threshold=0.2) == "fails"
    assert verdict("level", measure="stopping_epoch", coefficients=[0.1, 1.0], low=8, high=11) == "holds"
    assert verdict("level", measure="stopping_epoch", coefficients=[0.0], low=8, high=11) == "fails"
    assert verdict("spread", measure="test_mse", threshold=0.1) == "holds"
    assert verdict("spread", measure="test_mse", threshold=1e-9) == "fails"
    assert verdict("fewer_dimensions", measure="test_mse") == "fails"
    # λ = 0 below all others, which are alike, where the paper has three steps more.
    theirs = paper.sign_grid("mnist", "mse")[1]
    ours = theirs.copy()
    ours.iloc[1:, 1:] = "."
    signs = {"measure": "test_mse", "paper_measure": "mse", "latents": [100]}
    assert found("signs", **signs, threshold=0.9).effect == pytest.approx(agreement(ours, theirs), abs=0.1)
    assert verdict("signs", **signs, threshold=0.5) == "holds"
    assert verdict("signs", **signs, threshold=0.9) == "partly"
    assert verdict("signs", **(signs | {"latents": [80]}), threshold=0.9) == "not tested"


def test_the_page_shows_what_the_ledger_says():
    table = ledger.decide(load_claims(ROOT / "claims.yml"), Store("nowhere"))
    assert set(table.verdict) <= set(VERDICTS)
    page = render(table).data
    glance = marks(table).data
    assert all(f'href="claims.html#{name}"' in glance for name in table.id)
    assert shown(page) == dict(zip(table.id, table.verdict, strict=True))
    assert shown(page.replace('data-verdict="holds"', 'data-verdict="fails"')) != shown(page)


@pytest.mark.parametrize(
    ("check", "false_version"),
    [
        ("determinant_of_completion", lambda weight: weight.new_zeros(weight.shape[:-2]) + 1.0),
        ("theorem_3", None),
    ],
)
def test_a_mathematical_check_can_fail(monkeypatch, check, false_version):
    """Break what a check relies on: its verdict must change."""
    before = getattr(mathematics, check)()[0]
    if false_version:
        monkeypatch.setattr(mathematics, "dense_entropy_change", false_version)
    else:
        monkeypatch.setattr(mathematics, "complete_dense", lambda weight: weight)
    assert getattr(mathematics, check)()[0] != before


def test_the_ledger_is_decided_once_and_renewed_when_what_it_read_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "KEPT", tmp_path / "ledger.json")
    monkeypatch.setenv("ENTROPY_RESULTS", str(tmp_path / "results"))
    decided = []
    whole = ledger.decide
    monkeypatch.setattr(ledger, "decide", lambda *given: decided.append(1) or whole(*given))
    with reads.recording() as noted:
        first = ledger.rows(section="5.3")
        assert set(first.section) == {"5.3"} and (ledger.rows(prefix="ae-").verdict != "holds").any()
        assert len(decided) == 1
    assert len(noted) == 2 and not reads.changed(noted)
    # What the ledger read is its own affair: the page that shows rows of it rests on these rows.
    assert all(key.startswith("ledger ") for key in noted)
    (tmp_path / "results" / "unet").mkdir(parents=True)
    (tmp_path / "results" / "unet" / "new.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="new.parquet"):
        ledger.current()
    (tmp_path / "results" / "unet" / "new.parquet").unlink()
    # Nothing was decided on a store with a fault; without it the verdicts are those of before.
    assert ledger.rows(section="5.3").equals(first) and len(decided) == 1


def test_numbers_survive_the_ledgers_file(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger, "KEPT", tmp_path / "ledger.json")
    decided = ledger.decide(load_claims(ROOT / "claims.yml"), store_for("paper"))
    for _ in range(2):  # decided, and read back
        pd.testing.assert_frame_equal(ledger.rows(), decided, check_dtype=False)


@pytest.mark.parametrize(
    ("ratios", "status"),
    [([1.01, 1.05], "holds"), ([1.01, 1.5], "partly"), ([1.2, 1.5], "fails"), (None, "not tested")],
)
def test_a_claim_on_speed_is_decided_by_the_benchmark(tmp_path, ratios, status):
    if ratios:
        result = {"provenance": {"device": "CPU"}, "speed": [{"plain_ratio": ratio} for ratio in ratios]}
        (tmp_path / "benchmarks").mkdir()
        (tmp_path / "benchmarks" / "sweep-cpu.json").write_text(json.dumps(result))
    claim = claim_with({"kind": "benchmark", "column": "plain_ratio", "threshold": 1.1})
    assert decide(claim, Store(tmp_path)).status == status


@pytest.mark.parametrize(("gain", "status"), [(0.02, "holds"), (-0.02, "fails"), (0.0, "undecided")])
def test_a_difference_of_gains_pairs_seeds_across_data_sets(made_outcomes, gain, status):
    rng = np.random.default_rng(1)
    rows = [
        {"data": data, "deviation": "copies"}
        | {"architecture": architecture, "layers": layers, "coefficient": c, "seed": seed}
        # λ = 0.1 is best on validation, whatever the test says of λ = 1.
        | {"validation_accuracy": 0.5 + 0.1 * (c == 0.1)}
        | {"test_accuracy": 0.5 + seed / 10 + noise + c * (c == 1) + (c == 0.1) * gain * (data == "cifar10")}
        for data, architecture in (("cifar10", "[32]"), ("cifar10", "[64]"), ("mnist", "[32, 32]"))
        for seed, noise in enumerate(rng.normal(0, 1e-3, 5))
        for c, layers in ((0.0, "none"), (0.1, "first"), (1.0, "first"), (0.1, "all"), (1.0, "all"))
    ]
    for row in rows:  # so that differences have a spread
        row["test_accuracy"] += rng.normal(0, 1e-4)
    made_outcomes(CNN, outcomes(CNN, rows))
    claim = {claim.id: claim for claim in load_claims(ROOT / "claims.yml")}["need-for-dimension"]
    verdict = decide(claim, Store("nowhere"))
    assert verdict.status == status and verdict.effect == pytest.approx(gain, abs=1e-3)
    assert verdict.scope.startswith("reduced (5 of 10 seeds, 2 of 9 architectures")
