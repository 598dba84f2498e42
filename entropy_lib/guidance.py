"""The method of Section 4: entropy losses (Eqs. 21, 23-25) and their attachment to any model.

Sign convention: a coefficient λ > 0 *preserves* entropy (descent on -λ log|det W| raises the
determinant), λ < 0 suppresses it. Section 4.2 of the paper says so; Section 4.1 says the opposite.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from entropy_lib.theory._check import checked
from entropy_lib.theory._linalg import log_abs_det
from entropy_lib.theory.change import square_part

Form = Literal["log", "reciprocal"]
Coefficient = float | Tensor


class _EntropyLoss(nn.Module):
    """Sum over layers of coefficient times a penalty on an amount x: |det W| or |c11|."""

    def __init__(self, coefficients: Coefficient | Iterable[Coefficient] = 1.0, form: Form = "log", eps: float = 1e-3):
        super().__init__()
        if form not in ("log", "reciprocal"):
            raise ValueError(f"form must be 'log' (Eqs. 21, 23) or 'reciprocal' (Eqs. 24, 25), got {form!r}")
        if form == "reciprocal" and not eps > 0:
            raise ValueError(f"eps must be positive, got {eps}: 1/(x + eps) has to stay finite at x = 0")
        one = isinstance(coefficients, (int, float, Tensor))
        self.coefficients: Any = coefficients if one else list(coefficients)  # type: ignore[arg-type]
        self.form, self.eps = form, eps

    def _penalty(self, weight: Tensor) -> Tensor:
        raise NotImplementedError

    def _neutral(self, weight: Tensor) -> Tensor:
        """A matrix or filter whose penalty and gradient are finite."""
        raise NotImplementedError

    def terms(self, weights: Tensor | Iterable[Tensor]) -> list[Tensor]:
        """The loss of each layer; their sum is the loss."""
        weights = [weights] if isinstance(weights, Tensor) else list(weights)
        coefficients = self.coefficients
        if not isinstance(coefficients, list):
            coefficients = [coefficients] * len(weights)
        if len(coefficients) != len(weights):
            raise ValueError(f"{len(coefficients)} coefficients for {len(weights)} weights; give one for each layer")
        return [self._term(weight, coefficient) for weight, coefficient in zip(weights, coefficients, strict=True)]

    def forward(self, weights: Tensor | Iterable[Tensor]) -> Tensor:
        """Scalar loss of one weight or of several layers' weights."""
        terms = self.terms(weights)
        if not terms:
            raise ValueError("an entropy loss needs at least one weight")
        return torch.stack(terms).sum()

    def _term(self, weight: Tensor, coefficient: Coefficient) -> Tensor:
        filters = weight.shape[:-2]
        coefficient = torch.as_tensor(coefficient, device=weight.device)
        try:
            coefficient = coefficient.expand(filters)
        except RuntimeError:
            raise ValueError(
                f"a coefficient of shape {tuple(coefficient.shape)} does not fit the layer's {tuple(filters)} filters"
            ) from None
        # λ = 0 is no term at all, also where the penalty is infinite: 0 times infinity would be NaN.
        weight = torch.where((coefficient == 0)[..., None, None], self._neutral(weight), weight)
        penalty = self._penalty(weight)
        return (coefficient.to(penalty) * penalty).sum()


class DenseEntropyLoss(_EntropyLoss):
    r"""Dense entropy loss over weights W_1 ... W_L (square parts as in Theorem 3).

    .. math::
        \texttt{log:}\; -\sum_\ell \lambda^\ell \log|\det W_\ell| \qquad
        \texttt{reciprocal:}\; \sum_\ell \frac{\lambda^\ell}{|\det W_\ell| + \varepsilon}

    Args:
        coefficients: λ, one number for all layers or one for each.
        form: `"log"` is exact (Eq. 21, through `slogdet`); `"reciprocal"` is Eq. 24.
        eps: ε of Eq. 24.

    Calling it with a weight `(..., N, d)` or a list of weights gives a scalar. The log form is
    `+inf` at a singular square part and has no gradient there. The reciprocal form has gradient
    zero wherever :math:`|\det W|` underflows: at PyTorch's default initialisation of a layer with 784 inputs,
    from d = 60 on (see the chapter on the losses).

    A layer or filter with λ = 0 contributes 0, with gradient 0.

    Raises:
        ValueError: unknown form, `eps` not positive, a coefficient too many or too few, and what
            :func:`dense_entropy_change` raises.

    >>> float(DenseEntropyLoss(0.5)(torch.diag(torch.tensor([1.0, torch.e])))) # -0.5 log e
    -0.5
    """

    def _penalty(self, weight: Tensor) -> Tensor:
        return dense_penalty(checked(weight, "weight", "(..., N, d)"), self.form, self.eps)

    def _neutral(self, weight: Tensor) -> Tensor:
        return torch.eye(*weight.shape[-2:], dtype=weight.dtype, device=weight.device)


def dense_penalty(weight: Tensor, form: Form, eps: float) -> Tensor:
    """The summand of Eq. 21 or 24 without λ, `(..., N, d) -> (...)`.

    Unchecked, for training loops in which a diverged weight is an outcome and not an error.
    """
    square = square_part(weight)
    if form == "log":
        return -log_abs_det(square)
    with torch.no_grad():
        singular = log_abs_det(square).isneginf()
    # At a singular matrix |det| has gradient 0 (rank < k - 1) or a kink with subgradient 0, where
    # slogdet gives NaN: such matrices are taken out of the graph and keep the value 1/eps.
    identity = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    regular = log_abs_det(torch.where(singular[..., None, None], identity, square))
    # The bound keeps e^L and its gradient finite; the loss there is 1e-35 and its gradient zero.
    return torch.where(singular, 1 / eps, 1 / (regular.clamp(max=80).exp() + eps))


class ConvEntropyLoss(_EntropyLoss):
    r"""Convolutional entropy loss over the filters' first taps.

    .. math::
        \texttt{log:}\; -\sum_{\ell,d} \lambda^{\ell d}\log|c_{11}^{\ell d}| \qquad
        \texttt{reciprocal:}\; \sum_{\ell,d} \frac{\lambda^{\ell d}}{|c_{11}^{\ell d}| + \varepsilon}

    A *filter* is one 2-D slice (out, in) of a kernel. That is an assumption: the paper calls
    convolutions of several channels "several parallel 2D convolutions". Sums run over all slices.

    Args:
        coefficients: λ, one for all layers or one for each; a tensor that broadcasts to the
            layer's `(out, in)` gives filters their own (`(out, 1)` for one per output channel).
        form: `"log"` (Eq. 23) or `"reciprocal"` (Eq. 25).
        eps: ε of Eq. 25.

    Calling it with a kernel `(..., p, q)` or a list of kernels gives a scalar.

    Raises:
        ValueError: as :class:`DenseEntropyLoss`.

    >>> float(ConvEntropyLoss(0.5)(torch.full((4, 3, 5, 5), torch.e)))  # -0.5 log e for each of 12 filters
    -6.0
    """

    def _penalty(self, kernel: Tensor) -> Tensor:
        return conv_penalty(checked(kernel, "kernel", "(..., p, q)"), self.form, self.eps)

    def _neutral(self, kernel: Tensor) -> Tensor:
        return torch.ones_like(kernel)


def conv_penalty(kernel: Tensor, form: Form, eps: float) -> Tensor:
    """The summand of Eq. 23 or 25 without λ, `(..., p, q) -> (...)`; unchecked, as :func:`dense_penalty`."""
    first = kernel[..., 0, 0].abs()
    return -first.log() if form == "log" else 1 / (first + eps)


class EntropyGuidance(nn.Module):
    r"""The last two terms of Eq. 19 for any model, without an edit to it.

    .. math:: \sum_\ell \lambda_1^\ell L_{\text{dense}}(W_\ell) + \sum_\ell \lambda_2^\ell L_{\text{conv}}(C_\ell)

    Args:
        model: any `nn.Module`; its parameters are read at every call, never changed or registered.
        dense: `{name: λ}` with names of modules (`"encoder.0"`) or parameters (`"encoder.0.weight"`).
        conv: the same for convolutions; λ may be a tensor per filter (see :class:`ConvEntropyLoss`).
        form, eps: as in the losses.

    Raises:
        KeyError: a name that the model does not have; the message lists those it has.
        ValueError: a parameter of the wrong rank, and what the losses raise.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 8))
    >>> guidance = EntropyGuidance(model, dense={"0": 1e-3})
    >>> loss = model(torch.rand(2, 8)).square().mean() + guidance()
    """

    def __init__(
        self,
        model: nn.Module,
        dense: Mapping[str, Coefficient] | None = None,
        conv: Mapping[str, Coefficient] | None = None,
        form: Form = "log",
        eps: float = 1e-3,
    ):
        super().__init__()
        if not dense and not conv:
            raise ValueError("name at least one layer to guide: dense={'name': λ} or conv={'name': λ}")
        # In a tuple the model is no submodule: its parameters are not listed twice.
        self._model = (model,)
        dense, conv = dense or {}, conv or {}
        self._dense, self._conv = list(dense), list(conv)
        self.dense_loss = DenseEntropyLoss(list(dense.values()), form, eps)
        self.conv_loss = ConvEntropyLoss(list(conv.values()), form, eps)
        for name in self._dense:
            self._expect(name, rank=2, kind="dense")
        for name in self._conv:
            self._expect(name, rank=4, kind="conv")

    def per_layer(self) -> dict[str, Tensor]:
        """Each layer's term, detached, for logging; the terms add up to the call's value."""
        return {name: term.detach() for name, term in self._terms().items()}

    def forward(self) -> Tensor:
        return torch.stack(list(self._terms().values())).sum()

    def _terms(self) -> dict[str, Tensor]:
        dense = self.dense_loss.terms([self._weight(name) for name in self._dense])
        conv = self.conv_loss.terms([self._weight(name) for name in self._conv])
        return dict(zip(self._dense + self._conv, dense + conv, strict=True))

    def _weight(self, name: str) -> Tensor:
        (model,) = self._model
        for candidate in (name, f"{name}.weight" if name else "weight"):
            owner, _, attribute = candidate.rpartition(".")
            try:
                found = getattr(model.get_submodule(owner), attribute)
            except AttributeError:
                continue
            if isinstance(found, Tensor):
                return found
        known = [module for module, part in model.named_modules() if isinstance(getattr(part, "weight", None), Tensor)]
        raise KeyError(f"the model has no layer or parameter {name!r}; layers with a weight: {', '.join(known)}")

    def _expect(self, name: str, rank: int, kind: str) -> None:
        shape = tuple(self._weight(name).shape)
        if len(shape) != rank:
            other = "conv" if kind == "dense" else "dense"
            raise ValueError(
                f"{name!r} has shape {shape}, but {kind}= expects {rank} dimensions"
                + (f"; name it under {other}=" if len(shape) == 6 - rank else "")
            )
