"""Densities of states: moves that balance, ladders that keep each temperature's law, joined runs against lists of all
states, against a ball and against Monte Carlo; a network's loss against torch.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from torch import nn

from replication.landscape import networks, oracles, systems, wang_landau
from replication.landscape.histogram import at_loss, entropy
from replication.landscape.moves import accepted, moved, reflected, travelled
from replication.landscape.systems import System
from replication.landscape.tempering import Ladder, Run, temper, tuned


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- Moves --------------------------------------------------------------------------------------------


@given(st.floats(-50, 50), st.floats(0.1, 3))
def test_a_mirrored_value_lies_in_the_box_and_stays_if_it_was_there(value, half):
    found, turned = reflected(value, half)
    assert -half - 1e-9 <= found <= half + 1e-9
    if abs(value) <= half:
        assert (found, turned) == (pytest.approx(value, abs=1e-9), 1)
    elif abs(value) < 2.9 * half:
        assert turned == -1
    assert reflected(2 * half - value, half)[0] == pytest.approx(found, abs=1e-6)  # the upper wall is a mirror
    assert reflected(value + 4 * half, half)[0] == pytest.approx(found, abs=1e-6)


def test_a_move_goes_there_as_often_as_back():
    """From an even start the flow between the parts of a box is the same in both directions."""
    random, half, count = rng(), 0.7, 40_000
    starts = random.uniform(-half, half, count)
    ends = np.array([moved(value, half, False, random) for value in starts])
    edges = np.linspace(-half, half, 5)
    flow = np.histogram2d(starts, ends, [edges, edges])[0]
    assert np.abs(flow - flow.T).max() < 5 * math.sqrt(flow.max())
    assert moved(1.0, 1.0, True, random) == -1.0


@given(st.floats(-20, 20))
def test_metropolis_rule_balances(odds):
    share = np.mean([accepted(odds, chance) for chance in np.linspace(0, 1, 2001)[:-1]])
    back = np.mean([accepted(-odds, chance) for chance in np.linspace(0, 1, 2001)[:-1]])
    assert share == pytest.approx(back * math.exp(odds), rel=0.01) or min(share, back) < 0.01


@pytest.mark.parametrize("length", [0.05, 0.3, 1.5])
def test_hamiltonian_paths_keep_the_law_of_their_temperature(length):
    """From states of the exact law they lead to states of it: the box is short, so that paths meet its walls."""
    random, beta, count, half = rng(), 6.0, 6000, np.array([1.0, 0.4])
    system = replace(systems.ball(2, guided=True), half=half)
    states = random.uniform(-half, half, (400_000, 2))
    weights = np.exp(-beta * (states**2).mean(1))
    states = states[random.choice(len(states), count, p=weights / weights.sum())]
    before, after = (states**2).copy(), []
    slope, end, end_slope = np.empty(2), np.empty(2), np.empty(2)
    for state in states:
        found = system.gradient(state, system.data, slope)
        reached, odds = travelled(
            state, found, slope, half, system.gradient, system.data, beta, length, random, end, end_slope
        )
        assert reached == pytest.approx(float((end**2).mean())) and (np.abs(end) <= half).all()
        after.append((end if accepted(odds, random.random()) else state) ** 2)
    for moment in (1, 2):
        gap = np.array(after) ** moment - before**moment
        assert (np.abs(gap.mean(0)) < 4 * gap.std(0) / math.sqrt(count)).all()


def test_short_leaps_lose_no_energy():
    system, random = systems.ball(5, guided=True), rng(1)
    state, slope, end, end_slope = random.uniform(-0.9, 0.9, 5), np.empty(5), np.empty(5), np.empty(5)
    found = system.gradient(state, system.data, slope)
    chances = (system.half, system.gradient, system.data, 20.0, 1e-4, random, end, end_slope)
    assert abs(travelled(state, found, slope, *chances)[1]) < 1e-5


# --- Tempering ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def listed() -> tuple[System, np.ndarray, np.ndarray]:
    """A small perceptron, the loss and the test error of each of its states."""
    system = systems.perceptron(9, 7, rng(3))
    states = system.states()
    return system, *(
        np.array([f(s, d) for s in states]) for f, d in ((system.loss, system.data), (system.value, system.test))
    )


def test_each_temperature_keeps_its_law_though_walkers_change_places(listed):
    system, losses, _ = listed
    betas = np.array([0.0, 2.0, 5.0, 12.0])
    run = temper(system, Ladder.of(betas), rng(), 20_000, 9).after(1000)
    for beta, seen in zip(betas, run.losses.T, strict=True):
        weights = np.exp(-beta * losses)
        exact = weights @ losses / weights.sum()
        assert seen.mean() == pytest.approx(exact, abs=0.01)
    assert (run.swapped > 0.05).all() and run.round_trips > 10
    assert sorted(run.walkers[-1]) == [0, 1, 2, 3]


def test_what_states_of_one_loss_are_worth_does_not_depend_on_the_ladder(listed):
    system, losses, errors = listed
    levels = np.unique(losses)
    edges = np.append(levels, 2.0) - 1 / 14
    exact = np.array([errors[losses == level].mean() for level in levels])
    for betas, seed in ((np.array([0.0, 3.0, 8.0, 20.0]), 1), (np.array([0.0, 5.0, 30.0]), 2)):
        run = temper(system, Ladder.of(betas), rng(seed), 20_000, 9).after(1000)
        counts = np.histogram(run.losses, edges)[0]
        found = at_loss(run.losses, run.values, edges)
        assert found[counts > 2000] == pytest.approx(exact[counts > 2000], abs=0.01)


def test_a_tuned_ladder_swaps_about_equally_often_everywhere():
    system = systems.ball(20)
    ladder = tuned(system, 1e5, 14, rng(), 400, 20)
    betas, run = ladder.betas, temper(system, ladder, rng(1), 3000, 20)
    assert betas[0] == 0 and betas[-1] == 1e5 and len(ladder) == 14 and (np.diff(betas) > 0).all()
    assert run.swapped.min() > 0.5 * run.swapped.mean() and run.swapped.max() < 1.6 * run.swapped.mean()


def test_two_starts_agree():
    system, betas = systems.ball(6), np.array([0.0, 3.0, 10.0, 40.0, 150.0])
    low = np.full((5, 6), 1e-3)
    runs = [
        temper(system, Ladder.of(betas), rng(seed), 40_000, 12, start).after(4000)
        for seed, start in ((0, None), (1, low))
    ]
    first, second = (run.losses.mean(0) for run in runs)
    assert first == pytest.approx(second, rel=0.06)


def test_paths_and_single_moves_find_the_same_law():
    ladder = Ladder.of([0.0, 3.0, 10.0, 40.0, 150.0])
    runs = [temper(systems.ball(6, guided), ladder, rng(4), 20_000, 4).after(2000) for guided in (False, True)]
    first, second = (run.losses.mean(0) for run in runs)
    assert first == pytest.approx(second, rel=0.06) and first[-1] == pytest.approx(3 / 150, rel=0.06)
    assert np.isnan(runs[0].taken[0]) and (runs[1].taken[1:] > 0.3).all()


def test_a_run_in_two_parts_is_one():
    system, ladder = systems.ball(4), Ladder.of([0.0, 3.0, 10.0])
    whole = temper(system, ladder, rng(), 40, 5)
    random = rng()
    first = temper(system, ladder, random, 20, 5)
    both = first.then(temper(system, ladder, random, 20, 5, first.states))
    assert both.losses == pytest.approx(whole.losses) and (both.walkers == whole.walkers).all()
    assert both.round_trips == whole.round_trips and both.taken[1:] == pytest.approx(whole.taken[1:])
    assert both.swapped == pytest.approx(whole.swapped)
    every = temper(system, ladder, rng(), 40, 5, every=4)
    assert every.losses == pytest.approx(whole.losses[3::4]) and every.states == pytest.approx(whole.states)


def test_a_round_trip_leads_from_one_end_to_the_other_and_back():
    at = np.array([[0, 1, 2], [1, 0, 2], [1, 2, 0], [1, 0, 2], [0, 1, 2]])  # walker 0: hot, …, cold, …, hot
    run = Run(
        Ladder.of(np.arange(3.0)), np.zeros((5, 3)), np.zeros((5, 3)), at, np.zeros(2), np.zeros(3), np.zeros((3, 1))
    )
    assert run.round_trips == 1
    assert replace(run, walkers=at[[2, 3, 4, 3, 2]]).round_trips == 0  # walker 0: cold, …, hot, …, cold


@njit
def _broken(state, data):
    return np.nan if state[0] > 0.5 else 1.0


@pytest.mark.parametrize("half", [np.zeros(3), np.array([1.0, -1.0]), np.ones((2, 2)), np.array([])])
def test_a_box_without_width_is_refused(half):
    with pytest.raises(ValueError, match="positive half-width"):
        System(_broken, np.zeros(1), half)


@pytest.mark.parametrize("betas", [[1.0], [], [1.0, 0.5], [0.0, 0.0], [-1.0, 2.0]])
def test_a_ladder_that_is_none_is_refused(betas):
    with pytest.raises(ValueError, match="two or more β that grow"):
        Ladder.of(betas)


def test_starts_beyond_the_box_and_losses_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="within the box"):
        temper(systems.ball(3), Ladder.of([0.0, 1.0]), rng(), 1, 1, np.full((2, 3), 1.5))
    with pytest.raises(ArithmeticError, match="not finite"):
        temper(System(_broken, np.zeros(1), np.ones(2)), Ladder.of([0.0, 1.0]), rng(), 50, 20)
    with pytest.raises(ValueError, match="at most|up to 20 signs"):
        systems.ball(3).states()


# --- Joined runs --------------------------------------------------------------------------------------


def test_joined_runs_solve_the_equation_of_weighted_histograms():
    random, betas = rng(), np.array([0.0, 0.4, 1.0])
    levels = np.arange(6.0)
    truth = np.array([1, 6, 15, 20, 15, 6]) / 63
    laws = [truth * np.exp(-b * levels) for b in betas]
    losses = np.stack([random.choice(levels, 20_000, p=law / law.sum()) for law in laws], 1)
    mean, found = entropy(losses, betas, np.arange(7) - 0.5)
    assert mean == pytest.approx(levels) and np.exp(found).sum() == pytest.approx(1)
    assert found == pytest.approx(np.log(truth), abs=0.05)
    share = np.exp(found)
    sizes = (share * np.exp(-np.outer(betas, levels))).sum(1)
    counts = sum(np.bincount(each.astype(int), minlength=6) for each in losses.T)
    again = counts / (20_000 * np.exp(-np.outer(betas, levels)) / sizes[:, None]).sum(0)
    assert again == pytest.approx(share, rel=1e-4)
    with pytest.raises(ValueError, match="β = 0"):
        entropy(losses, betas + 1, np.arange(7) - 0.5)


@pytest.mark.parametrize("make", [oracles.perceptron, oracles.ising])
def test_listed_systems_are_found(make):
    found = make()
    share = np.exp(found.exact)
    seen = np.isfinite(found.entropy)
    assert np.exp(found.entropy) @ seen == pytest.approx(1)
    assert np.abs(found.entropy - found.exact)[share > 0.01] == pytest.approx(0, abs=0.08)
    assert found.run.round_trips > 50


@pytest.mark.parametrize("dimension", [3, 40])
def test_the_balls_slope_and_volume_are_found(dimension):
    found = oracles.ball(dimension, sweeps=3000)
    assert found.slope_error < 0.02
    known = np.isfinite(found.exact) & np.isfinite(found.entropy)
    assert known.sum() > 50 and np.abs(found.entropy - found.exact)[known].max() < 0.03 * abs(found.exact[known].min())


def test_the_balls_share_of_the_box_is_that_of_random_points():
    found, points = oracles.ball(3, sweeps=200), rng().uniform(-1, 1, (400_000, 3))
    losses = (points**2).mean(1)
    edges = oracles._edges()[:-1]
    counts = np.histogram(losses, edges)[0]
    chosen = (counts > 500) & np.isfinite(found.exact)
    assert np.log(counts[chosen] / len(points)) == pytest.approx(found.exact[chosen], abs=0.15)


def test_even_bins_of_several_nats_mislead_the_textbooks_walk_and_weights_between_them_do_not():
    table = oracles.slopes([4, 40], walks=1).set_index(["way", "dimension"]).ratio
    flat, between = "Wang-Landau, flat bins", "Wang-Landau, sloped bins"
    assert table["tempering"].to_numpy() == pytest.approx(1, abs=0.05)
    assert table[flat, 4] == pytest.approx(1, abs=0.05) and abs(table[flat, 40] - 1) > 0.5
    assert table[between].to_numpy() == pytest.approx(1, abs=0.05)


def test_a_walk_of_signs_finds_their_density():
    system = systems.ising(3)
    losses = np.array([system.loss(state, system.data) for state in system.states()])
    levels, counts = np.unique(losses, return_counts=True)
    found = wang_landau.walk(system, np.append(levels, 99.0) - 0.5, rng(), 16, 60_000)
    assert found.entropy - found.entropy[0] == pytest.approx(np.log(counts / counts[0]), abs=0.25)
    assert found.trips > 100 and found.visits.min() > 0.5 * found.visits.mean()


def test_swaps_bring_walkers_into_the_wider_valley_and_moves_alone_do_not():
    found = oracles.valleys(dimension=8, width=1.3, sweeps=20_000)
    assert found.exact == pytest.approx(1.3**4 / (1 + 1.3**4))
    assert found.swapping == pytest.approx(found.exact, abs=0.08) and found.alone == 0 and found.round_trips > 50


def test_the_shares_of_two_valleys_are_those_of_random_points():
    system = systems.valleys(2, 1.5)
    points = rng().uniform(-1, 1, (200_000, 2))
    low = points[[system.loss(point, system.data) < 0.02 for point in points]]
    share = np.mean([system.value(point, system.test) for point in low])
    assert share == pytest.approx(1.5 / 2.5, abs=0.03)


def test_histograms_that_do_not_settle_are_refused():
    random, betas = rng(), np.array([0.0, 1.0, 2.0])
    losses = random.integers(0, 6, (100, 3)).astype(float)
    with pytest.raises(ArithmeticError, match="not settled in 1 rounds"):
        entropy(losses, betas, np.arange(7) - 0.5, rounds=1)


# --- Networks -----------------------------------------------------------------------------------------


def torchs(state: np.ndarray, widths: tuple[int, ...]) -> nn.Sequential:
    """The network that a state says, layer by layer."""
    layers, at = [], 0
    for fan, units in zip(widths, widths[1:], strict=False):
        layer = nn.Linear(fan, units, dtype=torch.float64)
        parts = torch.from_numpy(state[at : at + units * (fan + 1)])
        layer.weight.data, layer.bias.data = parts[: units * fan].reshape(units, fan), parts[units * fan :]
        layers += [layer, nn.ReLU()]
        at += units * (fan + 1)
    network = nn.Sequential(*layers[:-1])
    assert at == len(state) == sum(p.numel() for p in network.parameters())
    return network


SHAPES = st.sampled_from([(2, 6, 6, 6, 2), (3, 4, 5), (1, 2, 2), (4, 3, 3, 7)])


@settings(max_examples=20, deadline=None)
@given(SHAPES, st.integers(1, 30), st.integers(0, 1000), st.booleans())
def test_a_networks_loss_gradient_and_value_are_torchs(widths, points, seed, regression):
    random = rng(seed)
    widths = (*widths[:-1], 1) if regression else widths
    x, u = random.normal(size=(2, points + 1, widths[0]))
    y, v = random.normal(size=(2, points + 1)) if regression else random.integers(0, widths[-1], (2, points + 1))
    system = (networks.regressor if regression else networks.classifier)((x, y), (u, v), widths)
    assert (system.half == 2 / math.sqrt(widths[1])).all()
    state = system.uniform(1, random)[0]
    network = torchs(state, widths)
    found, answers = network(torch.from_numpy(x)), torch.from_numpy(y)
    loss = F.mse_loss(found[:, 0], answers) if regression else F.cross_entropy(found, answers)
    loss.backward()
    slopes = torch.cat([p.grad.flatten() for p in network.parameters()]).numpy()
    gradient = np.full(system.size, np.nan)
    assert system.loss(state, system.data) == pytest.approx(loss.item())
    assert system.gradient(state, system.data, gradient) == pytest.approx(loss.item())
    assert gradient == pytest.approx(slopes, rel=1e-9, abs=1e-12)
    found, answers = network(torch.from_numpy(u)).detach(), torch.from_numpy(v)
    value = (found.argmax(1) == answers).double().mean()
    if regression:
        value = 1 - F.mse_loss(found[:, 0], answers) / answers.var(correction=0)
    assert system.value(state, system.test) == pytest.approx(float(value))


def test_a_dead_network_answers_by_its_biases_alone():
    x, y = rng().normal(size=(10, 2)), np.repeat([0, 1], 5)
    system = networks.classifier((x, y), (x, y), (2, 3, 2))
    state = np.zeros(system.size)
    state[6:9] = -5.0  # hidden biases: every unit is off
    state[-2:] = [0.3, -0.4]
    p = 1 / (1 + math.exp(-0.7))
    assert system.loss(state, system.data) == pytest.approx(-0.5 * math.log(p * (1 - p)))
    assert system.loss(state, system.data) >= math.log(2) and system.value(state, system.test) == 0.5
