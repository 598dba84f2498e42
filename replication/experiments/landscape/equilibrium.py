"""A network in equilibrium: a ladder tuned, warmed and run in blocks; what states of each bin of the loss are worth."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from scipy.special import softmax

from replication.experiments.landscape import tasks
from replication.experiments.landscape.bins import EDGES, KEPT, Visits, listed, places
from replication.experiments.landscape.config import TRAINED, LandscapeConfig
from replication.landscape import networks, optimisers
from replication.landscape.optimisers import Problem
from replication.landscape.tempering import Run, temper, tuned
from replication.sweep.store import Array

_TUNING = 400  # sweeps of a round of tuning
_EVERY = 4  # sweeps between two that are kept
# Walkers that do not start evenly: epochs of their training, and of how many the lowest is taken.
_TRAINING, _TRIED = 3000, 3
_APART = 10_000  # their seeds are not those of the optimisers that are compared
# Finer bins for the entropy, and bins of the value.
FINE = np.linspace(EDGES[0], EDGES[-1], 81)
VALUES = np.linspace(-1, 1, 101)


def sampled(
    problem: Problem, layers: tuple[int, ...], config: LandscapeConfig, seed: int, tick: Callable[[], object]
) -> tuple[pd.DataFrame, Mapping[str, Array]]:
    """The bins of each block, and of the whole run what its density of states needs, and some states.

    Block 0 is the warming, a quarter as long as the rest; walkers start evenly or as Adam trained them in the box.
    """
    system, from_low_loss = tasks.system(problem, layers), config.start == TRAINED
    random = np.random.default_rng([seed, len(layers), *layers, len(problem.train[1]), int(from_low_loss)])
    ladder = tuned(system, config.coldest, config.count, random, min(_TUNING, config.sweeps), config.moves)
    states = _at_low_loss(problem, seed, layers, config.count) if from_low_loss else None

    def block(sweeps: int, states: Array | None) -> Run:
        return temper(system, ladder, random, sweeps, config.moves, states, _EVERY)

    run = block(max(_EVERY, config.horizon * config.sweeps // 4), states)
    frames, kept = [_rows(run, run, 0)], list[Run]()
    whole: Run | None = None
    for number in range(1, config.horizon + 1):
        run = block(config.sweeps, run.states)
        whole = whole.then(run) if whole else run
        kept.append(run)
        frames.append(_rows(run, whole, number))
        tick()
    assert whole
    some = _some(kept, random)
    curves = pd.concat(frames, ignore_index=True)
    together = {point: _together(each, problem, layers) for point, each in some.items() if len(each) == KEPT}
    if together:
        curves["together"] = curves.point.map(together).astype(float).where(curves.epoch == config.horizon)
    return curves, {} if from_low_loss else _density(whole) | listed(some)


def _at_low_loss(problem: Problem, seed: int, layers: tuple[int, ...], count: int) -> Array:
    """The lowest of the states that Adam finds in the box, from starts of their own, `(count, d)`."""
    *_, last = optimisers.train(
        [problem], [seed + _APART], layers, "Adam", "box clamped", _TRIED * count, _TRAINING, 32, _TRAINING
    )
    half = networks.half_width(layers)
    return last.states[0][np.argsort(last.loss[0])[:count]].clip(-half, half)


def _rows(run: Run, whole: Run, block: int) -> pd.DataFrame:
    seen = Visits.of(run.losses.ravel(), run.values.ravel(), run.walkers.ravel(), len(run.ladder))
    return seen.of_all().assign(epoch=block, swapped=whole.swapped.min(), trips=float(whole.round_trips))


def _some(blocks: list[Run], random: np.random.Generator) -> dict[int, Array]:
    """Of the states in which blocks ended as many of each bin as are kept."""
    states, at = (
        np.concatenate([run.states for run in blocks]),
        places(np.concatenate([run.losses[-1] for run in blocks])),
    )
    order = random.permutation(len(states))
    return {point: states[order[at[order] == point][:KEPT]] for point in np.unique(at) if 0 <= point < len(EDGES) - 1}


def _together(states: Array, problem: Problem, layers: tuple[int, ...]) -> float:
    """What the mean of their outputs, or of their probabilities, is worth on the test set."""
    inputs, answers = problem.test
    found = np.array([networks.outputs(each, np.ascontiguousarray(inputs.T), np.array(layers)) for each in states])
    if problem.regression:
        return float(1 - ((found.mean(0)[0] - answers) ** 2).mean() / answers.var())
    return float((softmax(found, axis=1).mean(0).argmax(0) == answers).mean())


def _density(run: Run) -> dict[str, Array]:
    """Histograms of the loss at each β, the mean loss of their bins, and of loss and value together."""
    logs = np.log(run.losses)
    counts = np.array([np.histogram(each, FINE)[0] for each in logs.T])
    sums = np.histogram(logs, FINE, weights=run.losses)[0]
    both = np.histogram2d(logs.ravel(), run.values.ravel().clip(-1, 1), [FINE, VALUES])[0]
    mean = sums / np.maximum(counts.sum(0), 1)
    return {"betas": run.ladder.betas, "counts": counts.astype(np.int32), "mean": mean, "both": both.astype(np.int32)}
