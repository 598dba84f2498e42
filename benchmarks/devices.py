"""How far the same autoencoders end apart when two devices train them: writes results/benchmarks/devices-cpu.json.

    entropy-book sweep autoencoder --profile laptop --data mnist --records HERE
    entropy-book sweep autoencoder --profile laptop --data mnist --device cuda --records THERE
    python benchmarks/devices.py HERE THERE

Compares the curves of the trials that both folders hold. The book's page on performance reads the file.
"""

import json
import sys
from pathlib import Path

import pandas as pd

from replication.experiments.autoencoder.experiment import AUTOENCODER
from replication.files import write_atomically
from replication.sweep.store import Store

RESULTS = Path(__file__).parents[1] / "results" / "benchmarks"
EPOCHS = (0, 1, 2, 5, 10, 20, 50)


def apart(here: pd.DataFrame, there: pd.DataFrame) -> pd.DataFrame:
    """By epoch, the networks in both curves and the largest relative difference of their test errors."""
    both = here.merge(there, on=["trial", "epoch"], suffixes=("", "_there"))
    both["difference"] = (both.test_mse_there / both.test_mse - 1).abs()
    found = (
        both[both.epoch.isin(EPOCHS)].groupby("epoch").agg(networks=("trial", "size"), largest=("difference", "max"))
    )
    return found.reset_index()


def main(here: str, there: str) -> None:
    stores = [Store(Path(folder)) for folder in (here, there)]
    found = apart(*(store.curves(AUTOENCODER.name) for store in stores))
    if found.empty:
        sys.exit(f"error: {here} and {there} have no trial of {AUTOENCODER.name} in common")
    trials = [store.trials(AUTOENCODER.name) for store in stores]
    common = [table[table.trial.isin(set(trials[0].trial) & set(trials[1].trial))] for table in trials]
    made = [{name: sorted(set(table[name])) for name in ("device", "torch", "source", "started")} for table in common]
    kept = {"devices": made, "latents": sorted({int(d) for d in common[0].latent}), "rows": found.to_dict("records")}
    path = RESULTS / "devices-cpu.json"
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8"))
    print(found.to_string(index=False))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} FOLDER OTHER")
    main(*sys.argv[1:])
