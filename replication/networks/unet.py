"""The U-Net of Section 5.5."""

from itertools import pairwise

import torch
from torch import Tensor, nn


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
