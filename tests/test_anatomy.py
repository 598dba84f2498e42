"""Looking into autoencoders: every measure against a plain network, image by image."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from replication.data.registry import load
from replication.experiments.anatomy import figures, tables
from replication.experiments.anatomy.experiment import ANATOMY, SATURATED, dissect, train_stack
from replication.experiments.autoencoder import training
from replication.experiments.autoencoder.experiment import AutoencoderConfig
from replication.sweep.run import run
from replication.sweep.store import Store
from replication.sweep.trial import Trial
from tests.helpers import QUIET, trials


def stack(latent: int, seed: int = 3) -> list[Trial]:
    fingerprint = ANATOMY.fingerprint("digits", None)
    configs = [AutoencoderConfig(latent=latent, coefficient=c, horizon=2, rate=0.01) for c in (0.0, 0.1)]
    return [Trial("anatomy", ANATOMY.protocol, "digits", fingerprint, seed, config) for config in configs]


@pytest.mark.parametrize("latent", [5, 20])
@torch.no_grad()
def test_every_measure_is_what_a_plain_network_gives(latent):
    *_, now = training.epochs(stack(latent), "cpu", torch.float64)
    found = dissect(now)
    images, mean = now.splits["test"], now.splits["train"].mean(0)
    for k in range(2):
        weight, bias, weight_out, bias_out = (p[k] for p in now.parameters)
        first, second = nn.Linear(64, latent), nn.Linear(latent, 64)
        for layer, w, b in ((first, weight, bias), (second, weight_out, bias_out)):
            layer.double().weight.copy_(w), layer.bias.copy_(b[0])
        network = nn.Sequential(first, nn.Sigmoid(), second, nn.Sigmoid())
        squares = (network(images) - images) ** 2
        far = ((images - mean)[:, :latent] ** 2).sum(1)
        most = far >= far.sort(descending=True).values[len(images) // 10 - 1]
        blanked, black = (
            torch.cat([ink.expand(len(images), latent), images[:, latent:]], 1)
            for ink in (mean[:latent], torch.zeros(1))
        )
        hidden = torch.sigmoid(first(images))
        part = images[:, :latent] @ weight[:, :latent].T
        expected = {
            "norm_square": weight[:, :latent].norm(), "norm_rest": weight[:, latent:].norm(),
            "share_square": part.var(0).sum() / first(images).var(0).sum(), "error": squares.mean(),
            "error_most": squares[most].mean(), "error_others": squares[~most].mean(),
            "error_rest": squares[:, latent:].mean(),
            "error_rest_blanked": ((network(blanked) - images) ** 2)[:, latent:].mean(),
            "error_rest_black": ((network(black) - images) ** 2)[:, latent:].mean(),
            "saturated": (hidden * (1 - hidden) < SATURATED).double().mean(),
            "share_ink": (images[:, :latent] > 0).any(1).double().mean(),
        }  # fmt: skip
        assert set(expected) == set(found)
        for name, value in expected.items():
            assert float(found[name][k]) == pytest.approx(float(value), rel=1e-9), name


def test_records_keep_the_worst_images_and_decide_nothing_on_digits(tmp_path):
    store = Store(tmp_path)
    made = trials(ANATOMY, "digits", seeds=(0,), latent=[10], coefficient=[0.0, 10.0], horizon=1)
    assert run(ANATOMY, made, store, QUIET) == 2 and store.validate({"anatomy": ANATOMY.columns}) == []
    table = ANATOMY.summarised(store)
    assert set(table.scope) == {"quick"} and np.isfinite(table[list(ANATOMY.measures)].astype(float)).all(axis=None)
    kept = store.artefacts(table.file[0], "anatomy")
    assert kept["worst"].shape == (8, 64) and kept["returned"].shape == (2, 8, 64)
    images = load("digits").flat("test", "cpu", torch.float32)
    squares = torch.from_numpy(kept["pixel_error"]).mean(1)
    assert squares.numpy() == pytest.approx(table.error.to_numpy(), rel=1e-4)
    worst = ((torch.from_numpy(kept["worst"]) / 255 - images[:, None]) ** 2).sum(-1).amin(0)
    assert (worst < 1e-3).all()


def test_a_stack_trains_as_the_autoencoders_do():
    """The networks are those of `autoencoder`: the same errors at the same epochs."""
    from replication.experiments.autoencoder import experiment as autoencoder

    looked = train_stack(stack(10), "cpu", lambda: None).curves
    plain = autoencoder.train_stack(stack(10), "cpu", lambda: None).curves
    np.testing.assert_allclose(looked.error, plain.test_mse, rtol=1e-5)


def test_guidance_of_pixels_that_are_always_black_changes_nothing_else(monkeypatch):
    """What guidance costs, it costs through the images that have ink where the square part looks."""

    class WithoutInk:
        def flat(self, split, device, dtype):
            images = load("digits").flat(split, device, dtype)
            return torch.cat([torch.zeros_like(images[:, :10]), images[:, 10:]], 1)

    for data, same in ((WithoutInk(), True), (load("digits"), False)):
        monkeypatch.setattr(training, "load", lambda name, fingerprint, data=data: data)
        *_, now = training.epochs(stack(10), "cpu", torch.float64)
        weight, *rest = now.parameters
        assert not torch.allclose(weight[0, :, :10], weight[1, :, :10], rtol=0.1)
        for free, guided in zip(*(zip(*rest, strict=True)), strict=True):
            assert torch.allclose(free, guided, rtol=1e-12, atol=0) == same
        assert torch.allclose(weight[0, :, 10:], weight[1, :, 10:], rtol=1e-12, atol=0) == same


def test_figures_show_every_network(tmp_path):
    store = Store(tmp_path)
    made = trials(ANATOMY, "digits", seeds=(0,), latent=[10], coefficient=[0.0, 10.0], horizon=1)
    run(ANATOMY, made, store, QUIET)
    table = ANATOMY.summarised(store)
    drawn = [
        figures.by_epoch(store, table, 10, {"error": "error", "saturated": "saturated"}),
        figures.by_latent(table, {"share_square": "share"}, {"share_square": 1.0}),
        figures.worst(store, table, 10),
        figures.error_maps(store, table, 10),
        figures.every_latent(store, table),
    ]
    assert [len(figure.axes) for figure in drawn] == [2, 2, 3, 2, 5]
    assert figures.worst(store, table, 99) is figures.every_latent(store, table[:0]) is None
    curves = store.curves("anatomy").merge(table[["trial", "seed", "coefficient"]], on="trial")
    errors = store.artefacts(table.file[0], "anatomy")["pixel_error"]
    strong, free = errors[table.coefficient.argmax()], errors[table.coefficient.argmin()]
    grown = tables.where_errors_grow(store, table).loc[10]
    assert grown.inside == pytest.approx(strong[:10].sum() / free[:10].sum(), rel=1e-4)
    assert grown.outside == pytest.approx(strong[10:].sum() / free[10:].sum(), rel=1e-4)
    by_seed = figures.by_seed(curves, {"error": ("error", "log"), "saturated": ("share", "linear")})
    assert [len(axes.lines) for axes in by_seed.axes] == [2, 2]
    many = pd.concat([curves.assign(seed=seed) for seed in range(9)])
    (axes,) = figures.by_seed(many, {"error": ("error", "log")}).axes
    assert len({str(line.get_color()) for line in axes.lines}) == 9
    plt.close("all")


@pytest.mark.parametrize("planes", [1, 3])
def test_a_picture_is_drawn_as_the_data_set_flattens_it(planes):
    """Data sets hold the three colours of a picture one after the other."""
    image = torch.rand(planes, 8, 8)
    drawn = figures._picture(image.flatten().numpy())
    np.testing.assert_array_equal(drawn, image.movedim(0, -1).squeeze().numpy())
    _, axes = plt.subplots()
    figures._frame(axes, drawn, 3 * 8)
    (line,) = axes.lines
    assert line.get_ydata()[0] == 2.5, "three rows of the first plane lie above the line"
    plt.close("all")


def test_costs_are_over_the_unguided_network_of_the_same_seed():
    table = pd.DataFrame({
        "data": "digits", "latent": 10, "seed": [0, 0, 1, 1], "coefficient": [0.1, 0.0, 0.0, 0.1],
        "error_most": [8.0, 2.0, 1.0, 3.0], "error_others": [2.0, 1.0, 1.0, 1.0], "norm_square": 20.0,
    })  # fmt: skip
    table["error"] = 0.1 * table.error_most + 0.9 * table.error_others
    found = tables.against_unguided(table)
    assert found.most_cost.tolist() == [4, 1, 1, 3] and found.others_cost.tolist() == [2, 1, 1, 1]
    assert found.most_part.tolist() == pytest.approx([0.6 / 1.5, np.nan, np.nan, 1.0], nan_ok=True)
    assert (found.rms_square == 2.0).all()


def test_an_error_turns_at_its_least_mean_and_nowhere_if_that_is_the_last(tmp_path, monkeypatch):
    cells = pd.DataFrame(
        {"trial": list("abcd"), "data": "digits", "latent": [10, 10, 20, 20], "coefficient": [0.0, 0.1] * 2}
    )
    errors = {"a": [4.0, 2.0, 1.0], "b": [4.0, 2.0, 3.0], "c": [4.0, 2.0, 1.0], "d": [4.0, 2.0, 1.0]}
    curves = pd.DataFrame([
        {"trial": trial, "epoch": at, "error": error, "saturated": at / 10, "share_square": at + (trial == "b")}
        for trial, each in errors.items() for at, error in enumerate(each)
    ])  # fmt: skip
    monkeypatch.setattr(Store, "curves", lambda self, name: curves)
    (row,) = tables.turns(Store(tmp_path), cells).to_dict("records")
    assert (row["latent"], row["coefficient"], row["epoch"], row["share"], row["share at the end"]) == (
        10,
        0.1,
        1,
        2,
        3,
    )
    assert (row["saturated"], row["saturated unguided"], row["saturated at the end"]) == (0.1, 0.1, 0.2)
