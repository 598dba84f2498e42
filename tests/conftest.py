"""What every test may rely on: caches of its own, and no trace of the caller's folders."""

import os

import pytest
import torch
from hypothesis import settings

settings.register_profile("suite", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("suite")

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)  # tests run side by side: a second thread each would only wait for the others


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Decoded photographs and checkpoints of this test alone."""
    monkeypatch.setenv("ENTROPY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """A data folder of this test alone, empty at first."""
    monkeypatch.setenv("ENTROPY_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def made_outcomes(monkeypatch):
    """Let verdicts see a given table as the outcomes of an experiment, and nothing of the others."""
    from replication.verdicts import records

    def use(experiment, table):
        empty = {}

        def outcomes(asked, store):
            if asked.name == experiment.name:
                return table
            return empty.setdefault(asked.name, asked.summarised(store))

        monkeypatch.setattr(records, "outcomes", outcomes)

    return use
