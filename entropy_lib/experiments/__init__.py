"""One module per experiment section of the paper, found here by name.

Each offers `grid(profile, data, seeds)`, `train_stack`, `stack_by`, `scope`, `outcomes` and `PROFILES`; where
claims compare guided with unguided networks, also `PROTOCOL`, `PROTOCOL_VARIABLES`, `PAPER_CELLS`
and `PAPER_SEEDS`.
"""

import os
from pathlib import Path

import pandas as pd

from entropy_lib.experiments import autoencoder, cnn, flow, imagenette, unet
from entropy_lib.sweep.store import Store

ROOT = Path(__file__).parents[2]

EXPERIMENTS = {"autoencoder": autoencoder, "cnn": cnn, "flow": flow, "imagenette": imagenette, "unet": unet}


def store_for(profile: str, folder: Path | None = None) -> Store:
    """Where a profile's records go: `quick` ones into the build, real ones into `results/`.

    `$ENTROPY_RESULTS` or `folder` moves the real ones.
    """
    if profile == "quick":
        return Store(folder or ROOT / "_build" / "records")
    return Store(folder or Path(os.environ.get("ENTROPY_RESULTS", ROOT / "results")))


def origin(outcomes: pd.DataFrame) -> str:
    """The records behind a figure in one line: how many trials, of what, at which scope, when and where."""
    days = sorted({started[:10] for started in outcomes.started})
    seen = {name: ", ".join(map(str, outcomes[name].unique())) for name in ("data", "scope", "device", "source")}
    made = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return (
        f"records: {outcomes.trial.nunique()} trials on {seen['data']}, scope {seen['scope']}, "
        f"made {made} on {seen['device']}, source {seen['source']}"
    )
