"""Where weights trained on ImageNet come from, and how checkpoints are read."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from replication.data.dataset import MissingData, downloading, folder
from replication.files import digest
from replication.networks.vgg_resnet import kernel_shapes
from replication.vision import import_torchvision

_RELEASES = {"vgg16": "VGG16_Weights", "resnet50": "ResNet50_Weights"}


@dataclass(frozen=True)
class Weights:
    """Kernels by the name of torchvision's module, with where they come from and what is missing."""

    kernels: dict[str, Tensor]
    fingerprint: str
    note: str
    deviation: str = ""
    complete: bool = True  # every layer of the network is there


def imagenet_kernels(architecture: str, fingerprint: str = "") -> Weights:
    """The kernels trained on ImageNet: torchvision's release where it has been fetched, else the copies beside it.

    Raises:
        KeyError: unknown architecture.
        MissingData: neither is in `data.folder()`; the message says which command fetches the release.
        ValueError: they are not those of the given fingerprint; or as :func:`checkpoint_kernels`.
    """
    found = _imagenet(architecture, folder() / "weights")
    if fingerprint and found.fingerprint != fingerprint:
        raise ValueError(
            f"the weights of {architecture} in {folder() / 'weights'} have the fingerprint {found.fingerprint}, "
            f"not {fingerprint}: they changed since the grid was made"
        )
    return found


@cache
def _imagenet(architecture: str, weights: Path) -> Weights:
    shapes = kernel_shapes(architecture)
    file, renamed, note, deviation = COPIES[architecture]
    release = _release(architecture)
    path = weights / release.url.rpartition("/")[2]
    if path.exists():
        kernels, note, deviation = (
            checkpoint_kernels(architecture, path),
            f"torchvision's {architecture}, {release}",
            "",
        )
    elif (weights / file).exists():
        state = _state(weights / file)
        kernels = {name: state[key].float() for name, key in renamed(shapes).items() if key in state}
    else:
        raise MissingData(
            f"ImageNet weights of {architecture} are not in {weights} (set by ENTROPY_DATA); "
            f"`entropy-book data {architecture}-weights` fetches them"
        )
    fingerprint = digest(*(kernel.numpy().tobytes() for kernel in _checked(kernels, shapes, note).values()))
    return Weights(kernels, fingerprint, note, deviation, complete=set(kernels) == set(shapes))


def checkpoint_kernels(architecture: str, path: Path) -> dict[str, Tensor]:
    """The kernels of a checkpoint: a `.safetensors` file, or what `torch.save` made of a state dict.

    Raises:
        KeyError: unknown architecture.
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or lacks a layer of the architecture, or one has another shape.
    """
    shapes, state = kernel_shapes(architecture), _state(path)
    missing = [name for name in shapes if f"{name}.weight" not in state]
    if missing:
        raise ValueError(
            f"{path} is no checkpoint of torchvision's {architecture}: it lacks {len(missing)} of {len(shapes)} "
            f"convolutions, such as {missing[0]}.weight; it has {', '.join(list(state)[:3])}, ..."
        )
    return _checked({name: state[f"{name}.weight"].float() for name in shapes}, shapes, str(path))


def _state(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        raise FileNotFoundError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both formats raise errors of their own
        kind = type(error).__name__
        raise ValueError(f"{path} is neither a safetensors file nor a state dict of torch.save ({kind})") from error
    if not isinstance(state, dict):
        raise ValueError(f"{path} holds a {type(state).__name__}, expected a state dict, as of model.state_dict()")
    return state.get("state_dict", state)


def _checked(kernels: dict[str, Tensor], expected: dict[str, torch.Size], source: str) -> dict[str, Tensor]:
    for name, kernel in kernels.items():
        if kernel.shape != expected[name]:
            raise ValueError(f"{name} of {source} has shape {tuple(kernel.shape)}, expected {tuple(expected[name])}")
    return kernels


def fetch_weights(architecture: str) -> None:
    """Download torchvision's release into `data.folder()`."""
    with downloading(f"{architecture}-weights"):
        torch.hub.load_state_dict_from_url(
            _release(architecture).url, model_dir=str(folder() / "weights"), check_hash=True
        )


def _release(architecture: str):
    return getattr(import_torchvision().models, _RELEASES[architecture]).IMAGENET1K_V1


def vgg_copies(expected: dict[str, torch.Size]) -> dict[str, str]:
    """Keras numbers the convolutions of each block, torchvision all layers."""
    blocks = [2, 2, 3, 3, 3]
    keys = [f"block{b}_conv{c}.weight" for b, size in enumerate(blocks, start=1) for c in range(1, size + 1)]
    return dict(zip(expected, keys, strict=True))


def resnet_copies(expected: dict[str, torch.Size]) -> dict[str, str]:
    """Gluon numbers the convolutions of each stage, a block's shortcut after its three others, as torchvision does."""
    stages: dict[str, int] = {}
    keys = {}
    for name in expected:
        stage = name.partition(".")[0].replace("layer", "stage")
        number = stages[stage] = stages.get(stage, -1) + 1
        keys[name] = "resnetv24_conv0_weight" if stage == "conv1" else f"resnetv24_{stage}_conv{number}_weight"
    return keys


COPIES = {
    "vgg16": (
        "vgg16-imagenet-conv-fp16.safetensors", vgg_copies,
        "Keras' VGG16, its 13 convolutions rounded to half precision", "weights rounded to half precision",
    ),
    "resnet50": (
        "resnet50v2-imagenet-partial-fp16.safetensors", resnet_copies,
        "ResNet-50 v2 of the ONNX model zoo, 44 of 53 convolutions rounded to half precision",
        "version 2 of the network, weights rounded to half precision, the last stage missing but for its first layer",
    ),
}  # fmt: skip
