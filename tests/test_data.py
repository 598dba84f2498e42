"""Data on disk: what is missing or damaged is named, with the remedy."""

import io
import json
import os
import shutil
import sys
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from replication import cli
from replication.data import cifar10, imagenette, mnist, photographs, registry, shapes
from replication.data.dataset import DamagedData, MissingData
from replication.networks import weights
from replication.vision import import_torchvision


def jpeg(colour: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), colour, np.uint8)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """Two pictures to train on and one to test on, where the JPEG copies of CIFAR-10 lie."""
    monkeypatch.setenv("ENTROPY_DATA", str(tmp_path))
    folder = tmp_path / "cifar10-jpeg"
    folder.mkdir()

    def write(split: str, pictures: list[bytes]):
        rows = [{"img": {"bytes": picture}, "label": label} for label, picture in enumerate(pictures)]
        pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet")

    write("train", [jpeg(10), jpeg(200)])
    write("test", [jpeg(90)])
    return folder, write


def test_copies_are_read_in_order(copies):
    pictures, labels = cifar10.jpeg_copies(copies[0])
    assert pictures.shape == (3, 32, 32, 3) and labels.tolist() == [0, 1, 0]
    assert pictures.reshape(3, -1).mean(1) == pytest.approx([10, 200, 90], abs=2)


def test_an_incomplete_or_damaged_folder_is_named(copies):
    folder, write = copies
    write("test", [jpeg(1), b"no picture"])
    with pytest.raises(ValueError, match=r"picture 1 of .*test\.parquet cannot be read .* copy the file again"):
        cifar10.jpeg_copies(folder)
    write("test", [jpeg(1)[:-200]])
    with pytest.raises(ValueError, match=r"picture 0 of .*test\.parquet cannot be read"):
        cifar10.jpeg_copies(folder)
    (folder / "test.parquet").write_bytes(b"PAR1, cut short")
    with pytest.raises(ValueError, match=r"test\.parquet is damaged or no table of pictures"):
        cifar10.jpeg_copies(folder)
    (folder / "test.parquet").unlink()
    with pytest.raises(MissingData, match=r"test\.parquet is missing; .* `entropy-book data cifar10`"):
        cifar10.jpeg_copies(folder)
    (folder / "train.parquet").unlink()
    with pytest.raises(MissingData, match="`entropy-book data cifar10` fetches the originals"):
        cifar10.load()


def test_too_few_or_other_pictures_are_named(copies):
    folder, write = copies
    with pytest.raises(DamagedData, match=r"cifar10-jpeg has 3 pictures, expected 60,000"):
        cifar10.load()
    large = io.BytesIO()
    Image.new("RGB", (40, 32)).save(large, "JPEG")
    write("train", [jpeg(1), large.getvalue()])
    with pytest.raises(DamagedData, match=r"picture 1 of .*train\.parquet has the shape \(32, 40, 3\)"):
        cifar10.jpeg_copies(folder)
    (folder.parent / "cifar-10-batches-py").mkdir()
    with pytest.raises(DamagedData, match="cifar-10-batches-py is not whole .* remove it, then `entropy-book data"):
        cifar10.load()


@pytest.fixture
def mnist_on_disk(data_folder):
    """The four files, whole and empty of pictures."""
    raw = data_folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, shape in mnist.FILES.items():
        head = [0x800 + len(shape), *shape]
        (raw / name).write_bytes(np.array(head, ">u4").tobytes() + bytes(int(np.prod(shape))))
    return raw


SPOILT = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: os.truncate(path, 5000),
    "another site's page": lambda path: path.write_text("<html>503</html>"),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "misnamed": lambda path: shutil.copy(path.with_name("t10k-labels-idx1-ubyte"), path),
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_damaged_file_of_mnist_is_named_with_a_remedy_that_works(mnist_on_disk, how, name):
    SPOILT[how](mnist_on_disk / name)
    for ask in (mnist.load, mnist.fetch):
        with pytest.raises(DamagedData, match=f"{name} is not whole .* remove it, then `entropy-book data mnist`"):
            ask()
    (mnist_on_disk / name).unlink()
    with pytest.raises(MissingData, match=f"no .*{name}; `entropy-book data mnist` fetches it"):
        mnist.load()


def test_files_that_are_whole_but_not_the_published_ones_are_refused(mnist_on_disk, capsys, monkeypatch):
    with pytest.raises(DamagedData, match=f"the published files have {mnist.PUBLISHED}: .* was changed"):
        mnist.load()
    registry.loaded.cache_clear()
    monkeypatch.setattr(sys, "argv", ["entropy-book", "data"])
    with pytest.raises(SystemExit):
        cli.main()
    listed = capsys.readouterr().out
    assert "mnist            damaged: " in listed and "imagenette       missing: " in listed and "shapes  " in listed


def test_a_failed_download_says_what_and_why(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(import_torchvision().datasets, "CIFAR10", refuse)
    with pytest.raises(RuntimeError, match="cifar10 could not be downloaded into .*no route to host"):
        registry.fetch("cifar10")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(RuntimeError, match="vgg16-weights could not be downloaded"):
        weights.fetch_weights("vgg16")


@pytest.fixture
def photographs_on_disk(data_folder, cache, monkeypatch):
    """Two photographs of each of ten classes to train on, one to test on; the red channel tells the class."""
    monkeypatch.setattr(imagenette, "COUNTS", {"train": 20, "val": 10})
    root = data_folder / "imagenette2-160"
    for part, count in (("train", 2), ("val", 1)):
        for label in range(10):
            folder = root / part / f"n{label:02}"
            folder.mkdir(parents=True)
            for number in range(count):
                picture = np.zeros((40, 60, 3), np.uint8)
                picture[..., 0], picture[:, 10:50, 1] = 20 * label, 200
                Image.fromarray(picture).save(folder / f"{number}.JPEG", quality=95)
    return root


def test_photographs_are_cut_square_decoded_once_and_kept_apart(photographs_on_disk, tmp_path):
    found = registry.load("imagenette", side=20)
    assert {name: len(images) for name, images in found.images.items()} == {"train": 18, "validation": 2, "test": 10}
    for name, images in found.images.items():
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 20, 20)
        red = images[:, 0].float().mean((1, 2))
        assert red.tolist() == pytest.approx([20 * label for label in found.labels[name].tolist()], abs=6)
    assert found.images["train"][:, 1].min() > 150  # the margins left and right are cut away
    assert "squeezed" not in found.deviation and found.canonical
    (kept,) = (tmp_path / "cache").iterdir()
    before, fingerprint = kept.stat().st_mtime_ns, found.fingerprint
    registry.loaded.cache_clear()
    assert registry.load("imagenette", fingerprint, side=20).fingerprint == fingerprint
    assert kept.stat().st_mtime_ns == before
    Image.new("RGB", (40, 40)).save(photographs_on_disk / "val" / "n03" / "0.JPEG")
    registry.loaded.cache_clear()
    with pytest.raises(ValueError, match="another version of the data"):
        registry.load("imagenette", fingerprint, side=20)


def test_a_folder_of_photographs_that_is_not_whole_is_named(photographs_on_disk):
    bad = photographs_on_disk / "train" / "n04" / "1.JPEG"
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"the photograph .*n04/1\.JPEG cannot be read .* fetch it again"):
        registry.load("imagenette", side=20)
    bad.unlink()
    with pytest.raises(ValueError, match=r"train has 19 photographs in 10 classes, expected 20 in 10: .*not whole"):
        registry.load("imagenette", side=20)
    shutil.rmtree(photographs_on_disk)
    with pytest.raises(MissingData, match="`entropy-book data imagenette` fetches it"):
        registry.load("imagenette", side=20)


def test_hidden_files_are_no_photographs(photographs_on_disk):
    for name in (".DS_Store", "._0.JPEG", "Thumbs.db"):
        (photographs_on_disk / "train" / "n04" / name).write_bytes(b"x")
    (photographs_on_disk / "train" / ".cache").mkdir()
    assert len(registry.load("imagenette", side=20).images["train"]) == 18


def test_photographs_of_more_than_8_bits_are_refused(tmp_path):
    Image.fromarray(np.full((8, 8), 60_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DamagedData, match=r"deep\.png cannot be read \(its mode is I;16"):
        photographs.square(tmp_path / "deep.png", 8)


def test_the_cache_notices_another_photograph_of_the_same_size(tmp_path, cache):
    path = tmp_path / "a.png"
    for colour, moment in ((10, 1), (200, 2)):
        path.write_bytes(png(colour))
        os.utime(path, (moment, moment))
        assert photographs.squares("x", [path], 8)[0, 0, 0, 0] == colour


def png(colour: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), colour, np.uint8)).save(file, "PNG", compress_level=0)
    return file.getvalue()


COCO_SIZE = (60, 40)
BOX = [0, 0, 12, 0, 12, 40, 0, 40]


@pytest.fixture
def coco_on_disk(data_folder, cache):
    """Twelve photographs in each part, their left fifth bright, with an outline of it."""

    def write(change=lambda content: None, stored=COCO_SIZE, orientation=None):
        root = data_folder / "coco-mini"
        shutil.rmtree(root, ignore_errors=True)
        (root / "annotations").mkdir(parents=True)
        for part in ("train2017", "val2017"):
            (root / part).mkdir()
            content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
            for number in range(12):
                pixels = np.zeros((COCO_SIZE[1], COCO_SIZE[0], 3), np.uint8)
                pixels[:, :12] = 255
                picture = Image.fromarray(pixels).resize(stored)
                exif = Image.Exif()
                if orientation:
                    exif[0x0112] = orientation
                    picture = picture.transpose(Image.Transpose.ROTATE_90)  # which orientation 6 turns back
                picture.save(root / part / f"{number}.png", exif=exif)
                about = dict(zip(("width", "height"), COCO_SIZE, strict=True))
                content["images"].append({"id": number, "file_name": f"{number}.png", **about})
                one = {"id": number, "image_id": number, "category_id": 1, "segmentation": [BOX], "iscrowd": 0}
                content["annotations"].append(one)
            change(content)
            (root / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
        registry.loaded.cache_clear()
        return registry.load("coco", side=40)

    return write


def overlap(found) -> float:
    bright = found.images["train"][:, 0].numpy() > 128
    masks = found.masks["train"].numpy().astype(bool)
    return (bright & masks).sum() / (bright | masks).sum()


def test_a_mask_lies_on_its_object_also_where_the_photograph_is_stored_turned(coco_on_disk):
    assert overlap(coco_on_disk()) == 1
    assert overlap(coco_on_disk(orientation=6)) == 1


def test_a_photograph_of_another_size_than_its_annotation_says_is_refused(coco_on_disk):
    with pytest.raises(DamagedData, match=r"\d+\.png cannot be read \(it has 40 x 40 pixels, .* says 60 x 40"):
        coco_on_disk(stored=(40, 40))


def annotated(**changed):
    def change(content):
        content["annotations"][3] |= changed
        for name in [name for name, value in changed.items() if value is ...]:
            del content["annotations"][3][name]

    return change


ANNOTATIONS = {
    "no outline": (annotated(segmentation=[]), "annotation 3: it has no outline"),
    "a box alone": (annotated(segmentation=...), "annotation 3: it has no outline"),
    "null": (annotated(segmentation=None), "annotation 3: it has no outline"),
    "one point": (annotated(segmentation=[[1, 2]]), "annotation 3: a polygon has fewer than three points"),
    "far away": (annotated(segmentation=[[0, 0, 1e9, 0, 1e9, 1e9]]), "annotation 3: a polygon lies far beyond"),
    "text": (annotated(segmentation=[["a"] * 6]), "annotation 3: a polygon has coordinates that are no numbers"),
    "runs of another size": (annotated(segmentation={"size": [4, 4], "counts": [16]}), "annotation 3: its runs are of"),
    "negative runs": (
        annotated(segmentation={"size": [40, 60], "counts": [-1, 2401]}),
        "annotation 3: its runs do not",
    ),
    "no photograph": (annotated(image_id=99), "annotation 3: it belongs to no photograph"),
    "no list": (lambda content: content.pop("annotations"), "no list of annotations"),
    "no photographs": (lambda content: content.update(images=[]), "list of images is empty"),
    "outside": (lambda content: content["images"][2].update(file_name="../x.png"), "photograph 2: its file .* outside"),
    "absolute": (lambda content: content["images"][2].update(file_name="/x.png"), "photograph 2: its file .* outside"),
    "huge": (lambda content: content["images"][2].update(height=10**7), "photograph 2: a size of 60 x 10000000"),
}


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_that_mean_nothing_are_named(coco_on_disk, name):
    change, message = ANNOTATIONS[name]
    with pytest.raises(DamagedData, match=rf"instances_train2017\.json cannot be used: .*{message}"):
        coco_on_disk(change)


def test_an_object_that_says_nothing_of_crowds_is_none(coco_on_disk):
    assert overlap(coco_on_disk(annotated(iscrowd=...))) == 1


def test_an_annotation_file_that_is_none_is_named(coco_on_disk, data_folder):
    coco_on_disk()
    (data_folder / "coco-mini" / "annotations" / "instances_train2017.json").write_text("<html>")
    registry.loaded.cache_clear()
    with pytest.raises(DamagedData, match=r"instances_train2017\.json is damaged, it is no JSON"):
        registry.load("coco", side=40)


def test_shapes_are_where_their_masks_are():
    images, labels, masks = shapes.draw(120, 48, seed=3)
    assert images.shape == (120, 48, 48, 3) and masks.shape == (120, 48, 48)
    assert np.bincount(labels).tolist() == [20] * len(shapes.NAMES)
    inside = np.array([image[mask].mean() for image, mask in zip(images, masks, strict=True)])
    outside = np.array([image[~mask].mean() for image, mask in zip(images, masks, strict=True)])
    assert (inside > outside).all()
    np.testing.assert_array_equal(shapes.draw(120, 48, seed=3)[0], images)


def test_masks_do_not_depend_on_the_grid():
    fine, coarse = (shapes.draw(24, side, seed=1)[2] for side in (400, 80))
    np.testing.assert_allclose(coarse.mean((1, 2)), fine.mean((1, 2)), rtol=0.06)
    disc = fine[0]
    assert disc.mean() == pytest.approx(np.pi / 4 * disc.any(0).mean() * disc.any(1).mean(), rel=0.01)
