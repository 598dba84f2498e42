"""Data on disk: what is missing or damaged is named, with the remedy."""

import io
import shutil
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from replication.data import cifar10, imagenette, registry, shapes
from replication.data.dataset import MissingData
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
    with pytest.raises(MissingData, match="`entropy-book data cifar10` fetches it"):
        cifar10.load()


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
