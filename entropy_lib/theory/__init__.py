"""Entropy changes of layers: tensors in, nats out. Imports nothing else of ours."""
