"""One folder per experiment: `experiment.py` (grid, training, outcomes), `tables.py`, `figures.py`."""
