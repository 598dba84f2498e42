"""Decisions on effects whose right verdict is known: true ones, none, ones on the margin, holes, ties and bounds."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import tt_solve_power
from statsmodels.stats.weightstats import DescrStatsW

from replication import ROOT, paper
from replication.experiments import owed
from replication.experiments.autoencoder.experiment import AUTOENCODER, PAPER_LATENTS
from replication.experiments.cnn.experiment import CNN
from replication.statistics import Effect, effect
from replication.sweep.store import Store
from replication.verdicts import contrast
from replication.verdicts.cells import ROUNDED, Cell, pooled
from replication.verdicts.claim import Claim, load_claims
from replication.verdicts.decision import Effects, Region, at_least, decided, joined, needed, shared
from replication.verdicts.sizes import label, seeds_for
from tests.helpers import outcomes

RNG = np.random.default_rng(0)


def made(values, rounding=0.0, **flags) -> Effects:
    """Effects of cells, `(..., cells, seeds)`, with nothing between them and a conclusion unless it is said."""
    values = np.asarray(values, dtype=float)
    none = np.zeros(values.shape[:-1], bool)
    names = ("only_below", "only_above", "silent")
    return Effects(values, np.full(values.shape, rounding), *(np.asarray(flags.get(n, none)) for n in names))


# --- One cell ---------------------------------------------------------------------------------------


@given(st.integers(5, 12), st.floats(-2, 2), st.sampled_from(["above", "below"]))
def test_without_rounding_the_p_value_is_that_of_the_t_test(seeds, bound, side):
    values = RNG.normal(0.3, 1, (3, 4, seeds))
    alternative = {"above": "greater", "below": "less"}[side]
    expected = stats.ttest_1samp(values, bound, axis=-1, alternative=alternative).pvalue
    np.testing.assert_allclose(made(values).p(bound, side), expected)


@given(st.floats(0.1, 2))
def test_lying_between_two_bounds_is_the_test_of_equivalence(margin):
    values = RNG.normal(0.1, 0.5, 8)
    expected = DescrStatsW(values).ttost_mean(-margin, margin)[0]
    assert made(values[None]).supported(Region(-margin, margin))[0] == pytest.approx(expected)


def test_what_is_missing_bounded_or_diverged_decides_nothing():
    clear = RNG.normal(5, 0.1, (1, 8))
    few, enough = (np.where(np.arange(8) < seeds, clear, np.nan) for seeds in (4, 5))
    assert made(few).p(0, "above") == 1 and made(enough).p(0, "above") < 1e-4
    assert made(clear, silent=[True]).p(0, "above") == 1
    # An upper bound shows that an effect lies below something, a lower bound that it lies above.
    assert made(clear, only_below=[True]).p(0, "above") == 1 and made(clear, only_below=[True]).p(6, "below") < 1e-4
    assert made(clear, only_above=[True]).p(6, "below") == 1 and made(clear, only_above=[True]).p(0, "above") < 1e-4


def test_equal_values_are_as_sure_as_rounding_allows_and_the_sign_test_agrees():
    same = np.full((1, 5), 0.4)
    found = made(same, ROUNDED).p(0, "above")[0]
    assert found == pytest.approx(stats.t.sf(0.4 / (ROUNDED / 5**0.5), 4))
    # Four of five on one side: the t-test is sure, the sign test is not.
    mixed = np.array([[9.0, 9.0, 9.0, 9.0, -0.1]])
    assert made(mixed).p(0, "above") < 0.05 and made(mixed, ROUNDED).p(0, "above") == 1
    # A value on the bound is on neither side, and counts among those that might have been.
    for tied in ([9.0] * 4 + [0.0], [9.0] * 5 + [0.0]):
        assert made([tied]).p(0, "above") < 0.01 and made([tied], ROUNDED).p(0, "above") == 1


def test_a_spread_is_never_below_that_of_rounding_and_not_added_to_it():
    values = [[0.4, 0.4, 0.4, 0.4, 0.5]]
    assert np.std(values, ddof=1) < ROUNDED
    by_rounding = lambda size: stats.t.sf(0.42 / (size / 5**0.5), 4)  # noqa: E731
    assert made(values, ROUNDED).p(0, "above") == pytest.approx([by_rounding(ROUNDED)])
    unequal = replace(made(values), rounding=np.array([[0.1, 0.1, 0.1, 0.1, 0.6]]))
    assert unequal.p(0, "above") == pytest.approx([by_rounding((0.4 / 5) ** 0.5)])
    # Spread of their own is what counts where it is the larger.
    wide = [[4.0, 8.0, 6.0, 9.0, 3.0]]
    assert made(wide, ROUNDED).p(0, "above") == pytest.approx(
        stats.ttest_1samp(wide[0], 0, alternative="greater").pvalue
    )


def test_outside_a_margin_means_on_one_side_or_the_other():
    """Two chances to be wrong: the smaller p-value counts twice, as that of a two-sided test."""
    values = np.array([-0.62, -0.2, -0.55, 0.1, -0.4, -0.35])
    found, within = made(values[None]), Region(-0.1, 0.1)
    once = stats.ttest_1samp(values, -0.1, alternative="less").pvalue
    assert once < 0.05 < 2 * once and found.refuted(within) == pytest.approx([2 * once])
    assert decided(found.supported(within), found.refuted(within), "all") == "undecided"


def test_a_claim_of_a_change_is_refuted_by_one_that_is_too_small_to_count():
    tiny = RNG.normal(0.001, 0.0005, (1, 10))
    margin = Region(above=0.0, margin=0.0025)
    assert made(tiny).supported(margin) < 0.05 and made(tiny).refuted(margin) < 0.05
    assert decided(made(tiny).supported(margin), made(tiny).refuted(margin), "all") == "fails"
    assert made(tiny).refuted(Region(above=0.0)) > 0.9
    # A threshold that is not "no effect" has no margin around it.
    assert Region(below=-1.0, margin=0.05).refuting == [(-1.0, "above")]


# --- Several cells ----------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_partial_conjunction_is_bonferronis_for_one_and_the_largest_for_all(p_values):
    p = np.array(p_values)
    assert at_least(1, p) == pytest.approx(min(1, len(p) * p.min())) and at_least(len(p), p) == pytest.approx(p.max())
    assert at_least(3, np.array([0.2, 0.001, 0.9, 0.01, 0.002, 0.5])) == pytest.approx((6 - 3 + 1) * 0.01)


@pytest.mark.parametrize(("cells", "wanted"), [(6, 1), (6, 3), (6, 6), (9, 5)])
def test_a_claim_on_so_many_cells_is_made_wrongly_in_one_of_twenty_ledgers(cells, wanted):
    """No more often, and not much more seldom where one cell is wanting: too strict a test decides nothing."""
    true = wanted - 1
    p = RNG.random((20_000, cells))
    p[:, :true] = 0.0
    assert 0.045 < (at_least(wanted, p) <= 0.05).mean() <= 0.055


UP, DOWN, OPEN = 1e-6, 1 - 1e-6, 1.0


@pytest.mark.parametrize(
    ("supported", "refuted", "quantifier", "verdict"),
    [
        ([UP] * 6, [DOWN] * 6, "all", "holds"),
        ([0.04] * 36, [0.96] * 36, "all", "holds"),  # each at 0.05: no correction belongs here
        ([UP] * 5 + [DOWN], [DOWN] * 5 + [UP], "all", "partly"),
        ([UP] + [DOWN] * 5, [DOWN] + [UP] * 5, "all", "fails"),
        ([UP] * 3 + [DOWN] * 3, [DOWN] * 3 + [UP] * 3, "all", "partly"),  # a half
        ([UP] * 2 + [DOWN] * 4, [DOWN] * 2 + [UP] * 4, "all", "fails"),
        ([UP] * 3 + [DOWN] * 2, [DOWN] * 3 + [UP] * 2, "all", "partly"),
        ([UP] * 2 + [DOWN] * 3, [DOWN] * 2 + [UP] * 3, "all", "fails"),
        ([UP] * 6 + [DOWN] * 4, [DOWN] * 6 + [UP] * 4, 0.85, "fails"),  # a share is met or not
        ([0.5] * 6, [0.5] * 6, "all", "undecided"),
        ([UP] + [DOWN] * 5, [DOWN] + [UP] * 5, "any", "holds"),
        ([0.96] * 36, [0.04] * 36, "any", "fails"),  # 36 of 36 against, each p below 0.05
        ([UP] + [DOWN] * 41, [DOWN] + [UP] * 41, 0.25, "fails"),  # one of 42 is not "often"
        ([UP] * 11 + [DOWN] * 31, [DOWN] * 11 + [UP] * 31, 0.25, "holds"),
        ([UP] * 5 + [OPEN], [DOWN] * 5 + [OPEN], "all", "undecided"),
        ([UP] * 4 + [DOWN, OPEN], [DOWN] * 4 + [UP, OPEN], "all", "partly"),
        ([DOWN] * 5 + [OPEN], [UP] * 5 + [OPEN], "any", "undecided"),
        ([UP] + [OPEN] * 8, [DOWN] + [OPEN] * 8, 5 / 9, "undecided"),  # one of nine is not five of nine
        ([UP] * 5 + [OPEN] * 4, [DOWN] * 5 + [OPEN] * 4, 5 / 9, "holds"),
    ],
)
def test_verdicts_on_several_cells(supported, refuted, quantifier, verdict):
    assert decided(np.array(supported), np.array(refuted), quantifier) == verdict


@given(
    st.lists(st.sampled_from(["for", "against", "unsure", "open"]), min_size=1, max_size=9),
    st.sampled_from(["all", "any", 0.25, 0.5, 5 / 9]),
    st.integers(0, 2**9),
)
def test_a_verdict_stands_however_the_open_cells_come_out(cells, quantifier, filling):
    ends = {"for": (UP, DOWN), "against": (DOWN, UP), "unsure": (0.5, 0.5), "open": (1.0, 1.0)}
    filled = [
        (("for", "against")[filling >> place & 1] if cell == "open" else cell) for place, cell in enumerate(cells)
    ]
    before, after = (str(decided(*np.array([ends[cell] for cell in each]).T, quantifier)) for each in (cells, filled))
    refuted = {"partly": "fails"}
    if before != "undecided":
        assert refuted.get(before, before) == refuted.get(after, after)


def test_a_cell_of_several_lambdas_is_met_by_one_and_refuted_by_all():
    p = np.array([UP, DOWN, 0.04, 0.04])
    assert joined(p, [[0, 1], [2, 3]]).tolist() == pytest.approx([2 * UP, 0.08])
    assert shared(p, [[0, 1], [2, 3]]).tolist() == pytest.approx([DOWN, 0.04])


def test_a_share_of_cells_is_a_whole_number_of_them():
    assert [needed(q, 9) for q in ("all", "any", 5 / 9, 0.5, 0.01)] == [9, 1, 5, 5, 1]


# --- Sizes ------------------------------------------------------------------------------------------


@given(st.integers(2, 12))
def test_an_effects_intervals_are_those_of_statsmodels(seeds):
    values = RNG.normal(1, 2, seeds)
    found, oracle = effect(values), DescrStatsW(values)
    assert (found.low, found.high) == pytest.approx(oracle.tconfint_mean())
    assert (found.low90, found.high90) == pytest.approx(oracle.tconfint_mean(alpha=0.1))
    assert effect(values, rounding=1e6).high > found.high


def sized(low, high, low90=None, high90=None) -> Effect:
    return Effect((low + high) / 2, low, high, low if low90 is None else low90, high if high90 is None else high90, 5)


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-3, -1, "opposite"),
        (-0.4, 0.4, "equivalent to none"),
        (0.1, 0.4, "equivalent to none"),  # above 0, and too little to count
        (-0.9, 0.9, "smaller than printed"),
        (0.6, 0.9, "smaller than printed"),
        (0.6, 1.4, "consistent with the printed"),
        (1.2, 1.4, "larger than printed"),
        (-0.2, 1.4, "cannot tell"),
    ],
)
def test_an_effect_beside_the_printed_one(low, high, said):
    assert label(sized(low, high), printed=1.0, margin=0.5) == said
    assert label(sized(-high, -low), printed=-1.0, margin=0.5) == said


def test_a_margin_wider_than_the_printed_effect_cannot_show_equivalence():
    assert label(sized(-0.5, 0.5), printed=0.3, margin=1.0) == "cannot tell"
    assert label(sized(-0.4, 0.4), printed=0.5, margin=0.5) == "smaller than printed"


@pytest.mark.parametrize("sign", [1, -1])
def test_the_90_percent_interval_shows_equivalence_and_the_opposite_comes_first(sign):
    wide = {"low90": -0.45, "high90": 0.1} if sign == 1 else {"low90": -0.1, "high90": 0.45}
    ends = (-0.6, 0.2) if sign == 1 else (-0.2, 0.6)
    assert label(sized(*ends, **wide), printed=sign, margin=0.5) == "equivalent to none"
    assert label(sized(*sorted((-0.4 * sign, -0.1 * sign))), printed=sign, margin=0.5) == "opposite"


@given(st.floats(0.1, 3), st.floats(0.05, 1))
def test_so_many_seeds_would_do(spread, margin):
    found = effect(np.array([-1.0, 1.0, 0.5, -0.5, 0.0]) * spread)
    seeds = seeds_for(found, margin)
    error = np.std([-1.0, 1.0, 0.5, -0.5, 0.0], ddof=1) * spread
    half = lambda n: stats.t.ppf(0.975, n - 1) * error / n**0.5  # noqa: E731
    assert half(seeds) <= margin and (seeds == 2 or half(seeds - 1) > margin)


# --- From made-up records ---------------------------------------------------------------------------

LAMBDAS = list(paper.COEFFICIENTS)


@pytest.fixture
def planned(monkeypatch):
    """Let a run "1" of an experiment have these parts."""

    def plan(experiment, *parts):
        run = owed.Run(run="1", experiment=experiment.name, core_hours=1, parts=list(parts), reads=[])
        monkeypatch.setattr(contrast, "owed", lambda number: run)

    return plan


def mnist(latents=(100,), seeds=range(3, 10), coefficients=LAMBDAS, horizon=50) -> dict:
    return {
        "data": "mnist",
        "latent": list(latents),
        "seeds": list(seeds),
        "coefficient": coefficients,
        "horizon": horizon,
    }


def runs(effect_of, latents=(100,), seeds=range(3, 10), noise=0.001, coefficients=LAMBDAS, **more) -> pd.DataFrame:
    """Outcomes whose test MSE is 0.01, the seed's own, and the effect of d and λ."""
    rng = np.random.default_rng(1)
    rows = [
        {"data": "mnist", "seed": seed, "latent": latent, "coefficient": c, "scope": "paper", "censored": False}
        | {"best_test_mse": 0.01 + seed * 1e-4 + (effect_of(latent, c) if c else 0.0) + noise * rng.standard_normal()}
        for latent in latents
        for seed in seeds
        for c in coefficients
    ]
    return outcomes(AUTOENCODER, rows).assign(**more)


def test_of(experiment=AUTOENCODER, **arguments):
    base = {"kind": "paired", "experiment": experiment.name, "data": "mnist", "measure": "best_test_mse", "runs": ["1"]}
    stated = dict.fromkeys(("id", "section", "place", "quote", "measure", "threshold"), "x")
    return Claim(**stated, kind="empirical", test=base | arguments).test


test_of.__test__ = False


@pytest.mark.parametrize(
    ("shift", "verdict", "said"),
    [
        (-0.005, "holds", "consistent with the printed"),
        (0.0, "fails", "equivalent to none"),
        (0.005, "fails", "opposite"),
        (-0.0004, "fails", "equivalent to none"),
        (-0.002, "holds", "smaller than printed"),  # on the margin: shown to lie below zero, and not to lie within
    ],
)
def test_a_true_effect_none_the_opposite_and_one_within_the_margin(made_outcomes, planned, shift, verdict, said):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, runs(lambda d, c: shift, noise=2e-4))
    found = test_of(claimed={"below": 0}, margin=0.002, printed=-0.005).decide(Store("nowhere"))
    assert found.status == verdict and found.label == said
    assert found.interval[0] <= found.effect <= found.interval[1]


def test_a_noisy_none_is_undecided_and_says_how_many_seeds_would_do(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, runs(lambda d, c: 0.0, noise=0.01))
    found = test_of(claimed={"below": 0}, margin=0.001, pool=["latent", "coefficient"]).decide(Store("nowhere"))
    assert found.status == "undecided" and "seeds would do" in found.note
    for more, words in (
        ({"margin": 0.001}, "The widest interval is .* and the margin 0.001: about .* seeds would do"),
        ({"margin": 0.001, "printed": -0.0005}, "The widest interval is .* and the printed effect 0.0005: about"),
        ({}, "names no margin; if effects are what they seem, (about|more than) .* seeds"),
    ):
        found = test_of(claimed={"below": 0}, **more).decide(Store("nowhere"))
        assert found.status == "undecided" and re.search(words, found.note), found.note
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1]))
    made_outcomes(AUTOENCODER, runs(lambda d, c: -0.0005, noise=1e-3, coefficients=[0.0, 0.1]))
    found = test_of(claimed={"below": 0}, margin=0.001).decide(Store("nowhere"))
    assert found.status == "undecided" and "less than the margin, 0.001, and lies across a bound" in found.note, found


def test_without_a_margin_the_seeds_that_would_do_are_those_that_show_the_effect_as_it_seems(made_outcomes, planned):
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1]))
    table = runs(lambda d, c: -0.0005, noise=1e-3, coefficients=[0.0, 0.1])
    made_outcomes(AUTOENCODER, table)
    found = test_of(claimed={"below": 0}).decide(Store("nowhere"))
    wide = table.pivot(index="seed", columns="coefficient", values="best_test_mse")
    gains = wide[0.1] - wide[0.0]
    enough = next(n for n in range(2, 999) if stats.t.ppf(0.975, n - 1) * gains.std() / n**0.5 <= abs(gains.mean()))
    assert found.status == "undecided" and f"about {enough} seeds would do" in found.note, found


def test_seeds_outside_the_plan_explore_and_decide_nothing(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    seen = runs(lambda d, c: -0.005, seeds=range(3))
    test = test_of(claimed={"below": 0})
    made_outcomes(AUTOENCODER, seen)
    found = test.decide(Store("nowhere"))
    assert found.status == "undecided" and found.explored and found.effect == pytest.approx(-0.005, abs=1e-3)
    assert "still to be run: 42 (run 1 of plan.yml)" in found.note
    # Beside planned seeds that say the opposite they change nothing.
    both = pd.concat([seen, runs(lambda d, c: 0.005)]).assign(trial=lambda t: [f"t{n}" for n in range(len(t))])
    made_outcomes(AUTOENCODER, both.reset_index(drop=True))
    assert test.decide(Store("nowhere")).status == "fails"


def test_a_cell_waits_for_all_its_seeds_and_a_claim_on_all_cells_for_all_cells(made_outcomes, planned):
    planned(AUTOENCODER, mnist(PAPER_LATENTS))
    table = runs(lambda d, c: -0.005, PAPER_LATENTS)
    late = table[(table.latent != 20) | (table.seed < 9)]
    test = test_of(claimed={"below": 0})
    made_outcomes(AUTOENCODER, table)
    assert test.decide(Store("nowhere")).status == "holds"
    made_outcomes(AUTOENCODER, late)
    found = test.decide(Store("nowhere"))
    assert found.status == "undecided" and "still to be run: 6 (" in found.note and found.waits == ("1",)
    assert "36 of them are complete, and the effect is that of these." in found.note
    assert "6 of 7 latent dimensions" in found.scope and "7 of 10 seeds" in found.scope
    one = test_of(claimed={"below": 0}, quantifier="any").decide(Store("nowhere"))
    assert one.status == "holds" and "the effect is that of the best of these." in one.note and one.waits == ("1",)
    made_outcomes(AUTOENCODER, table[(table.latent == 20) & table.coefficient.isin([0.0, 0.1]) | (table.seed < 9)])
    found = test.decide(Store("nowhere"))
    assert "One of them is complete (d = 20, λ = 0.1), and the effect is that of this one." in found.note
    assert "1 of 7 latent dimensions" in found.scope
    made_outcomes(AUTOENCODER, table[(table.latent == 20) | (table.seed < 9)])
    assert "6 of them are complete (d = 20), and the effect" in test.decide(Store("nowhere")).note
    made_outcomes(AUTOENCODER, table[table.seed < 9])
    assert "None of them is complete" in test.decide(Store("nowhere")).note
    made_outcomes(AUTOENCODER, late)
    assert test_of(claimed={"below": 0}, quantifier=0.5).decide(Store("nowhere")).status == "holds"
    assert test_of(claimed={"above": 0}).decide(Store("nowhere")).status == "fails"


def test_a_mean_over_cells_waits_for_each_and_a_diverged_run_silences_it(made_outcomes, planned):
    planned(AUTOENCODER, mnist((100, 140), coefficients=[0.0, 0.1]))
    table = runs(lambda d, c: -0.005, (100, 140), coefficients=[0.0, 0.1])
    one = (table.latent == 140) & (table.coefficient == 0.1) & (table.seed == 9)
    test = test_of(claimed={"below": 0}, pool=["latent", "coefficient"])
    for records, verdict in ((table, "holds"), (table[~one], "undecided"), (table.assign(diverged=one), "undecided")):
        made_outcomes(AUTOENCODER, records)
        assert test.decide(Store("nowhere")).status == verdict


def test_of_a_mean_over_all_of_the_papers_cells_a_part_says_nothing(made_outcomes, planned):
    planned(AUTOENCODER, mnist((100, 140)))
    made_outcomes(AUTOENCODER, runs(lambda d, c: 0.005, (100, 140)))
    found = test_of(claimed={"below": 0}, pool=["latent", "coefficient"], paper=42).decide(Store("nowhere"))
    assert (found.status, found.over_paper) == ("fails", "undecided")


@pytest.mark.parametrize(("shift", "verdict"), [(-0.0004, "holds"), (0.0, "undecided"), (0.0004, "fails")])
def test_a_margin_wider_than_the_printed_effect_refutes_nothing(made_outcomes, planned, shift, verdict):
    """An effect as small as the printed one is no less than the paper says; a contrary one is."""
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0, noise=0.0)
    drawn = np.random.default_rng(8).normal(0, 5e-5, len(LAMBDAS) * 7).reshape(7, -1)
    drawn[:, 0] = 0
    table["best_test_mse"] += ((drawn - drawn.mean(axis=0)) + shift * (np.array(LAMBDAS) > 0)).ravel()
    made_outcomes(AUTOENCODER, table)
    assert test_of(claimed={"below": 0}, margin=0.001, printed=-0.0005).decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize(
    ("shift", "verdict"), [(0.0, "holds"), (0.005, "fails"), (-0.005, "fails"), (0.002, "undecided")]
)
def test_no_distinction_is_shown_by_an_effect_within_the_margin(made_outcomes, planned, shift, verdict):
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1]))
    made_outcomes(AUTOENCODER, runs(lambda d, c: shift, coefficients=[0.0, 0.1]))
    assert test_of(claimed={"above": -0.002, "below": 0.002}).decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize("other", [{"scope": "quick"}, {"protocol": 2}, {"batch": 128}])
def test_quick_runs_other_protocols_and_other_settings_decide_nothing(made_outcomes, planned, other):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, runs(lambda d, c: -0.005).assign(**other))
    assert test_of(claimed={"below": 0}).decide(Store("nowhere")).status == "not tested"


def test_over_the_papers_cells_a_verdict_stands_only_if_the_others_cannot_change_it(made_outcomes, planned):
    planned(AUTOENCODER, mnist((100, 140)))
    made_outcomes(AUTOENCODER, runs(lambda d, c: -0.005, (100, 140)))
    for quantifier, over in (("all", "undecided"), ("any", "holds"), (0.5, "undecided"), (0.25, "holds")):
        found = test_of(claimed={"below": 0}, quantifier=quantifier).decide(Store("nowhere"))
        assert (found.status, found.over_paper) == ("holds", over)
    assert test_of(claimed={"above": 0}).decide(Store("nowhere")).over_paper == "fails"
    assert "2 of 7 latent dimensions" in found.scope


def test_uneven_seeds_are_pooled_over_those_that_all_cells_have(made_outcomes, planned):
    planned(AUTOENCODER, mnist((100,), range(3, 8)), mnist((140,), range(3, 10)))
    table = runs(lambda d, c: 0.001 if d == 100 else 0.003, (100, 140), noise=1e-9)
    made_outcomes(AUTOENCODER, table[(table.latent == 140) | (table.seed < 8)])
    found = test_of(claimed={"above": 0}, pool=["latent", "coefficient"]).decide(Store("nowhere"))
    assert found.effect == pytest.approx(0.002, abs=1e-6) and found.note.startswith("5 seeds")


def test_architectures_without_a_common_seed_are_joined_in_order(made_outcomes, planned):
    parts = [
        {"data": "cifar10", "architecture": [name], "seeds": list(seeds), "coefficient": [0.0, 0.1], "layers": "first",
         "horizon": 20} for name, seeds in (("[32]", range(5, 11)), ("[64]", range(5)))
    ]  # fmt: skip
    planned(CNN, *parts)
    rows = [
        {"data": "cifar10", "architecture": part["architecture"][0], "seed": seed, "coefficient": c, "layers": "first"}
        | {"test_accuracy": 0.5 + seed / 100 + (c > 0) * (0.02 + seed * 1e-4)}
        for part in parts
        for seed in part["seeds"]
        for c in (0.0, 0.1)
    ]
    made_outcomes(CNN, outcomes(CNN, rows).assign(horizon=20))
    test = test_of(CNN, data="cifar10", measure="test_accuracy", claimed={"above": 0}, by=["architecture"],
                   pool=["architecture", "coefficient"], where={"layers": "first"})  # fmt: skip
    found = test.decide(Store("nowhere"))
    assert found.status == "holds" and found.note.startswith("5 seeds")
    assert found.effect == pytest.approx(0.02 + (np.arange(5, 10).mean() + 2) / 2 * 1e-4)
    assert found.over_paper == "undecided"


def stops(base: int, guided: int, late=(), seeds=range(3, 10), horizon=50) -> pd.DataFrame:
    """Stopping epochs that vary a little; `late` says which groups had not stopped at the horizon."""
    table = runs(lambda d, c: 0.0, seeds=seeds)
    table["stopping_epoch"] = np.where(table.coefficient == 0, base, guided) - table.seed % 2
    table["censored"] = np.where(table.coefficient == 0, "base" in late, "guided" in late)
    return table.assign(horizon=horizon)


@pytest.mark.parametrize("longer", [60, 90, 400])
def test_a_run_that_goes_on_for_longer_makes_no_claim_less_sure(made_outcomes, planned, longer):
    """Five unguided runs had not stopped at epoch 50; two of a longer horizon stop later, or not at 400."""
    planned(AUTOENCODER, mnist())
    table = stops(50, 11, ("base",)).assign(stopping_epoch=lambda t: np.where(t.coefficient == 0, 50, 11))
    test = test_of(measure="stopping_epoch", statistic="ratio", claimed={"below": 0.25}, quantifier="any")
    made_outcomes(AUTOENCODER, table)
    assert test.decide(Store("nowhere")).status == "holds"
    later = (table.coefficient == 0) & (table.seed > 7)
    table.loc[later, ["stopping_epoch", "horizon", "censored"]] = longer, 400, longer == 400
    made_outcomes(AUTOENCODER, table)
    found = test.decide(Store("nowhere"))
    assert found.status == "holds" and found.effect == pytest.approx(11 / 50)
    # One of them, stopped before the others' horizon, says so.
    table.loc[later, ["stopping_epoch", "censored"]] = 40, False
    made_outcomes(AUTOENCODER, table)
    assert test.decide(Store("nowhere")).effect > 11 / 50


@pytest.mark.parametrize(
    ("late", "threshold", "verdict"),
    [
        (set(), 0.25, "fails"),  # 15 / 50, both stopped
        ({"base"}, 0.25, "undecided"),  # the unguided run goes on: 0.3 is only an upper bound
        ({"base"}, 0.5, "holds"),  # an upper bound below the threshold decides
        ({"guided"}, 0.25, "fails"),  # a lower bound above it decides as well
        ({"guided"}, 0.5, "undecided"),
        ({"base", "guided"}, 0.5, "undecided"),
    ],
)
def test_runs_that_had_not_stopped_give_bounds(made_outcomes, planned, late, threshold, verdict):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, stops(50, 15, late))
    found = test_of(measure="stopping_epoch", statistic="ratio", claimed={"below": threshold}).decide(Store("nowhere"))
    assert found.status == verdict and ("bound" in found.note) == bool(late)


def test_two_horizons_pair_and_the_longer_one_tells_the_stop(made_outcomes, planned):
    planned(AUTOENCODER, mnist(coefficients=LAMBDAS[1:]), mnist(coefficients=[0.0], horizon=200))
    table = stops(120, 12)
    table.loc[table.coefficient == 0, "horizon"] = 200
    made_outcomes(AUTOENCODER, table)
    found = test_of(measure="stopping_epoch", statistic="ratio", claimed={"below": 0.25}).decide(Store("nowhere"))
    assert found.status == "holds" and found.effect == pytest.approx(0.1, abs=0.01)


def test_equal_stops_decide_from_five_seeds_on(made_outcomes, planned):
    for seeds, verdict in ((range(3, 8), "holds"), (range(3, 7), "undecided")):
        planned(AUTOENCODER, mnist(seeds=seeds))
        made_outcomes(
            AUTOENCODER, stops(40, 8, seeds=seeds).assign(stopping_epoch=lambda t: np.where(t.coefficient, 8, 40))
        )
        test = test_of(measure="stopping_epoch", statistic="ratio", claimed={"below": 0.25})
        assert test.decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize(("coefficient", "pairs"), [(10.0, 1), (0.0, 6)])
def test_a_diverged_run_supports_nothing(made_outcomes, planned, coefficient, pairs):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: -0.005)
    table["diverged"] = (table.coefficient == coefficient) & (table.seed == 4)
    made_outcomes(AUTOENCODER, table)
    found = test_of(claimed={"below": 0}).decide(Store("nowhere"))
    assert found.status == "undecided" and f"diverged: {pairs}." in found.note


def test_four_seeds_decide_nothing_and_five_do(made_outcomes, planned):
    for seeds, verdict in ((range(3, 7), "undecided"), (range(3, 8), "holds")):
        planned(AUTOENCODER, mnist(seeds=seeds))
        made_outcomes(AUTOENCODER, runs(lambda d, c: -0.005, seeds=seeds, noise=1e-5))
        assert test_of(claimed={"below": 0}).decide(Store("nowhere")).status == verdict


def test_a_quality_that_is_never_reached_is_a_bound(made_outcomes, planned):
    """It counts as one epoch after the horizon: more than that is possible, less is not."""
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0).assign(horizon=50)
    table["epochs_to_quality"] = np.where(table.coefficient, 51, 30 + table.seed % 2)
    made_outcomes(AUTOENCODER, table)
    for claimed, verdict in (({"below": 2.5}, "undecided"), ({"below": 0.8}, "fails"), ({"above": 0.8}, "holds")):
        test = test_of(measure="epochs_to_quality", statistic="ratio", claimed=claimed)
        assert test.decide(Store("nowhere")).status == verdict


def test_a_printed_ratio_is_compared_as_a_ratio(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, stops(40, 20))
    arguments = {"measure": "stopping_epoch", "statistic": "ratio", "claimed": {"below": 1}, "margin": 0.05}
    for printed, said in ((0.9, "larger than printed"), (0.49, "consistent with the printed"), (2.0, "opposite")):
        assert test_of(printed=printed, **arguments).decide(Store("nowhere")).label == said


def test_another_reading_stands_beside_the_verdict(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: -0.005)
    made_outcomes(AUTOENCODER, table.assign(test_mse=0.03 - table.best_test_mse))
    found = test_of(claimed={"below": 0}, beside={"at the stop": {"measure": "test_mse"}}).decide(Store("nowhere"))
    [beside] = found.beside
    assert (found.status, beside.reading, beside.status) == ("holds", "at the stop", "fails")
    assert beside.effect == pytest.approx(-found.effect)


# --- Other kinds ------------------------------------------------------------------------------------


def test_a_level_lies_within_its_bounds_or_does_not(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, runs(lambda d, c: 0.0, noise=1e-5))
    for bounds, verdict in (((0.009, 0.012), "holds"), ((0.0, 0.01), "fails"), ((0.0105, 0.02), "undecided")):
        test = test_of(
            kind="level", coefficients=[0.0, 0.1], claimed=dict(zip(("above", "below"), bounds, strict=True))
        )
        assert test.decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize(
    ("claimed", "verdict"),
    [({"above": 40}, "holds"), ({"below": 40}, "fails"), ({"above": 60}, "undecided"), ({"below": 60}, "undecided")],
)
def test_a_level_of_runs_that_had_not_stopped_is_a_lower_bound(made_outcomes, planned, claimed, verdict):
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, stops(50, 11, ("base",)))
    test = test_of(kind="level", measure="stopping_epoch", coefficients=[0.0], claimed=claimed)
    assert test.decide(Store("nowhere")).status == verdict


def test_a_level_with_a_diverged_run_is_open(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0, noise=1e-5)
    made_outcomes(AUTOENCODER, table.assign(diverged=(table.coefficient == 0.1) & (table.seed == 4)))
    test = test_of(kind="level", coefficients=[0.0, 0.1], claimed={"above": 0.009, "below": 0.012})
    assert test.decide(Store("nowhere")).status == "undecided"


def curve(shape: str):
    """log MSE over the seven λ, from 0 to 1."""
    place = {c: k / 6 for k, c in enumerate(LAMBDAS)}
    return {
        "two groups": lambda c: float(c >= 0.01) * 0.9 + place[c] * 0.1,
        "groups elsewhere": lambda c: float(c >= 0.001) * 0.9 + place[c] * 0.1,
        "even steps": lambda c: place[c],
        "a slow turn": lambda c: 1 / (1 + np.exp(-(place[c] * 6 - 2.5))),
    }[shape]


@pytest.mark.parametrize(
    ("shape", "verdict"),
    [("two groups", "holds"), ("groups elsewhere", "fails"), ("even steps", "fails"), ("a slow turn", "fails")],
)
def test_two_groups_are_told_from_a_continuum_and_from_groups_elsewhere(made_outcomes, planned, shape, verdict):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0, noise=0.0)
    noise = np.random.default_rng(3).normal(0, 0.03, len(table))
    table["best_test_mse"] = 0.003 * np.exp(table.coefficient.map(curve(shape)) + noise)
    made_outcomes(AUTOENCODER, table)
    test = test_of(kind="step", step=[0.001, 0.01], claimed={"above": 0.5})
    assert test.decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize(("quantifier", "over"), [("all", "fails"), (0.6, "undecided")])
def test_groups_at_one_dimension_say_little_of_the_others(made_outcomes, planned, quantifier, over):
    """Without groups at one of five dimensions not all have them; three still might."""
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0, noise=0.0)
    noise = np.random.default_rng(3).normal(0, 0.03, len(table))
    table["best_test_mse"] = 0.003 * np.exp(table.coefficient.map(curve("even steps")) + noise)
    made_outcomes(AUTOENCODER, table)
    where = {"latent": [100, 140, 180, 220, 260]}
    test = test_of(kind="step", step=[0.001, 0.01], claimed={"above": 0.5}, where=where, quantifier=quantifier)
    found = test.decide(Store("nowhere"))
    assert (found.status, found.over_paper) == ("fails", over)
    assert "1 of 5 latent dimensions" in found.scope


def test_a_grid_of_t_tests_agrees_where_ours_says_the_same(made_outcomes, planned):
    theirs = paper.sign_grid("mnist", "mse")[1]
    rank = {c: (theirs.loc[c] == "+").sum() for c in LAMBDAS}  # MSE grows with the columns that a row is above
    arguments = {"kind": "signs", "paper_measure": "mse", "margin": 0.1, "claimed": {"above": 0.9}}

    def decide(table, seeds=range(3, 10), **more):
        planned(AUTOENCODER, mnist(seeds=seeds))
        made_outcomes(AUTOENCODER, table)
        return test_of(**arguments | more).decide(Store("nowhere"))

    alike = runs(lambda d, c: 0.0, noise=0.0)
    jitter = np.random.default_rng(5).normal(1, 0.01, len(alike))
    alike["best_test_mse"] = (0.01 + alike.coefficient.map(rank) * 0.005) * jitter
    assert decide(alike).status == "holds" and decide(alike).effect == 1
    # Blanks of ours that noise leaves agree with nothing.
    noisy = alike.assign(best_test_mse=0.01 * np.exp(np.random.default_rng(6).normal(0, 1, len(alike))))
    assert decide(noisy).status == "undecided" and decide(noisy).effect < 0.2 and decide(noisy).interval[1] > 0.8
    # No difference anywhere: only their blanks agree.
    flat = alike.assign(best_test_mse=0.01 * jitter)
    assert decide(flat).status == "fails" and decide(flat).effect == pytest.approx(
        (theirs == ".").to_numpy()[~np.eye(7, dtype=bool)].mean()
    )
    assert decide(alike, signs_alone=True, quantifier=0.85).status == "holds"
    assert decide(flat, signs_alone=True, quantifier=0.85).status == "fails"


@pytest.mark.parametrize(
    ("agree", "unknown", "quantifier", "verdict"),
    [
        ([9, 9], [0, 0], "all", "holds"),  # 0.9 of all cells
        ([7, 7], [0, 0], "all", "partly"),
        ([5, 5], [0, 0], "all", "partly"),  # a half
        ([5, 4], [0, 0], "all", "fails"),
        ([7, 7], [2, 2], "all", "undecided"),
        ([4, 4], [2, 2], "all", "undecided"),
        ([9, 0, 0], [0, 0, 0], 0.5, "fails"),  # one dimension of three
        ([9, 9, 0], [0, 0, 0], 0.5, "holds"),
        ([9, 8, 0], [0, 1, 0], 0.5, "undecided"),
        ([8, 8, 10], [0, 0, 0], 0.5, "fails"),
    ],
)
def test_a_grid_is_judged_with_what_is_unknown_for_and_against(agree, unknown, quantifier, verdict):
    test = test_of(kind="signs", paper_measure="mse", margin=0.1, claimed={"above": 0.9}, quantifier=quantifier)
    table = pd.DataFrame({"agree": agree, "unknown": unknown, "cells": 10})
    assert test.judge(table) == verdict


@pytest.mark.parametrize(
    ("scale", "flags", "sign"),
    [
        (1, {}, "-"),
        (1, {"only_above": True}, None),  # a lower bound below zero says nothing
        (1, {"only_below": True}, "-"),
        (-1, {"only_below": True}, None),
        (-1, {"only_above": True}, "+"),
        (1e-3, {}, "-."),  # sure, and too small to count
        (1e-3, {"only_below": True}, "-"),  # a bound cannot be too small to count
        (1, {"diverged": 1}, None),
        (1, {"missing": 1}, None),
        (1, {"only_below": True, "only_above": True}, None),
    ],
)
def test_what_a_pair_of_a_grid_says(scale, flags, sign):
    test = test_of(kind="signs", paper_measure="mse", margin=0.1, claimed={"above": 0.9})
    values = pd.Series([-0.5, -0.51, -0.49, -0.5, -0.52]) * scale
    assert test.sign(Cell({}, values, 0 * values, **flags)) == sign


@pytest.mark.parametrize(("noise", "verdict"), [(4e-4, "holds"), (1.17e-3, "undecided"), (3e-3, "fails")])
def test_a_width_is_judged_by_the_chi_squared_test_of_a_variance(made_outcomes, planned, noise, verdict):
    """At the middle one the width itself lies below the bound, and seven seeds do not show it."""
    planned(AUTOENCODER, mnist(coefficients=[0.0]))
    table = runs(lambda d, c: 0.0, noise=0.0, coefficients=[0.0])
    drawn = np.random.default_rng(9).standard_normal(7)
    table["best_test_mse"] = 0.01 + noise * (drawn - drawn.mean()) / drawn.std(ddof=1)
    made_outcomes(AUTOENCODER, table)
    found = test_of(kind="spread", claimed={"below": 0.1}, coefficients=[0.0]).decide(Store("nowhere"))
    relative = stats.t.ppf(0.975, 9) / 10**0.5 * noise / 0.01
    below = stats.chi2.cdf(6 * (relative / 0.1) ** 2, 6)
    assert found.effect == pytest.approx(relative) and found.status == verdict
    assert verdict == ("holds" if below <= 0.05 else "fails" if below >= 0.95 else "undecided")


def test_small_intervals_are_counted_by_dimension(made_outcomes, planned):
    planned(AUTOENCODER, mnist(PAPER_LATENTS))
    test = test_of(kind="spread", claimed={"below": 0.1}, quantifier=0.85)
    for noise, verdict in ((2e-4, "holds"), (0.02, "fails")):
        made_outcomes(AUTOENCODER, runs(lambda d, c: 0.0, PAPER_LATENTS, noise=noise))
        assert test.decide(Store("nowhere")).status == verdict
    # Seven λ of one dimension are one case.
    table = runs(lambda d, c: 0.0, PAPER_LATENTS, noise=2e-4)
    table.loc[table.latent == 20, "best_test_mse"] *= np.where(table.seed[table.latent == 20] % 2, 3, 1)
    made_outcomes(AUTOENCODER, table)
    assert test.decide(Store("nowhere")).status == "holds"


def test_a_dimension_waits_for_all_its_lambdas_and_a_diverged_run_keeps_it_open(made_outcomes, planned):
    planned(AUTOENCODER, mnist((60, 100)))
    table = runs(lambda d, c: 0.0, (60, 100), noise=2e-4)
    one = (table.latent == 60) & (table.coefficient == 10.0) & (table.seed == 4)
    test = test_of(kind="spread", claimed={"below": 0.1})
    for records, verdict, note in (
        (table, "holds", "2 of 2 latent dimensions"),
        (table[~one], "undecided", "Of 2 latent dimensions 1 wait for run 1 of plan.yml"),
        (table.assign(diverged=one), "undecided", "A run diverged at d = 60"),
    ):
        made_outcomes(AUTOENCODER, records)
        found = test.decide(Store("nowhere"))
        assert found.status == verdict and found.note.startswith(note)


def test_fewer_dimensions_compares_with_the_next_larger_unguided_network(made_outcomes, planned):
    planned(AUTOENCODER, mnist((20, 60, 100)))
    test = test_of(kind="fewer_dimensions", claimed={"below": 0}, quantifier="any")
    for gain, verdict in ((0.0, "fails"), (-0.006, "holds")):
        table = runs(lambda d, c: gain * (c == 0.1) * (d == 60), (20, 60, 100), noise=1e-4)  # noqa: B023
        table["best_test_mse"] -= table.latent / 40 * 0.002
        made_outcomes(AUTOENCODER, table)
        assert test.decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize(("factor", "verdict"), [(1.5, "holds"), (1.0, "fails"), (1.04, "fails"), (0.7, "fails")])
def test_two_kinds_of_guidance_are_compared_with_each_other(made_outcomes, planned, factor, verdict):
    """Both are worse than no guidance, by far; a network of the second kind without a partner says nothing."""
    strengths = [0.01, 0.1]
    planned(AUTOENCODER, mnist(coefficients=[0.0, *strengths]), mnist(coefficients=strengths) | {"form": "live"})
    test = test_of(kind="versus", field="form", values=["live", "log"], by=["latent", "form"], statistic="ratio",
                   claimed={"above": 1}, margin=0.1, coefficients=strengths, horizon=50,
                   where={"form": ["live", "log"]})  # fmt: skip
    log = runs(lambda d, c: 0.02, coefficients=[0.0, *strengths], noise=1e-4)
    live = log[log.coefficient > 0].assign(form="live", trial=lambda t: t.trial + "live")
    live["best_test_mse"] *= factor
    made_outcomes(AUTOENCODER, pd.concat([log, live], ignore_index=True))
    found = test.decide(Store("nowhere"))
    assert found.status == verdict == found.over_paper and found.effect == pytest.approx(factor)
    made_outcomes(AUTOENCODER, pd.concat([log, live[live.seed > 3]], ignore_index=True))
    assert test.decide(Store("nowhere")).status == "undecided"


@pytest.mark.parametrize(
    ("hard", "easy", "verdict"),
    [(0.02, 0.0, "holds"), (0.02, 0.02, "undecided"), (-0.02, -0.04, "partly"), (-0.02, 0.0, "fails")],
)
def test_a_need_for_dimension_is_a_gain_on_hard_images_that_easy_ones_do_not_have(
    made_outcomes, planned, hard, easy, verdict
):
    shared_fields = {"layers": "first", "coefficient": [0.0, 0.1], "horizon": 20, "architecture": ["[32]", "[64]"]}
    planned(CNN, *({"data": data, "seeds": list(range(5, 10))} | shared_fields for data in ("cifar10", "mnist")))
    rng = np.random.default_rng(2)
    rows = [
        {"data": data, "architecture": architecture, "seed": seed, "coefficient": c, "layers": "first"}
        | {"test_accuracy": 0.5 + seed / 10 + (c > 0) * gain + rng.normal(0, 1e-3)}
        for data, gain in (("cifar10", hard), ("mnist", easy))
        for architecture in ("[32]", "[64]")
        for seed in range(5, 10)
        for c in (0.0, 0.1)
    ]
    made_outcomes(CNN, outcomes(CNN, rows).assign(horizon=20))
    test = test_of(CNN, kind="need_for_dimension", data="cifar10", easy="mnist", measure="test_accuracy",
                   claimed={"above": 0}, by=["architecture"], where={"layers": "first"})  # fmt: skip
    assert test.decide(Store("nowhere")).status == verdict


@pytest.mark.parametrize(
    ("gain", "verdict", "nine"), [(0.1, "holds", "undecided"), (0.0, "fails", "undecided"), (-0.1, "fails", "fails")]
)
def test_what_goes_with_what_is_ranked_within_a_seed(made_outcomes, planned, gain, verdict, nine):
    """Seeds differ by far more than guidance moves a network, in both measures."""
    part = {"seeds": list(range(5, 15)), "layers": "first", "horizon": 20, "architecture": "[32]"}
    planned(CNN, {"data": "cifar10", "coefficient": LAMBDAS} | part)
    rng = np.random.default_rng(4)
    rows = [
        {"data": "cifar10", "architecture": "[32]", "seed": seed, "coefficient": c, "layers": "first"}
        | {"first_tap": step - 10 * seed, "test_accuracy": seed + gain * step + rng.normal(0, 0.02)}
        for seed in range(5, 15)
        for step, c in enumerate(LAMBDAS)
    ]
    test = test_of(CNN, kind="association", data="cifar10", measure="test_accuracy", against="first_tap",
                   claimed={"above": 0.5}, by=["form", "eps"], where={"layers": "first"}, paper=9)  # fmt: skip
    made_outcomes(CNN, outcomes(CNN, rows).assign(horizon=20))
    found = test.decide(Store("nowhere"))
    assert (found.status, found.over_paper) == (verdict, nine)
    if gain:
        assert found.effect == pytest.approx(np.sign(gain), abs=0.15)
    # A seed of which a network is not there says nothing.
    made_outcomes(CNN, outcomes(CNN, rows[:-1]).assign(horizon=20))
    assert test.decide(Store("nowhere")).status == "undecided"
    with pytest.raises(ValueError, match="first_tip"):
        test.read({"against": "first_tip"})


def test_the_scope_counts_what_decides_and_not_what_it_is_compared_with(made_outcomes, planned):
    """Unguided networks of other architectures and seeds stand in the same records."""
    part = {"seeds": list(range(5, 10)), "layers": "all", "horizon": 20, "architecture": "[32]"}
    planned(CNN, {"data": "cifar10", "coefficient": [0.0, 0.1]} | part)
    rows = [
        {"data": "cifar10", "architecture": architecture, "seed": seed, "coefficient": c, "layers": "all"}
        | {"test_accuracy": 0.5 + seed / 100}
        for architecture, c, seeds in (
            ("[32]", 0.0, (5, 6, 7, 8, 9)),
            ("[32]", 0.1, (5, 6, 7, 8, 9)),
            ("[64]", 0.0, (5, 6)),
        )
        for seed in seeds
    ]
    made_outcomes(CNN, outcomes(CNN, rows).assign(horizon=20))
    test = test_of(CNN, kind="paired", data="cifar10", measure="test_accuracy", claimed={"above": 0},
                   by=["architecture"], where={"layers": "all"})  # fmt: skip
    assert test.decide(Store("nowhere")).scope == "reduced (5 of 10 seeds, 1 of 9 architectures)"


def test_printed_effects_of_the_ledger_are_those_of_the_tables():
    printed = {claim.id: getattr(claim.test, "printed", None) for claim in load_claims(ROOT / "claims.yml")}
    one, three = paper.table_1(), paper.table_3().set_index("coefficient")
    gains, iou = three.accuracy.drop(0.0) - three.accuracy[0.0], three.iou.drop(0.0) - three.iou[0.0]
    vgg = paper.table_2().query("model == 'VGG'").groupby(["strategy", "layers"]).accuracy.max().unstack()
    expected = {
        "imagenette-first-layer-seeds": (vgg["[1]"] - vgg["[1,2]"]).mean(),
        "cnn-all-increase": one.gain_validation.mean(), "better-generalisation": one.gain_validation.mean(),
        "unet-accuracy-seeds": gains[[1e-3, 1.0, 10.0]].mean(), "unet-masks": iou[1e-3],
        "unet-iou-seeds": iou[[1e-3, 1.0, 10.0]].mean(),
        "unet-large-lambda": three.epochs[10.0] / three.epochs[0.0],
        "unet-small-lambda-seeds": three.epochs[1e-4] / three.epochs[0.0],
    }  # fmt: skip
    for name, value in expected.items():
        assert printed[name] == pytest.approx(value, abs=5e-5), name


def test_power_of_the_t_test_is_what_a_library_says():
    """The whole decision on one cell finds an effect as often as the t-test's power says."""
    values = np.random.default_rng(7).normal(1.0, 1.0, (20_000, 1, 8))
    found = made(values)
    often = (decided(found.supported(Region(above=0.0)), found.refuted(Region(above=0.0)), "all") == "holds").mean()
    assert often == pytest.approx(tt_solve_power(1.0, nobs=8, alpha=0.05, alternative="larger"), abs=0.01)
    assert replace(found, silent=np.ones((20_000, 1), bool)).p(0, "above").min() == 1


# --- What a reader of these rules found -----------------------------------------------------------------


def test_a_lambda_whose_effect_is_too_small_to_count_does_not_meet_a_cell(made_outcomes, planned):
    """One λ is surely above 0 and surely below the margin, the other unsure: together they are not "some λ"."""
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1, 1.0]))
    table = runs(lambda d, c: 0.0, coefficients=[0.0, 0.1, 1.0], noise=0.0)
    rng = np.random.default_rng(4)
    for c, mean, spread in ((0.1, 0.001, 0.0002), (1.0, 0.0015, 0.003)):
        drawn = rng.normal(0, spread, 7)
        table.loc[table.coefficient == c, "best_test_mse"] += mean + drawn - drawn.mean()
    made_outcomes(AUTOENCODER, table)
    found = test_of(claimed={"above": 0}, margin=0.0025, some=True).decide(Store("nowhere"))
    assert found.status == "undecided"


def test_a_claim_on_some_lambda_is_open_over_the_papers_lambdas(made_outcomes, planned):
    planned(AUTOENCODER, mnist(PAPER_LATENTS, coefficients=[0.0, 0.1]))
    made_outcomes(AUTOENCODER, runs(lambda d, c: -0.005, PAPER_LATENTS, coefficients=[0.0, 0.1]))
    found = test_of(claimed={"above": 0}, some=True, paper=42).decide(Store("nowhere"))
    assert (found.status, found.over_paper) == ("fails", "undecided")


def test_curves_are_cut_where_a_claim_says_so(tmp_path):
    """A run of 60 epochs is read as one of 20: the same minimum as a run that ended there."""
    from replication.sweep.store import StackResult
    from replication.sweep.trial import Scope
    from replication.verdicts.records import deciding
    from tests.helpers import PROVENANCE, digits_trials

    store = Store(tmp_path)
    for horizon, c in ((60, 0.0), (20, 1e-3)):
        [trial] = digits_trials(horizon=horizon, coefficients=(c,), seeds=(0,))
        columns = dict.fromkeys(AUTOENCODER.columns, 1.0)
        fall = [
            {"trial": trial.id, "epoch": e} | columns | {"validation_mse": 100.0 - e, "test_mse": 100.0 - e}
            for e in range(horizon + 1)
        ]
        store.write([trial], StackResult(pd.DataFrame(fall)), [Scope("reduced", "x")], PROVENANCE)
    cut, whole = (
        deciding(AUTOENCODER, Store(tmp_path, until), "digits").set_index("coefficient") for until in (20, None)
    )
    assert cut.best_test_mse.tolist() == [80.0, 80.0] and whole.best_test_mse[0.0] == 40.0
    assert cut.epochs_to_quality.notna().all()


def test_a_run_that_diverged_later_decides_nothing_on_groups(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0, noise=0.0)
    table["best_test_mse"] = 0.003 * np.exp(table.coefficient.map(curve("two groups")) + 0.01 * table.seed)
    table["diverged"] = table.coefficient == 10.0
    made_outcomes(AUTOENCODER, table)
    test = test_of(kind="step", step=[0.001, 0.01], claimed={"above": 0.5})
    assert test.decide(Store("nowhere")).status == "undecided"


def test_a_grid_waits_for_all_planned_seeds(made_outcomes, planned):
    planned(AUTOENCODER, mnist(seeds=range(3, 10)))
    made_outcomes(AUTOENCODER, runs(lambda d, c: 0.0, seeds=range(3, 8)))
    test = test_of(kind="signs", paper_measure="mse", margin=0.1, claimed={"above": 0.9})
    assert "Still to be run" in test.decide(Store("nowhere")).note


def test_an_undecided_grid_says_how_many_seeds_would_do(made_outcomes, planned):
    """So many that, with as large a mean and spread, no pair is left that is neither a sign nor a blank."""
    planned(AUTOENCODER, mnist())
    made_outcomes(AUTOENCODER, runs(lambda d, c: 0.0, noise=0.0008))
    test = test_of(kind="signs", paper_measure="mse", margin=0.1, claimed={"above": 0.9})
    found = test.decide(Store("nowhere"))
    seeds = int(re.search(r"If differences are what they seem, about (\d+) seeds would do", found.note)[1])
    assert found.status == "undecided"
    unsure = [cell for cell in test.cells(test.asked(), test.tables(Store("nowhere"))[0]) if not test.sign(cell)]
    assert unsure and all(test.sign(more(cell, seeds + 1)) for cell in unsure)
    assert not all(test.sign(more(cell, seeds - 2)) for cell in unsure)


def more(cell, n: int):
    """A cell of so many seeds, with its mean and standard deviation."""
    drawn = np.random.default_rng(0).standard_normal(n)
    scaled = (drawn - drawn.mean()) / drawn.std(ddof=1)
    return replace(cell, values=pd.Series(cell.values.mean() + cell.values.std() * scaled, range(n)))


@pytest.mark.parametrize("left", [0.001, 1.0])
def test_a_grid_of_which_some_lambdas_are_there_waits_for_the_others(made_outcomes, planned, left):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.01 if c >= 0.01 else 0.0)
    made_outcomes(AUTOENCODER, table[table.coefficient <= left])
    found = test_of(kind="signs", paper_measure="mse", margin=0.1, claimed={"above": 0.9}).decide(Store("nowhere"))
    assert found.status == "undecided" and found.note.endswith("Still to be run: d = 100 (run 1 of plan.yml).")


def test_of_two_open_cells_the_one_that_needs_more_seeds_counts(made_outcomes, planned):
    """The wider one is far from the claim's bound; the other lies next to it."""
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1, 1.0]))
    table = runs(lambda d, c: 0.0, noise=0.0, coefficients=[0.0, 0.1, 1.0])
    for c, mean, spread in ((0.1, -0.005, 0.01), (1.0, -0.0001, 0.001)):
        drawn = np.random.default_rng(2).standard_normal(7)
        table.loc[table.coefficient == c, "best_test_mse"] += mean + spread * (drawn - drawn.mean()) / drawn.std(ddof=1)
    made_outcomes(AUTOENCODER, table)
    found = test_of(claimed={"below": 0}).decide(Store("nowhere"))
    needed = next(n for n in range(2, 9999) if stats.t.ppf(0.975, n - 1) * 0.001 / n**0.5 <= 0.0001)
    assert found.status == "undecided" and f"about {needed} seeds would do" in found.note, found


def test_where_all_that_is_open_is_a_bound_only_longer_runs_can_say_more(made_outcomes, planned):
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1]))
    made_outcomes(AUTOENCODER, stops(40, 50, late=("guided",)))
    test = test_of(measure="stopping_epoch", statistic="ratio", claimed={"above": 1.1, "below": 1.9})
    found = test.decide(Store("nowhere"))
    assert found.status == "undecided" and found.note.endswith("Only longer runs can say more."), found


def test_stops_by_rules_with_a_tolerance_are_whole_epochs_too():
    from replication.verdicts.cells import whole

    assert all(whole(name) for name in AUTOENCODER.measures if "epoch" in name)
    assert not any(whole(name) for name in AUTOENCODER.measures if "epoch" not in name)


def test_a_missing_measure_is_a_missing_pair(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: -0.005)
    table.loc[(table.seed == 4) & (table.coefficient == 0.1), "best_test_mse"] = np.nan
    made_outcomes(AUTOENCODER, table)
    found = test_of(claimed={"below": 0}).decide(Store("nowhere"))
    assert found.status == "undecided" and "still to be run: 1 (" in found.note


def test_of_runs_that_are_made_nothing_is_said_to_be_owed(made_outcomes, planned, monkeypatch):
    planned(AUTOENCODER, mnist())
    monkeypatch.setattr(contrast, "unfinished", lambda runs, store: ())
    table = runs(lambda d, c: -0.005)
    table.loc[(table.seed == 4) & (table.coefficient == 0.1), "best_test_mse"] = np.nan
    made_outcomes(AUTOENCODER, table)
    found = test_of(claimed={"below": 0}).decide(Store("nowhere"))
    assert found.status == "undecided" and found.waits == ()
    assert "The runs are made and leave 1 comparisons without a number" in found.note
    assert "5 of them are complete, and the effect is that of these." in found.note


@pytest.mark.parametrize(
    ("late", "claimed", "longer"),
    [
        ("guided and base", {"above": 0.999}, True),  # nothing is known of either side
        ("guided", {"above": 0.999}, False),  # a lower bound that lies where the claim does: more seeds may show it
        ("guided", {"below": 2}, True),
        ("base", {"above": 0.5}, True),
        ("base", {"below": 1.001}, False),
    ],
)
def test_longer_runs_are_asked_for_only_where_more_seeds_could_say_nothing(
    made_outcomes, planned, late, claimed, longer
):
    planned(AUTOENCODER, mnist(coefficients=[0.0, 0.1]))
    table = stops(50, 50, (late,))
    kept = table[table.coefficient.isin([0.0, 0.1])].copy()
    kept["stopping_epoch"] = np.where(kept.coefficient > 0, 40 + 3 * (kept.seed % 4), 45)
    kept.loc[kept.coefficient > 0, "stopping_epoch"] += 1 if "guided" in late else -1
    guided = kept.coefficient > 0
    kept["censored"] = guided & (kept.seed == 3) & ("guided" in late) | ~guided & ("base" in late)
    made_outcomes(AUTOENCODER, kept)
    test = test_of(measure="stopping_epoch", statistic="ratio", claimed=claimed, margin=0.05)
    found = test.decide(Store("nowhere"))
    assert found.status == "undecided" and ("Only longer runs" in found.note) == longer, found


def test_networks_with_too_few_common_seeds_are_joined_in_order():
    def cell(seeds, value):
        return Cell({}, pd.Series(value, list(seeds)), pd.Series(0.0, list(seeds)))

    for other, joined_by in ((range(0, 5), 5), (range(1, 6), 5), (range(3, 9), 6), (range(5, 15), 10)):
        assert len(pooled({}, [cell(range(5, 15), 1.0), cell(other, 2.0)]).values) == joined_by, other
    # While one of them is incomplete its seeds are its own; without a common one there is an order still.
    assert len(pooled({}, [cell(range(2), 1.0), cell(range(8, 10), 2.0)]).values) == 2
    assert len(pooled({}, [cell(range(5, 15), 1.0), cell(range(8, 10), 2.0)]).values) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "level", "statistic": "ratio", "claimed": {"above": 0.5}}, "compares no two networks"),
        ({"kind": "step", "step": [1e-3, 1e-2], "statistic": "ratio", "claimed": {"above": 0.5}}, "compares no two"),
        ({"kind": "spread", "claimed": {"above": 0.1}}, "below which width"),
        ({"kind": "signs", "paper_measure": "mse", "claimed": {"below": 0.9}}, "above which share"),
        ({"kind": "trend", "over": "widht", "claimed": {"above": 0}}, "over must be one of by, latent, got 'widht'"),
        ({"kind": "versus", "field": "form", "values": ["live", "lgo"], "by": ["form"], "claimed": {"above": 0}},
         "no run has form"),
    ],
)  # fmt: skip
def test_what_a_test_would_not_use_or_find_is_refused(planned, arguments, message):
    planned(AUTOENCODER, mnist())
    with pytest.raises(ValueError, match=message):
        test_of(**arguments)


def test_a_trend_waits_for_every_planned_value(made_outcomes, planned):
    planned(AUTOENCODER, mnist((60, 100, 140), coefficients=[0.1]))
    table = runs(lambda d, c: -0.001 * d / 40, (60, 100, 140), coefficients=[0.1], noise=1e-5)
    test = test_of(kind="trend", over="latent", by=["latent"], coefficients=[0.1], claimed={"below": 0})
    for records, verdict in (
        (table, "holds"),
        (table[table.latent < 140], "not tested"),
        (table[table.latent < 100], "not tested"),
    ):
        made_outcomes(AUTOENCODER, records)
        assert test.decide(Store("nowhere")).status == verdict


def test_of_two_kinds_of_guidance_the_papers_other_cells_are_open(made_outcomes, planned):
    """One of three placements against another is one cell; the two that were not run may come out otherwise."""
    planned(AUTOENCODER, mnist(coefficients=[0.1]), mnist(coefficients=[0.1]) | {"form": "live"})
    log = runs(lambda d, c: 0.0, coefficients=[0.1], noise=0.0)
    drawn = np.random.default_rng(3).standard_normal(7)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1)
    t = stats.t.isf(0.02, 6)  # a p-value that would do for two cells and not for three
    live = log.assign(
        form="live", trial=log.trial + "live", best_test_mse=log.best_test_mse + 1e-3 * (t / 7**0.5 + drawn)
    )
    made_outcomes(AUTOENCODER, pd.concat([log, live], ignore_index=True))
    test = test_of(kind="versus", field="form", values=["live", "log"], by=["latent", "form"], claimed={"below": 0},
                   coefficients=[0.1], where={"form": ["live", "log"]}, paper=3, quantifier="any")  # fmt: skip
    found = test.decide(Store("nowhere"))
    assert (found.status, found.over_paper) == ("fails", "undecided")


def test_two_records_for_one_seed_are_refused(made_outcomes, planned):
    planned(AUTOENCODER, mnist())
    table = runs(lambda d, c: 0.0)
    made_outcomes(AUTOENCODER, pd.concat([table, table.iloc[:1]], ignore_index=True).assign(trial="t"))
    with pytest.raises(ValueError, match="several records for one seed"):
        test_of(claimed={"below": 0}).decide(Store("nowhere"))
