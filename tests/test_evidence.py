"""Statistics, the paper's tables, and that verdicts follow from records and from nothing else."""

import dataclasses
import json
import re
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
from replication.experiments.registry import store_for
from replication.pages import forest
from replication.pages.typeset import left_plain, typeset
from replication.pages.verdicts import marks, not_run, render, sentence, shown, since_the_first
from replication.statistics import agreement, effect, holm, sign_table
from replication.sweep.store import Store
from replication.verdicts import ledger, mathematics, operating, reanalysis
from replication.verdicts.cells import Cell
from replication.verdicts.claim import InvalidClaim, load_claims
from replication.verdicts.levels import Benchmark
from replication.verdicts.verdict import VERDICTS, Beside

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


def test_sign_table_is_antisymmetric_and_finds_a_clear_difference():
    rng = np.random.default_rng(0)
    groups = {0.0: rng.normal(0, 1, 10), 1.0: rng.normal(9, 1, 10), 2.0: rng.normal(0, 1, 10)}
    grid = sign_table(groups)
    assert grid.loc[1.0, 0.0] == "+" and grid.loc[0.0, 1.0] == "-" and grid.loc[0.0, 2.0] == "."
    assert agreement(grid, grid.T.replace({"+": "-", "-": "+"})) == 1
    null = {float(k): rng.normal(0, 1, 10) for k in range(40)}
    plain, corrected = (sign_table(null, 0.05, corrected=flag) for flag in (False, True))
    assert (corrected != ".").sum().sum() < (plain != ".").sum().sum()


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
            assert module.CHECKS.known(claim.test.check)
    sections = {claim.section for claim in claims}
    assert {"1", "3", "3.1", "3.2", "4.1", "4.2", "5", "5.1", "5.2", "5.3", "5.4", "5.5", "6"} <= sections


# A change of an entry, and what the refusal says of it.
BROKEN = {
    "missing key": ({"quote": None}, "quote: Field required"),
    "kind": ({"kind": "poetic"}, "kind: .*'mathematical', 'statistical', 'empirical' or 'prediction'"),
    "test": ({"test.kind": "vibes"}, "test: .*'vibes'.*'mathematics'.*'paired'"),
    "key of a test": ({"test.chek": "x"}, r"test\.chek: Extra inputs"),
    "experiment": ({"test.experiment": "autoencodre"}, "no experiment 'autoencodre'; known: .*autoencoder"),
    "data": ({"test.data": "minst"}, r"test\.data: there is no data set 'minst'; known: digits, mnist"),
    "measure": ({"test.measure": "tset_mse"}, "no measure of autoencoder 'tset_mse'; known: .*test_mse"),
    "side": ({"test.claimed": {"under": 1}}, r"test\.claimed\.under: Extra inputs"),
    "no side": ({"test.claimed": {}}, r"test\.claimed: needs above, below"),
    "run": ({"test.runs": ["99"]}, "plan.yml has no run '99'; it has 1, 2"),
    "reading": ({"test.beside": {"late": {"measure": "x"}}}, "beside 'late': .*no measure of autoencoder 'x'"),
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


def _free(change: float):
    return lambda table: table.assign(accuracy=table.accuracy + change * (table.coefficient == 0))


@pytest.mark.parametrize(
    ("check", "change", "verdict"),
    [
        ("table_2_seventeen", _free(-1), "fails"),  # λ = 0 loses every row
        ("table_2_resnet", _free(-1), "fails"),
        ("table_2_two_to_three_percent", _free(-0.05), "holds"),
        (
            "table_2_first_layer_best",
            lambda t: t.assign(layers=t.layers.replace({"[1]": "[1,2]", "[1,2]": "[1]"})),
            "fails",
        ),
        ("table_2_vgg_strategies", lambda t: t.assign(accuracy=1 - t.accuracy), "fails"),
        ("table_2_no_clear_placement", lambda t: t.assign(accuracy=t.accuracy + (t.layers == "Pre-skip")), "fails"),
        ("table_2_mostly_large", lambda t: t.assign(accuracy=t.accuracy + (t.coefficient == 1e-4)), "fails"),
    ],
)
def test_a_check_of_a_printed_table_can_come_out_otherwise(monkeypatch, check, change, verdict):
    table, decide = paper.table_2(), getattr(reanalysis, check)
    assert decide()[0] != verdict
    monkeypatch.setattr(paper, "table_2", lambda: change(table))
    assert decide()[0] == verdict


def test_what_is_not_proved_is_said_to_rest_on_computation():
    rows = ledger.rows()
    rows = rows[rows.kind == "mathematical"].set_index("id").scope
    assert rows["theorem-2"] == "proof and computation"
    # A step of the replica method is not proved, and an equation is solved on a grid of curvatures.
    assert set(rows[rows == "computation"].index) == {name for name in rows.index if name.startswith("memory-")}


def test_runs_that_open_claims_wait_for_stand_with_their_command():
    rows = pd.DataFrame(
        {"verdict": ["undecided", "undecided", "fails", "undecided"], "waits": [["5"], ["5", "12, cnn"], ["3"], []]}
    )
    made = pd.DataFrame(
        {
            "run": ["3", "5", "12, cnn"],
            "experiment": "x",
            "networks": 10,
            "in results": [4, 3, 0],
            "core-hours expected": 1.0,
        }
    )
    found = not_run(rows, made).set_index("run")
    assert found["open claims"].to_dict() == {"5": 2, "12, cnn": 1} and found["to be made"].to_dict() == {
        "5": 7,
        "12, cnn": 10,
    }
    assert found.command["12, cnn"] == 'entropy-book sweep --planned "12, cnn"'


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
    test = Benchmark(kind="benchmark", column="plain_ratio", threshold=1.1)
    assert test.decide(Store(tmp_path)).status == status


STATED = r"\b(holds|fails|undecided|partly|is as printed)\b"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.md")), ids=lambda path: path.stem)
def test_no_sentence_states_a_verdict_that_the_ledger_does_not_give_it(path):
    """Beside a claim's name a verdict in prose is glued; only the appendix on old rules tells of old verdicts."""
    text = path.read_text(encoding="utf-8").partition("## Changes to the tests")[0]
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    names = [claim.id for claim in load_claims(ROOT / "claims.yml")]
    for stated in re.split(r"(?<=[.!?])\s", prose):
        named = [name for name in names if f"`{name}`" in stated]
        assert not (named and re.search(STATED, stated)), stated
    glued = set(re.findall(r"verdict-([a-z0-9-]+)`", text))
    assert glued <= set(names)


def test_characteristics_are_those_that_the_rules_of_today_give():
    """What each test says of made-up ledgers, decided again from what the record rests on: of each kind one claim."""
    kept = json.loads((ROOT / "results" / operating.FILE).read_text(encoding="utf-8"))
    assert kept["draws"] == operating.DRAWS and len(kept["claims"]) > 30
    claims = {claim.id: claim.test for claim in load_claims(ROOT / "claims.yml")}
    kinds = {
        "all, a ratio": "ae-eighty-percent", "all, a difference": "cnn-all-increase", "a level": "ae-low-group",
        "any, with bounds": "ae-four-times-faster", "a share": "cnn-train-seeds", "pooled": "better-generalisation",
        "groups": "ae-bifurcation", "a bounded level": "ae-eight-to-ten",
    }  # fmt: skip
    for name in kinds.values():
        found = kept["claims"][name]
        assert operating.characteristics(claims[name], operating.Inputs(**found["inputs"])) == found["verdicts"], name


def test_in_made_up_ledgers_an_unguided_run_that_never_stops_leaves_a_bound():
    """It shows that guidance is faster, as surely as a run that stops, and never that it is slower or the same."""
    fewer = {claim.id: claim.test for claim in load_claims(ROOT / "claims.yml")}["ae-fewer-epochs"]
    cells = [Cell.absent({"latent": 60, "coefficient": c}, 0) for c in (0.01, 0.1)]
    given = operating.Inputs([dict(cell.key) for cell in cells], [5, 5], [0.01, 0.01], 0.3, 4, 30.0, [False, False])
    for shift, stopped, late in (
        (np.log(0.2), "holds", "holds"),
        (np.log(1.5), "fails", "undecided"),
        (0.0, "fails", "undecided"),
    ):
        for known, most in ((given, stopped), (dataclasses.replace(given, late=[True, True]), late)):
            statuses = fewer.status(operating.made(fewer, known, shift, np.random.default_rng(0)), cells)
            assert (statuses == most).mean() > 0.9, (shift, most)


def test_in_made_up_ledgers_a_level_that_is_bounded_supports_what_lies_above_alone(monkeypatch):
    """Five runs had come to the horizon of one cell: its spread is taken from the other, and its values are bounds."""
    test = {claim.id: claim.test for claim in load_claims(ROOT / "claims.yml")}["ae-eight-to-ten"]
    keys = list(test.asked())[:2]
    stopped, going_on = (pd.Series(values, range(5)) for values in ([9.0, 10, 9, 11, 10], [50.0] * 5))
    cells = [
        Cell(test.keyed(keys[0]), stopped, 0 * stopped),
        Cell(test.keyed(keys[1]), going_on, 0 * going_on, only_above=True),
    ]
    table = pd.DataFrame({"latent": [100], "coefficient": [0.0], "seed": [0], test.measure: [50.0]})
    monkeypatch.setattr(type(test), "tables", lambda *_: (table, table))
    monkeypatch.setattr(type(test), "cells", lambda *_: cells)
    given = operating.inputs(test, Store("nowhere"))
    assert given.late == [False, True] and given.spreads == [pytest.approx(stopped.std(), rel=1e-3)] * 2
    found = operating.made(test, given, 100.0, np.random.default_rng(0))
    assert (found.p(10, "above") < 0.01).all() and (found.p(200, "below")[:, 1] == 1).all()
    monkeypatch.setattr(type(test), "cells", lambda *_: cells[1:])
    assert operating.inputs(test, Store("nowhere")) is None


def test_what_is_not_so_is_found_in_one_of_twenty_ledgers():
    kept = json.loads((ROOT / "results" / operating.FILE).read_text(encoding="utf-8"))["claims"]
    claims = {claim.id: claim.test for claim in load_claims(ROOT / "claims.yml")}
    changes = [name for name in kept if "none" in kept[name]["verdicts"] and claims[name].of_change]
    bounds = [name for name in kept if "on the bound" in kept[name]["verdicts"]]
    assert len(changes) > 8 and len(bounds) > 8
    # 0.05 and four standard errors.
    assert max(kept[name]["verdicts"]["none"]["holds"] for name in changes) < 0.075
    assert max(kept[name]["verdicts"]["on the bound"]["holds"] for name in bounds) < 0.075


def test_a_ratio_is_drawn_as_one_whatever_its_axis_is_called():
    rows = pd.DataFrame(
        {"effect": [0.5], "printed": [np.nan], "low": [0.25], "high": [np.inf], "unit": "ratio of sweeps"}
    )
    axis = forest.Axis.of("sweeps to recall", rows)
    assert axis.none == 1 and axis.at(0.5) - axis.at(0.25) == pytest.approx(axis.at(1) - axis.at(0.5), abs=0.02)
    linear = forest.Axis.of("sweeps to recall", rows.assign(unit="value of sweeps"))
    assert linear.none == 0 and linear.at(0.5) - linear.at(0.25) == pytest.approx(
        linear.at(0.25) - linear.at(0), abs=0.02
    )


@pytest.mark.parametrize(
    ("claim", "interval", "said"),
    [
        ("ae-small-intervals", (np.nan, np.nan), "0.5"),  # its test has no interval
        ("unet-large-lambda", (0.0, np.inf), "0.5 times (no interval: runs had not stopped)"),
        ("unet-large-lambda", (0.0, 0.9), "0.5 times (95%: at most 0.9)"),
        ("ae-fig-6b", (0.5, 0.9), "0.5 (up to 0.9 with those that are not sure)"),
        ("cnn-all-layers", (-1.0, 0.9), "0.5 (95% interval -1 to 0.9)"),
    ],
)
def test_another_reading_says_what_its_interval_is(claim, interval, said):
    (test,) = [each.test for each in load_claims(ROOT / "claims.yml") if each.id == claim]
    other = Beside(next(iter(test.beside)), "undecided", 0.5, interval)
    assert ledger._beside(test, other)["effect"] == said


def test_beside_every_verdict_against_the_paper_stands_an_objection():
    rows = ledger.rows()
    against = rows[rows.source.isin(["paper", "report"]) & rows.verdict.isin(["fails", "partly"])]
    assert len(against) and against.id[against.objection == ""].tolist() == []


def test_verdicts_that_changed_since_the_first_ledger_have_a_reason():
    """Other runs may change the claims on them; one that no run decides changes by a rule alone."""
    rows, claims = ledger.rows(), {claim.id: claim.test for claim in load_claims(ROOT / "claims.yml")}
    turned = since_the_first(rows).set_index("claim")
    first = yaml.safe_load((ROOT / "first-ledger.yml").read_text(encoding="utf-8"))
    assert len(turned) and set(first["reasons"]) <= {name for names in first["verdicts"].values() for name in names}
    assert {name for name in turned.index if not hasattr(claims[name], "runs")} <= set(
        turned.index[turned["because of"] != "planned seeds"]
    )


def test_formulas_of_the_ledger_are_set_as_formulas():
    for row in ledger.rows().itertuples():
        for text in (row.quote, row.measure, row.threshold, row.objection, sentence(row.note), row.scope):
            assert not left_plain(text), f"{row.id}: {text}"
    assert left_plain("mean log|c99|") and left_plain("the matrix V_M") and not left_plain("log|c11| to 2e-11")
    assert typeset("below 2e-11 of -3 & <x>") == "below 2·10<sup>−11</sup> of −3 &amp; &lt;x&gt;"
    assert typeset("1e-300") == "10<sup>−300</sup>" and typeset("8-10, VGG-16") == "8-10, VGG-16"
    assert sentence("log|c11| falls") == "log|c11| falls." and sentence("first layer -2.19.") == "First layer -2.19."


def test_every_claim_with_a_printed_size_has_a_place_in_the_forest():
    rows = ledger.rows()
    drawn = forest.shown(rows)
    assert len(drawn) > 8 and set(drawn.id) <= set(rows.id[rows.printed.notna()])
    rng = np.random.default_rng(0)
    made = rows[rows.printed.notna()].assign(effect=lambda t: t.printed * rng.uniform(0.5, 1.5, len(t)))
    made = made.assign(low=made.effect * 0.9, high=np.inf)
    page = forest.render(made).data
    assert sorted(re.findall(r'data-claim="([^"]+)"', page)) == sorted(made.id)


def test_effects_without_a_printed_size_stand_with_their_verdicts_and_no_diamond():
    rows = ledger.rows(prefix="management-")
    units = {row.unit.partition(" of ")[2]: "of one kind" for row in rows.itertuples()}
    page = forest.alone(rows, units).data
    assert re.findall(r'data-claim="([^"]+)"', page) == rows.id[np.isfinite(rows.effect)].tolist()
    assert page.count('class="ours"') == np.isfinite(rows.effect).sum() and 'class="theirs"' not in page
    for verdict, count in rows[np.isfinite(rows.effect)].verdict.value_counts().items():
        assert (
            f"{count} {verdict.removesuffix('s')}" in page
            and page.count(f'class="strip {verdict.replace(" ", "-")}"') == count
        )
