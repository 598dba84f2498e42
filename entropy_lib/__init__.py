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
    "circular_conv_entropy_change": "theory.circular",
    "mahler_measure": "theory.exact",
    "activation_entropy_change": "nonlinear.activations",
    "branch_entropy": "nonlinear.activations",
    "norm_entropy_change": "nonlinear.norms",
    "residual_entropy_change": "nonlinear.residual",
    "lstm_entropy_change": "nonlinear.recurrent",
    "gru_entropy_change": "nonlinear.recurrent",
    "rnn_entropy_change": "nonlinear.recurrent",
    "attention_entropy_change": "nonlinear.attention",
    "jacobian_entropy_change": "nonlinear.jacobian",
    "DenseEntropyLoss": "guidance",
    "ConvEntropyLoss": "guidance",
    "EntropyGuidance": "guidance",
    "TargetEntropy": "regulator",
    "entropy_flow": "flow",
    "filter_flow": "filters",
    "select_layers": "filters",
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
    "activation_entropy_change",
    "branch_entropy",
    "norm_entropy_change",
    "residual_entropy_change",
    "lstm_entropy_change",
    "gru_entropy_change",
    "rnn_entropy_change",
    "attention_entropy_change",
    "jacobian_entropy_change",
    "DenseEntropyLoss",
    "ConvEntropyLoss",
    "EntropyGuidance",
    "TargetEntropy",
    "entropy_flow",
    "filter_flow",
    "select_layers",
]
__version__ = "0.2.0"

if TYPE_CHECKING:
    from entropy_lib.filters import filter_flow, select_layers
    from entropy_lib.flow import entropy_flow
    from entropy_lib.guidance import ConvEntropyLoss, DenseEntropyLoss, EntropyGuidance
    from entropy_lib.nonlinear.activations import activation_entropy_change, branch_entropy
    from entropy_lib.nonlinear.attention import attention_entropy_change
    from entropy_lib.nonlinear.jacobian import jacobian_entropy_change
    from entropy_lib.nonlinear.norms import norm_entropy_change
    from entropy_lib.nonlinear.recurrent import gru_entropy_change, lstm_entropy_change, rnn_entropy_change
    from entropy_lib.nonlinear.residual import residual_entropy_change
    from entropy_lib.regulator import TargetEntropy
    from entropy_lib.theory.change import conv_entropy_change, dense_entropy_change
    from entropy_lib.theory.circular import circular_conv_entropy_change
    from entropy_lib.theory.completion import complete_conv, complete_dense, conv_matrix
    from entropy_lib.theory.exact import causal_conv_entropy_change, gram_entropy_change, mahler_measure


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"entropy_lib has no {name!r}; it offers {', '.join(__all__)}")
    return getattr(import_module(f"entropy_lib.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
