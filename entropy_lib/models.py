"""The paper's large networks and where their ImageNet weights come from."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from entropy_lib.data import MissingData, downloading, folder, import_torchvision
from entropy_lib.files import digest

ARCHITECTURES = ("vgg16", "resnet50")
SCHEMES = ("torchvision", "pytorch", "glorot")
_RELEASES = {"vgg16": "VGG16_Weights", "resnet50": "ResNet50_Weights"}


@dataclass(frozen=True)
class Weights:
    """Kernels by the name of torchvision's module, with where they come from and what is missing."""

    kernels: dict[str, Tensor]
    fingerprint: str
    note: str
    deviation: str = ""


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


class UNet(nn.Module):
    """The U-Net of Ronneberger et al. (2015) with padded convolutions, `(n, 3, l, w)` to `(n, 1, l, w)` in (0, 1).

    Four times two convolutions and a halving, two convolutions at the bottom, four times a doubling, the skip
    connection's maps put beside it, and two convolutions; at the end one of 1 x 1 and a sigmoid. Sides must be
    multiples of 16. Convolutions are initialised with variance 2 / fan-in, as the original.
    """

    def __init__(self, channels: int = 64, seed: int = 0):
        super().__init__()
        widths = [channels * 2**k for k in range(5)]
        rising = widths[3::-1]
        self.down = nn.ModuleList(_two_convolutions(*pair) for pair in pairwise([3, *widths[:4]]))
        self.bottom = _two_convolutions(widths[3], widths[4])
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in rising)
        self.join = nn.ModuleList(_two_convolutions(2 * width, width) for width in rising)
        self.head = nn.Conv2d(channels, 1, 1)
        generator = torch.Generator().manual_seed(seed)
        for part in self.modules():
            if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
                # A doubling reads every input once for each output: its fan-in is its number of input channels.
                fan_in = part.weight[0].numel() if isinstance(part, nn.Conv2d) else part.in_channels
                nn.init.normal_(part.weight, std=(2 / fan_in) ** 0.5, generator=generator)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        skips = []
        for block in self.down:
            skips.append(block(images))
            images = nn.functional.max_pool2d(skips[-1], 2)
        images = self.bottom(images)
        for up, join in zip(self.up, self.join, strict=True):
            images = join(torch.cat([skips.pop(), up(images)], 1))
        return self.head(images).sigmoid()


def _two_convolutions(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(into, out, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(out, out, 3, padding=1), nn.ReLU(inplace=True),
    )  # fmt: skip


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    """The 2-D convolutions by name, in the order in which they were registered."""
    return {name: part for name, part in model.named_modules() if isinstance(part, nn.Conv2d)}


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
    for name, shape in _shapes(architecture).items():
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
    shapes = _shapes(architecture)
    file, renamed, note, deviation = _COPIES[architecture]
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
    return Weights(kernels, fingerprint, note, deviation)


def checkpoint_kernels(architecture: str, path: Path) -> dict[str, Tensor]:
    """The kernels of a checkpoint: a `.safetensors` file, or what `torch.save` made of a state dict.

    Raises:
        KeyError: unknown architecture.
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read, or lacks a layer of the architecture, or one has another shape.
    """
    shapes, state = _shapes(architecture), _state(path)
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


def _shapes(architecture: str) -> dict[str, torch.Size]:
    return {name: part.weight.shape for name, part in convolutions(skeleton(architecture)).items()}


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


def _vgg_copies(expected: dict[str, torch.Size]) -> dict[str, str]:
    """Keras numbers the convolutions of each block, torchvision all layers."""
    blocks = [2, 2, 3, 3, 3]
    keys = [f"block{b}_conv{c}.weight" for b, size in enumerate(blocks, start=1) for c in range(1, size + 1)]
    return dict(zip(expected, keys, strict=True))


def _resnet_copies(expected: dict[str, torch.Size]) -> dict[str, str]:
    """Gluon numbers the convolutions of each stage, a block's shortcut after its three others, as torchvision does."""
    stages: dict[str, int] = {}
    keys = {}
    for name in expected:
        stage = name.partition(".")[0].replace("layer", "stage")
        number = stages[stage] = stages.get(stage, -1) + 1
        keys[name] = "resnetv24_conv0_weight" if stage == "conv1" else f"resnetv24_{stage}_conv{number}_weight"
    return keys


_COPIES = {
    "vgg16": (
        "vgg16-imagenet-conv-fp16.safetensors", _vgg_copies,
        "Keras' VGG16, its 13 convolutions rounded to half precision", "weights rounded to half precision",
    ),
    "resnet50": (
        "resnet50v2-imagenet-partial-fp16.safetensors", _resnet_copies,
        "ResNet-50 v2 of the ONNX model zoo, 44 of 53 convolutions rounded to half precision",
        "version 2 of the network, weights rounded to half precision, the last stage missing but for its first layer",
    ),
}  # fmt: skip
