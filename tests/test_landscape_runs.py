"""The experiment on entropy landscapes: optimisers against a loop as a user would write it, tasks, bins, records,
outcomes and trends of made-up records.
"""

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike

from replication import published
from replication.data.dataset import folder
from replication.experiments.landscape import experiment, tasks
from replication.experiments.landscape.bins import EDGES, Visits, of_trial, places
from replication.experiments.landscape.config import EVEN, TEMPERING, TRAINED
from replication.experiments.landscape.experiment import LANDSCAPE
from replication.landscape import networks, optimisers
from replication.sweep.run import run as sweep
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope
from replication.verdicts.cells import effects
from replication.verdicts.landscape import Trend, published_gains
from replication.verdicts.levels import Level
from replication.verdicts.reanalysis import CHECKS
from tests.helpers import QUIET
from tests.test_landscape import torchs

WIDTHS = (2, 4, 4, 2)
TREND = Trend.model_validate(
    {"kind": "trend", "experiment": "landscape", "data": "spirals", "measure": "over_adam_glorot", "over": "width",
     "claimed": {"below": 0}, "by": ["width"], "runs": ["21"]}
)  # fmt: skip


def problems(*seeds: int, examples: int = 40) -> list[optimisers.Problem]:
    return [tasks.spirals(seed, examples) for seed in seeds]


# --- Optimisers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", list(optimisers.WAYS))
def test_a_stack_trains_as_each_network_by_itself(way):
    """Batches of all points, so that no chance but the start is left."""
    first, *_, last = optimisers.train(problems(0, 1), [0, 1], WIDTHS, way, "PyTorch", 3, 6, 1000, 6)
    for k, problem in enumerate(problems(0, 1)):
        x, y = (torch.from_numpy(each) for each in problem.train)
        for run in range(3):
            network = torchs(first.states[k, run], WIDTHS).float()
            optimiser = optimisers.WAYS[way](list(network.parameters()))
            for _ in range(6):
                optimiser.zero_grad()
                F.cross_entropy(network(x.float()), y).backward()
                optimiser.step()
            found = torch.cat([p.detach().flatten() for p in network.parameters()]).numpy()
            assert last.states[k, run] == pytest.approx(found, abs=2e-5)
            assert last.loss[k, run] == pytest.approx(F.cross_entropy(network(x.float()), y).item(), abs=1e-5)


def test_a_problems_networks_do_not_depend_on_what_is_trained_beside_them():
    alone, beside = (
        list(optimisers.train(problems(*seeds), seeds, WIDTHS, "Adam", "Glorot", 3, 4, 16, 4))
        for seeds in ([1], [0, 1])
    )
    for one, two in zip(alone, beside, strict=True):
        assert two.states[1] == pytest.approx(one.states[0], abs=1e-6) and len(one.states[0]) == 3


@pytest.mark.parametrize("start", optimisers.STARTS)
def test_starts_have_their_scales_and_the_clamp_holds(start):
    states = optimisers.drawn(start, 400, WIDTHS, torch.Generator().manual_seed(0))
    first, biases = states[:, :8], states[:, 8:12]
    scale = {"PyTorch": 2**-0.5}.get(start, 1.0)
    assert scale * 0.95 < first.abs().max() <= scale
    assert biases.abs().max() <= (0 if start.startswith("Glorot") else scale)


def test_only_a_clamp_keeps_networks_in_the_box():
    half = networks.half_width(WIDTHS)
    for start in ("box", "box clamped"):
        *_, last = optimisers.train(problems(0), [0], WIDTHS, "SGD", start, 4, 150, 40, 150)
        assert (np.abs(last.states).max() <= half + 1e-6) == (start == "box clamped")


def test_an_unknown_start_is_named_with_those_there_are():
    with pytest.raises(KeyError, match="'warm'; known: Glorot, PyTorch, box, Glorot clamped, box clamped"):
        optimisers.drawn("warm", 1, WIDTHS, torch.Generator())


# --- Tasks and bins -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [tasks.SPIRALS, tasks.DIABETES, tasks.LETTERS])
def test_a_task_is_drawn_by_its_seed_and_its_parts_share_no_point(name):
    first, again, other = (tasks.TASKS[name].draw(seed, 40) for seed in (3, 3, 4))
    assert (first.train[0] == again.train[0]).all() and (first.train[0] != other.train[0]).any()
    assert len(first.train[1]) == len(first.validation[1]) == 40 and len(first.test[1]) > 300
    widths = tasks.widths(first, 5, 2)
    system = tasks.system(first, widths)
    assert widths[1:3] == (5, 5) and system.size == sum(b * (a + 1) for a, b in zip(widths, widths[1:], strict=False))
    if name != tasks.LETTERS:  # pairs of letters come again
        parts = [set(map(tuple, part[0])) for part in (first.train, first.validation, first.test)]
        assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_a_larger_draw_of_spirals_holds_the_smaller_one_and_the_same_test_set():
    small, large = problems(2)[0], tasks.spirals(2, 160)
    assert set(map(tuple, small.train[0])) < set(map(tuple, large.train[0]))
    assert (small.test[0] == large.test[0]).all()
    x, arm = large.test
    radius = np.linspace(1, 5, 2000)
    for turned in (0, 1):
        angle = 2 * radius + np.pi * turned
        curve = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
        distance = np.linalg.norm(x[arm == turned][:, None] - curve, axis=2).min(1)
        assert distance.max() < 0.5 and 0.05 < distance.mean() < 0.11
    assert (np.bincount(arm) == 500).all()


def test_bins_count_visits_or_owners():
    losses, values = np.exp([-1.9, -1.9, -1.8, -0.1, 9.0]), np.array([0.2, 0.4, 0.9, 0.5, 0.1])
    seen = Visits.of(losses, values, np.array([0, 0, 1, 1, 1]), 2)
    each, once = seen.of_all().set_index("point"), seen.of_owners().set_index("point")
    low, high = places(np.exp([-1.9, -0.1]))
    assert each["count"][low] == 3 and each.value[low] == pytest.approx(0.5) and each.visited[low] == 2
    assert each.square[low] == pytest.approx((0.04 + 0.16 + 0.81) / 3) and each["count"].sum() == 4  # one lies beyond
    assert once["count"][low] == 2 and once.value[low] == pytest.approx((0.3 + 0.9) / 2)
    assert once.square[low] == pytest.approx((0.09 + 0.81) / 2)
    assert once["count"][high] == 1 and once.visited[high] == 2  # both have come lower
    assert np.isnan(once.value[0]) and (seen + seen).of_owners().value.equals(seen.of_owners().value)


@pytest.mark.parametrize("repeats", [1, 10])
def test_a_state_that_comes_again_is_no_other_state(repeats):
    """Draws without memory are as many as they are; of draws that each stand ten times there are a tenth."""
    random, draws, blocks, points = np.random.default_rng(repeats), 10, 20, 500
    values = np.repeat(random.random((points, blocks, draws)), repeats, axis=2)
    frames = [
        pd.DataFrame(
            {"point": point, "epoch": range(1, blocks + 1), "value": each.mean(1), "square": (each**2).mean(1)}
        )
        for point, each in enumerate(values)
    ]
    warming = pd.DataFrame({"point": range(points), "epoch": 0, "value": 9.0, "square": 81.0})
    rows = pd.concat([warming, *frames], ignore_index=True).assign(count=draws * repeats, visited=1)
    found = of_trial(rows, sampler=True)
    assert (1 / found.effective).mean() == pytest.approx(1 / (blocks * draws), rel=0.15)
    assert found.value.to_numpy() == pytest.approx(values.mean((1, 2)))


def test_the_parts_of_a_run_that_do_not_agree_are_few_states():
    """A walk that stays at one value in each half: no more is known than two states would say."""
    rows = pd.DataFrame({"point": 3, "epoch": range(21), "value": np.repeat([0.0, 1.0], [11, 10]), "visited": 1})
    found = of_trial(rows.assign(square=rows.value**2, count=1000), sampler=True)
    assert 2 < found.effective[3] < 4


# --- Records ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Store:
    store = Store(tmp_path_factory.mktemp("landscape"))
    trials = LANDSCAPE.trials(
        *(plan.but(horizon=2, sweeps=40, **({"count": 8} if plan["way"] == (TEMPERING,) else {}))
          for plan in LANDSCAPE.profiles["quick"])
    )  # fmt: skip
    assert sweep(LANDSCAPE, trials, store, QUIET) == len(trials) == 4
    return store


def test_a_record_is_valid_and_holds_the_entropy_and_some_states(quick):
    assert quick.validate({"landscape": LANDSCAPE.columns}) == []
    table = LANDSCAPE.summarised(quick).set_index(["way", "start"])
    assert (table.scope == "quick").all()
    kept = quick.artefacts(table.file[TEMPERING, EVEN], "landscape")
    assert kept["counts"].sum() > 0.9 * 8 * 2 * 40 / 4 and kept["both"].sum() == kept["counts"].sum()
    assert kept["states"].shape == (len(kept["points"]), 2 * 4 + 4 + 4 * 4 + 4 + 4 * 2 + 2)
    assert not quick.artefacts(table.file[TEMPERING, TRAINED], "landscape")
    cold = quick.curves("landscape")
    assert {"visited", "swapped", "trips"} <= set(cold) and cold.groupby("trial").epoch.max().eq(2).all()


def test_states_that_are_kept_lie_in_the_bins_that_they_are_said_to_be_of(quick):
    table = LANDSCAPE.summarised(quick).set_index(["way", "start"])
    kept = quick.artefacts(table.file[TEMPERING, EVEN], "landscape")
    problem = tasks.spirals(0, 40)
    system = tasks.system(problem, tasks.widths(problem, 4, 2))
    for state, point in zip(kept["states"].astype(float), kept["points"], strict=True):
        log = np.log(system.loss(np.clip(state, -system.half, system.half), system.data))
        assert EDGES[point] - 0.02 < log < EDGES[point + 1] + 0.02  # kept in half precision


# --- Published numbers and trends ---------------------------------------------------------------------


def test_the_published_numbers_are_those_of_the_authors_files():
    files = folder() / "high-entropy-advantage"
    if not files.exists():
        pytest.skip("the authors' files are not here")
    assert published.derived(files).equals(published.mnist())


def test_the_published_gains_are_told_as_they_are():
    gains = published_gains()
    assert gains.index.tolist() == [2, 3, 4] and CHECKS.result("published_outperform")[0] == "partly"
    assert gains[2] > 0.05 and gains[3] < 0 < gains[4] and CHECKS.result("published_narrower")[0] == "fails"


@pytest.mark.parametrize(("slope", "verdict"), [(-0.03, "holds"), (0.03, "fails"), (0.0, "undecided")])
def test_a_trend_is_the_slope_per_doubling(slope, verdict):
    """Of made-up outcomes with a slope of their own, whatever each draw adds at all widths."""
    asked = {(width, 700.0): set(range(8)) for width in (6, 8, 12)}
    rows = [
        {"seed": seed, "width": width, "coldest": 700.0, "over_adam_glorot": 0.1 * seed + slope * np.log2(width)}
        for width, _ in asked
        for seed in range(8)
    ]
    noise = np.random.default_rng(1).normal(0, 0.01, len(rows))
    table = pd.DataFrame(rows).assign(over_adam_glorot=lambda t: t.over_adam_glorot + noise)
    (cell,) = TREND.cells(asked, table)
    assert cell.values.mean() == pytest.approx(slope, abs=0.02) and not cell.missing and not cell.open
    assert TREND.status(effects([cell]), [cell]) == verdict
    (cell,) = TREND.cells(asked, table[(table.seed > 0) | (table.width < 12)])
    assert cell.missing == 1 and cell.open and TREND.cells({}, table) == []


def test_a_draw_without_its_measure_is_missing_and_not_left_out():
    given = TREND.model_dump(exclude={"kind", "over"})
    level = Level.model_validate(given | {"kind": "level", "claimed": {"above": 0}})
    table = pd.DataFrame({"seed": range(8), "width": 6, "coldest": 700.0, "over_adam_glorot": 0.1, "diverged": False})
    table.loc[3, "over_adam_glorot"] = np.nan
    (cell,) = level.cells({(6, 700.0): set(range(8))}, table)
    assert cell.missing == 1 and cell.open and len(cell.values) == 7


# --- Outcomes -----------------------------------------------------------------------------------------

_NET = {"width": 6, "depth": 3, "examples": 40, "horizon": 2, "sweeps": 5000}


def made(
    store: Store, seed: int, way: str, start: str, value: ArrayLike, visited: float = 20.0, data: str = tasks.SPIRALS,
    coldest: float = 1000.0, **said: float,
) -> None:  # fmt: skip
    """A record in which every bin has its value in all blocks."""
    sampler = way == TEMPERING
    config = {**_NET, "way": way, "start": start, "coldest": coldest * sampler, "count": 20, "moves": 2}
    plan = experiment.Plan.of(data, [seed], **config)
    trial = LANDSCAPE.trials(plan)[0]
    value = np.broadcast_to(value, len(EDGES) - 1)
    own: dict[str, ArrayLike] = (
        {"swapped": 0.5, "trips": 9.0, "together": value + 0.02} if sampler else {"stopped": 0.0}
    )
    bins = np.arange(len(EDGES) - 1)
    frames = [
        pd.DataFrame({"trial": trial.id, "epoch": epoch, "point": bins, "count": 10.0, "value": value,
                      "square": value**2 + 0.01, "visited": visited, **own, **said})
        for epoch in range(3)
    ]  # fmt: skip
    provenance = dict.fromkeys(("library", "source", "python", "torch", "device", "started"), "x")
    store.write(
        [trial], StackResult(pd.concat(frames)), [Scope("reduced", "made up")],
        provenance | {"threads": 1, "wall_seconds": 0.0},
    )  # fmt: skip


def outcome(store: Store) -> pd.Series:
    table = LANDSCAPE.summarised(store)
    return table[(table.way == TEMPERING) & (table.start == EVEN)].iloc[0]


def test_equilibrium_is_compared_at_equal_loss(tmp_path):
    store = Store(tmp_path)
    made(store, 0, TEMPERING, EVEN, 0.798)
    made(store, 0, TEMPERING, TRAINED, 0.802)
    made(store, 0, "Adam", "Glorot", 0.70, stopped=0.72)
    made(store, 0, "Adam", "box clamped", 0.76)
    made(store, 0, "SGD", "Glorot", 0.74, visited=14.0)  # of 20: too few
    found = outcome(store)
    assert found.equilibrated == 1 and found.starts == pytest.approx(found.worst) == pytest.approx(0.004)
    assert found.over_adam_glorot == pytest.approx(0.1) and found.over_adam_box_clamped == pytest.approx(0.04)
    assert found.prior == pytest.approx(0.06) and found.ratio_adam_glorot == pytest.approx(8 / 7)
    assert found.over_stopped == pytest.approx(0.08) and found.together == pytest.approx(0.02)
    assert found.errors_adam_glorot == pytest.approx(np.log(0.3 / 0.2))
    assert np.isnan(found.over_sgd_glorot) and np.isnan(found.over_adam_box)
    assert found.spread == pytest.approx(0.1) and found.deep_adam_glorot == pytest.approx(0.1)


def test_of_two_ladders_the_colder_one_counts(tmp_path):
    store = Store(tmp_path)
    for start in (EVEN, TRAINED):
        made(store, 0, TEMPERING, start, 0.6)
        made(store, 0, TEMPERING, start, 0.8, coldest=2000.0)
    made(store, 0, "Adam", "Glorot", 0.7)
    assert len(LANDSCAPE.summarised(store)) == 3 and outcome(store).over_adam_glorot == pytest.approx(0.1)


@pytest.mark.parametrize("fault", ["swaps", "trips", "starts", "no other start"])
def test_a_run_that_has_not_equilibrated_decides_nothing(tmp_path, fault):
    store = Store(tmp_path)
    wrong = {"swaps": {"swapped": 0.1}, "trips": {"trips": 4.0}}.get(fault, {})
    made(store, 0, TEMPERING, EVEN, 0.8)
    if fault != "no other start":
        made(store, 0, TEMPERING, TRAINED, 0.82 if fault == "starts" else 0.8, **wrong)
    made(store, 0, "Adam", "Glorot", 0.7)
    found = outcome(store)
    assert found.equilibrated == 0 and np.isnan(found.over_adam_glorot)


@pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)
def test_windows_are_whole_bins_one_below_the_other(task):
    for window in (task.window, task.deep):
        bins = experiment._within(window)
        assert EDGES[bins[0]] == window[0] and EDGES[bins[-1] + 1] == window[1]
    assert task.deep[1] == task.window[0]


def test_each_task_is_compared_in_its_own_window(tmp_path):
    """What stands in the windows of the others is not seen."""
    store = Store(tmp_path)
    low, high = tasks.TASKS[tasks.LETTERS].window
    inside = (EDGES[:-1] >= low) & (EDGES[1:] <= high)
    for way, start, value in ((TEMPERING, EVEN, 0.8), (TEMPERING, TRAINED, 0.8), ("Adam", "Glorot", 0.7)):
        made(store, 0, way, start, np.where(inside, value, 0.1), data=tasks.LETTERS)
    assert outcome(store).over_adam_glorot == pytest.approx(0.1) and outcome(store).value == pytest.approx(0.8)
