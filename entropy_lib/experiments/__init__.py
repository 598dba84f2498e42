"""One module per experiment section of the paper, found here by name.

Each offers `grid(profile, data, seeds)`, `train_stack`, `stack_by`, `scope`, `outcomes` and `PROFILES`; where
claims compare guided with unguided networks, also `PROTOCOL`, `PROTOCOL_VARIABLES` and `PAPER_CELLS`.
"""

import os
from pathlib import Path

from entropy_lib.experiments import autoencoder, cnn, flow
from entropy_lib.sweep.store import Store

ROOT = Path(__file__).parents[2]

EXPERIMENTS = {"autoencoder": autoencoder, "cnn": cnn, "flow": flow}


def store_for(profile: str, folder: Path | None = None) -> Store:
    """Where a profile's records go: `quick` ones into the build, real ones into `results/`.

    `$ENTROPY_RESULTS` or `folder` moves the real ones.
    """
    if profile == "quick":
        return Store(folder or ROOT / "_build" / "records")
    return Store(folder or os.environ.get("ENTROPY_RESULTS", ROOT / "results"))
