"""The networks that the experiments train or measure."""
