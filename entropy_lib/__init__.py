"""Entropy changes of neural-network layers and the losses built on them, in nats.

The names below are loaded at first use, so that parts which need no torch (the plots of the
derivations, the paper's tables) can be imported without it.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "dense_entropy_change": "theory.change",
    "conv_entropy_change": "theory.change",
    "complete_dense": "theory.completion",
    "conv_matrix": "theory.completion",
    "complete_conv": "theory.completion",
    "gram_entropy_change": "theory.exact",
    "causal_conv_entropy_change": "theory.exact",
    "circular_conv_entropy_change": "theory.exact",
    "mahler_measure": "theory.exact",
    "DenseEntropyLoss": "guidance",
    "ConvEntropyLoss": "guidance",
    "EntropyGuidance": "guidance",
    "entropy_flow": "flow",
    "select_layers": "flow",
}
__all__ = [
    "dense_entropy_change",
    "conv_entropy_change",
    "complete_dense",
    "conv_matrix",
    "complete_conv",
    "gram_entropy_change",
    "causal_conv_entropy_change",
    "circular_conv_entropy_change",
    "mahler_measure",
    "DenseEntropyLoss",
    "ConvEntropyLoss",
    "EntropyGuidance",
    "entropy_flow",
    "select_layers",
]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from entropy_lib.flow import entropy_flow, select_layers
    from entropy_lib.guidance import ConvEntropyLoss, DenseEntropyLoss, EntropyGuidance
    from entropy_lib.theory.change import conv_entropy_change, dense_entropy_change
    from entropy_lib.theory.completion import complete_conv, complete_dense, conv_matrix
    from entropy_lib.theory.exact import (
        causal_conv_entropy_change,
        circular_conv_entropy_change,
        gram_entropy_change,
        mahler_measure,
    )


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"entropy_lib has no {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"entropy_lib.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
