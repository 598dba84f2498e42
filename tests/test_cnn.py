"""The classifiers of Section 5.3: the network, the loss inside the loop, and what records make of it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from replication import paper
from replication.data.registry import load
from replication.experiments.cnn import experiment as cnn
from replication.experiments.cnn import tables
from replication.experiments.cnn.experiment import CNN, CNNConfig
from replication.experiments.experiment import Plan
from replication.sweep.run import run
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope
from tests.helpers import PROVENANCE, outcomes


def trials(*coefficients, form="reciprocal", layers="first", horizon=2, **protocol):
    shared = {"architecture": (4, 6), "padding": "same", "horizon": horizon, "form": form, "layers": layers}
    return CNN.trials(Plan.of("digits", [0], coefficient=list(coefficients), **shared | protocol))


def train(stack):
    return cnn.train_stack(stack, "cpu", lambda: None).curves.drop(columns="seconds").set_index(["trial", "epoch"])


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_pooling_first_is_the_network_of_the_paper(padding):
    data = load("digits")
    config = CNNConfig(
        architecture=(4, 6) if padding == "same" else (4,), layers="none", coefficient=0.0, horizon=1, padding=padding
    )
    model = cnn.network(data, config, seed=0).double()
    images, labels = data.images["train"][:50].double(), data.labels["train"][:50]
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]

    def as_written(x):
        for layer in convolutions:
            x = F.max_pool2d(F.leaky_relu(layer(x), config.slope), 2)
        return model[-1](x.flatten(1))

    gradients = []
    for forward in (model, as_written):
        model.zero_grad()
        F.cross_entropy(forward(images), labels).backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(model(images), as_written(images))
    torch.testing.assert_close(*gradients)


def test_a_trial_takes_the_same_steps_in_a_stack_and_alone():
    stack = [*trials(0.0, 0.1), *trials(0.1, form="log"), *trials(0.1, layers="all")]
    together = train(stack)
    for trial in stack:
        np.testing.assert_array_equal(together.loc[trial.id].to_numpy(), train([trial]).loc[trial.id].to_numpy())


def test_the_loop_is_plain_training_with_the_loss_added():
    """Two epochs as a user would write them, with the public loss, give the recorded curve."""
    from entropy_lib import ConvEntropyLoss

    (trial,) = trials(0.01, form="log", layers="all")
    data = load("digits")
    model = cnn.network(data, trial.config, 0)
    entropy, optimiser = ConvEntropyLoss(0.01, "log"), torch.optim.Adam(model.parameters(), lr=1e-3)
    shuffle = torch.Generator().manual_seed(1_000_003)
    images, labels = data.images["train"], data.labels["train"]
    for _ in range(2):
        order = torch.randperm(len(images), generator=shuffle)
        for index in order[: len(order) // 32 * 32].split(32):
            loss = F.cross_entropy(model(images[index]), labels[index]) + entropy([model[0].weight, model[3].weight])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    curve = train([trial]).loc[trial.id]
    with torch.no_grad():
        expected = float(F.cross_entropy(model(data.images["test"]), data.labels["test"]))
    assert curve.test_loss[2] == pytest.approx(expected, rel=1e-3)
    assert curve.first_tap[2] == pytest.approx(float(model[0].weight.detach()[..., 0, 0].abs().log().mean()), rel=1e-3)


def test_the_entropy_gradient_is_that_of_the_formula():
    (trial,) = trials(0.5)
    kernel = cnn.network(load("digits"), trial.config, 0)[0].weight.detach()[..., 0, 0].abs()
    expected = (0.5 / (kernel + 1e-3) ** 2).norm()
    assert train([trial]).loc[trial.id].gradient_entropy[0] == pytest.approx(float(expected), rel=1e-5)


def test_one_unguided_network_serves_every_form_and_placement(tmp_path):
    store = Store(tmp_path)
    stack = [*trials(0.0, 0.1), *trials(0.1, form="log"), *trials(0.1, layers="all")]
    assert len({cnn.stack_by(trial) for trial in stack}) == 1
    run(CNN, stack, store)
    assert store.validate() == []
    table = CNN.summarised(store)
    assert len(table) == 4 and not table.diverged.any()
    for guided in ({"form": "reciprocal", "layers": "first"}, {"form": "log"}, {"layers": "all"}):
        assert sorted(CNN.compared(table, **guided).coefficient) == [0.0, 0.1]
    assert cnn.outcomes(store, epoch=0).test_accuracy.max() < 0.5


def test_a_divergence_is_an_outcome(tmp_path):
    store = Store(tmp_path)
    run(CNN, trials(0.0, 1e38), store)
    assert store.validate() == []
    assert CNN.summarised(store).set_index("coefficient").diverged.to_dict() == {0.0: False, 1e38: True}


def test_refusals():
    data, (trial,) = load("digits"), trials(0.0)
    with pytest.raises(ValueError, match=r"such as '\[32, 32\]'"):
        cnn.read_widths("[8, x]")
    with pytest.raises(ValueError, match="more blocks than images"):
        cnn.network(data, replace(trial.config, architecture=(8,) * 5), 0)
    with pytest.raises(ValueError, match="none, first, all, last"):
        cnn.guided(cnn.network(data, trial.config, 0), "second")
    with pytest.raises(ValueError, match="log, reciprocal, reciprocal-mean, got 'mean'"):
        train(trials(0.1, form="mean"))
    with pytest.raises(KeyError, match="no field 'dropout'"):
        trials(0.0, dropout=0.5)
    with pytest.raises(KeyError, match="quick, laptop, paper"):
        CNN.grid("huge")


def test_the_mean_over_filters_is_the_sum_with_a_smaller_coefficient():
    (mean,), (summed,) = trials(0.4, form="reciprocal-mean"), trials(0.1)  # four filters of one input each
    np.testing.assert_allclose(train([mean]).loc[mean.id], train([summed]).loc[summed.id], rtol=1e-5)


def test_gains_and_table_1_pair_by_seed_choose_on_validation_and_judge_on_test():
    rows = [
        {"data": "cifar10", "architecture": "[32]", "layers": "first"}
        | {"seed": seed, "coefficient": c, "validation_accuracy": 0.6 + up + seed / 10}
        | {"test_accuracy": 0.5 + down + seed / 10 + 1e-3 * (seed % 2) * (c > 0)}
        for seed in range(4)
        for c, up, down in ((0.0, 0, 0), (0.1, 0.02, -0.01), (10.0, 0.01, 0.03))
    ]
    cells = tables.gains(outcomes(CNN, rows)).set_index("coefficient")
    assert cells.gain[0.1] == pytest.approx(-0.0095) and cells.low[10.0] < 0.0305 < cells.high[10.0]
    row = tables.table_1(outcomes(CNN, rows)).set_index("architecture").loc["[32]"]
    assert (row["λ"], row["seeds"]) == ("0.1", "4")  # best on validation, though worse on test
    assert row["gain, test"] == pytest.approx(-0.0095) and row["gain, the paper's way"] == pytest.approx(0.02)
    assert (tables.table_1(outcomes(CNN, rows)[:0]).seeds == tables.NOT_RUN).all()
    found = tables.settings(outcomes(CNN, rows))["cifar10, [32], first"]
    half = 50 * (cells.high[10.0] - cells.low[10.0])
    assert found["seeds"] == 4 and found["10"] == f"+3.05 ± {half:.2f}"
    assert tables.settings(outcomes(CNN, rows)[:0]).empty


def results(rng, shift, seeds=5, coefficients=paper.COEFFICIENTS):
    rows = [
        {"seed": seed, "coefficient": c, "validation_accuracy": rng.normal(0.6, 0.01) + shift * (c == 0.1)}
        for seed in range(seeds)
        for c in coefficients
    ]
    return pd.DataFrame(rows)


def test_shuffled_labels_find_what_the_choice_of_the_best_finds_by_chance():
    from scipy import stats

    rng = np.random.default_rng(2)
    table = results(rng, 0.0)
    found = tables.relabelled(table)
    groups = {c: group.validation_accuracy for c, group in table.groupby("coefficient")}
    t = max(stats.ttest_ind(groups[c], groups[0.0]).statistic for c in groups if c)
    assert found.found == pytest.approx(t) and found.printed == pytest.approx(stats.t.sf(t, 8))
    # Over many made-up experiments without an effect, the honest p-value is uniform and the printed one is not.
    many = [tables.relabelled(results(rng, 0.0), draws=300) for _ in range(300)]
    honest, printed = ([row[name] for row in many] for name in ("honest", "printed"))
    assert np.mean(np.array(honest) < 0.05) < 0.1 < np.mean(np.array(printed) < 0.05)
    assert np.mean([row["false positives"] for row in many]) == pytest.approx(
        np.mean(np.array(printed) < 0.05), abs=0.05
    )
    clear = tables.relabelled(results(rng, 0.1))
    assert clear.honest < 0.01


def test_the_fit_takes_the_choice_that_is_nearest_to_table_1(tmp_path):
    printed = paper.table_1().set_index("architecture")
    store = Store(tmp_path)
    for batch, away in ((32, 0.01), (128, 0.04)):
        for name in ("[32]", "[32, 32]"):
            widths = {"architecture": cnn.read_widths(name), "batch": batch, "padding": "same"}
            trial = replace(trials(0.0, **widths)[0], data="cifar10")
            rows = [
                {"trial": trial.id, "epoch": epoch}
                | {"train_accuracy": printed.base_train[name] + away, "train_loss": 1.0}
                # At epoch 1 the second choice is nearer, at the end the first.
                | {"validation_accuracy": printed.base_validation[name] - (away if epoch == 2 else 0.05 - away)}
                for epoch in range(3)
            ]
            store.write([trial], StackResult(pd.DataFrame(rows)), [Scope("reduced", "x")], PROVENANCE)
    table = tables.fit(store)
    assert table.batch.tolist() == [32, 128] and table.architectures.tolist() == [2, 2]
    assert table.off.tolist() == pytest.approx([0.01, 0.04]) and table["at epoch"].tolist() == [2, 1]
    assert table.nearest[1] == pytest.approx(((0.04**2 + 0.01**2) / 2) ** 0.5)
    assert table.train.tolist() == pytest.approx([0.01, 0.04]) and table.validation[0] == pytest.approx(-0.01)
    assert tables.fit(Store(tmp_path / "empty")).empty


def test_the_best_epoch_is_that_of_the_validation_accuracy(tmp_path):
    store, [trial] = Store(tmp_path), trials(0.0, horizon=3)
    columns = dict.fromkeys(CNN.columns, 0.5)
    rows = [
        {"trial": trial.id, "epoch": epoch} | columns | {"validation_accuracy": chosen, "test_accuracy": judged}
        for epoch, (chosen, judged) in enumerate([(0.9, 0.1), (0.4, 0.6), (0.7, 0.3), (0.6, 0.8)])
    ]
    store.write([trial], StackResult(pd.DataFrame(rows)), [Scope("reduced", "x")], PROVENANCE)
    [row] = CNN.summarised(store).itertuples()
    assert row.test_accuracy == 0.8 and row.best_test_accuracy == 0.3  # epoch 2, and not the untrained network's
