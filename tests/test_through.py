"""Whole networks: what keeps the shape, what their rows say together, and networks that others trained."""

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from entropy_lib import dense_entropy_change, entropy_flow
from replication.data.dataset import MissingData
from replication.data.registry import load
from replication.experiments.through import figures, tables
from replication.experiments.through.experiment import OUTPUT_GATE, THROUGH, layers, of_layers, ranked
from replication.networks import pretrained
from replication.networks.small import NETWORKS, Residual, network, stages, without
from replication.sweep.run import run
from replication.sweep.store import Store
from tests.helpers import QUIET, trials


@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_classify_and_their_stages_keep_the_shape(name, side):
    model = network(name, side, seed=1).eval()
    x = torch.rand(3, 1, side, side)
    assert model(x).shape == (3, 10)
    for stage in stages(model):
        less = without(model, stage)
        assert len(less) == len(model) - 1 and less(x).shape == (3, 10) and not torch.equal(less(x), model(x))
    same, other = network(name, side, seed=1).eval(), network(name, side, seed=2).eval()
    assert torch.equal(model(x), same(x)) and not torch.equal(model(x), other(x))


def test_an_unknown_network_is_refused_with_those_that_are_known():
    with pytest.raises(KeyError, match="dense, convolutional, transformer, recurrent"):
        network("mlp", 28, 0)


@pytest.mark.parametrize("name", ["convolutional", "transformer"])
def test_their_chain_reaches_from_the_pixels_to_the_head_without_a_gap(name):
    model, images = network(name, 8, 0), load("digits").images["test"][:10]
    flow = entropy_flow(model, images[:2], data=images)
    outside = flow[flow.within == 0]
    assert (outside[~outside.name.str.startswith("head")].chain == 1).all()
    assert (flow[flow.chain == 1].inputs == 64).all() and flow[flow.chain == 1].change.notna().all()


def test_a_row_knows_its_stage_the_papers_number_and_what_its_absence_costs():
    model, data = network("dense", 8, 0), load("digits")
    test = data.images["test"], data.labels["test"]
    table = layers(model, "dense", test)
    row = table[table.name == "stage3.0"].iloc[0]
    expected = pytest.approx(float(dense_entropy_change(model.stage3[0].weight.detach())), abs=1e-3)
    assert row.stage == 3 and row.paper == expected and row.change == expected
    fewer = nn.Sequential(*(part for name, part in model.named_children() if name != "stage3"))
    right = (fewer(test[0]).argmax(1) == test[1]).float().mean()
    assert row.accuracy_without == pytest.approx(float(right))
    assert (table[table.name.str.startswith(("start", "head"))].stage == 0).all()


def made(**columns) -> pd.DataFrame:
    count = len(columns["change"])
    usual = {"linear": 0.0, "within": 0, "statement": "exact", "stage": range(1, count + 1), "paper": 0.0,
             "accuracy_without": 0.5, "epoch": 0}  # fmt: skip
    return pd.DataFrame({name: value if np.iterable(value) and not isinstance(value, str) else [value] * count
                         for name, value in (usual | columns).items()})  # fmt: skip


WHOLE = pd.DataFrame({"epoch": [0], "test_accuracy": [0.9]})


def test_what_rows_say_together():
    flow = made(change=[-1.0, -8.0, -8.5, -9.0], linear=[-1.0, 0.0, -2.0, -3.0], paper=[4.0, 3.0, 2.0, 1.0],
                accuracy_without=[0.9, 0.8, 0.7, 0.1])  # fmt: skip
    found = of_layers(flow, WHOLE)
    assert found["linear_share"] == pytest.approx(6 / (6 + 0 + 8 + 6.5 + 6))
    assert found["agreement"] == 1 and found["pruning"] == 1
    assert found["overlap"] == 1  # of either the first alone lies so far above
    turned = of_layers(flow.assign(paper=[1.0, 2.0, 3.0, 4.0]), WHOLE)
    assert turned["agreement"] == -1 and turned["overlap"] == 0


def test_what_cannot_be_taken_apart_has_no_share_and_gaps_count_for_nothing():
    flow = made(change=[-1.0, -2.0, -math.inf], linear=[-1.0, -2.0, 0.0], statement=["exact", "exact", "none"])
    assert of_layers(flow, WHOLE)["linear_share"] == 1
    block = made(change=[-1.0, -2.0], linear=[-1.0, np.nan], statement=["exact", "upper bound"])
    assert math.isnan(of_layers(block, WHOLE)["linear_share"])
    gap = made(change=[-1.0, -2.0, -math.inf], statement=["exact", "exact", "none"], accuracy_without=[0.9, 0.8, 0.7])
    assert math.isnan(of_layers(gap, WHOLE)["pruning"]) and math.isnan(of_layers(gap, WHOLE)["agreement"])
    assert math.isnan(ranked(pd.Series([1.0, 2.0]), pd.Series([0.5, 0.5])))
    assert math.isnan(ranked(pd.Series([1.0, np.nan]), pd.Series([0.5, 0.6])))


def test_records_are_valid_and_have_outcomes_and_figures(tmp_path):
    store = Store(tmp_path)
    free = {"horizon": 2, "layers": "none", "coefficient": 0.0}
    some = trials(THROUGH, "digits", seeds=(0,), network=list(NETWORKS), **free)
    some += trials(
        THROUGH, "digits", seeds=(0, 1), network="recurrent", horizon=2, layers="output gate", coefficient=[0.0, 0.1]
    )
    some = list(dict.fromkeys(some))
    assert run(THROUGH, some, store, QUIET) == len(some) and store.validate({"through": THROUGH.columns}) == []
    table = THROUGH.outcomes(store)
    assert not table.diverged.any() and table.test_accuracy.between(0, 1).all()
    assert table[table.network == "transformer"].linear_share.isna().all()
    assert table[table.network.isin(["dense", "convolutional", "recurrent"])].linear_share.between(0, 1).all()
    rows = tables.layers(store)
    assert set(rows.trained) == {True, False}
    shares = tables.shares(rows[rows.network.isin(["dense", "recurrent"]) & (rows.seed == 0)])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    own = table[(table.network == "dense")].linear_share.iloc[0]
    assert shares.loc[("dense", True), "linear"] == pytest.approx(own)
    transformer = table[table.network == "transformer"].set_index("seed").test_accuracy
    recurrent = table[table.network == "recurrent"]
    for figure in (
        figures.along(rows, ["dense", "transformer"]), figures.shares(shares),
        figures.stages({"dense": tables.stages(rows, "dense")}),
        figures.branches(tables.stages(rows, "transformer"), transformer), figures.guided(recurrent),
    ):  # fmt: skip
        plt.close(figure)


def test_guidance_raises_the_determinant_of_the_output_gate(tmp_path):
    store = Store(tmp_path)
    run(
        THROUGH,
        trials(
            THROUGH, "digits", seeds=(0,), network="recurrent", horizon=2, layers="output gate", coefficient=[0.0, 0.1]
        ),
        store,
        QUIET,
    )
    rows = store.curves("through").merge(THROUGH.table(store)[["trial", "coefficient"]], on="trial")
    cells = rows[(rows.kind == "LSTM") & (rows.epoch == 2)].set_index("coefficient").linear
    assert cells[0.1] > cells[0.0]
    assert network("recurrent", 8, 0).get_parameter(OUTPUT_GATE.removesuffix("[o]")).shape == (256, 64)


# --- Networks that others trained ------------------------------------------------------------------------


def gluon() -> dict[str, torch.Tensor]:
    """Random arrays under the names and in the shapes of the copy of ResNet-50 v2."""
    generator = torch.Generator().manual_seed(0)
    arrays: dict[str, torch.Tensor] = {}

    def convolution(name, out, into, side):
        arrays[f"resnetv24_{name}_weight"] = (
            torch.randn(out, into, side, side, generator=generator) * (into * side**2) ** -0.5
        )

    def norm(name, width):
        for part in ("gamma", "running_var"):
            arrays[f"resnetv24_{name}_{part}"] = torch.ones(width)
        for part in ("beta", "running_mean"):
            arrays[f"resnetv24_{name}_{part}"] = torch.zeros(width)

    norm("batchnorm0", 3), convolution("conv0", 64, 3, 7), norm("batchnorm1", 64)
    into = 64
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256)), start=1):
        number = norms = 0
        for block in range(blocks):
            for size in (into, width, width):
                norm(f"stage{stage}_batchnorm{norms}", size)
                norms += 1
            shapes = [(width, into, 1), (width, width, 3), (4 * width, width, 1)] + [(4 * width, into, 1)] * (
                block == 0
            )
            for shape in shapes:
                convolution(f"stage{stage}_conv{number}", *shape)
                number += 1
            into = 4 * width
    norm("stage4_batchnorm0", into), convolution("stage4_conv0", 512, into, 1)
    return arrays


def test_a_resnet_is_put_together_of_44_convolutions(monkeypatch):
    monkeypatch.setattr(pretrained, "copies", lambda architecture: (gluon(), ""))
    model = pretrained.trained("resnet50")
    assert sum(isinstance(part, nn.Conv2d) for part in model.modules()) == 44
    flow = entropy_flow(model, torch.zeros(1, 3, 64, 64))
    assert (flow.kind == "Conv2d").sum() == 44 and (flow.kind == "block").sum() == 13


def test_without_the_copies_the_file_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ENTROPY_DATA", str(tmp_path))
    pretrained.copies.cache_clear()
    with pytest.raises(MissingData, match=r"vgg16-imagenet-conv-fp16\.safetensors"):
        pretrained.trained("vgg16")


def test_on_photographs_its_statistics_are_those_that_its_normalisations_kept():
    """A layer at the wrong place, or pixels scaled in another way, and they are not."""
    try:
        model, photographs = pretrained.trained("resnet50"), load("imagenette", side=160).images["test"]
    except (MissingData, FileNotFoundError):
        pytest.skip("neither the copy of the weights nor Imagenette is here")
    agreement = []

    def compare(norm, inputs):
        x = inputs[0]
        agreement.append(np.corrcoef(x.var((0, 2, 3)).log(), norm.running_var.log())[0, 1])

    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_var.min() > 0:
            part.register_forward_pre_hook(compare)
    with torch.no_grad():
        model(pretrained.prepared("resnet50", photographs[::100]))
    assert len(agreement) >= 40 and min(agreement) > 0.85


def test_a_residual_adds_its_branch():
    x = torch.rand(2, 3)
    assert torch.equal(Residual(nn.Tanh())(x), x + x.tanh())
