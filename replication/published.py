"""Numbers that Yang, Zhang, Shang and Zhang published beside their paper (arXiv 2503.13145), as means over bins.

Their files are not part of the book. `derived` makes the table from them; a test compares it with the one that stands
here wherever they are.
"""

from pathlib import Path

import numpy as np
import pandas as pd

_NAMES = {2: "two", 3: "three", 4: "four"}
_LOWEST = -7  # ln of the training loss; a bin for each unit up to -1
# Channels: of each bin the accuracy of the landscape's ridge, and that of networks trained by SGD.
_MNIST = {
    2: ((0.7847, 0.7252), (0.7805, 0.7207), (0.7756, 0.7250), (0.7677, 0.7166), (0.7615, 0.6951), (0.7379, 0.6689)),
    3: ((0.7538, 0.7746), (0.7600, 0.7726), (0.7553, 0.7721), (0.7027, 0.7566), (0.7564, 0.7348), (0.7283, 0.7130)),
    4: ((0.8255, 0.8067), (0.8253, 0.8041), (0.7846, 0.8011), (0.7696, 0.7865), (0.7850, 0.7654), (0.7610, 0.7354)),
}


def mnist() -> pd.DataFrame:
    """Test accuracies of convolutional networks with 2, 3 or 4 channels on MNIST, against ln of the training loss."""
    rows = [(channels, _LOWEST + k, *pair) for channels, pairs in _MNIST.items() for k, pair in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["channels", "low", "landscape", "sgd"])


def derived(folder: Path) -> pd.DataFrame:
    """The same table from the files; the ridge of the landscape is the logit of a smoothed accuracy."""
    rows = []
    for channels, name in _NAMES.items():
        ridge = np.loadtxt(folder / f"convMnist-{name}Channels-magentaLine.txt")
        trained = np.load(folder / f"convMnist-{name}Channels-optimizedSGD-binnedLoss.npz", allow_pickle=False)
        for low in range(_LOWEST, -1):
            within = [(x >= low) & (x < low + 1) for x in (ridge[:, 0], trained["lnTrainLoss"])]
            landscape = (1 / (1 + np.exp(-ridge[within[0], 1]))).mean()
            rows.append((channels, low, landscape, trained["valAcc"][within[1]].mean()))
    return pd.DataFrame(rows, columns=["channels", "low", "landscape", "sgd"]).round(4)
