"""The method of Section 4: entropy losses (Eqs. 21, 23-25) and their attachment to any model.

Sign convention: a coefficient λ > 0 *preserves* entropy (descent on -λ log|det W| raises the
determinant), λ < 0 suppresses it. Section 4.2 of the paper says so; Section 4.1 says the opposite.
"""

import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import get_args

import torch
from torch import Tensor, nn

from entropy_lib.layers import (
    CONV,
    DENSE,
    Bring,
    Form,
    Kind,
    as_stored,
    kind_of,
    known,
    reason,
    stack_of,
)
from entropy_lib.theory.checks import checked, lifted
from entropy_lib.weights import Unreadable, adapted, holds, leaves, read

Coefficient = float | Tensor


class _EntropyLoss(nn.Module):
    """Sum over layers of coefficient times a penalty on an amount x: |det W| or |c11|."""

    kind: Kind

    def __init__(self, coefficients: Coefficient | Iterable[Coefficient] = 1.0, form: Form = "log", eps: float = 1e-3):
        super().__init__()
        one = isinstance(coefficients, (Real, Tensor))
        self.coefficients: Coefficient | Sequence[Coefficient] = coefficients if one else list(coefficients)  # type: ignore
        self.form, self.eps = _form(form, eps)

    def terms(self, weights: Tensor | Iterable[Tensor]) -> list[Tensor]:
        """The loss of each layer; their sum is the loss."""
        weights = [weights] if isinstance(weights, Tensor) else list(weights)
        coefficients = self.coefficients
        if not isinstance(coefficients, list):
            coefficients = [coefficients] * len(weights)  # type: ignore[list-item]
        if len(coefficients) != len(weights):
            raise ValueError(f"{len(coefficients)} coefficients for {len(weights)} weights; give one for each layer")
        shape = "(..., N, d)" if self.kind is DENSE else "(..., p, q)"
        name = "weight" if self.kind is DENSE else "kernel"
        return [
            _term(self.kind, checked(weight, name, shape), _coefficient(coefficient, weight), self.form, self.eps)
            for weight, coefficient in zip(weights, coefficients, strict=True)
        ]

    def forward(self, weights: Tensor | Iterable[Tensor]) -> Tensor:
        """Scalar loss of one weight or of several layers' weights."""
        terms = self.terms(weights)
        if not terms:
            raise ValueError("an entropy loss needs at least one weight")
        return torch.stack(terms).sum()


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
    from d = 60 on (see the chapter on the losses). A layer with λ = 0 contributes 0, with gradient 0.

    Raises:
        ValueError: unknown form, `eps` not positive, a coefficient too many or too few or not finite, and what
            :func:`dense_entropy_change` raises.

    >>> DenseEntropyLoss(0.5)(torch.diag(torch.tensor([1.0, torch.e])))  # -0.5 log e
    tensor(-0.5000)
    """

    kind = DENSE


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

    >>> ConvEntropyLoss(0.5)(torch.full((4, 3, 5, 5), torch.e)).round(decimals=3)  # -0.5 log e for each of 12 filters
    tensor(-6.)
    """

    kind = CONV


def _form(form: str, eps: float) -> tuple[Form, float]:
    if form not in get_args(Form):
        raise ValueError(f"form must be 'log' (Eqs. 21, 23) or 'reciprocal' (Eqs. 24, 25), got {form!r}")
    if form == "reciprocal" and not eps > 0:
        raise ValueError(f"eps must be positive, got {eps}: 1/(x + eps) has to stay finite at x = 0")
    return form, float(eps)  # type: ignore[return-value]


def _coefficient(given: object, weight: Tensor) -> Coefficient:
    """λ as a float, or as a tensor that fits the filters of the weight."""
    if not isinstance(given, (Real, Tensor)):
        raise TypeError(f"a coefficient is a number or a tensor of numbers, got {type(given).__name__}")
    if isinstance(given, Real):
        if not math.isfinite(given):
            raise ValueError(f"a coefficient must be finite, got {given}")
        return float(given)
    filters = weight.shape[:-2]
    try:
        given.expand(filters)
    except RuntimeError:
        raise ValueError(
            f"a coefficient of shape {tuple(given.shape)} does not fit the layer's {tuple(filters)} filters"
        ) from None
    return given


def _term(kind: Kind, weight: Tensor, coefficient: Coefficient, form: Form, eps: float) -> Tensor:
    """λ times the penalty, summed over the filters: the one place where they meet.

    λ = 0 is no term at all, also where the penalty is infinite, for 0 times infinity would be NaN.
    """
    if isinstance(coefficient, Tensor):
        free = (coefficient.to(weight.device) == 0).expand(weight.shape[:-2])[..., None, None]
        penalty = kind.penalty(torch.where(free, kind.neutral(weight), weight), form, eps)
        return (coefficient.to(penalty) * penalty).sum()
    if coefficient == 0:
        zero = torch.zeros((), dtype=torch.bool, device=weight.device)
        weight = torch.where(zero, weight, kind.neutral(weight))
    return coefficient * kind.penalty(weight, form, eps).sum()


def _switched_on(coefficient: Coefficient) -> Coefficient:
    """One where λ is not zero: whether the penalty is finite does not depend on how large λ is."""
    return (coefficient != 0).float() if isinstance(coefficient, Tensor) else float(coefficient != 0)


def _refuse_infinite(term: Tensor, kind: Kind) -> None:
    """An infinite loss has no gradient: one such filter would make NaN of the whole network."""
    if not term.isfinite():
        what = "its square part is singular" if kind is DENSE else "a first tap is exactly zero, pruned perhaps"
        raise Unreadable(f"{what}: the log form is infinite there; take form='reciprocal', or λ = 0 for that filter")


@dataclass(frozen=True)
class _Guided:
    """Where a guided weight is found, and what it is: all that need not be asked at every step."""

    module: str
    parameter: str
    layer: type[nn.Module]
    part: str | None  # of a stack
    kind: Kind
    bring: Bring  # to the shape of the kind
    coefficient: Coefficient

    @property
    def path(self) -> str:
        return f"{self.module}.{self.parameter}" if self.module else self.parameter


class EntropyGuidance(nn.Module):
    r"""The last two terms of Eq. 19 for any model, without an edit to it.

    .. math:: \sum_\ell \lambda_1^\ell L_{\text{dense}}(W_\ell) + \sum_\ell \lambda_2^\ell L_{\text{conv}}(C_\ell)

    Args:
        model: any `nn.Module`; its weights are read at every call as the layers multiply by them (computed anew where
            they are computed, gathered where they are sharded), never changed or registered.
        coefficients: `{name: λ}` with names of modules (`"encoder.0"`), of parameters (`"encoder.0.weight"`), or of one
            matrix in a stack of them (`"lstm.weight_hh_l0[o]"`); `""` is the model itself. The module says what it
            is: of a dense layer :math:`|\det W|` is guided, of a convolution :math:`|c_{11}|` of every filter. For a
            convolution λ may be a tensor per filter, in the orientation of the output (:class:`ConvEntropyLoss`).
        form, eps: as in the losses.

    Weights are checked here, and not at every step. λ is no parameter and no buffer: the state dict is empty. A call
    gives the scalar loss; with a mapping of parameters, as of `dict(model.named_parameters())`, it is that of these
    instead of the model's own, for `torch.func`.

    Raises:
        KeyError: a name that the model does not have; the message lists those it has.
        ValueError: a layer that cannot be read, with the reason; a weight that is not finite, or at which the log form
            is infinite; one weight under two names; what the losses raise.

    A frozen weight is guided in vain, with a warning.

    >>> model = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 8))
    >>> guidance = EntropyGuidance(model, {"0": 1e-3})
    >>> loss = model(torch.rand(2, 8)).square().mean() + guidance()
    """

    def __init__(
        self, model: nn.Module, coefficients: Mapping[str, Coefficient], form: Form = "log", eps: float = 1e-3
    ):
        super().__init__()
        if not isinstance(coefficients, Mapping):
            raise TypeError(f"coefficients are a mapping {{'name': λ}}, got {type(coefficients).__name__}")
        if not coefficients:
            raise ValueError("name at least one layer to guide: {'name': λ}")
        # In a tuple the model is no submodule: its parameters are not listed twice.
        self._model = (model,)
        self.form, self.eps = _form(form, eps)
        self._guided = {name: self._attached(name, given) for name, given in coefficients.items()}
        self._refuse_twice()

    def per_layer(self, parameters: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Each layer's term, detached, for logging; the terms add up to the call's value."""
        return {name: term.detach() for name, term in self._terms(parameters).items()}

    def weights(self) -> list[Tensor]:
        """The parameters that are guided, as the model holds them."""
        (model,) = self._model
        return [getattr(model.get_submodule(each.module), each.parameter) for each in self._guided.values()]

    def forward(self, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
        return torch.stack(list(self._terms(parameters).values())).sum()

    def _terms(self, parameters: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        (model,) = self._model
        terms = {}
        for name, guided in self._guided.items():
            module = model.get_submodule(guided.module)
            if type(module) is not guided.layer:  # wrapped or parametrised since
                guided = self._guided[name] = self._attached(name, guided.coefficient)
            held = read(module, guided.parameter) if parameters is None else parameters[guided.path]
            weight = lifted(guided.bring(module, held))
            terms[name] = _term(guided.kind, weight, guided.coefficient, self.form, self.eps)
        return terms

    def _attached(self, name: str, coefficient: object) -> _Guided:
        """Find a weight by its name and check, once, that it can be guided."""
        (model,) = self._model
        named, _, part = re.fullmatch(r"(.*?)(\[(\w*)\])?", name, re.DOTALL).groups()  # type: ignore[union-attr]
        path, parameter = self._found(named, name)
        module = model.get_submodule(path)
        try:
            held = read(module, parameter).detach()
            kind, bring = self._kind(module, parameter, part, held, by_parameter=named == _joined(path, parameter))
            weight = bring(module, held)
            if weight.ndim != kind.rank:
                raise Unreadable(f"it has shape {tuple(weight.shape)}, a {kind.name} layer's weight has {kind.shape}")
            weight = checked(weight, "its weight", kind.shape)
            coefficient = _coefficient(coefficient, weight)
            _refuse_infinite(_term(kind, weight, _switched_on(coefficient), self.form, self.eps), kind)
        except (ValueError, TypeError) as why:
            error = TypeError if isinstance(why, TypeError) else ValueError
            raise error(f"{name!r} cannot be guided: {why}") from None
        if not any(leaf.requires_grad for leaf in leaves(module, parameter)):
            warnings.warn(f"{name!r} is frozen, its requires_grad is False: guidance does not move it", stacklevel=4)
        return _Guided(path, parameter, type(module), part, kind, bring, coefficient)

    def _refuse_twice(self) -> None:
        """Two names of one weight, tied or called differently, would double λ in silence."""
        (model,) = self._model
        first: dict[object, str] = {}
        for name, guided in self._guided.items():
            moved = leaves(model.get_submodule(guided.module), guided.parameter)
            other = first.setdefault((*map(id, moved), guided.part), name)
            if other != name:
                raise ValueError(f"{other!r} and {name!r} are one weight; give it one λ")

    def _found(self, named: str, name: str) -> tuple[str, str]:
        """The module and the parameter that a name means."""
        (model,) = self._model
        owner, _, attribute = named.rpartition(".")
        for path, parameter in ((owner, attribute), (named, "weight")):
            try:
                module = model.get_submodule(path)
            except AttributeError:
                continue
            if parameter and holds(module, parameter):
                return path, parameter
        try:
            module = model.get_submodule(named)
        except AttributeError:
            pass
        else:
            try:
                kind_of(module)
            except Unreadable as why:
                raise ValueError(f"{name!r} cannot be guided: {why}") from None
            raise ValueError(f"{name!r} cannot be guided: its weight is no tensor of numbers, a quantised one perhaps")
        others = [path for path, part in model.named_modules() if holds(part, "weight")]
        raise KeyError(f"the model has no layer or parameter {name!r}; layers with a weight: {', '.join(others)}")

    @staticmethod
    def _kind(
        module: nn.Module, parameter: str, part: str | None, held: Tensor, by_parameter: bool
    ) -> tuple[Kind, Bring]:
        """What a weight is, and how what is held under its name is brought to the shape of that."""
        parts = stack_of(module, parameter)
        if parts:
            if part not in list(parts):
                listed = ", ".join(f"{parameter}[{one}]" for one in parts)
                raise Unreadable(f"{type(module).__name__} stacks several matrices in it; name one of {listed}")
            count = held.shape[0] // len(parts)
            rows = slice(parts.index(part) * count, (parts.index(part) + 1) * count)
            return DENSE, partial(_rows, rows)
        if part is not None:
            raise Unreadable(f"{parameter} of {type(module).__name__} is one matrix and has no part [{part}]")
        found = known(module)
        if found:
            if parameter != "weight":
                raise Unreadable(f"only the weight of a {type(module).__name__} can be guided")
            return found
        if not by_parameter or adapted(module) or type(module).__module__.startswith("torch.nn.modules"):
            raise Unreadable(reason(module))
        kinds = {kind.rank: kind for kind in (DENSE, CONV)}
        if held.ndim not in kinds:
            shape = tuple(held.shape)
            raise Unreadable(f"it has shape {shape}; a matrix (N, d) or a kernel (out, in, p, q) can be guided")
        return kinds[held.ndim], as_stored


def _rows(rows: slice, module: nn.Module, stack: Tensor) -> Tensor:
    return stack[rows]


def _joined(path: str, parameter: str) -> str:
    return f"{path}.{parameter}" if path else parameter
