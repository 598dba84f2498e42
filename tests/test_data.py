"""Data on disk: what is missing or damaged is named, with the remedy."""

import io
from urllib.error import URLError

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from entropy_lib import data, models


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
    pictures, labels = data._jpeg_copies(copies[0])
    assert pictures.shape == (3, 32, 32, 3) and labels.tolist() == [0, 1, 0]
    assert pictures.reshape(3, -1).mean(1) == pytest.approx([10, 200, 90], abs=2)


def test_an_incomplete_or_damaged_folder_is_named(copies):
    folder, write = copies
    write("test", [jpeg(1), b"no picture"])
    with pytest.raises(ValueError, match=r"picture 1 of .*test\.parquet cannot be read .* copy the file again"):
        data._jpeg_copies(folder)
    write("test", [jpeg(1)[:-200]])
    with pytest.raises(ValueError, match=r"picture 0 of .*test\.parquet cannot be read"):
        data._jpeg_copies(folder)
    (folder / "test.parquet").write_bytes(b"PAR1, cut short")
    with pytest.raises(ValueError, match=r"test\.parquet is damaged or no table of pictures"):
        data._jpeg_copies(folder)
    (folder / "test.parquet").unlink()
    with pytest.raises(data.MissingData, match=r"test\.parquet is missing; .* `entropy-book data cifar10`"):
        data._jpeg_copies(folder)
    (folder / "train.parquet").unlink()
    with pytest.raises(data.MissingData, match="`entropy-book data cifar10` fetches it"):
        data._cifar10()


def test_a_failed_download_says_what_and_why(monkeypatch):
    def refuse(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(data.import_torchvision().datasets, "CIFAR10", refuse)
    with pytest.raises(RuntimeError, match="cifar10 could not be downloaded into .*no route to host"):
        data.fetch("cifar10")
    monkeypatch.setattr(models.torch.hub, "load_state_dict_from_url", refuse)
    with pytest.raises(RuntimeError, match="vgg16-weights could not be downloaded"):
        models.fetch_weights("vgg16")
