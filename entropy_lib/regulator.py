"""A loss term that holds the entropy of a classifier's predictions where it is wanted."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from entropy_lib.theory.checks import lifted


class TargetEntropy(nn.Module):
    r"""Adds -α H(q) to a loss, with an α that is changed at every step so that the mean H(q) comes to a target.

    With q = softmax(logits) and the mean over the examples, in nats; at every call in training

    .. math:: H(q) = -\sum_k q_k\ln q_k, \qquad \alpha \leftarrow \alpha + \text{rate}\,(\text{target} - H(q)),

    gradient ascent on the multiplier of the constraint that the mean is the target. A positive α rewards uncertainty, a
    negative one certainty. Where the optimiser is at rest, and α too, the loss is stationary among all predictions with
    that entropy. A large rate makes the two chase each other. In evaluation α stays; it travels with `state_dict()`.

    Args:
        target: mean entropy in nats, above 0 and below ln K of K classes.
        rate: how fast α follows, above 0.

    Shape:
        logits `(..., n, K)` of n examples; the term, and α, have the shape `(...)`: one for each network of a stack.

    Raises:
        ValueError: a rate or a target not above 0; at a call, a target that K classes cannot have.

    Source:
        the "adaptive entropy regulators" of the blog post *Taming Disorder* (2025), which gives no formula; the rule is
        that of soft actor-critic's temperature (Haarnoja and others, arXiv 1812.05905, Section 5).

    Examples:
        >>> import torch
        >>> hold = TargetEntropy(target=0.3, rate=0.1)
        >>> logits = torch.zeros(8, 10, requires_grad=True)
        >>> loss = torch.nn.functional.cross_entropy(logits, torch.arange(8)) + hold(logits)
        >>> hold.coefficient.item() < 0  # even odds are too uncertain: certainty is rewarded
        True
    """

    coefficient: Tensor

    def __init__(self, target: float, rate: float = 0.01):
        super().__init__()
        for name, value in (("target", target), ("rate", rate)):
            if not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.target, self.rate = float(target), float(rate)
        self.register_buffer("coefficient", torch.zeros(()))

    def forward(self, logits: Tensor) -> Tensor:
        """-α H(q), `(...)`, of logits `(..., n, K)`."""
        if not self.target < math.log(logits.shape[-1]):
            classes = logits.shape[-1]
            raise ValueError(
                f"target must be below ln {classes} = {math.log(classes):.3f} nats, the most that {classes} classes "
                f"can have, got {self.target}"
            )
        logarithms = lifted(logits).log_softmax(-1)  # steps of α are small: half precision would lose them
        # A class that is ruled out, with the logit -∞, adds nothing and has no gradient.
        finite = logarithms.clamp(min=torch.finfo(logarithms.dtype).min)
        entropy = -(logarithms.exp() * finite).sum(-1).mean(-1)
        if self.training:
            self.coefficient = self.coefficient + self.rate * (self.target - entropy.detach())
        term: Tensor = -self.coefficient * entropy
        return term

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        kept = state_dict.get(prefix + "coefficient")
        if kept is not None:  # a stack's has the stack's shape, a new one's has none yet
            self.coefficient = self.coefficient.new_zeros(kept.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        return f"target={self.target:g}, rate={self.rate:g}"
