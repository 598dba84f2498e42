"""Techniques side by side: each held against what a user would write, and the measures against closed forms."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from replication.data.dataset import Dataset
from replication.experiments.experiment import Plan
from replication.experiments.management import experiment, measures, tables
from replication.experiments.management.experiment import MANAGEMENT, STRENGTHS, train_stack
from replication.experiments.management.network import CLASSES, UNITS, Draws, Networks, Norm
from replication.experiments.management.techniques import TECHNIQUES, cross_entropy, entropy
from replication.experiments.registry import EXPERIMENTS
from replication.sweep.run import Where, run
from replication.sweep.store import Store

SEEDS = (3, 8)


DIGIT, PHOTO = (1, 8, 8), (3, 16, 16)


def networks(shape=DIGIT, normalised=False):
    return Networks(Draws.of(SEEDS, 2), shape, normalised)


def trials(technique, strength, seeds=SEEDS, horizon=2, **settings):
    shared = {"technique": technique, "strength": strength, "horizon": horizon, "examples": 100} | settings
    return MANAGEMENT.trials(Plan.of("digits", seeds, **shared))


def curves(stack):
    return train_stack(stack, "cpu", lambda: None).curves.set_index(["trial", "epoch"])


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_a_trial_takes_the_same_steps_in_a_stack_and_alone(technique):
    stack = trials(technique, STRENGTHS.get(technique, [0.0])[-1])
    smooth = [
        "train_loss",
        "validation_nll",
        "test_nll",
        "entropy_test",
        "entropy_hidden",
        "entropy_map",
        "entropy_inputs",
    ]
    together = curves(stack)[smooth]  # accuracies and bins jump where rounding tips an image over
    for trial in stack:
        np.testing.assert_allclose(curves([trial])[smooth], together.loc[[trial.id]], rtol=2e-3, atol=1e-4)


def test_the_stack_is_the_network_a_user_would_write():
    found = networks()
    images = torch.randn(2, 5, *DIGIT)
    for seed in range(2):
        layers = []
        for name in ("first", "middle", "last"):
            layer = nn.Linear(*reversed(found.weights[name][seed].shape))
            layer.weight.data, layer.bias.data = found.weights[name][seed], found.biases[name][seed, 0] + 0.3
            layers.append(layer)
        first = F.gelu(layers[0](images[seed].flatten(1)))
        hidden = first + F.gelu(layers[1](first))
        for bias in found.biases.values():
            bias[seed] += 0.3
        torch.testing.assert_close(found.hidden(images)[seed], hidden)
        torch.testing.assert_close(found.logits(found.hidden(images))[seed], layers[2](hidden))


@pytest.mark.parametrize("normalised", [False, True])
def test_pictures_in_colour_go_through_the_convolutions_a_user_would_write(normalised):
    found = networks(PHOTO, normalised)
    images = torch.randn(2, 5, *PHOTO)
    for seed in range(2):
        parts = []
        for name in found.filters:
            weight, bias = found.weights[name][seed], torch.rand(found.biases[name].shape[2])
            found.biases[name][seed, 0] = bias
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, stride=2, padding=1)
            layer.weight.data, layer.bias.data = weight, bias
            parts += [layer, *([nn.BatchNorm2d(weight.shape[0])] if normalised else []), nn.GELU()]
        seen = nn.Sequential(*parts, nn.AvgPool2d(2), nn.Flatten())(images[seed])
        first = F.linear(seen, found.weights["first"][seed])
        branch_of = F.gelu(F.batch_norm(first, None, None, training=True) if normalised else first)
        second = F.linear(branch_of, found.weights["middle"][seed])
        expected = branch_of + F.gelu(F.batch_norm(second, None, None, training=True) if normalised else second)
        torch.testing.assert_close(found.hidden(images, training=True)[seed], expected, rtol=1e-4, atol=1e-5)


def photographs(name, fingerprint="made up"):
    """A data set of little pictures in colour, under the name of the digits."""
    generator = torch.Generator().manual_seed(0)
    counts = {"train": 120, "validation": 40, "test": 50}
    images = {split: torch.rand(count, *PHOTO, generator=generator) for split, count in counts.items()}
    labels = {split: torch.randint(0, CLASSES, (count,), generator=generator) for split, count in counts.items()}
    return Dataset(name, images, labels, fingerprint, "")


@pytest.mark.parametrize("technique", ["batch norm", "augmentation", "usual combination"])
def test_in_colour_too_a_trial_takes_the_same_steps_in_a_stack_and_alone(technique, monkeypatch):
    monkeypatch.setattr(experiment, "load", photographs)
    experiment._plain_inputs.cache_clear()
    stack = trials(technique, STRENGTHS[technique][-1])
    smooth = ["train_loss", "validation_nll", "test_nll", "entropy_hidden", "entropy_map", "entropy_inputs"]
    together = curves(stack)[smooth]
    for trial in stack:
        np.testing.assert_allclose(curves([trial])[smooth], together.loc[[trial.id]], rtol=2e-3, atol=1e-3)
    experiment._plain_inputs.cache_clear()


def test_the_norms_of_the_convolutions_are_trained_and_keep_what_they_saw():
    found, images = networks(PHOTO, normalised=True), 3 + torch.randn(2, 50, *PHOTO)
    theirs = [nn.BatchNorm2d(16) for _ in range(2)]
    with torch.no_grad():
        for _ in range(3):
            found.hidden(images, training=True)
            for seed, norm in enumerate(theirs):
                norm(F.conv2d(images[seed], found.weights["edges"][seed], stride=2, padding=1))
    for seed, norm in enumerate(theirs):
        values = F.conv2d(images[seed], found.weights["edges"][seed], stride=2, padding=1)
        ours = found.channel_norms["edges"][seed](values[None], False)[0]
        torch.testing.assert_close(ours, norm.eval()(values), rtol=1e-4, atol=1e-4)
    scales = [norm.scale for each in found.channel_norms.values() for norm in each]
    assert len(scales) == 4 and all(any(scale is each for each in found.parameters()) for scale in scales)


def test_normalisation_is_torchs_for_each_network():
    ours, theirs = Norm(2, UNITS), [nn.BatchNorm1d(UNITS) for _ in range(2)]
    ours.scale += torch.arange(2.0)[:, None, None]
    for number, norm in enumerate(theirs):
        norm.weight.data += number
    for _ in range(3):
        values = 2 * torch.randn(2, 7, UNITS) + 1
        expected = torch.stack([norm(part) for norm, part in zip(theirs, values, strict=True)])
        torch.testing.assert_close(ours(values, True), expected)
    expected = torch.stack([norm.eval()(part) for norm, part in zip(theirs, values, strict=True)])
    torch.testing.assert_close(ours(values, False), expected)


def logits_and_labels(count=50):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, count, CLASSES, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(0, CLASSES, (2, count), generator=generator)


def test_smoothing_trains_towards_the_labels_it_says():
    logits, labels = logits_and_labels()
    technique = TECHNIQUES["smoothing"](0.2)
    target = 0.8 * F.one_hot(labels, CLASSES) + 0.2 / CLASSES
    expected = -(target * logits.log_softmax(-1)).sum(-1).mean(1)
    torch.testing.assert_close(technique.loss(logits, labels, None), expected)
    assert technique.label_entropy(None) == pytest.approx(float(-(target * target.log()).sum(-1).mean()))


def test_entropy_regularisation_has_the_gradient_of_the_divergence_from_even_odds():
    logits, labels = logits_and_labels()
    ours = torch.autograd.grad(TECHNIQUES["entropy"](0.3).loss(logits, labels, None).sum(), logits)[0]
    even = torch.full_like(logits, 1 / CLASSES)
    divergence = (logits.softmax(-1) * (logits.log_softmax(-1) - even.log())).sum(-1).mean(1)
    theirs = torch.autograd.grad((cross_entropy(logits, labels) + 0.3 * divergence).sum(), logits)[0]
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_distillation_is_the_divergence_from_the_teacher_and_hot_teachers_say_little():
    logits, labels = logits_and_labels()
    teacher = logits_and_labels()[0].detach().flip(0)
    soft = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=teacher / 2), torch.distributions.Categorical(logits=logits / 2)
    )
    found = TECHNIQUES["distillation"](2.0).loss(logits, labels, teacher)
    torch.testing.assert_close(found, (cross_entropy(logits, labels) + 4 * soft.mean(1)) / 2)
    assert TECHNIQUES["distillation"](1e4).label_entropy(teacher) == pytest.approx(math.log(CLASSES), abs=1e-5)


def test_the_bottleneck_pays_for_what_a_normal_variable_tells():
    technique, found = TECHNIQUES["bottleneck"](0.5), networks()
    technique.start(found, Draws.of(SEEDS, 2))
    found.extra["spread"] += 0.01
    hidden = torch.randn(2, 9, UNITS)
    technique.inside(found, Draws.of(SEEDS, 4)).last(hidden)
    deviation = (found.extra["level"] + hidden @ found.extra["spread"].mT).exp()
    even = torch.distributions.Normal(0.0, 1.0)
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(hidden, deviation), even).sum(-1).mean(1)
    torch.testing.assert_close(technique.penalty(found), 0.5 * expected)


def test_masks_drop_as_often_as_they_say_keep_the_mean_and_have_their_entropy():
    ones = torch.ones(2, 4000, UNITS)
    dropout, depth = TECHNIQUES["dropout"](0.3), TECHNIQUES["stochastic depth"](0.3)
    units = dropout.inside(networks(), Draws.of(SEEDS, 4)).units(ones)
    branch = depth.inside(networks(), Draws.of(SEEDS, 4)).branch(ones)
    for found in (units, branch):
        assert float((found == 0).float().mean()) == pytest.approx(0.3, abs=0.02)
        assert float(found.mean()) == pytest.approx(1, abs=0.03)
    assert ((branch == 0).all(2) | (branch != 0).all(2)).all()  # whole layers, one image at a time
    one = torch.distributions.Bernoulli(0.3).entropy().item()
    assert (dropout.mask_entropy(), depth.mask_entropy()) == pytest.approx((2 * UNITS * one, one))


def test_augmentation_moves_images_and_leaves_them_alone_at_strength_nought(monkeypatch):
    images = torch.rand(2, 3, *DIGIT)
    torch.testing.assert_close(TECHNIQUES["augmentation"](0.0).images(images, Draws.of(SEEDS, 4)), images)
    square = images.view(2, 3, 8, 8)

    def moved(angle: float, along: float, across: float, zoom: float, strength: float = 1.0) -> torch.Tensor:
        """The images when these are drawn, of -1 to 1."""
        given = (torch.tensor([angle, along, across, zoom]) + 1) / 2
        monkeypatch.setattr(Draws, "uniform", lambda self, *shape: given.expand(2, 3, 4).mT)
        return TECHNIQUES["augmentation"](strength).images(images, Draws.of(SEEDS, 4)).view(2, 3, 8, 8)

    torch.testing.assert_close(moved(0, 0.5, 0, 0)[..., :-1], square[..., 1:])  # by one pixel of the two
    torch.testing.assert_close(moved(0, 0, 0.5, 0)[..., :-1, :], square[..., 1:, :])
    turned = moved(1, 0, 0, 0, strength=6.0)  # 90 degrees
    torch.testing.assert_close(turned, square.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    half = moved(0, 0, 0, 1, strength=1 / 0.15)  # read off twice as far from the middle: half as large
    assert (half[..., 0, :] == 0).all() and not (half[..., 3, 3] == 0).any()


def test_proximal_steps_make_exact_zeros_and_the_others_do_not():
    found = curves(trials("L1", 3.0, horizon=3)).zeros.dropna()
    plain = curves(trials("none", 0.0, horizon=3)).zeros.dropna()
    assert (found > 0.05).all() and (plain == 0).all()


def test_the_papers_loss_is_the_log_determinant_of_the_middle_layer():
    found = networks()
    value = TECHNIQUES["log-det"](2.0).penalty(found)
    torch.testing.assert_close(value, -2 * torch.linalg.slogdet(found.weights["middle"]).logabsdet)


def test_the_combination_is_its_parts():
    found, parts = TECHNIQUES["combination"](0.1), [TECHNIQUES[name](0.1) for name in ("smoothing", "dropout")]
    logits, labels = logits_and_labels()
    torch.testing.assert_close(found.loss(logits, labels, None), parts[0].loss(logits, labels, None))
    assert found.mask_entropy() == parts[1].mask_entropy() and found.normalised
    started = networks()
    found.start(started, Draws.of(SEEDS, 2))
    square = started.weights["middle"]
    torch.testing.assert_close(square @ square.mT, torch.eye(UNITS).expand(2, -1, -1), atol=1e-5, rtol=0)


# --- Measures ------------------------------------------------------------------------------------------


def test_the_calibration_error_is_the_sum_over_bins_written_out():
    logits, labels = logits_and_labels(75)
    logits = logits.detach()
    for network, found in enumerate(measures.calibration_error(logits, labels)):
        confidence, predicted = logits[network].softmax(-1).max(-1)
        right = (predicted == labels[network]).double()
        order = confidence.argsort().tolist()
        bins = [order[5 * k : 5 * k + 5] for k in range(measures.BINS)]
        expected = sum(len(b) * abs(float(confidence[b].mean() - right[b].mean())) for b in bins) / 75
        assert float(found) == pytest.approx(expected)


def test_the_temperature_undoes_a_scale_of_the_logits():
    """Labels drawn from softmax(z) are best told by softmax(c z / T) at T = c."""
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(1, 40_000, CLASSES, generator=generator)
    labels = torch.multinomial(logits[0].softmax(-1), 1, generator=generator).T
    assert measures.temperatures(3 * logits, labels).item() == pytest.approx(3, rel=0.03)
    assert measures.temperatures(logits / 2, labels).item() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("dimensions", [1, 4])
def test_the_entropy_of_a_layer_is_that_of_the_normal_with_its_covariance(dimensions):
    root = torch.randn(dimensions, dimensions, dtype=torch.float64)
    values = torch.randn(1, 200_000, dimensions, dtype=torch.float64) @ root.mT + 5
    exact = torch.distributions.MultivariateNormal(torch.zeros(dimensions).double(), root @ root.mT).entropy()
    assert measures.gaussian_entropy(values, 0.0).item() * dimensions == pytest.approx(float(exact), abs=0.02)
    constant = measures.gaussian_entropy(torch.ones(1, 9, dimensions), 0.1).item()
    assert constant == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.01))


def test_the_entropy_of_predictions_is_torchs():
    logits, _ = logits_and_labels()
    torch.testing.assert_close(entropy(logits), torch.distributions.Categorical(logits=logits).entropy())


def test_scrambled_images_share_one_order_for_each_network():
    images = torch.rand(1, 6, 1, 5, 6)
    found = measures.scrambled(images, Draws.of(SEEDS, 5))
    for network in found:
        before, after = images[0].flatten(1), network.flatten(1)
        torch.testing.assert_close(after.sort(1).values, before.sort(1).values)
        (order,) = {
            tuple(int((row == v).nonzero()[0]) for v in image) for row, image in zip(before, after, strict=True)
        }
        assert order != tuple(range(30))
    assert not torch.equal(*found)


# --- Records -------------------------------------------------------------------------------------------


def test_records_hold_every_measure_of_every_technique(tmp_path):
    store = Store(tmp_path / "records")
    stack = [trial for name in ("none", "smoothing", "bottleneck") for trial in trials(name, 0.1 * (name != "none"))]
    run(MANAGEMENT, stack, store)
    assert store.validate({"management": MANAGEMENT.columns}) == []
    table = MANAGEMENT.summarised(store)
    assert (
        len(table) == 6
        and table[[name for name in MANAGEMENT.measures if not name.startswith(("over_rival", "over_part"))]]
        .notna()
        .all()
        .all()
    )
    np.testing.assert_allclose(table.gap, table.test_nll - table.train_nll)
    assert set(table.scope) == {"quick"}


def test_what_trains_on_the_processor_says_so_whatever_device_is_asked_for(tmp_path):
    assert {name for name, each in EXPERIMENTS.items() if not each.on_gpu} == {"landscape", "management", "memory"}
    store = Store(tmp_path / "records")
    run(MANAGEMENT, trials("none", 0.0), store, Where("cuda", progress=False))
    assert store.trials("management").device.str.startswith("CPU").all()


def test_an_unknown_technique_is_named_with_those_that_are_known():
    with pytest.raises(ValueError, match="technique must be one of none, orthogonal.*got 'tea'"):
        train_stack(trials("tea", 1.0), "cpu", lambda: None)


@pytest.mark.parametrize("name", ["dropout", "stochastic depth", "bottleneck"])
def test_in_use_nothing_is_drawn(name):
    """What a technique draws between the layers is drawn in training alone."""
    found, images = networks(), torch.rand(2, 4, *DIGIT)
    technique = TECHNIQUES[name](0.5)
    technique.start(found, Draws.of(SEEDS, 2))
    noise = Draws.of(SEEDS, 4)
    first, second = (found.hidden(images, True, technique.inside(found, noise)) for _ in range(2))
    assert not torch.equal(first, second)
    hidden, logits = measures.seen(found, images)
    torch.testing.assert_close(hidden, found.hidden(images))
    torch.testing.assert_close(logits, found.logits(hidden))


def test_a_network_that_diverges_is_an_outcome_and_leaves_its_neighbours_alone(tmp_path, monkeypatch):
    plain = TECHNIQUES["none"].loss
    monkeypatch.setattr(
        TECHNIQUES["none"], "loss", lambda *given: plain(*given) * torch.tensor([1.0, math.inf]).to(given[1])
    )
    store = Store(tmp_path / "records")
    run(MANAGEMENT, trials("none", 0.0), store)
    assert store.validate({"management": MANAGEMENT.columns}) == []
    table = MANAGEMENT.summarised(store).set_index("seed")
    assert table.diverged.to_dict() == {3: False, 8: True}
    assert np.isfinite(table.loc[3, ["test_nll", "entropy_hidden", "entropy_map"]].astype(float)).all()
    assert table.loc[8, ["test_nll", "entropy_hidden"]].isna().all()


# --- Tables --------------------------------------------------------------------------------------------


def made(**shift):
    """Outcomes of nine techniques at one strength and ten seeds: technique k moves measures by k times their shift."""
    rows, random = [], np.random.default_rng(0)
    for k, seed in product(range(10), range(10)):
        row = {name: random.normal(shift.get(name, 0.0) * k, 1e-3) for name in MANAGEMENT.measures}
        row |= {"validation_nll": float(k), "technique": f"t{k}" if k else "none", "strength": float(k), "seed": seed}
        rows.append(row)
    return pd.DataFrame(rows)


def test_a_gain_that_goes_with_an_entropy_is_found_with_its_sign():
    found = tables.predictions(made(entropy_test=1.0, test_accuracy=2.0, calibration=-1.0))
    one = found[found.entropy == "entropy_test"].set_index("gain")
    assert one.correlation[["test_accuracy", "calibration"]].tolist() == pytest.approx([1, -1])
    assert one.chosen[["test_accuracy", "calibration"]].tolist() == pytest.approx([1, -1])
    assert (one.holm[["test_accuracy", "calibration"]] < 0.05).all()
    others = found[found.entropy != "entropy_test"]
    assert (others.holm > 0.05).all()


def test_one_technique_alone_shows_nothing():
    """An entropy that a single technique moves goes with any gain of that technique; it is no evidence."""
    outcomes = made(test_accuracy=2.0).assign(entropy_inputs=0.0)
    outcomes.loc[outcomes.technique == "t9", "entropy_inputs"] = 5.0
    found = tables.predictions(outcomes).set_index(["entropy", "gain"]).loc["entropy_inputs", "test_accuracy"]
    assert found.p > 0.05 and np.isnan(found.low)


def test_changes_are_paired_by_seed_and_the_strength_is_chosen_on_validation():
    outcomes = made(entropy_test=1.0)
    found = tables.changes(outcomes, ("entropy_test",)).set_index("technique")
    by_hand = [
        (outcomes[outcomes.technique == name].set_index("seed").entropy_test
         - outcomes[outcomes.technique == "none"].set_index("seed").entropy_test).mean()
        for name in found.index
    ]  # fmt: skip
    np.testing.assert_allclose(found.change, by_hand)
    two = pd.concat([outcomes, outcomes.assign(strength=50.0, validation_nll=99.0)])
    assert 50.0 not in tables.chosen(two).strength.to_numpy()


@pytest.mark.parametrize(("rising", "moved"), [(0, -1), (5, 0)])
def test_a_singular_map_is_a_change_without_end_and_its_sign_is_tested(rising, moved):
    """Of one seed of ten the entropy is -∞; the others fall, or half of them rise."""
    outcomes = made(entropy_map=-1.0)
    of = (outcomes.technique == "t9").to_numpy()
    outcomes.loc[of & (outcomes.seed < rising), "entropy_map"] = 1.0
    outcomes.loc[of & (outcomes.seed == 9), "entropy_map"] = -np.inf
    found = tables.arrows(outcomes).set_index(["technique", "measure"]).loc["t9", "entropy_map"]
    assert found.change == -np.inf and (found.low, found.high) == (-np.inf, np.inf)
    assert found.p == pytest.approx(2 * 0.5**10 if rising == 0 else 1.0)
    one = tables.changes(outcomes, ("entropy_map",))
    assert np.isfinite(one[one.technique != "t9"].change).all()
    assert found.moved in (0, moved)  # Holm's rule over all may hide it


def test_arrows_are_drawn_where_a_change_is_shown():
    outcomes = made(entropy_test=1.0, entropy_map=-1.0).assign(entropy_mask=0.0)
    found = tables.arrows(outcomes).set_index(["measure", "technique"]).moved
    assert (found["entropy_test"] == 1).all() and (found["entropy_map"] == -1).all()
    assert (found["entropy_mask"] == 0).all() and (found["entropy_hidden"] == 0).all()


def test_rivals_and_the_usual_rate_are_of_the_same_seed(tmp_path, monkeypatch):
    monkeypatch.setitem(experiment.RIVALS, ("digits", "combination"), ("smoothing", 0.01))
    monkeypatch.setitem(experiment.PARTS, ("digits", "combination"), ("smoothing", 0.1))
    store = Store(tmp_path / "records")
    stack = [
        *trials("smoothing", 0.01),
        *trials("smoothing", 0.1),
        *trials("combination", 0.01),
        *trials("combination", 0.01, batch=25),
    ]
    fast = trials("combination", 0.01, rate=0.03)
    run(MANAGEMENT, [*stack, *fast], store)
    found = MANAGEMENT.summarised(store)
    part = (found.technique == "smoothing") & (found.strength == 0.1)
    parts = found[part].set_index("seed")
    table = found[~part].set_index(["technique", "batch", "rate", "seed"]).sort_index()
    for seed in SEEDS:
        alone, both = table.loc["smoothing", 50, 1e-3, seed], table.loc["combination", 50, 1e-3, seed]
        assert both.over_part == pytest.approx(both.test_accuracy - parts.test_accuracy[seed])
        assert both.over_rival == pytest.approx(both.test_accuracy - alone.test_accuracy)
        assert both.over_rival_nll == pytest.approx(both.test_nll - alone.test_nll)
        hot = table.loc["combination", 50, 0.03, seed]
        assert hot.over_usual_rate == pytest.approx(hot.test_accuracy - both.test_accuracy)
        assert np.isnan(table.loc["combination", 25, 1e-3, seed].over_rival) and np.isnan(alone.over_rival)
