"""The paper's large networks, and the numbers that they start from."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from replication.vision import import_torchvision

ARCHITECTURES = ("vgg16", "resnet50")
SCHEMES = ("torchvision", "pytorch", "glorot")


def skeleton(architecture: str) -> nn.Module:
    """torchvision's network without numbers: its parameters lie on the meta device, which takes no memory.

    Raises:
        KeyError: unknown architecture; the message lists the known ones.
    """
    if architecture not in ARCHITECTURES:
        raise KeyError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    with torch.device("meta"):
        return getattr(import_torchvision().models, architecture)(weights=None)


def network(
    architecture: str, classes: int, image: int, width: float = 1.0, dropout: float = 0.0, seed: int = 0
) -> nn.Module:
    """An untrained VGG-16 or ResNet-50 for square images, with a share `width` of torchvision's channels.

    Two departures from torchvision: VGG's maps enter its head as they are, without being pooled to 7 x 7
    first (at 224 pixels that does nothing), and ResNet's head has a dropout too. Convolutions are initialised as
    torchvision's, normal with variance 2 / fan-out, dense layers with variance 2 / fan-in.

    Raises:
        KeyError: unknown architecture.
        ValueError: images too small for five halvings.
    """
    if image < 32:
        raise ValueError(f"{architecture} halves its maps five times: images need 32 pixels or more, got {image}")
    model: Any = skeleton(architecture)
    for name, part in list(model.named_modules()):
        if isinstance(part, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
            model.set_submodule(name, _narrowed(part, width))
    if architecture == "vgg16":
        model.avgpool, last = nn.Identity(), model.features[28].out_channels
        sizes = [last * (image // 32) ** 2, model.classifier[0].out_features, model.classifier[3].out_features]
        model.classifier = nn.Sequential(
            nn.Linear(sizes[0], sizes[1]), nn.ReLU(inplace=True), nn.Dropout(dropout),
            nn.Linear(sizes[1], sizes[2]), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(sizes[2], classes),
        )  # fmt: skip
    else:
        model.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(model.fc.in_features, classes))
    _initialise(model, torch.Generator().manual_seed(seed))
    return model


def _narrowed(part: Any, width: float) -> nn.Module:
    """A layer with a share of its channels; the three colours of an image stay."""

    def share(channels: int) -> int:
        return channels if channels == 3 else max(1, round(channels * width))

    if isinstance(part, nn.Conv2d):
        shape: dict[str, Any] = {"kernel_size": part.kernel_size, "stride": part.stride, "padding": part.padding}
        return nn.Conv2d(share(part.in_channels), share(part.out_channels), **shape, bias=part.bias is not None)
    if isinstance(part, nn.BatchNorm2d):
        return nn.BatchNorm2d(share(part.num_features))
    return nn.Linear(share(part.in_features), share(part.out_features))


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for part in model.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            mode: Literal["fan_in", "fan_out"] = "fan_out" if isinstance(part, nn.Conv2d) else "fan_in"
            nn.init.kaiming_normal_(part.weight, mode=mode, nonlinearity="relu", generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def convolution_names(architecture: str) -> list[str]:
    """The names of the network's convolutions in torchvision's order, without importing it, which takes seconds.

    In ResNet-50 a block's projection follows its three others.

    Raises:
        KeyError: unknown architecture.
    """
    if architecture not in ARCHITECTURES:
        raise KeyError(f"unknown architecture {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    if architecture == "vgg16":
        return [f"features.{number}" for number in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    blocks = [(stage, block) for stage, count in enumerate((3, 4, 6, 3), start=1) for block in range(count)]
    parts = ("conv1", "conv2", "conv3", "downsample.0")
    return ["conv1"] + [f"layer{s}.{b}.{part}" for s, b in blocks for part in parts[: 4 if b == 0 else 3]]


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The 2-D convolutions by name, in the order in which they were registered."""
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}


def kernel_shapes(architecture: str) -> dict[str, torch.Size]:
    return {name: part.weight.shape for name, part in convolutions(skeleton(architecture)).items()}


def random_kernels(architecture: str, scheme: str, seed: int) -> dict[str, Tensor]:
    """The kernels of an untrained network.

    `torchvision`: normal with variance 2 / fan-out, as its VGG and ResNet are built; `pytorch`: uniform
    with bound fan-in^-1/2, the default of `nn.Conv2d`; `glorot`: uniform with bound
    (6 / (fan-in + fan-out))^1/2, the default of Keras. :func:`fan` is what each divides by.

    Raises:
        KeyError: unknown architecture. ValueError: unknown scheme.
    """
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    generator = torch.Generator().manual_seed(seed)
    kernels = {}
    for name, shape in kernel_shapes(architecture).items():
        kernel = kernels[name] = torch.empty(shape)
        if scheme == "torchvision":
            nn.init.kaiming_normal_(kernel, mode="fan_out", nonlinearity="relu", generator=generator)
        elif scheme == "pytorch":
            nn.init.kaiming_uniform_(kernel, a=5**0.5, generator=generator)
        else:
            nn.init.xavier_uniform_(kernel, generator=generator)
    return kernels


def fan(scheme: str, fan_in: float, fan_out: float) -> float:
    """The number of connections that a scheme's variance is inverse to; works on arrays too.

    Raises:
        ValueError: unknown scheme.
    """
    fans = {"torchvision": fan_out, "pytorch": fan_in, "glorot": (fan_in + fan_out) / 2}
    if scheme not in fans:
        raise ValueError(f"scheme must be one of {', '.join(SCHEMES)}, got {scheme!r}")
    return fans[scheme]
