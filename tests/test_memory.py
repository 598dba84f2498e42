"""Curved memories: the law against enumeration, the dynamics against detailed balance and against a dense matrix, the
mean field and the replica equations against closed forms and derivatives, what records say.
"""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replication.experiments.memory.experiment import CUES, MEMORY, RANDOM, crossing
from replication.experiments.owed import Run
from replication.memory import meanfield, patterns, reference, replica
from replication.memory.dynamics import odds, run, run_couplings
from replication.memory.law import Law, VanishingBracket, enumerated, one_pattern
from replication.sweep.run import run as sweep
from replication.sweep.store import Store
from replication.verdicts.memory import Cooled, Limit
from tests.helpers import QUIET, outcomes, trials

CURVATURES = st.floats(-1.2, 1.5)
BETAS = st.floats(0.2, 3.0)


# --- Law --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 200])
@pytest.mark.parametrize("curvature", [-1.5, -0.4, 0.0, 0.8])
def test_the_law_of_one_pattern_is_that_of_all_states(size, curvature):
    law = Law(curvature, 1.3)
    m, p = one_pattern(law, size)
    assert p.sum() == pytest.approx(1) and len(m) == size + 1
    if size <= 7:
        pattern = patterns.random(1, size, 3)
        states, weights = enumerated(law, pattern)
        overlaps = states @ pattern[0] / size
        for value, chance in zip(m, p, strict=True):
            assert weights[np.isclose(overlaps, value)].sum() == pytest.approx(chance, rel=1e-10)
    else:
        # Cold enough, both signs of the pattern are recalled alike, and the mean field says where the peaks lie.
        assert p == pytest.approx(p[::-1], rel=1e-6)
        assert abs(m[np.argmax(p)]) == pytest.approx(meanfield.stable(law)[-1], abs=0.02)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_without_curvature_the_law_is_boltzmanns(count):
    stored = patterns.random(count, 10, 0)
    states, flat = enumerated(Law(0.0, 0.9), stored)
    couplings = stored.T.astype(float) @ stored / 10
    np.fill_diagonal(couplings, 0)
    energies = -0.5 * np.einsum("ki,ij,kj->k", states, couplings, states)
    weights = np.exp(-0.9 * energies)
    assert flat == pytest.approx(weights / weights.sum(), rel=1e-12)
    assert enumerated(Law(1e-7, 0.9), stored)[1] == pytest.approx(flat, rel=1e-5)


def test_the_law_has_most_renyi_entropy_among_those_of_its_energy():
    """No small change that keeps the sum and the mean energy raises the Rényi entropy of order 1 + γ."""
    stored, law = patterns.random(2, 8, 1), Law(-0.8, 0.7)
    states, p = enumerated(law, stored)
    s = ((states @ stored.T / 8) ** 2).sum(1) - 2 / 8
    order = 1 + law.curvature / (8 * law.beta)
    renyi = lambda q: np.log((q**order).sum()) / (1 - order)  # noqa: E731
    kept = np.linalg.qr(np.stack([np.ones_like(p), s]).T)[0]
    random = np.random.default_rng(0)
    for _ in range(20):
        move = random.normal(size=len(p))
        move -= kept @ (kept.T @ move)
        move *= 1e-3 * p.min() / np.abs(move).max()
        assert renyi(p + move) < renyi(p) and renyi(p - move) < renyi(p)


@pytest.mark.parametrize(
    ("curvature", "beta", "said"),
    [(-2.0, 1.0, "above -2"), (-3.0, 1.0, "above -2"), (math.nan, 1.0, "above -2"), (0.0, 0.0, "positive"),
     (0.5, -1.0, "positive")],
)  # fmt: skip
def test_a_law_that_cannot_be_is_refused(curvature, beta, said):
    with pytest.raises(ValueError, match=said):
        Law(curvature, beta)


def test_a_state_at_which_the_bracket_vanishes_is_named_with_the_curvature():
    assert Law(-1.9, 1.0).bracket(1.0) == pytest.approx(0.05)
    with pytest.raises(VanishingBracket, match=r"S = 1.07 for γ' = -1.9"):
        Law(-1.9, 1.0).bracket(np.array([0.5, 1.07]))
    twins = np.ones((2, 40), dtype=np.int8)  # the same pattern twice: S of its state is almost 2
    with pytest.raises(VanishingBracket, match="γ' = -1.2"):
        run(Law(-1.2, 2.0), twins, twins[0].copy(), np.random.default_rng(0), 1)


# --- Dynamics -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(CURVATURES, BETAS, st.integers(1, 4), st.integers(4, 9), st.integers(0, 1000))
def test_a_move_and_its_reverse_balance_in_the_exact_law(curvature, beta, count, size, seed):
    law, stored = Law(curvature, beta), patterns.random(count, size, seed)
    s = lambda state: float(((stored @ state / size) ** 2).sum() - count / size)  # noqa: E731
    states = enumerated(Law(0.0, 1.0), stored)[0]
    if 1 + curvature / 2 * max(map(s, states)) <= 0.01:
        return
    p = enumerated(law, stored)[1]
    place = {tuple(state): k for k, state in enumerate(states)}
    for k in np.random.default_rng(seed).integers(0, len(states), 8):
        for spin in range(size):
            turned = states[k].copy()
            turned[spin] *= -1
            change = s(turned) - s(states[k])
            there = odds(s(states[k]), change, beta, curvature, size)
            back = odds(s(turned), -change, beta, curvature, size)
            assert there + back == pytest.approx(1, abs=1e-12)
            assert p[k] * there == pytest.approx(p[place[tuple(turned)]] * back, rel=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    CURVATURES,
    st.one_of(BETAS, st.just(math.inf)),
    st.integers(1, 12),
    st.sampled_from([32, 64, 128]),
    st.integers(0, 1000),
)
def test_by_patterns_and_by_a_dense_matrix_a_network_goes_the_same_way(curvature, beta, count, size, seed):
    """Sizes are powers of two, so that the fields of both are the same numbers and T = 0 has the same ties."""
    stored, start = patterns.random(count, size, seed), patterns.random(1, size, seed + 1)[0]
    couplings = stored.T.astype(float) @ stored / size
    np.fill_diagonal(couplings, 0)
    first, second = start.copy(), start.copy()
    try:
        one = run(Law(curvature, beta), stored, first, np.random.default_rng(seed), 3, 4)
    except VanishingBracket:
        return
    two = run_couplings(Law(curvature, beta), couplings, second, np.random.default_rng(seed), 3, 4)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(one.s, two.s, atol=1e-10)
    ends = stored.astype(float) @ first / size
    last = run(Law(curvature, 1.0), stored, first.copy(), np.random.default_rng(0), 1)  # counts from the end state
    assert np.isfinite(last.overlap).all() and abs((ends**2).sum() - count / size) < 3


@pytest.mark.parametrize(("curvature", "beta"), [(-0.9, 1.0), (0.0, 0.8), (1.0, 1.2)])
def test_in_the_long_run_states_are_visited_as_the_law_says(curvature, beta):
    law, stored = Law(curvature, beta), patterns.random(3, 8, 2)
    states, p = enumerated(law, stored)
    random, state = np.random.default_rng(0), stored[0].copy()
    s = ((states @ stored.T / 8) ** 2).sum(1) - 3 / 8
    found = [run(law, stored, state, random, 1, 4).s[0] for _ in range(20)]  # away from the start
    found = run(law, stored, state, random, 400, 100).s
    assert found.mean() == pytest.approx(p @ s, abs=4 * found.std() / 20)


def test_at_zero_temperature_every_curvature_goes_the_same_way():
    stored = patterns.random(30, 300, 5)
    ends = []
    for curvature in (-1.2, 0.0, 0.8):
        state = stored[0].copy()
        state[:60] *= -1
        run(Law(curvature, math.inf), stored, state, np.random.default_rng(1), 5, 4)
        ends.append(state)
    assert (ends[0] == ends[1]).all() and (ends[1] == ends[2]).all()


@pytest.mark.parametrize(
    ("stored", "state", "said"),
    [
        (np.zeros((2, 5)), np.ones(5), "patterns must be .1 or -1, got 0"),
        (np.ones((2, 5)), np.full(5, 2), "spins must be .1 or -1, got 2"),
        (np.ones((0, 5)), np.ones(5), "patterns must be a non-empty array"),
        (np.ones((2, 0)), np.ones(0), "patterns must be a non-empty array"),
        (np.ones((2, 5)), np.ones(4), "5 spins and the state has 4"),
        (np.ones(5), np.ones(5), "2 dimensions"),
    ],
)
def test_what_is_no_network_is_refused(stored, state, said):
    with pytest.raises(ValueError, match=said):
        run(Law(0.0, 1.0), stored, state, np.random.default_rng(0), 1)


@pytest.mark.parametrize(
    ("couplings", "said"),
    [(np.ones((3, 2)), "square"), (np.eye(3), "zeros on the diagonal"), (np.triu(np.ones((3, 3)), 1), "symmetric")],
)
def test_couplings_that_are_none_are_refused(couplings, said):
    with pytest.raises(ValueError, match=said):
        run_couplings(Law(0.0, 1.0), couplings, np.ones(3), np.random.default_rng(0), 1)


def test_patterns_are_signs_and_the_first_of_many_are_those_of_few():
    few, many = patterns.random(3, 50, 4), patterns.random(9, 50, 4)
    assert set(np.unique(many)) == {-1, 1} and (many[:3] == few).all()
    for count, size in ((0, 5), (5, 0)):
        with pytest.raises(ValueError, match="at least one spin"):
            patterns.random(count, size, 0)
    image = np.random.default_rng(0).integers(0, 255, (3, 4, 4))
    spins = patterns.binarised(image)
    assert spins.shape == (48,) and abs(spins.reshape(3, -1).sum(1)).max() <= 4
    kept = patterns.dissimilar(iter(patterns.random(40, 64, 0)), 0.2, 5)
    overlaps = kept.astype(float) @ kept.T / 64
    assert np.abs(overlaps[~np.eye(5, dtype=bool)]).max() <= 0.2
    with pytest.raises(ValueError, match="only 1 of the pictures"):
        patterns.dissimilar(iter([np.ones(8), np.ones(8)]), 0.5, 2)


# --- Mean field ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("curvature", "beta"), [(-0.8, 0.9883), (-1.0, 0.9322), (-1.2, 0.8364), (-1.5, 0.6229)])
def test_saddle_nodes_lie_where_a_scan_finds_them(curvature, beta):
    m, found = meanfield.saddle_node(curvature)
    assert found == pytest.approx(beta, abs=6e-5)
    grid = np.linspace(0.01, 0.9999, 200_001)
    scanned = meanfield.beta_at(grid, curvature)
    assert found == pytest.approx(scanned.min(), abs=1e-8) and m == pytest.approx(grid[scanned.argmin()], abs=1e-3)


@pytest.mark.parametrize(("curvature", "explosive"), [(-0.67, True), (-0.66, False), (0.0, False), (1.0, False)])
def test_the_transition_turns_explosive_at_minus_two_thirds(curvature, explosive):
    assert (meanfield.saddle_node(curvature)[1] < 1) == explosive
    between = Law(curvature, (1 + meanfield.saddle_node(curvature)[1]) / 2 if explosive else 0.999)
    assert len(meanfield.stable(between)) == (2 if explosive else 1)


@settings(max_examples=40, deadline=None)
@given(st.floats(-1.9, 1.5), st.floats(0.3, 9))
def test_stable_overlaps_solve_the_equation_and_are_peaks_of_the_law(curvature, beta):
    law = Law(curvature, beta)
    found = meanfield.stable(law)
    assert found and (found[-1] > 0 or beta < 1.001)
    for m in [m for m in found if 0.05 < m < 1 - 1e-9]:
        assert math.tanh(float(law.effective(m * m)) * m) == pytest.approx(m, abs=1e-7)
        weight = lambda x: (  # noqa: E731
            float(law.log_weight(x * x, 1)) - (1 + x) / 2 * math.log((1 + x) / 2) - (1 - x) / 2 * math.log((1 - x) / 2)
        )
        step = 1e-3 * (1 - m)
        assert weight(m) >= max(weight(m - step), weight(m + step)) - 1e-12


@pytest.mark.parametrize(("curvature", "beta"), [(-1.5, 20.0), (-1.99, 0.3), (0.0, 50.0)])
def test_cold_networks_recall_nearly_all(curvature, beta):
    assert meanfield.stable(Law(curvature, beta))[-1] == pytest.approx(1, abs=1e-6)


def test_recall_takes_as_long_as_small_steps_say():
    for law in (Law(-1.2, 1.001), Law(0.0, 2.0)):
        m, sweeps, step = 0.01, 0.0, 0.002
        while m < 0.5:
            m += step * (-m + math.tanh(float(law.effective(m * m)) * m))
            sweeps += step
        assert meanfield.recall_time(law, 0.01, 0.5) == pytest.approx(sweeps, rel=0.01)
    assert meanfield.recall_time(Law(0.0, 1.001), 0.01, 0.5) == math.inf


# --- Replicas -------------------------------------------------------------------------------------------


def gauss(f):
    z = np.linspace(-10, 10, 40_001)
    return float(np.trapezoid(np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * f(z), z))


@pytest.mark.parametrize(
    ("load", "curvature", "beta"),
    [(0.03, 0.0, 2.0), (0.05, -0.8, 2.0), (0.09, -1.2, 2.0), (0.02, 0.8, 2.0), (0.1, 0.0, 6.0)],
)
def test_a_retrieval_state_solves_the_equations_at_its_nominal_temperature(load, curvature, beta):
    state = replica.retrieval(load, Law(curvature, beta))
    assert state.load == pytest.approx(load, rel=1e-8)
    fields = lambda z: state.beta_effective * (state.m + math.sqrt(load * state.r) * z)  # noqa: E731
    assert gauss(lambda z: np.tanh(fields(z))) == pytest.approx(state.m, abs=1e-9)
    assert gauss(lambda z: np.tanh(fields(z)) ** 2) == pytest.approx(state.q, abs=1e-9)
    assert state.beta_effective * (1 + curvature / 2 * state.s) == pytest.approx(beta, rel=1e-9)
    assert state.beta(curvature) == pytest.approx(beta, rel=1e-9)
    assert state.s == pytest.approx(state.m**2 + state.others - load)


@pytest.mark.parametrize("which", [replica.retrieval, replica.glass])
@pytest.mark.parametrize(("load", "beta"), [(0.03, 2.0), (0.05, 2.5), (0.09, 5.0)])
def test_the_energy_is_the_derivative_of_the_potential(which, load, beta):
    """S = 2 ∂φ/∂β, by differences of the potential itself."""
    e = 1e-4
    low, high = (which(load, Law(0.0, beta + sign * e)).hopfield_potential for sign in (-1, 1))
    assert (high - low) / e == pytest.approx(which(load, Law(0.0, beta)).s, abs=3e-5)
    assert abs((high - low) / e - which(load, Law(0.0, beta)).s_of_the_code) > 1e-3


def test_capacities_in_known_limits():
    assert replica.capacity(Law(0.0, math.inf)) == pytest.approx(0.137906, abs=1e-6)
    assert replica.capacity(Law(0.7, math.inf)) == replica.capacity(Law(0.0, math.inf))
    assert replica.capacity(Law(0.0, 20.0)) == pytest.approx(0.1379, abs=5e-4)
    assert replica.capacity(Law(0.0, 0.99)) == 0
    assert replica.dominance(Law(0.0, 12.0)) == pytest.approx(0.051, abs=0.004)  # as AGS have it towards T = 0
    falling = [replica.capacity(Law(g, 2.0)) for g in (-1.2, -0.8, 0.0, 0.8)]
    assert all(a > b for a, b in pairwise(falling))
    assert replica.retrieval(0.2, Law(0.0, 5.0)) is None
    empty = replica.retrieval(0.0, Law(-0.8, 2.0))
    assert empty.m == pytest.approx(meanfield.stable(Law(-0.8, 2.0))[-1], abs=1e-6)


@pytest.mark.parametrize("curvature", [-0.8, 0.0, 0.8])
def test_without_recall_order_begins_at_the_glass_line(curvature):
    """T_g = (1 + √α) / (1 + γ'√α/2)."""
    load = 0.09
    edge = (1 + curvature * math.sqrt(load) / 2) / (1 + math.sqrt(load))
    assert replica.glass(load, Law(curvature, edge * 0.98)).q == 0
    assert replica.glass(load, Law(curvature, edge * 1.02)).q > 0
    warm = replica.glass(load, Law(curvature, edge * 0.9))
    c = warm.beta_effective
    assert warm.s == pytest.approx(load * c / (1 - c), rel=1e-6)
    assert c * (1 + curvature / 2 * warm.s) == pytest.approx(edge * 0.9, rel=1e-3)


@pytest.mark.parametrize(
    ("curvature", "beta", "load"), [(-1.5, 5.0, 0.1), (-1.2, 20.0, 0.16), (-0.8, 30.0, 0.1), (0.8, 2.0, 0.02)]
)
def test_cold_glasses_solve_their_equation(curvature, beta, load):
    state = replica.glass(load, Law(curvature, beta))
    width = state.beta_effective * math.sqrt(load * state.r)
    assert gauss(lambda z: np.tanh(width * z) ** 2) == pytest.approx(state.q, abs=2e-5)
    assert state.beta(curvature) == pytest.approx(beta, rel=1e-3)


def test_the_curved_potential_has_its_own_energy_as_its_slope():
    """φ = (β/γ') ln(1 + γ'S/2) - β'S/2 + φ_H(β') is stationary in S, so that ∂φ/∂β = (1/γ') ln(1 + γ'S/2)."""
    e = 1e-4
    for curvature in (-0.8, 0.6):
        low, middle, high = (replica.retrieval(0.03, Law(curvature, 2 + k * e)) for k in (-1, 0, 1))
        slope = (high.potential(curvature) - low.potential(curvature)) / (2 * e)
        assert slope == pytest.approx(math.log(1 + curvature / 2 * middle.s) / curvature, abs=1e-6)


# --- Other memories ---------------------------------------------------------------------------------------


def test_a_dense_memory_never_climbs_and_rests_where_no_flip_descends():
    stored, random = patterns.random(20, 40, 1), np.random.default_rng(0)
    energy = lambda state: -float(((stored @ state) ** 3).sum())  # noqa: E731
    start = patterns.random(1, 40, 2)[0].astype(float)
    states = [start] + [reference.dense(stored, start, np.random.default_rng(0), sweeps) for sweeps in (1, 2, 30)]
    assert all(energy(later) <= energy(sooner) for sooner, later in pairwise(states))
    for spin in range(40):
        turned = states[-1].copy()
        turned[spin] *= -1
        assert energy(turned) >= energy(states[-1])
    assert (reference.dense(stored, stored[0], random, 2) == stored[0]).all()


def test_a_modern_memory_takes_a_softmax_of_all_patterns():
    stored, state = patterns.random(6, 11, 3), patterns.random(1, 11, 4)[0]
    weights = np.exp(0.3 * (stored @ state.astype(float)))
    field = (weights[:, None] / weights.sum() * stored).sum(0)
    assert (reference.modern(stored, state, 1, beta=0.3) == np.where(field >= 0, 1, -1)).all()


# --- Records --------------------------------------------------------------------------------------------


def test_where_overlaps_fall_below_recall():
    places = np.array([0.1, 0.2, 0.3])
    assert crossing(places, np.array([0.9, 0.8, 0.6])) == pytest.approx(0.25)
    assert crossing(places, np.array([0.9, 0.9, 0.8])) == 0.3
    assert crossing(places, np.array([0.2, 0.9, 0.9])) == 0.1
    assert crossing(places, np.array([0.9, np.nan, 0.9])) == pytest.approx(0.1 + 0.1 * 0.2 / 0.9)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    found = Store(tmp_path_factory.mktemp("memory"))
    sweep(MEMORY, MEMORY.grid("quick"), found, QUIET)
    return found


def test_records_are_valid_and_say_what_their_runs_did(store):
    assert store.validate({"memory": MEMORY.columns}) == []
    table = MEMORY.outcomes(store)
    assert set(table.scope) == {"quick"} and not table.diverged.any()
    warm = table[(table.task == "capacity")].set_index(["seed", "curvature"]).capacity
    for seed in (0, 1):
        assert warm[seed, -0.8] > warm[seed, 0.0] > warm[seed, 0.8]
    basins = table[table.task == "basin"]
    assert basins.basin.between(0, 1).all() and basins.groupby("temperature").basin.mean().is_monotonic_increasing
    areas = table[table.task.isin(["loop", "glass"])].set_index(["task", "curvature"]).area
    assert areas["loop", -1.2] > 0.05 > abs(areas["loop", 0.0])
    curve = store.curves("memory").merge(table[["trial", "task", "curvature"]], on="trial")
    start = curve[(curve.epoch == 0) & (curve.task == "basin")]
    assert start.overlap.to_numpy() == pytest.approx(start.cue.to_numpy(), abs=1 / 300)
    assert sorted(set(start.cue)) == pytest.approx(CUES)


def test_networks_of_a_seed_share_patterns_and_starts(store):
    curve = store.curves("memory")
    first = curve[(curve.epoch == 0) & curve.load.notna()].merge(MEMORY.table(store)[["trial", "seed"]], on="trial")
    for _, same in first.groupby(["seed", "point"]):
        assert same.others.nunique() == 1 and same.overlap.nunique() == 1
    assert first.groupby("point").others.nunique().max() > 1  # and seeds do not


def test_a_bracket_that_vanishes_ends_the_course_and_not_the_sweep(tmp_path, monkeypatch):
    from replication.experiments.memory import experiment

    monkeypatch.setattr(experiment.patterns, "random", lambda count, size, seed: np.ones((count, size), dtype=np.int8))
    some = trials(MEMORY, RANDOM, seeds=(0,), task="capacity", curvature=[-1.2, 0.0], temperature=0.5, size=300,
                  sweeps=1, load=0.0, horizon=2)  # fmt: skip
    sweep(MEMORY, some, Store(tmp_path), QUIET)
    table = MEMORY.outcomes(Store(tmp_path)).set_index("curvature")
    assert table.capacity[-1.2] < table.capacity[0.0] and not table.diverged.any()


# --- Tests of claims ----------------------------------------------------------------------------------------


def planned(monkeypatch, **part) -> None:
    whole = {"data": RANDOM, "task": "capacity", "load": 0.0, "seeds": list(range(6)), "horizon": 10, "sweeps": 20}
    made = Run(run="x", experiment="memory", core_hours=1, parts=[whole | part], reads=[])
    monkeypatch.setattr("replication.verdicts.contrast.owed", lambda name: made)


def made(rows: list[dict]) -> pd.DataFrame:
    usual = {"data": RANDOM, "task": "capacity", "load": 0.0, "horizon": 10, "sweeps": 20, "diverged": False}
    return outcomes(MEMORY, [usual | row for row in rows])


def test_a_limit_is_where_a_line_in_one_over_n_ends(monkeypatch):
    sizes = [500, 1000, 4000]
    planned(monkeypatch, temperature=[0.5], size=sizes, curvature=[-0.8])
    test = Limit(kind="limit", experiment="memory", data=RANDOM, measure="replica_gap", by=("size",), runs=("x",),
                 claimed={"above": -0.005, "below": 0.005}, coefficients=(-0.8,),
                 where={"task": "capacity", "temperature": 0.5, "size": sizes, "sweeps": 20, "load": 0.0})  # fmt: skip
    rows = [{"seed": s, "size": n, "temperature": 0.5, "curvature": -0.8, "replica_gap": 0.001 * s + (3 + s) / n}
            for s in range(6) for n in sizes]  # fmt: skip
    (cell,) = test.cells(test.asked(), made(rows))
    assert cell.values.to_numpy() == pytest.approx([0.001 * s for s in range(6)]) and not cell.missing
    (short,) = test.cells(test.asked(), made(rows[:-1]))
    assert short.missing == 1 and test.paper_cells == len(test.asked())


def test_a_curved_network_is_set_against_a_colder_one_of_its_seed(monkeypatch):
    planned(monkeypatch, temperature=[0.5, 0.0], size=[4000], curvature=[-0.8, 0.0])
    test = Cooled(kind="cooled", experiment="memory", data=RANDOM, measure="capacity", by=("temperature",), runs=("x",),
                  claimed={"above": 0}, margin=0.005, temperatures=(0.5, 0.0), coefficients=(-0.8,),
                  where={"task": "capacity", "temperature": [0.5, 0.0], "size": 4000, "sweeps": 20,
                         "load": 0.0})  # fmt: skip
    rows = [{"seed": s, "size": 4000, "temperature": t, "curvature": g, "capacity": 0.05 + g / 20 + 0.1 * (t == 0) + s}
            for s in range(6) for t in (0.5, 0.0) for g in (-0.8, 0.0)]  # fmt: skip
    (cell,) = test.cells(test.asked(), made(rows))
    assert cell.values.to_numpy() == pytest.approx([-0.04 - 0.1] * 6) and cell.key == {
        "temperature": 0.5,
        "curvature": -0.8,
    }
