"""How an input goes through a model: the steps in the order of use, cut where everything passes through one tensor."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from entropy_lib.maps import Example


@dataclass(frozen=True)
class Step:
    """One use of a layer or of a function of torch.

    Args:
        name: of the module that was running, as `named_modules` says it.
        kind: of the layer its type, of a function its name.
        module: the layer, if it is one.
        args, kwargs: what it was called with.
        inputs, outputs: numbers of the tensors, in :attr:`Trace.tensors`, that depend on the model's input.
        stale: something that came in had been changed in place, through a view perhaps, since it was noted.
        detached: what comes out has no graph, though what came in had one.
    """

    name: str
    kind: str
    module: nn.Module | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    stale: bool = False
    detached: bool = False


@dataclass(frozen=True)
class Segment:
    """What stands between two cuts: a single step, or several that run side by side, from `x` to `y`."""

    steps: Sequence[Step]
    x: Tensor | None  # None where several tensors come in
    y: Tensor
    first: bool  # y is the first that its last step gives
    changed: bool = False  # what came in was changed in place, and is gone
    rewritten: bool = False  # what came out was, afterwards
    examples: int = 0  # of the batch; a tensor with another number of rows has no row for each
    within: "Segment | None" = None

    @property
    def name(self) -> str:
        """Of the innermost module that holds all steps."""
        if len(self.steps) == 1:
            return self.steps[0].name
        return ".".join(commonprefix([step.name.split(".") for step in self.steps]))

    @property
    def kind(self) -> str:
        return self.steps[0].kind if len(self.steps) == 1 else "block"


@dataclass
class Trace:
    """Steps, and the tensors that they pass on."""

    steps: list[Step] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)  # of the tensors, when they were noted
    numbers: dict[int, int] = field(default_factory=dict)  # of a tensor, by its identity
    sources: int = 0
    result: int = -1

    def numbered(self, tree: Any) -> tuple[int, ...]:
        """The tensors in a tree that depend on the model's input."""
        found = [self.numbers[id(leaf)] for leaf in tree_leaves(tree) if id(leaf) in self.numbers]
        return tuple(dict.fromkeys(found))

    def add(self, tree: Any) -> tuple[int, ...]:
        """New numbers for the tensors in a tree; one that was changed in place gets a new one, too."""
        fresh = []
        for leaf in tree_leaves(tree):
            if isinstance(leaf, Tensor):
                self.numbers[id(leaf)] = len(self.tensors)
                fresh.append(len(self.tensors))
                self.tensors.append(leaf)
                self.versions.append(leaf._version)
        return tuple(fresh)

    def segments(self) -> Iterator[Segment]:
        """The steps, cut wherever a single tensor is all that the later steps use of the earlier ones.

        A block is followed by the steps within it.
        """
        steps = self._leading_on()
        last = dict.fromkeys(range(len(self.tensors)), -1)
        for at, step in enumerate(steps):
            last.update(dict.fromkeys(step.inputs, at))
        last[self.result] = len(steps)
        alive = came = {source for source in range(self.sources) if last[source] >= 0}
        waiting: list[Step] = []
        for at, step in enumerate(steps):
            waiting.append(step)
            alive = {number for number in {*alive, *step.outputs} if last[number] > at}
            if len(alive) == 1:
                block = self._segment(waiting, came, next(iter(alive)))
                yield block
                if len(waiting) > 1:
                    for inner in waiting:
                        yield self._segment([inner], inner.inputs, inner.outputs[0], block)
                came, waiting = alive, []

    def _segment(
        self, steps: Sequence[Step], came: Collection[int], result: int, within: Segment | None = None
    ) -> Segment:
        first, y = result == steps[-1].outputs[0], self.tensors[result]
        x = self.tensors[next(iter(came))] if len(came) == 1 else None
        changed = any(map(self.changed, came)) or any(step.stale for step in steps)
        return Segment(steps, x, y, first, changed, self.changed(result), self.examples, within)

    @property
    def examples(self) -> int:
        """How many there are in the batch."""
        return next((len(source) for source in self.tensors[: self.sources] if source.ndim), 0)

    def changed(self, number: int) -> bool:
        """Whether a tensor was changed in place since it was noted."""
        return self.tensors[number]._version != self.versions[number]

    def note(
        self, name: str, kind: str, module: nn.Module | None, args: Any, kwargs: Any, came: tuple[int, ...],
        stale: bool, output: Any,
    ) -> None:  # fmt: skip
        """Add a step; `came` and `stale` are of the time before it."""
        grew = any(self.tensors[number].requires_grad for number in came)
        outputs = self.add(output)
        floating = [self.tensors[number] for number in outputs if self.tensors[number].is_floating_point()]
        detached = grew and not all(tensor.requires_grad for tensor in floating)
        if not any(self.tensors[number].is_floating_point() for number in came):  # as an embedding of whole numbers
            for tensor in floating:
                tensor.requires_grad_()
        self.steps.append(Step(name, kind, module, args, kwargs, came, outputs, stale, detached))

    def _leading_on(self) -> list[Step]:
        """The steps that the result depends on; attention weights that nobody asked for are no part of the way."""
        needed, steps = {self.result}, []
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(step.inputs)
                steps.append(step)
        return steps[::-1]


def trace(model: nn.Module, data: Example, is_layer: Callable[[nn.Module], bool]) -> Trace:
    """Run a model and note its steps; what happens within a layer is one step.

    The model should be a copy: modules that work in place are told not to.

    Raises:
        RuntimeError: the model does not run on such data, or its output is not one tensor that depends on them.
        ValueError: no example, or one that depends on another.
    """
    found = Trace()
    watch = _Watch(found)
    for name, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            raise RuntimeError(f"{name!r} is scripted, and what happens in it cannot be followed")
        if hasattr(part, "inplace"):
            part.inplace = False
        part.register_forward_pre_hook(watch.entered(name, is_layer(part)), with_kwargs=True)
        part.register_forward_hook(watch.left, with_kwargs=True)
    data = tree_map_only(Tensor, _differentiable, dict(data) if isinstance(data, Mapping) else data)
    found.add(data)
    found.sources = len(found.tensors)
    if not found.examples:
        raise ValueError("there is no example; the first axis of every tensor is the batch")
    named = dict(data) if isinstance(data, Mapping) else {}
    placed = () if named else data if isinstance(data, tuple) else (data,)
    try:
        with torch.enable_grad(), watch:
            output = model(*placed, **named)
    except Exception as error:  # whatever the model raises
        raise RuntimeError(f"{type(model).__name__} does not run on such data ({error})") from error
    ends = found.numbered(output)
    if len(ends) != 1 or not found.tensors[ends[0]].ndim:
        raise RuntimeError(
            f"{type(model).__name__} must return one tensor of rows that depends on its input, got {len(ends)}"
        )
    (found.result,) = ends
    if found.changed(found.result):  # through a view, after its last step
        found.note("", "in place", None, (), {}, ends, True, output)
        (found.result,) = found.steps[-1].outputs
    _refuse_mixed(found)
    return found


def _refuse_mixed(found: Trace) -> None:
    """An example's output that depends on another example has no entropy change of its own."""
    result, source = found.tensors[found.result], found.tensors[0]
    if result.is_meta or not (result.requires_grad and source.requires_grad) or len(result) != len(source):
        return
    for own in {0, len(result) - 1}:
        (slope,) = torch.autograd.grad(result[own].sum(), source, retain_graph=True, materialize_grads=True)
        if slope[:own].any() or slope[own + 1 :].any():
            raise ValueError("the model mixes the examples of a batch: the output of one depends on others")


def _differentiable(tensor: Tensor) -> Tensor:
    # A clone, for a leaf must not be changed in place.
    return tensor.detach().requires_grad_(tensor.is_floating_point()).clone()


class _Watch(TorchFunctionMode):
    """Notes layers by their hooks, and functions of torch that are called outside of them."""

    def __init__(self, found: Trace):
        super().__init__()
        self._trace = found
        self._running = [""]
        self._within = 0  # layers that are running
        self._opened: list[tuple[bool, tuple[int, ...], bool]] = []

    def entered(self, name: str, layer: bool) -> Any:
        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._running.append(name)
            came = self._trace.numbered((args, kwargs))
            self._opened.append((layer, came, any(map(self._trace.changed, came))))
            self._within += layer

        return note

    def left(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        name, (layer, came, stale) = self._running.pop(), self._opened.pop()
        self._within -= layer
        if layer and not self._within and came:
            self._trace.note(name, type(module).__name__, module, args, kwargs, came, stale, output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _asks(func):
            return func(*args, **kwargs)
        came = () if self._within else self._trace.numbered((args, kwargs))
        stale = any(map(self._trace.changed, came))
        if not self._within:
            self._refuse_unseen((args, kwargs))
        if _named(func) in _SINGLE:
            func = Tensor.double
        output = func(*tree_map_only(torch.dtype, _wide, args), **tree_map_only(torch.dtype, _wide, kwargs))
        if _named(func) in _PROTOTYPED and _bare(output):
            return output  # nothing of the input is in it but its shape
        # To set an entry gives nothing back; the tensor that it was set in is another one from then on.
        gave = args[0] if came and getattr(func, "__name__", "") == "__setitem__" else output
        if came and any(isinstance(leaf, Tensor) for leaf in tree_leaves(gave)):
            self._trace.note(self._running[-1], _named(func), None, args, kwargs, came, stale, gave)
        return output

    def _refuse_unseen(self, tree: Any) -> None:
        """No parameter of the copy has a gradient, so that a tensor with a graph depends on the input."""
        for leaf in tree_leaves(tree):
            if isinstance(leaf, Tensor) and leaf.grad_fn is not None and id(leaf) not in self._trace.numbers:
                raise RuntimeError(
                    "a tensor was made of the input by something that cannot be followed, as jit or vmap"
                )


# What would leave double precision.
_SINGLE = ("float", "half", "bfloat16")
_PROTOTYPED = (
    "zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty",
    "new_tensor", "to", "type_as", "expand_as", "view_as", "reshape_as",
)  # fmt: skip


def _bare(output: Any) -> bool:
    return isinstance(output, Tensor) and output.is_floating_point() and not output.requires_grad


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype.is_floating_point else dtype


# Attributes that are tensors of the same numbers; every other one, as `shape`, is a question.
_VIEWS = ("T", "mT", "H", "mH", "data", "real", "imag")


def _asks(func: Any) -> bool:
    """Whether an attribute is set, or asked for that is no tensor."""
    name = getattr(func, "__name__", "")
    return name in ("__set__", "requires_grad_") or (name == "__get__" and _named(func) not in _VIEWS)


def _named(func: Any) -> str:
    """What a function is called; of an attribute, such as `x.mT`, the attribute's name."""
    name = getattr(func, "__name__", "function")
    if name == "__get__":
        name = getattr(getattr(func, "__self__", None), "__name__", name)
    return str(name).strip("_")
