"""Which layers of a model are used, in which order, and on maps of which size: from the shape of an example alone."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from entropy_lib.layers import Size, known
from entropy_lib.weights import COMPUTING

# What a model takes: a batch, several arguments, or arguments by name.
Example = Tensor | tuple[Any, ...] | Mapping[str, Any]


@torch.no_grad()
def map_sizes(model: nn.Module, example: Example) -> dict[str, Size]:
    """The map `(l, w)` that each known layer sees, in the order in which the example uses them.

    Computed from the example's shape, on a copy without numbers: the model itself is not touched. A layer that
    runs several times counts the first time; one that is used without being called, as the output projection of
    `nn.MultiheadAttention`, when its weight is. A convolution's map is at least as large as its kernel.

    Raises:
        RuntimeError: the model cannot be copied, or does not run on such a shape; the message says why.
    """
    try:
        bare = copied(model, numbers=False)
    except Exception as error:  # whatever the model's own parts raise when they are copied
        raise RuntimeError(f"{type(model).__name__} cannot be copied ({error}); {_WITHOUT}") from error
    sizes: dict[str, Size] = {}

    layers = [(name, part) for name, part in bare.named_modules() if known(part)]
    least = {name: getattr(part, "kernel_size", (1, 1)) for name, part in layers}

    def note(name: str, image: Any) -> None:
        seen = image.shape[-2:] if isinstance(image, Tensor) and image.ndim > 1 else (1, 1)
        length, width = (max(n, taps) for n, taps in zip(seen, least[name], strict=True))
        sizes.setdefault(name, (length, width))

    for name, part in layers:
        part.register_forward_pre_hook(lambda part, inputs, name=name: note(name, inputs[0] if inputs else None))
    weights = {id(part.weight): name for name, part in layers}
    on_meta = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), example)
    named = dict(on_meta) if isinstance(on_meta, Mapping) else {}
    placed = () if named else on_meta if isinstance(on_meta, tuple) else (on_meta,)
    try:
        with _Uses(weights, note):
            bare(*placed, **named)
    except Exception as error:  # whatever the model raises
        raise RuntimeError(
            f"{type(model).__name__} does not run on the shape of the example ({error}); {_WITHOUT}"
        ) from error
    return sizes


_WITHOUT = "without an example its layers come in the order of registration"


class _Uses(TorchFunctionMode):
    """Notes the layers whose weights go into a function of torch."""

    def __init__(self, weights: Mapping[int, str], note: Callable[[str, Any], None]):
        super().__init__()
        self._weights, self._note = weights, note

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") not in ("__get__", "__set__"):  # to ask for a shape is no use
            for used in tree_leaves((args, kwargs)):
                if id(used) in self._weights:
                    self._note(self._weights[id(used)], args[0] if args else None)
        return func(*args, **(kwargs or {}))


def copied(model: nn.Module, numbers: bool) -> nn.Module:
    """A copy of the model that shares its numbers, or has none and lies on the meta device; no number is copied.

    Whatever the model shares (a module used twice, a tied weight, a tensor kept as a plain attribute) its copy
    shares too: `deepcopy` finds each tensor's stand-in by the tensor's identity. The user's hooks stay behind, for
    they may keep what they see; batch statistics, which need more than one image, are not taken.
    """
    tensors = [
        value
        for part in model.modules()
        for value in [*part._parameters.values(), *part._buffers.values(), *vars(part).values()]
        if isinstance(value, Tensor)
    ]
    if any(is_lazy(tensor) for tensor in tensors):
        raise ValueError("some of its weights are lazy: run it once, so that they have a shape")
    stand_ins: dict[int, Any] = {}
    for tensor in tensors:
        stand_in = tensor.detach() if numbers else tensor.detach().to("meta")
        stand_ins[id(tensor)] = nn.Parameter(stand_in, False) if isinstance(tensor, nn.Parameter) else stand_in
    hooks = [
        kept
        for part in model.modules()
        for kept in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
    ]
    for kept in hooks:  # those of torch that compute a weight come along
        stand_ins[id(kept)] = type(kept)((key, hook) for key, hook in kept.items() if isinstance(hook, COMPUTING))
    twin: nn.Module = copy.deepcopy(model, stand_ins)
    for part in twin.modules():
        if isinstance(part, _BatchNorm):
            part.eval()
    return twin
