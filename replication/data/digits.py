"""scikit-learn's handwritten digits: they need no download."""

import numpy as np
import torch

from replication.data.dataset import Dataset, split

FOLDERS: tuple[str, ...] = ()


def load() -> Dataset:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.float32) / 16)[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    # The file is ordered by writer; one fixed permutation mixes writers over the splits.
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    parts = dict(zip(("train", "validation", "test"), order.split([1197, 300, 300]), strict=True))
    note = "scikit-learn's copy of the UCI handwritten digits, 8 x 8 pixels, 1,197/300/300"
    return split("digits", images, labels, parts, note, "8 x 8 digits instead of MNIST", canonical=False)
