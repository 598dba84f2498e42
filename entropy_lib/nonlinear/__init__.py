"""Entropy changes of maps that are not linear: a module and its input in, nats for each example out."""
