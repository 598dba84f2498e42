"""Section 5.5: the U-Net, its numbering, its scores, and COCO's masks."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, jaccard_score
from torch import nn

from replication.data.coco import credits
from replication.data.dataset import MissingData
from replication.data.registry import load
from replication.experiments.experiment import Plan
from replication.experiments.flow.experiment import FLOW, TRAINED, FlowConfig
from replication.experiments.imagenette.experiment import placement
from replication.experiments.unet import experiment as unet
from replication.experiments.unet import tables
from replication.experiments.unet.experiment import UNET, read_layers, write_layers
from replication.networks.unet import UNet
from replication.networks.vgg_resnet import SCHEMES, convolution_names, convolutions
from replication.sweep.run import run
from replication.sweep.store import StackResult, Store
from replication.sweep.trial import Scope, Trial
from replication.verdicts.claim import load_claims
from tests.helpers import PROVENANCE

pytestmark = pytest.mark.usefixtures("cache")
SMALL = {"image": 32, "channels": 2, "precision": "float32", "batch": 120}


def trials(*coefficients, layers=unet.FED_UP, horizon=2, **protocol):
    shared = {"layers": layers, "horizon": horizon} | SMALL | protocol
    return UNET.trials(Plan.of("shapes", [0], coefficient=list(coefficients), **shared))


def test_the_numbers_of_fig_9_are_those_of_the_convolutions_in_keras_list():
    going_down, going_up = ["conv", "conv", "halving", "dropout"], ["doubling", "joining", "dropout", "conv", "conv"]
    listed = ["input", "scaling", *4 * going_down, "conv", "conv", *4 * going_up, "conv"]
    assert [number for number, kind in enumerate(listed) if kind == "conv"] == sorted(unet.LAYERS)
    before_doublings = [number for number, kind in enumerate(listed[1:]) if kind == "doubling"]
    assert before_doublings == [19, 24, 29, 34]
    model = UNet(2)
    assert set(unet.LAYERS.values()) == set(convolutions(model))
    shapes = [convolutions(model)[unet.LAYERS[number]].weight.shape[:2] for number in unet.FED_UP]
    assert shapes == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


def test_the_layers_run_in_the_order_of_their_numbers():
    model, seen = UNet(2), []
    for number, name in unet.LAYERS.items():
        model.get_submodule(name).register_forward_hook(lambda *_, number=number: seen.append(number))
    assert model(torch.rand(2, 3, 32, 48)).shape == (2, 1, 32, 48)
    assert seen == sorted(unet.LAYERS)


def test_skip_connections_carry_the_second_convolution_of_each_block():
    """With everything above a block's halving cut off, the output still depends on that block through its skip."""
    model, kept = UNet(2), {}
    for block in range(4):
        model.down[block].register_forward_hook(lambda m, i, o, block=block: kept.__setitem__(block, o))
    nn.init.zeros_(model.up[-1].weight)  # nothing from below reaches the last joining
    output = model(torch.rand(1, 3, 32, 32))
    gradients = torch.autograd.grad(output.sum(), [kept[block] for block in range(4)], allow_unused=True)
    assert gradients[0].abs().max() > 0
    assert all(gradient is None or gradient.abs().max() == 0 for gradient in gradients[1:])


def test_scores_are_those_of_scikit_learn():
    random = torch.Generator().manual_seed(0)
    outputs, masks = torch.rand(5, 1, 9, 7, generator=random), torch.rand(5, 9, 7, generator=random) > 0.7
    outputs[3], masks[3] = 0.0, False  # neither has a pixel
    found = unet.scores(outputs, masks.byte())
    for k in range(5):
        predicted, true = (outputs[k, 0] > 0.5).flatten().numpy(), masks[k].flatten().numpy()
        assert found["accuracy"][k] == pytest.approx(accuracy_score(true, predicted))
        assert found["iou"][k] == pytest.approx(jaccard_score(true, predicted, zero_division=1.0))
    everything = jaccard_score(masks.flatten().numpy(), (outputs > 0.5).flatten().numpy())
    assert float(found["intersection"].sum() / found["union"].sum()) == pytest.approx(everything)
    loss = nn.functional.mse_loss(outputs[:, 0], masks.float())
    assert float(found["loss"].mean()) == pytest.approx(float(loss))


def test_a_record_keeps_curves_masks_and_the_flow_before_and_after(tmp_path):
    store, stack = Store(tmp_path / "records"), [*trials(0.0, 0.1), *trials(0.1, layers=(2,))]
    run(UNET, stack, store)
    assert store.validate() == []
    table = UNET.summarised(store)
    assert sorted(zip(table.coefficient, table.layers, strict=True)) == [
        (0.0, "none"), (0.1, "19,24,29,34,39"), (0.1, "2"),
    ]  # fmt: skip
    assert sorted(UNET.compared(table, layers="2").coefficient) == [0.0, 0.1]
    assert (table.stopping_epoch == 2).all() and table.censored.all() and not table.diverged.any()
    assert (table.test_pooled_iou == table.test_intersection / table.test_union).all()
    assert (table.training_seconds > 0).all()
    for row in table.itertuples():
        kept = store.artefacts(row.file, "unet")
        boxes, masks = kept[f"{row.trial}-flow"], kept[f"{row.trial}-masks"]
        assert boxes.shape == (2, 19, 3, 8) and masks.shape == (unet.SHOWN, 32, 32)
        kernel = UNet(2, seed=0).down[0][0].weight.detach()[..., 0, 0].abs().log()
        assert boxes[0, 0, 0, 0] == pytest.approx(float(kernel.mean()), rel=1e-4)
        assert (boxes[0] != boxes[1]).any()


def test_the_rule_of_stopping_is_the_papers(tmp_path, monkeypatch):
    """A gain of less than 0.01 does not count; after ten epochs without one the run is stopped."""
    (trial,) = trials(0.0, horizon=14)
    curve = unet.train_stack([trials(0.0)[0]], "cpu", lambda: None).curves
    rows = curve.iloc[[0] * 15].assign(trial=trial.id, epoch=range(15), seconds=1.0)
    rows["validation_loss"] = [1.0, 0.30, 0.20, *(0.195 - 0.0005 * k for k in range(12))]
    rows["test_accuracy"] = np.arange(15) / 100
    store = Store(tmp_path / "made")
    store.write([trial], StackResult(rows), [Scope("quick")], PROVENANCE)
    row = unet.outcomes(store).iloc[0]
    assert (row.stopping_epoch, row.censored, row.training_seconds) == (12, False, 12.0)
    assert row.test_accuracy == 0.12 and unet.outcomes(store, epoch=5).test_accuracy[0] == 0.05


@pytest.fixture
def coco(data_folder):
    """Ten photographs to train on and two to test on, with rectangles, a triangle and a crowd as annotations."""
    root = data_folder / "coco-mini"
    (root / "annotations").mkdir(parents=True)
    for part, count in (("train2017", 10), ("val2017", 2)):
        (root / part).mkdir()
        about, objects = [], []
        for k in range(1, count + 1):
            Image.new("RGB", (48, 48), (k, 0, 0)).save(root / part / f"{k:012}.jpg")
            about.append({"id": k, "file_name": f"{k:012}.jpg", "width": 48, "height": 48})
            outlines = [[4, 8, 20, 8, 20, 40, 4, 40], [10, 20, 40, 20, 40, 30, 10, 30], [30, 2, 46, 2, 46, 12]]
            rows = [{"segmentation": [outline], "iscrowd": 0} for outline in outlines]
            rows += [{"segmentation": {"counts": [0, 48 * 48], "size": [48, 48]}, "iscrowd": 1}]
            rest = {"image_id": k, "category_id": 1, "area": 1.0, "bbox": [0, 0, 1, 1]}
            objects += [{"id": 10 * k + number, **rest, **row} for number, row in enumerate(rows)]
        listed = {"images": about, "annotations": objects, "categories": [{"id": 1, "name": "thing"}]}
        (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(listed))
    return root


def test_masks_of_coco_are_the_union_of_pycocotools_own(coco):
    from pycocotools.coco import COCO

    found = load("coco", side=48)
    assert {split: len(images) for split, images in found.images.items()} == {"train": 9, "validation": 1, "test": 2}
    tool = COCO(coco / "annotations" / "instances_val2017.json")
    expected = np.zeros((48, 48), bool)
    for one in tool.loadAnns(tool.getAnnIds(imgIds=[1], iscrowd=False)):
        expected |= tool.annToMask(one).astype(bool)
    np.testing.assert_array_equal(found.masks["test"][0].numpy(), expected)
    # By hand: two rectangles that overlap in 10 x 10, and half of a third, less or more its edge.
    assert abs(int(expected.sum()) - (16 * 32 + 30 * 10 - 100 + 80)) <= 12
    small = load("coco", side=24).masks["test"][0].float().mean()
    assert float(small) == pytest.approx(expected.mean(), abs=0.02)
    assert found.images["test"][1, 0].float().mean() == pytest.approx(2, abs=1)


def test_an_incomplete_or_damaged_coco_is_named(coco):
    (coco / "train2017" / f"{3:012}.jpg").unlink()
    with pytest.raises(MissingData, match=r"1 of 10 photographs are missing, such as .*3\.jpg; unpack COCO"):
        load("coco", side=48)
    (coco / "annotations" / "instances_train2017.json").write_text("{")
    with pytest.raises(ValueError, match=r"instances_train2017\.json is damaged, it is no JSON"):
        load("coco", side=48)
    (coco / "annotations" / "instances_train2017.json").unlink()
    with pytest.raises(MissingData, match="COCO is not in .*https://cocodataset.org"):
        load("coco", side=48)


def test_refusals():
    with pytest.raises(ValueError, match="layer '4' is no convolution of Fig. 9; its numbers are 2, 3, 6"):
        read_layers("3,4")
    with pytest.raises(KeyError, match="quick, laptop, paper"):
        UNET.grid("huge")
    assert read_layers("none") == () and write_layers(()) == "none" and read_layers(write_layers((2, 39))) == (2, 39)


ORDER = np.linspace(-1, 1, len(unet.LAYERS))
CLAIMS = {claim.id: claim for claim in load_claims(Path(__file__).parents[1] / "claims.yml")}


def made_store(
    tmp_path,
    first_tap: np.ndarray,
    data: str = "coco",
    exact: np.ndarray | float = 0.0,
    before: np.ndarray | float = 0.0,
) -> Store:
    """Records in which training adds what is given to log|c11| and the exact measure, with a little noise.

    `before` is in log|c11| from the start.
    """
    store, stack, artefacts, rows = Store(tmp_path / "made"), [], {}, []
    random = np.random.default_rng(0)
    for seed in range(3, 13 if data == "coco" else 21):
        for c in (0.0, 1e-3):
            rest = {"horizon": 30, "coefficient": c, "layers": unet.FED_UP, "image": 96, "channels": 16, "batch": 8}
            trial = Trial("unet", UNET.protocol, data, "f", seed, UNET.configured(**rest))
            stack.append(trial)
            boxes = random.normal(0, 0.05, (2, len(unet.LAYERS), 3, len(unet.FIELDS)))
            boxes[:, :, 0, 0] += before
            boxes[1, :, 0, 0] += first_tap
            boxes[1, :, 2, 0] += exact
            artefacts[f"{trial.id}-flow"] = boxes
            values = dict.fromkeys(("train_loss", "seconds", "test_accuracy", "test_iou"), 0.5)
            values |= dict.fromkeys(
                (f"{s}_{m}" for s in ("validation", "test") for m in ("intersection", "union")), 1.0
            )
            fall = [{"trial": trial.id, "epoch": epoch, "validation_loss": 100.0 - 3 * epoch} for epoch in range(31)]
            rows += [at | values for at in fall]
    scopes = [Scope("reduced", "few photographs")] * len(stack)
    store.write(stack, StackResult(pd.DataFrame(rows), artefacts), scopes, PROVENANCE)
    return store


def test_scores_are_means_over_late_epochs_and_the_stop_stands_beside(tmp_path):
    """Runs stop at epoch 13, where guidance is behind; from epoch 21 on it is ahead."""
    store, stack, rows = Store(tmp_path), [], []
    for seed in range(3, 13):
        for c in (0.0, 1e-3):
            rest = {"horizon": 30, "coefficient": c, "layers": unet.FED_UP, "image": 96, "channels": 16, "batch": 8}
            stack.append(Trial("unet", UNET.protocol, "coco", "f", seed, UNET.configured(**rest)))
            for epoch in range(31):
                gain = (0.2 if epoch > 20 else -0.2) * (c > 0)
                values = dict.fromkeys(("train_loss", "seconds", "test_accuracy"), 0.5) | {"test_iou": 0.5 + gain}
                values |= dict.fromkeys(
                    (f"{s}_{m}" for s in ("validation", "test") for m in ("intersection", "union")), 1.0
                )
                loss = {"validation_loss": abs(epoch - 3) / 10 + seed / 1000}
                rows.append({"trial": stack[-1].id, "epoch": epoch} | values | loss)
    store.write(stack, StackResult(pd.DataFrame(rows)), [Scope("reduced", "made up")] * len(stack), PROVENANCE)
    table = UNET.summarised(store)
    assert (table.stopping_epoch == 13).all()
    verdict = CLAIMS["unet-masks"].test.decide(store)
    assert verdict.status == "holds" and verdict.effect == pytest.approx(0.2)
    (stop,) = [other for other in verdict.beside if "stop" in other.reading]
    assert stop.status == "fails" and stop.effect == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("first_tap", "exact", "before", "status"),
    [(2, 2, 0, "holds"), (2, 0, 0, "undecided"), (0, 0, 0, "undecided"), (2, -2, 0, "partly"), (-2, -2, 0, "fails"),
     (-1, -1, 3, "partly"), (0, 0, 3, "undecided")],
)  # fmt: skip
def test_a_u_is_a_parabola_that_bends_upwards_more_than_before(tmp_path, first_tap, exact, before, status):
    claim = CLAIMS["flow-unet"]
    store = made_store(tmp_path, first_tap * ORDER**2 + 2 * ORDER, exact=exact * ORDER**2, before=before * ORDER**2)
    verdict = claim.test.decide(store)
    assert verdict.status == status and verdict.scope == "reduced (few photographs)"
    assert verdict.effect == pytest.approx(first_tap, abs=0.1)
    assert claim.test.decide(Store(tmp_path / "none")).status == "undecided"
    table = tables.table_3(UNET.summarised(store)).set_index("λ")
    assert table.seeds[0.0] == "10" and table.seeds[0.1] == "none" and table.accuracy[1e-3] == 0.5
    assert table.epochs[0.0] == "30.0 (not all stopped)" and table["seconds per epoch"][0.0] == 0.5
    assert tables.spread(UNET.summarised(store)).seeds.tolist() == [10, 10]


def test_gains_are_paired_by_seed_with_and_without_the_seeds_that_mark_nothing():
    rows = [
        {"seed": seed, "coefficient": c, "late_accuracy": 0.5 + seed + gain * c, "late_iou": 0.1, "test_iou": marks}
        for seed, gain, marks in ((0, 0.1, 0.2), (1, 0.3, 0.2), (2, 0.0, 0.0))
        for c in (0.0, 1.0)
    ]
    assert tables.mute(pd.DataFrame(rows)) == {2}
    found = tables.gains(pd.DataFrame(rows)).set_index(["measure", "seeds"])
    assert found["mean"]["accuracy"].round(6).to_dict() == {"all seeds": 0.133333, "seeds that mark something": 0.2}
    assert found.low["accuracy"].to_numpy() == pytest.approx(
        [0.1333333 - 4.302653 * 0.1527525 / 3**0.5, 0.2 - 12.7062 * 0.1], rel=1e-4
    )
    assert (found["mean"]["IoU"] == 0).all()


@pytest.mark.parametrize(("shapes", "status"), [(2 * ORDER, "holds"), (-2 * ORDER, "fails")])
def test_the_flow_is_the_same_where_two_data_sets_order_the_layers_alike(tmp_path, shapes, status):
    claim = CLAIMS["flow-same-architecture"]
    assert claim.test.decide(made_store(tmp_path, 2 * ORDER)).status == "undecided"
    verdict = claim.test.decide(made_store(tmp_path, shapes, "shapes"))
    assert verdict.status == status and abs(verdict.effect) > 0.95


def test_networks_agree_with_their_own_kind_and_with_the_other_as_far_as_training_added_the_same():
    """Three networks on one data set add multiples of the layers' order, two on another of the order reversed."""
    order = pd.Series(ORDER)
    one, other = (
        pd.DataFrame({"a": order, "b": 2 * order, "c": 3 * order}),
        pd.DataFrame({"d": -order, "e": -2 * order}),
    )
    table = tables.alike({"exact": {"one": one, "other": other}}).set_index(["each network on", "with the mean of"])
    assert table["mean"].round(9).to_dict() == {
        ("one", "the others on one"): 1, ("one", "those on other"): -1,
        ("other", "those on one"): -1, ("other", "the others on other"): 1,
    }  # fmt: skip
    (panel,) = tables.changes_figure({"exact": {"one": one.set_index(order + 7), "other": other}}).axes
    assert all(line.get_xdata()[0] == 0 for line in panel.lines)  # numbers of layers are no places
    odd = one.assign(c=-5 * order)  # turns the mean of the others of either
    assert tables.among_themselves(odd).round(9).to_dict() == {"a": -1, "b": -1, "c": -1}


@pytest.mark.parametrize(
    ("first_tap", "exact", "status"), [(1, 1, "holds"), (1, -1, "partly"), (-1, 1, "partly"), (-1, -1, "fails")]
)
def test_the_flow_is_consistent_where_the_named_layers_stand_out(tmp_path, first_tap, exact, status):
    """Training lifts VGG's first two layers, ResNet's before a skip and U-Net's outer ones, or lowers them."""
    store = made_store(tmp_path, 2 * first_tap * ORDER**2, exact=2 * exact * ORDER**2)
    claim = CLAIMS["flow-consistent"]
    assert claim.test.decide(store).status == "not tested"
    trials, rows = [], []
    for name, layers in (("vgg16", "[1,2]"), ("resnet50", "pre-skip")):
        for scheme in ("", *SCHEMES):
            config = FlowConfig(architecture=name, scheme=scheme, image=224, horizon=0)
            trials.append(Trial("flow", FLOW.protocol, "none" if scheme else TRAINED, "f", 0, config))
            for number, layer in enumerate(convolution_names(name), 1):
                above = float(layer in placement(name, layers)) * (not scheme)
                shape = {"layer": number, "name": layer, "out": 1, "in": 1, "side": 1}
                about = {"trial": trials[-1].id, "epoch": 0} | shape
                for measure, mean in (("tap 1 1", first_tap * above), ("norm", above), ("exact", exact * above)):
                    reading = "layer" if measure == "exact" else "slices"
                    rows.append(about | {"measure": measure, "reading": reading, "mean": mean})
    store.write(trials, StackResult(pd.DataFrame(rows)), [Scope("reduced", "copies")] * len(trials), PROVENANCE)
    verdict = claim.test.decide(store)
    assert verdict.status == status and verdict.scope == "reduced (few photographs), copies"


def test_only_photographs_whose_licence_allows_it_are_credited(coco):
    listed = coco / "annotations" / "instances_val2017.json"
    about = json.loads(listed.read_text())
    about["images"][0] |= {"license": 3}
    about["images"][1] |= {"license": 4, "flickr_url": "http://example.org/2"}
    listed.write_text(json.dumps(about))
    assert credits(2) == ["", "COCO 2017, photograph 2, http://example.org/2, CC BY 2.0"]
