"""Entropy flow: boxes, maps, weights and the rule that picks layers, each against an independent account."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.cbook import boxplot_stats
from safetensors.torch import save_file
from torch import nn

import entropy_lib as el
from entropy_lib.layers import conv_exact
from entropy_lib.maps import map_sizes
from entropy_lib.theory import circular
from replication.data.dataset import MissingData
from replication.experiments.flow import experiment as flow
from replication.experiments.flow import tables
from replication.experiments.flow.experiment import FLOW, TRAINED, FlowConfig
from replication.experiments.registry import store_for
from replication.networks import weights
from replication.networks.vgg_resnet import SCHEMES, convolutions, random_kernels, skeleton
from replication.sweep.run import run
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope, Trial
from replication.verdicts.flow import CHECKS
from replication.verdicts.records import deciding
from tests.helpers import PROVENANCE


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=60), st.integers(0, 3))
def test_a_box_is_matplotlibs_box_and_zeros_are_low_outliers(values, zeros):
    found = flow.box(np.array(values + [-np.inf] * zeros))
    (theirs,) = boxplot_stats(values)
    for ours, name in (("q1", "q1"), ("median", "med"), ("q3", "q3"), ("mean", "mean")):
        assert found[ours] == pytest.approx(theirs[name], abs=1e-9)
    if theirs["q3"] - theirs["q1"] > 1e-6:  # else rounding decides what lies on a fence
        assert found["low"] == pytest.approx(min(theirs["whislo"], theirs["q1"])) or found["low"] >= theirs["q1"]
        assert found["outliers_low"] + found["outliers_high"] == len(theirs["fliers"]) + zeros
    assert (found["count"], found["zeros"]) == (len(values) + zeros, zeros)


def test_a_layer_of_zeros_has_no_box():
    assert flow.box(np.full(4, -np.inf)) == {"count": 4, "zeros": 4, "outliers_low": 0, "outliers_high": 0}


def test_frequencies_may_be_taken_in_parts(monkeypatch):
    kernel = torch.randn(2, 3, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = el.circular_conv_entropy_change(kernel, (9, 8))
    monkeypatch.setattr(circular, "_FREQUENCY_ENTRIES", 1)
    torch.testing.assert_close(el.circular_conv_entropy_change(kernel, (9, 8)), whole)


def test_a_grouped_convolution_is_measured_by_its_dense_matrix():
    layer = nn.Conv2d(4, 6, 3, groups=2, padding=1, padding_mode="circular", bias=False).double()
    matrix = torch.autograd.functional.jacobian(lambda x: layer(x[None])[0], torch.zeros(4, 5, 5).double())
    expected = torch.linalg.svdvals(matrix.reshape(6 * 25, 4 * 25)).log().sum() / (25 * 4)
    assert conv_exact(layer.weight, (5, 5), groups=2) == pytest.approx(float(expected), abs=1e-9)


class Backwards(nn.Module):
    """Runs its layers in another order than it registers them, one of them twice."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(2 * 3 * 3, 2)
        self.second = nn.Conv2d(2, 2, 3, stride=2, padding=1)
        self.first = nn.Conv2d(3, 2, 1)

    def forward(self, images):
        return self.last(self.second(self.second(self.first(images))).flatten(1))


def test_an_example_gives_the_order_and_the_maps():
    model, example = Backwards(), torch.rand(1, 3, 12, 12)
    assert map_sizes(model, example) == {"first": (12, 12), "second": (12, 12), "last": (1, 18)}
    table = el.filter_flow(model, example=example)
    assert table.drop_duplicates("layer").name.tolist() == ["first", "second", "last"]
    at = table[table.name == "second"].exact.iloc[0]
    strided = el.circular_conv_entropy_change(model.second.weight.detach(), (12, 12), stride=(2, 2))
    assert at == pytest.approx(float(strided) / (36 * 2))
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_random_kernels_have_the_spread_that_their_scheme_promises(scheme):
    kernels = random_kernels("vgg16", scheme, seed=1)
    expected = convolutions(skeleton("vgg16"))
    assert list(kernels) == list(expected)
    for name in ("features.0", "features.5", "features.28"):
        out, into = expected[name].weight.shape[:2]
        fan_in, fan_out = into * 9, out * 9
        variance = {"torchvision": 2 / fan_out, "pytorch": 1 / (3 * fan_in), "glorot": 2 / (fan_in + fan_out)}[scheme]
        assert float(kernels[name].var()) == pytest.approx(variance, rel=4 * (2 / kernels[name].numel()) ** 0.5)
    with pytest.raises(ValueError, match="torchvision, pytorch, glorot"):
        random_kernels("vgg16", "zeros", 0)


def copies(folder, architecture, drop=()):
    """Synthetic copies of trained weights: every kernel holds its place in the network."""
    expected = convolutions(skeleton(architecture))
    file, renamed, *_ = weights.COPIES[architecture]
    names = renamed({name: part.weight.shape for name, part in expected.items()})
    state = {
        names[name]: torch.full(part.weight.shape, float(place), dtype=torch.float16)
        for place, (name, part) in enumerate(expected.items())
        if name not in drop
    }
    (folder / "weights").mkdir()
    save_file(state, folder / "weights" / file)
    return expected


def test_resnet_copies_are_named_by_stage_and_number(tmp_path, monkeypatch):
    monkeypatch.setenv("ENTROPY_DATA", str(tmp_path))
    with pytest.raises(MissingData, match="entropy-book data resnet50-weights"):
        weights.imagenet_kernels("resnet50")
    expected = copies(tmp_path, "resnet50", drop=["layer4.2.conv3"])
    found = weights.imagenet_kernels("resnet50").kernels
    assert list(found) == [name for name in expected if name != "layer4.2.conv3"]
    assert found["layer2.0.downsample.0"][0, 0, 0, 0] == list(expected).index("layer2.0.downsample.0")
    renamed = weights.resnet_copies({name: part.weight.shape for name, part in expected.items()})
    assert renamed["conv1"] == "resnetv24_conv0_weight"
    assert renamed["layer2.0.downsample.0"] == "resnetv24_stage2_conv3_weight"
    assert renamed["layer2.1.conv1"] == "resnetv24_stage2_conv4_weight"


def test_checkpoints_are_read_or_refused_with_the_reason(tmp_path):
    expected = convolutions(skeleton("vgg16"))
    state = {f"{name}.weight": torch.zeros(part.weight.shape) for name, part in expected.items()}
    torch.save({"state_dict": state}, tmp_path / "good.pt")
    assert list(weights.checkpoint_kernels("vgg16", tmp_path / "good.pt")) == list(expected)
    save_file(state, tmp_path / "good.safetensors")
    assert list(weights.checkpoint_kernels("vgg16", tmp_path / "good.safetensors")) == list(expected)
    with pytest.raises(ValueError, match=r"lacks 53 of 53 convolutions, such as conv1\.weight"):
        weights.checkpoint_kernels("resnet50", tmp_path / "good.pt")
    state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
    torch.save(state, tmp_path / "grey.pt")
    with pytest.raises(ValueError, match=r"features\.0 .* has shape \(64, 1, 3, 3\), expected \(64, 3, 3, 3\)"):
        weights.checkpoint_kernels("vgg16", tmp_path / "grey.pt")
    (tmp_path / "notes.txt").write_text("no tensors")
    with pytest.raises(ValueError, match="neither a safetensors file nor a state dict"):
        weights.checkpoint_kernels("vgg16", tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        weights.checkpoint_kernels("vgg16", tmp_path / "absent.pt")
    with pytest.raises(KeyError, match="vgg16, resnet50"):
        skeleton("alexnet")


def test_select_layers_picks_what_stands_out_and_nothing_from_a_level_flow():
    means = pd.Series({"a": 3.0, "b": 0.0, "c": 0.1, "d": -0.1, "dead": -np.inf})
    assert el.select_layers(means) == ["a"]
    assert el.select_layers(means, deviations=-10) == ["a", "b", "c", "d"]
    assert el.select_layers(pd.Series({"a": 1.0, "b": 1.0})) == []


def made_trial(data: str, scheme: str) -> Trial[FlowConfig]:
    return Trial(
        "flow", FLOW.protocol, data, "f", 0, FlowConfig(architecture="vgg16", scheme=scheme, image=224, horizon=0)
    )


def recorded(tmp_path):
    """Boxes of small kernels under VGG-16's names, as records of trained and untrained networks."""
    store = Store(tmp_path)

    def small(stack, device, tick):
        names = list(convolutions(skeleton("vgg16")))
        (trial,) = stack
        generator = torch.Generator().manual_seed(0)
        size = np.log(0.4) - 0.5 * np.arange(13) if trial.data == TRAINED else np.full(13, -3.0)
        kernels = {
            name: float(np.exp(s)) * torch.randn(8 + i, 2 + i, 3, 3, generator=generator)
            for i, (name, s) in enumerate(zip(names, size, strict=True))
        }
        rows = flow.measure("vgg16", kernels, 32).assign(trial=trial.id, epoch=0)
        return StackResult(rows)

    trials = [made_trial("none", scheme) for scheme in SCHEMES] + [made_trial(TRAINED, "")]
    run(replace(FLOW, train=small, scope=lambda trial: Scope("paper")), trials, store)
    return store


def test_records_by_layer_are_valid_and_decide_the_claims(tmp_path):
    store = recorded(tmp_path)
    assert store.validate() == []
    table = FLOW.summarised(store)
    decided = {name: check(table) for name, check in CHECKS.items()}
    assert decided["random"][0] == "holds" and decided["outliers_low"][0] in ("holds", "partly")
    assert decided["vgg_settles"][0] == "fails"
    assert decided["linear"][0] == "undecided"  # a level flow shows no line
    assert all(check(table.iloc[:0]) is None for check in CHECKS.values())
    rows = tables.network(table, "vgg16", TRAINED)
    assert tables.agreement(rows).loc["log|c11|", "log norm"] > 0.95
    fits = tables.line_or_fan(rows, "pytorch")
    assert fits[0] < 1e-6 and fits[1] > 0.9


def test_a_layer_twice_in_one_epoch_is_refused(tmp_path):
    store, trial = Store(tmp_path), made_trial("none", "glorot")
    row = {"trial": trial.id, "epoch": 0, "layer": 1, "measure": "norm", "reading": "slices", "mean": 0.0}
    store.write([trial], StackResult(pd.DataFrame([row, row])), [Scope("paper")], PROVENANCE)
    assert "two rows of its curves agree" in store.validate()[0]


def test_the_grid_names_what_it_knows():
    assert len(FLOW.grid("quick")) == 3 and len(FLOW.grid("paper", "none")) == 18
    with pytest.raises(KeyError, match="quick, laptop, paper"):
        FLOW.grid("huge")
    with pytest.raises(KeyError, match="it has imagenet, none"):
        FLOW.grid("laptop", "mnist")


def _shared_module():
    part = nn.Conv2d(3, 3, 3, padding=1)
    return nn.Sequential(part, nn.BatchNorm2d(3), part)


def _tied_weight():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1))
    model[1].weight = model[0].weight
    return model


def _plain_attribute():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    model[0].twice = model[0].weight * 2  # what old weight norms keep: a tensor that is no leaf
    return model


@pytest.mark.parametrize("example", [torch.zeros(2, 3, 8, 8), torch.zeros(2, 4, 8, 8)], ids=["runs", "fails"])
@pytest.mark.parametrize("make", [_shared_module, _tied_weight, _plain_attribute])
def test_a_model_is_as_it_was_after_its_flow_was_read(make, example):
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        flow = el.filter_flow(model, example=example)
        assert flow.exact.notna().all()
    except RuntimeError:
        assert example.shape[1] == 4
    assert all(part.training for part in model.modules())
    assert not any(part._forward_pre_hooks for part in model.modules())
    for name, value in model.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, before[name])


NOISE = [5, 9, 2, 8, 3, 7, 6, 1, 9, 4, 5, 2, 8]


@pytest.mark.parametrize(
    ("points", "filters", "random", "trained"),
    [
        (range(10, 140, 10), [100] * 13, "holds", "fails"),
        (range(130, 0, -10), [100] * 13, "fails", "holds"),
        (NOISE, [100] * 13, "undecided", "undecided"),
        (
            [n * width for n, width in zip(NOISE, range(20, 280, 20), strict=True)],
            range(1000, 14000, 1000),
            "partly",
            "undecided",
        ),
    ],
)
def test_a_trend_of_outliers_is_shown_or_undecided(points, filters, random, trained):
    """No rise that can be shown is no fall; and more points in wider layers are no larger share."""
    layers = {"layer": range(1, 14), "outliers_low": points, "outliers_high": 0, "count": filters}
    usual = {"architecture": "vgg16", "seed": 0, "measure": "tap 1 1", "reading": "slices"}
    sources = [{"data": TRAINED, "scheme": ""}, *({"data": "none", "scheme": scheme} for scheme in SCHEMES)]
    table = pd.concat([pd.DataFrame(layers | usual | source) for source in sources])
    assert CHECKS["random_outliers_later"](table)[0] == random
    assert CHECKS["trained_outliers_rarer"](table)[0] == trained


def of_trained(layers: pd.DataFrame) -> pd.DataFrame:
    """Rows of log|c11| over all slices of the trained VGG-16."""
    return layers.assign(architecture="vgg16", seed=0, measure="tap 1 1", reading="slices", data=TRAINED, scheme="")


@pytest.mark.parametrize(
    ("fall", "status"),
    [(lambda k: -6 + 4 * np.exp(-k), "holds"), (lambda k: -2 - 0.3 * k, "fails"), (lambda k: -2 - np.log(k), "fails")],
)
def test_a_fall_is_exponential_where_neither_a_line_nor_a_logarithm_fits_better(fall, status):
    layers = np.arange(1, 14)
    noise = np.random.default_rng(0).normal(0, 0.02, len(layers))
    shapes = {"name": [f"layer {k}" for k in layers], "out": 1, "in": 1, "side": 1}
    table = pd.DataFrame({"layer": layers, "mean": fall(layers) + noise} | shapes)
    assert CHECKS["exponential"](of_trained(table))[0] == status


@pytest.mark.parametrize(("low", "high", "status"), [(5, 0, "holds"), (99, 1, "partly"), (5, 5, "fails")])
def test_outliers_are_drops_where_all_or_nearly_all_lie_low(low, high, status):
    table = pd.DataFrame({"layer": range(13), "outliers_low": low, "outliers_high": high, "count": 1000})
    assert CHECKS["trained_outliers_low"](of_trained(table))[0] == status


@pytest.mark.parametrize(("narrower", "status"), [(13, "holds"), (7, "undecided"), (0, "fails")])
def test_filters_are_more_uniform_where_most_layers_are_narrower(narrower, status):
    usual = {"architecture": "vgg16", "seed": 0, "measure": "tap 1 1", "reading": "slices", "q1": 0.0}
    trained = pd.DataFrame({"layer": range(13), "q3": [1.0 if k < narrower else 3.0 for k in range(13)]})
    random = [pd.DataFrame({"layer": range(13), "q3": 2.0, "scheme": scheme, "data": "none"}) for scheme in SCHEMES]
    table = pd.concat([trained.assign(scheme="", data=TRAINED), *random]).assign(**usual)
    assert CHECKS["uniform"](table)[0] == status


@pytest.mark.parametrize("check", ["random", "linear", "random_outliers_later", "uniform"])
def test_without_one_scheme_of_initialisation_nothing_is_decided_on_all(check):
    table = deciding(FLOW, store_for("paper"))
    assert CHECKS[check](table) is not None
    for scheme in SCHEMES:
        assert CHECKS[check](table[table.scheme != scheme]) is None
    assert CHECKS[check](table[:0]) is None
