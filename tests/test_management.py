"""Techniques side by side: each held against what a user would write, and the measures against closed forms."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from replication.experiments.experiment import Plan
from replication.experiments.management import measures
from replication.experiments.management.experiment import MANAGEMENT, STRENGTHS, train_stack
from replication.experiments.management.network import CLASSES, UNITS, Draws, Inside, Networks, Norm
from replication.experiments.management.techniques import TECHNIQUES, cross_entropy, entropy
from replication.sweep.run import run
from replication.sweep.store import Store

SEEDS = (3, 8)


def networks(pixels=64, normalised=False):
    return Networks(Draws.of(SEEDS, 2), pixels, normalised)


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
    images = torch.randn(2, 5, 64)
    for seed in range(2):
        layers = []
        for name in ("first", "middle", "last"):
            layer = nn.Linear(*reversed(found.weights[name][seed].shape))
            layer.weight.data, layer.bias.data = found.weights[name][seed], found.biases[name][seed, 0] + 0.3
            layers.append(layer)
        first = F.gelu(layers[0](images[seed]))
        hidden = first + F.gelu(layers[1](first))
        for bias in found.biases.values():
            bias[seed] += 0.3
        torch.testing.assert_close(found.hidden(images)[seed], hidden)
        torch.testing.assert_close(found.logits(found.hidden(images))[seed], layers[2](hidden))


def test_normalisation_is_torchs_for_each_network():
    ours, theirs = Norm(2), [nn.BatchNorm1d(UNITS) for _ in range(2)]
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
    images = torch.rand(2, 3, 64)
    torch.testing.assert_close(TECHNIQUES["augmentation"](0.0).images(images, Draws.of(SEEDS, 4)), images)
    monkeypatch.setattr(Draws, "uniform", lambda self, *shape: torch.tensor([0.5, 0.75, 0.5, 0.5]).expand(2, 3, 4).mT)
    moved = TECHNIQUES["augmentation"](1.0).images(images, Draws.of(SEEDS, 4)).view(2, 3, 8, 8)  # by one pixel along
    torch.testing.assert_close(moved[..., :-1], images.view(2, 3, 8, 8)[..., 1:])


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
    images = torch.rand(1, 6, 30)
    found = measures.scrambled(images, Draws.of(SEEDS, 5))
    for network in found:
        torch.testing.assert_close(network.sort(1).values, images[0].sort(1).values)
        (order,) = {
            tuple(int((row == v).nonzero()[0]) for v in image) for row, image in zip(images[0], network, strict=True)
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
        and table[[name for name in MANAGEMENT.measures if not name.startswith("over_rival")]].notna().all().all()
    )
    np.testing.assert_allclose(table.gap, table.test_nll - table.train_nll)
    assert set(table.scope) == {"quick"}


def test_an_unknown_technique_is_named_with_those_that_are_known():
    with pytest.raises(ValueError, match="technique must be one of none, orthogonal.*got 'tea'"):
        train_stack(trials("tea", 1.0), "cpu", lambda: None)


def test_in_use_nothing_is_changed_between_the_layers():
    found, images = networks(), torch.rand(2, 4, 64)
    torch.testing.assert_close(found.hidden(images), found.hidden(images, True, Inside()))
