"""Networks trained on ImageNet, as far as the copies of their weights go, with everything between the convolutions.

VGG-16 up to its last pooling, and a ResNet-50 of version 2 (normalisation and activation before each convolution) up to
the first convolution of its last stage.
"""

from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from replication.data.dataset import MissingData, folder
from replication.files import digest
from replication.networks.vgg_resnet import skeleton

FILES = {"vgg16": "vgg16-imagenet-conv-fp16.safetensors", "resnet50": "resnet50v2-imagenet-partial-fp16.safetensors"}
DEVIATIONS = {
    "vgg16": "its convolutions alone, rounded to half precision",
    "resnet50": "version 2, rounded to half precision, its last stage missing but for its first layer",
}
# Bottlenecks of ResNet-50's stages, and the width within them.
_STAGES = ((3, 64), (4, 128), (6, 256))


@cache
def copies(architecture: str) -> tuple[Mapping[str, Tensor], str]:
    """The arrays of the copy beside the data, in single precision, and their fingerprint.

    Raises:
        MissingData: the file is not there.
    """
    path = folder() / "weights" / FILES[architecture]
    if not path.is_file():
        raise MissingData(f"there is no {path}: copies of {architecture} are not part of the project")
    from safetensors.torch import load_file

    arrays = {name: array.float() for name, array in load_file(path).items()}
    return arrays, digest(*(array.numpy().tobytes() for _, array in sorted(arrays.items())))


def prepared(architecture: str, images: Tensor) -> Tensor:
    """Photographs of bytes `(n, 3, l, w)` as the network was trained on them."""
    if architecture == "vgg16":  # Keras: grey levels less their means, blue first
        return images.float()[:, [2, 1, 0]] - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    means, deviations = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (images.float() / 255 - means) / deviations


def trained(architecture: str) -> nn.Module:
    """The network with its trained numbers, in evaluation mode.

    Raises:
        MissingData: the copy of its weights is not there.
    """
    arrays, _ = copies(architecture)
    model = (_vgg if architecture == "vgg16" else _resnet)(arrays)
    return model.eval().requires_grad_(False)


def _vgg(arrays: Mapping[str, Tensor]) -> nn.Module:
    features: Any = skeleton("vgg16").features
    names = (name.removesuffix(".weight") for name in sorted(arrays) if name.endswith(".weight"))
    convolutions = (name for name, part in features.named_children() if isinstance(part, nn.Conv2d))
    state = {
        f"{ours}.{part}": arrays[f"{theirs}.{part}"]
        for ours, theirs in zip(convolutions, names, strict=True)
        for part in ("weight", "bias")
    }
    features.load_state_dict(state, assign=True)
    return nn.Sequential(OrderedDict(features=features))


class Bottleneck(nn.Module):
    """Version 2: normalised and rectified first; a shortcut with a convolution sets out behind that."""

    def __init__(self, convolutions: list[nn.Conv2d], norms: list[nn.BatchNorm2d], shortcut: nn.Conv2d | None):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = norms
        self.conv1, self.conv2, self.conv3 = convolutions
        self.shortcut = shortcut
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        first = self.relu(self.norm1(x))
        inner = self.conv2(self.relu(self.norm2(self.conv1(first))))
        branch: Tensor = self.conv3(self.relu(self.norm3(inner)))
        return branch + (self.shortcut(first) if self.shortcut else x)


class _Reader:
    """Makes layers of Gluon's arrays, which number the layers of each stage in the order of use."""

    def __init__(self, arrays: Mapping[str, Tensor]):
        self._arrays = arrays
        self._next: dict[str, int] = {}

    def _name(self, kind: str) -> str:
        number = self._next.get(kind, 0)
        self._next[kind] = number + 1
        return f"resnetv24_{kind}{number}"

    def convolution(self, stage: str, stride: int = 1, padding: int = 0) -> nn.Conv2d:
        kernel = self._arrays[f"{self._name(stage + 'conv')}_weight"]
        out, into, side, _ = kernel.shape
        layer = nn.Conv2d(into, out, side, stride, padding, bias=False)
        layer.weight.data = kernel
        return layer

    def norm(self, stage: str) -> nn.BatchNorm2d:
        name = self._name(stage + "batchnorm")
        layer = nn.BatchNorm2d(len(self._arrays[f"{name}_gamma"]))
        layer.weight.data, layer.bias.data = self._arrays[f"{name}_gamma"], self._arrays[f"{name}_beta"]
        layer.running_mean, layer.running_var = (self._arrays[f"{name}_running_{part}"] for part in ("mean", "var"))
        return layer


def _resnet(arrays: Mapping[str, Tensor]) -> nn.Module:
    read = _Reader(arrays)
    layers: list[tuple[str, nn.Module]] = [
        ("norm0", read.norm("")), ("conv0", read.convolution("", stride=2, padding=3)), ("norm1", read.norm("")),
        ("relu", nn.ReLU()), ("pool", nn.MaxPool2d(3, 2, 1)),
    ]  # fmt: skip
    for number, (blocks, _) in enumerate(_STAGES, start=1):
        stage = f"stage{number}_"
        for block in range(blocks):
            stride = 2 if block == 0 and number > 1 else 1
            norms = [read.norm(stage) for _ in range(3)]
            convolutions = [
                read.convolution(stage), read.convolution(stage, stride, padding=1), read.convolution(stage)
            ]  # fmt: skip
            shortcut = read.convolution(stage, stride) if block == 0 else None
            layers.append((f"stage{number}_block{block + 1}", Bottleneck(convolutions, norms, shortcut)))
    last = [("norm", read.norm("stage4_")), ("relu", nn.ReLU()), ("conv", read.convolution("stage4_"))]
    return nn.Sequential(OrderedDict([*layers, ("stage4", nn.Sequential(OrderedDict(last)))]))
