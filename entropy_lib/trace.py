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
    """

    name: str
    kind: str
    module: nn.Module | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Segment:
    """What stands between two cuts: a single step, or several that run side by side, from `x` to `y`."""

    steps: Sequence[Step]
    x: Tensor | None  # None where several tensors come in
    y: Tensor
    changed: bool = False  # x was changed in place later on, and is no longer what came in
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
        if len(came) != 1:
            return Segment(steps, None, self.tensors[result], within=within)
        (number,) = came
        x = self.tensors[number]
        return Segment(steps, x, self.tensors[result], x._version != self.versions[number], within)

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
    """
    found = Trace()
    watch = _Watch(found)
    for name, part in model.named_modules():
        if hasattr(part, "inplace"):
            part.inplace = False
        part.register_forward_pre_hook(watch.entered(name, is_layer(part)), with_kwargs=True)
        part.register_forward_hook(watch.left, with_kwargs=True)
    data = tree_map_only(Tensor, _differentiable, data)
    found.add(data)
    found.sources = len(found.tensors)
    named = dict(data) if isinstance(data, Mapping) else {}
    placed = () if named else data if isinstance(data, tuple) else (data,)
    try:
        with torch.enable_grad(), watch:
            output = model(*placed, **named)
    except Exception as error:  # whatever the model raises
        raise RuntimeError(f"{type(model).__name__} does not run on such data ({error})") from error
    ends = found.numbered(output)
    if len(ends) != 1:
        raise RuntimeError(f"{type(model).__name__} must return one tensor that depends on its input, got {len(ends)}")
    (found.result,) = ends
    return found


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
        self._opened: list[tuple[bool, tuple[int, ...]]] = []

    def entered(self, name: str, layer: bool) -> Any:
        def note(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._running.append(name)
            self._opened.append((layer, self._trace.numbered((args, kwargs))))
            self._within += layer

        return note

    def left(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        name, (layer, inputs) = self._running.pop(), self._opened.pop()
        self._within -= layer
        if layer and not self._within and inputs:
            outputs = self._trace.add(output)
            kind = type(module).__name__
            self._trace.steps.append(Step(name, kind, module, args, kwargs, inputs, outputs))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "function")
        inputs = () if self._within or name in ("__get__", "__set__") else self._trace.numbered((args, kwargs))
        output = func(*args, **kwargs)
        if inputs and any(isinstance(leaf, Tensor) for leaf in tree_leaves(output)):
            outputs = self._trace.add(output)
            step = Step(self._running[-1], name.strip("_"), None, args, kwargs, inputs, outputs)
            self._trace.steps.append(step)
        return output
