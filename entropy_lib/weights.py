"""The tensor that a layer multiplies by, read without changing the layer."""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

# Hooks of torch that compute a weight before every forward.
COMPUTING = (prune.BasePruningMethod, SpectralNorm, WeightNorm)


class Unreadable(ValueError):
    """A layer has no weight that the formulas could be applied to; the message says why."""


def holds(module: nn.Module, parameter: str) -> bool:
    """Whether a module has a tensor of this name; a weight that is computed is not computed to tell."""
    return parametrize.is_parametrized(module, parameter) or isinstance(getattr(module, parameter, None), Tensor)


def read(module: nn.Module, parameter: str) -> Tensor:
    """The weight as the layer multiplies by it, with its graph.

    One that is computed of others (a parametrization, pruning, weight or spectral norm) is computed anew, with the
    state that the last step left: to read it moves no power iteration. One that is sharded is gathered.

    Raises:
        Unreadable: it has no numbers yet, or was computed elsewhere, or lies in parts that cannot be gathered.
    """
    if parametrize.is_parametrized(module, parameter):
        return _gathered(_parametrised(module.parametrizations[parameter]))  # type: ignore[index]
    hook = _computing(module, parameter)
    if isinstance(hook, prune.BasePruningMethod):
        return _gathered(hook.apply_mask(module))
    if isinstance(hook, SpectralNorm):
        return _gathered(hook.compute_weight(module, do_power_iteration=False))
    if isinstance(hook, WeightNorm):
        return _gathered(hook.compute_weight(module))
    weight: Tensor = getattr(module, parameter)
    if weight.grad_fn is not None:
        raise Unreadable("it is computed of other tensors before it is stored in the layer, where it may be stale")
    return _gathered(weight)


def leaves(module: nn.Module, parameter: str) -> list[Tensor]:
    """The tensors that training moves when this weight is guided: itself, or those it is computed of."""
    if parametrize.is_parametrized(module, parameter):
        steps: nn.Module = module.parametrizations[parameter]  # type: ignore[index, assignment]
        return list(steps.parameters())
    if _computing(module, parameter):
        own = dict(module.named_parameters(recurse=False))
        return [tensor for name, tensor in own.items() if name.startswith(f"{parameter}_")]
    return [getattr(module, parameter)]


def adapted(module: nn.Module) -> str:
    """Why a module's weight is not what it multiplies by, where an adapter such as LoRA adds to it; else nothing."""
    if isinstance(getattr(module, "base_layer", None), nn.Module):
        return f"{type(module).__name__} is an adapter around a weight; merge it first, in peft by merge_and_unload()"
    return ""


def replaced(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of modules that do not stand for themselves, with the reason: an adapter's parts, a replaced original."""
    for name, part in model.named_modules():
        if adapted(part):
            below = [inner for inner, _ in part.named_modules() if inner]
            why = "a part of an adapter, which is to be merged first"
        elif isinstance(getattr(part, "modules_to_save", None), nn.ModuleDict):
            below, why = ["original_module"], "replaced by its trained copy"
        else:
            continue
        yield from ((f"{name}.{inner}" if name else inner, why) for inner in below)


def _computing(module: nn.Module, parameter: str) -> Any:
    """The hook of torch that computes this weight before every forward, if there is one."""
    for hook in module._forward_pre_hooks.values():
        named = hook._tensor_name if isinstance(hook, prune.BasePruningMethod) else getattr(hook, "name", None)
        if named == parameter and isinstance(hook, COMPUTING):
            return hook
    return None


def _parametrised(computed: Any) -> Tensor:
    """A parametrised weight, by copies of its steps that do not train: they share all tensors, and change none."""
    originals = [getattr(computed, name) for name, _ in computed.named_parameters(recurse=False)]
    step, *others = [_still(part) for part in computed]
    weight: Tensor = step(*originals)
    for other in others:
        weight = other(weight)
    return weight


def _still(part: nn.Module) -> nn.Module:
    if not part.training:
        return part
    still = copy.copy(part)
    still.training = False
    return still


def _gathered(weight: Tensor) -> Tensor:
    """A sharded weight (a DTensor, as of FSDP2) as a whole; the gradient goes back to the shards."""
    if torch.compiler.is_compiling():
        return weight
    if is_lazy(weight):
        raise Unreadable("it is lazy and has no numbers before the model has run once")
    if weight.is_meta:
        raise Unreadable("it is on the meta device, where tensors have no numbers")
    whole: Tensor = weight.full_tensor() if hasattr(weight, "full_tensor") else weight
    if not whole.numel():
        raise Unreadable(f"it is empty, of shape {tuple(whole.shape)}; a sharded one must be gathered first")
    return whole
