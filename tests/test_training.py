"""The loop that convolutional experiments share, and Section 5.4's networks in it."""

import os
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from entropy_lib import EntropyGuidance, select_layers
from replication.experiments.experiment import Plan
from replication.experiments.flow.experiment import FLOW, TRAINED
from replication.experiments.flow.tables import means
from replication.experiments.flow.tables import network as networks_flow
from replication.experiments.imagenette import experiment as imagenette
from replication.experiments.imagenette import tables
from replication.experiments.imagenette.experiment import IMAGENETTE
from replication.experiments.registry import store_for
from replication.experiments.repeated import Repeated
from replication.experiments.training import side_by_side
from replication.networks.vgg_resnet import ARCHITECTURES, convolution_names, convolutions, network, skeleton
from replication.sweep.checkpoints import checkpoint, forget
from replication.sweep.run import run
from replication.sweep.store import Store
from replication.vision import import_torchvision
from tests.helpers import outcomes

pytestmark = pytest.mark.usefixtures("cache")

DRAWN = {"image": 32, "width": 1 / 16, "precision": "float32", "batch": 120}


def trials(*coefficients, architecture="vgg16", layers="[1]", horizon=2, **protocol):
    shared = {"architecture": architecture, "layers": layers, "horizon": horizon} | DRAWN | protocol
    return IMAGENETTE.trials(Plan.of("shapes", [0], coefficient=list(coefficients), **shared))


def train(trial, tick=lambda: None):
    return imagenette.train_stack([trial], "cpu", tick).curves.drop(columns=["trial", "seconds"]).set_index("epoch")


@pytest.mark.parametrize("strategy", ["none", "augmentation + dropout"])
def test_a_run_that_was_cut_off_goes_on_as_if_nothing_had_happened(strategy, cache):
    (trial,) = trials(1e-3, horizon=4, momentum=0.9, strategy=strategy)
    whole, seen = train(trial), []
    forget([trial.id])

    def cut() -> None:
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(trial, cut)
    (kept,) = (cache / "checkpoints").iterdir()
    ticks = []
    resumed = train(trial, lambda: ticks.append(1))
    np.testing.assert_array_equal(resumed.to_numpy(), whole.to_numpy())
    assert len(ticks) == 2 and kept.exists()  # until the record is written
    assert train(trial, lambda: ticks.append(1)).equals(resumed) and len(ticks) == 2
    forget([trial.id])
    assert not kept.exists()


def test_a_checkpoint_of_other_code_is_not_taken_up(cache):
    (trial,) = trials(0.0)

    def cut() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(trial, cut)
    (kept,) = (cache / "checkpoints").iterdir()
    torch.save(torch.load(kept, weights_only=True) | {"source": "older"}, kept)
    ticks = []
    train(trial, lambda: ticks.append(1))
    assert len(ticks) == 2


class Program:
    def __reduce__(self):
        return (os.system, ("exit 3",))


@pytest.mark.parametrize("content", ["empty", "cut", "foreign", "a program"])
def test_a_damaged_or_foreign_checkpoint_is_left_aside_and_never_executed(content, cache, monkeypatch):
    (trial,) = trials(0.0)
    path = checkpoint(trial)
    if content in ("cut", "empty"):
        torch.save({"source": "x", "rows": [{}]}, path)
        path.write_bytes(path.read_bytes()[: 0 if content == "empty" else 300])
    else:
        torch.save([1, 2] if content == "foreign" else {"source": Program()}, path)
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("a checkpoint was executed"))
    with pytest.warns(UserWarning, match=f"{trial.id}.pt is no checkpoint of this training"):
        curve = train(trial)
    assert len(curve) == trial.config.horizon + 1


def test_the_loop_is_plain_training_with_the_loss_added():
    """One epoch as a user would write it, with the public guidance, gives the recorded curve."""
    (trial,) = trials(1e-3, layers="[1,2]", horizon=1, rate=0.02, momentum=0.9)
    training = imagenette.training_of(trial, "cpu")
    model = network("vgg16", 6, 32, 1 / 16, seed=0)
    guidance = EntropyGuidance(model, {"features.0": 1e-3, "features.2": 1e-3}, form="reciprocal")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    images, labels = training.splits["train"]
    images = (images.movedim(-1, 1) - 0.5) * 4
    for index in torch.randperm(720, generator=torch.Generator().manual_seed(1_000_003)).split(120):
        optimiser.zero_grad()
        (F.cross_entropy(model(images[index]), labels[index]) + guidance()).backward()
        optimiser.step()
    curve = training.train(lambda: None).set_index("epoch")
    test, wanted = training.splits["test"]
    with torch.no_grad():
        expected = F.cross_entropy(model((test.movedim(-1, 1) - 0.5) * 4), wanted)
    assert curve.test_loss[1] == pytest.approx(float(expected), rel=1e-3)
    assert curve.first_tap[1] == pytest.approx(
        float(model.features[0].weight.detach()[..., 0, 0].abs().log().mean()), rel=1e-3
    )


def test_a_loss_that_is_no_number_ends_the_training_and_is_an_outcome(tmp_path):
    stack = [*trials(0.0), *trials(1e38, horizon=2)]
    ticks = []
    assert np.isnan(train(stack[1], lambda: ticks.append(1)).train_loss[1:]).all() and len(ticks) == 1
    store = Store(tmp_path / "records")
    run(IMAGENETTE, stack, store)
    assert store.validate() == []
    found = IMAGENETTE.summarised(store).set_index("coefficient")
    assert found.diverged.to_dict() == {0.0: False, 1e38: True}
    assert found.cell.to_dict() == {0.0: "vgg16 none", 1e38: "vgg16 [1]"}


@pytest.mark.parametrize(("horizon", "rate"), [(10, 1e-7), (11, 1e-8)])
def test_the_rate_falls_tenfold_after_ten_epochs_without_a_gain(horizon, rate):
    (trial,) = trials(0.0, horizon=horizon, rate=1e-7)  # too small a step to gain anything after the first epoch
    training = imagenette.training_of(trial, "cpu")
    assert training.train(lambda: None).validation_accuracy.nunique() == 1
    assert training.optimiser.param_groups[0]["lr"] == pytest.approx(rate)


# --- Stacks ----------------------------------------------------------------------------------------------


def together(stack, tick=lambda: None):
    """The curves of networks that are trained side by side, as a GPU has them."""
    curves = side_by_side([imagenette.training_of(trial, "cpu") for trial in stack], tick)
    return [curve.drop(columns=["trial", "seconds"]).set_index("epoch") for curve in curves]


def stack_of_four():
    """Unguided, guided, lost in the first epoch, and one whose rate falls after ten epochs without a gain."""
    return [
        *trials(0.0, 1e-3, 1e38, architecture="vgg16", horizon=11, batch=360),
        *trials(0.0, architecture="vgg16", horizon=11, batch=360, rate=1e-7),
    ]


def test_networks_side_by_side_take_the_steps_that_each_takes_alone():
    stack, ticks = stack_of_four(), []
    found = together(stack, lambda: ticks.append(1))
    forget(trial.id for trial in stack)
    for trial, curve in zip(stack, found, strict=True):
        np.testing.assert_array_equal(curve, train(trial))
    assert found[2].train_loss[1:].isna().all() and len(ticks) == 3 * 11 + 1


def test_a_stack_that_was_cut_off_between_two_networks_goes_on_where_each_stood():
    stack, seen = trials(0.0, 1e-3, horizon=3), []
    whole = together(stack)
    forget(trial.id for trial in stack)

    def cut() -> None:
        seen.append(1)
        if len(seen) == 3:  # the first network has kept its second epoch, the other not
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        together(stack, cut)
    ticks = []
    for resumed, curve in zip(together(stack, lambda: ticks.append(1)), whole, strict=True):
        np.testing.assert_array_equal(resumed, curve)
    assert len(ticks) == 3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_on_a_gpu_replayed_steps_are_the_steps():
    device, parts = torch.device("cuda"), 3
    inputs = [torch.full((4,), float(k), device=device) for k in range(parts)]
    sums = [torch.zeros(4, device=device) for _ in range(parts)]
    work = Repeated([partial(total.add_, each) for total, each in zip(sums, inputs, strict=True)], device)
    for _ in range(9):
        work()
    for total, each in zip(sums, inputs, strict=True):
        torch.testing.assert_close(total, 9 * each)


@pytest.mark.parametrize("architecture", ["vgg16", "resnet50"])
def test_at_full_width_the_network_is_torchvisions(architecture):
    """With the same numbers in both, the same images give the same scores, without the head's dropout."""
    torch.manual_seed(0)
    ours = network(architecture, 10, 224).eval()
    theirs = getattr(import_torchvision().models, architecture)(num_classes=10).eval()
    state = {name.replace("fc.1.", "fc."): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_a_narrow_network_has_a_share_of_the_channels_and_another_seed_other_numbers():
    wide, narrow = (network("resnet50", 10, 64, width) for width in (1.0, 0.25))
    for (name, big), small in zip(convolutions(wide).items(), convolutions(narrow).values(), strict=True):
        assert small.out_channels * 4 == big.out_channels and small.stride == big.stride
        assert small.in_channels * 4 == big.in_channels or name == "conv1"
    first = [network("vgg16", 10, 32, 0.125, seed=seed).features[0].weight for seed in (0, 0, 1)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    dropouts = [part.p for part in network("resnet50", 10, 32, 0.125, 0.5).modules() if isinstance(part, nn.Dropout)]
    assert dropouts == [0.5]


def test_placements():
    assert imagenette.placement("vgg16", "[1,2]") == ["features.0", "features.2"]
    assert imagenette.placement("resnet50", "[1,5]") == ["conv1", "layer1.0.downsample.0"]
    before = imagenette.placement("resnet50", "pre-skip")
    assert before[:2] == ["conv1", "layer1.0.conv3"] and before[-1] == "layer4.1.conv3" and len(before) == 16
    empirical = imagenette.placement("resnet50", "empirical")
    assert 1 <= len(empirical) < 20 and set(empirical) <= set(convolutions(network("resnet50", 10, 32, 0.125)))
    assert imagenette.placement("resnet50", "none") == []
    with pytest.raises(KeyError, match="vgg16, resnet50"):
        convolution_names("alexnet")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_and_placements_are_those_of_torchvision_and_of_the_records(architecture):
    assert convolution_names(architecture) == list(convolutions(skeleton(architecture)))
    rows = networks_flow(FLOW.summarised(store_for("paper")), architecture, TRAINED)
    assert imagenette.EMPIRICAL[architecture] == select_layers(means(rows))


def test_the_skip_connections_set_out_behind_the_layers_before_them():
    """Every block's input is a function of the output of its pre-skip convolution, element by element or pooled."""
    model, outputs, inputs = network("resnet50", 10, 64, 0.125).eval(), {}, []
    names = imagenette.placement("resnet50", "pre-skip")
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: outputs.__setitem__(name, o))
    blocks = [part for part in model.modules() if type(part).__name__ == "Bottleneck"]
    for block in blocks:
        block.register_forward_pre_hook(lambda m, i: inputs.append(i[0]))
    model(torch.randn(1, 3, 64, 64))
    assert len(blocks) == len(names)
    for name, entering in zip(names, inputs, strict=True):
        assert outputs[name].shape[1] == entering.shape[1]
        (gradient,) = torch.autograd.grad(entering.sum(), outputs[name], retain_graph=True)
        assert gradient.abs().max() > 0


def test_augmentation_flips_turns_and_zooms_each_image_by_itself():
    torch.manual_seed(0)
    side, count = 65, 400
    at = torch.linspace(-1, 1, side + 1)[:-1] + 1 / side
    # One channel has a blob right of the middle, the other above it: they tell angle, zoom and flip apart.
    # They are near the middle because edges are reflected, which shows what is far from it twice.
    blob = lambda x, y: torch.exp(-((at[None] - x) ** 2 + (at[:, None] - y) ** 2) / 0.003)  # noqa: E731
    images = torch.stack([blob(0.15, 0.0), blob(0.0, -0.15)])[None].repeat(count, 1, 1, 1)
    labels = torch.arange(count)
    turned, same = imagenette.turned(images, labels)
    assert torch.equal(same, labels)
    mass = turned / turned.sum((2, 3), keepdim=True)
    x, y = (mass.sum(2) * at).sum(2), (mass.sum(3) * at).sum(2)
    radius, angle = torch.hypot(x, y), torch.atan2(-y, x)
    zoom = 0.15 / radius
    assert zoom.min() > 0.78 and zoom.max() < 1.22 and zoom.std() > 0.1
    between = torch.remainder(angle[:, 1] - angle[:, 0], 2 * torch.pi)
    flipped = between > torch.pi
    assert 0.4 < flipped.float().mean() < 0.6
    rotation = torch.remainder(angle[:, 0] - torch.pi * flipped + torch.pi, 2 * torch.pi) - torch.pi
    assert 1.1 < rotation.abs().max() < 2 * torch.pi / 5 + 0.02


def test_refusals():
    with pytest.raises(ValueError, match=r"must be one of \[1\], \[1,2\] or none, got 'pre-skip'"):
        imagenette.placement("vgg16", "pre-skip")
    with pytest.raises(ValueError, match="strategy must be one of none, augmentation"):
        train(trials(0.0, strategy="more")[0])
    with pytest.raises(ValueError, match="need 32 pixels or more, got 16"):
        network("vgg16", 10, 16)
    with pytest.raises(KeyError, match="quick, laptop, paper"):
        IMAGENETTE.grid("huge")


def accuracies(runs: dict[tuple[str, float], list[float]]) -> pd.DataFrame:
    """Outcomes of networks on photographs, a seed for each accuracy; NaN marks a network that diverged."""
    rows = [
        {"cell": f"vgg16 {layers}", "architecture": "vgg16", "data": "imagenette", "layers": layers, "seed": seed,
         "coefficient": c, "test_accuracy": accuracy, "diverged": np.isnan(accuracy), "horizon": 20}
        for (layers, c), found in runs.items() for seed, accuracy in enumerate(found)
    ]  # fmt: skip
    return outcomes(IMAGENETTE, rows)


def test_diverged_networks_are_counted_and_left_out_of_means():
    nan = float("nan")
    table = accuracies({("[1]", 0.0): [0.5, 0.6], ("[1]", 0.1): [0.7, 0.9], ("[1]", 1.0): [0.8, nan]})
    row = tables.summary(table).iloc[0]
    assert (row["guided runs"], row.diverged, row["from λ"]) == (4, 1, 1.0)
    assert row["lowest"] == row["highest"] == pytest.approx(0.8) and row["λ = 0"] == pytest.approx(0.55)
    cells = tables.table_2(table).set_index(["network", "strategy", "layers"]).loc[("VGG", "none", "[1]")]
    ours = [cells[f"λ = {c:g}"].split("<br>")[1] for c in (0, 0.01, 0.1, 1)]
    assert ours == ["0.550 (2)", tables.NOT_RUN, "0.800 (2)", "0.800 (1), 1 diverged"]
    assert tables.noise(table)["standard deviation"].iloc[0] == pytest.approx(0.1 / 2**0.5)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_expected_best_of_several_against_draws(count):
    drawn = np.random.default_rng(0).standard_normal((100_000, count)).max(1)
    assert tables.best_of(count) == pytest.approx(drawn.mean(), abs=4 * drawn.std() / len(drawn) ** 0.5)
