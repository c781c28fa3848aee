"""RTNet (Lin et al., 2021) with its FCN head: a ResNet on a tanh-polar map, half of it on the map unrolled.

Restated from the paper; the modules are called as in ``hhj1897/face_parsing`` (MIT), so that its
``rtnet50-fcn-11.torch``, ``rtnet50-fcn-14.torch`` and ``rtnet101-fcn-14.torch`` load as they are; how many
blocks the third stage has, their names tell. The warps are those of ``hhj1897/roi_tanh_warping`` (MIT).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..adapter import Adapter
from ..checkpoint import State, fill

__all__ = ["RTNet", "network", "polar_to_square", "square_to_polar"]


def network(adapter: Adapter, state: State) -> nn.Module:
    """The net with as many classes as the adapter has channels, and as many blocks as the checkpoint.

    Raises:
        AdapterError: The parameters are not its.
    """
    third = {name.split(".")[2] for name in state if name.startswith("encoder.layer3.")}
    return fill(RTNet(len(adapter.output.channels), len(third)), state)


class RTNet(nn.Module):
    """BGR [N, 3, S, S] in [-1, 1], warped by RoI tanh-polar, and the box, to logits [N, classes, S, S].

    The box [N, 4] is that of the face before the warp: left, top, right, bottom in pixels of the picture.

    Args:
        classes: How many.
        third: Blocks of the third stage: 6 of RTNet-50, 23 of RTNet-101.
    """

    def __init__(self, classes: int, third: int) -> None:
        super().__init__()
        self.encoder = _Encoder(third)
        self.decoder = nn.Sequential(
            nn.Conv2d(2048, 512, 3, padding=1, bias=False),
            nn.BatchNorm2d(512),
            nn.ReLU(),
            nn.Identity(),
            nn.Conv2d(512, classes, 1),
        )

    def forward(self, x: Tensor, box: Tensor) -> Tensor:
        logits = self.decoder(self.encoder(x, box))
        return functional.interpolate(logits, x.shape[2:], mode="bilinear")


class _Encoder(nn.Module):
    """A dilated ResNet: the map stays at stride 8 from the second stage on."""

    def __init__(self, third: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, hybrid=False)
        self.layer2 = _stage(256, 128, 4, stride=2)
        self.layer3 = _stage(512, 256, third, dilation=2)
        self.layer4 = _stage(1024, 512, 3, dilation=4)

    def forward(self, x: Tensor, box: Tensor) -> Tensor:
        # The published net shrinks the box with the map; but of a box only its aspect counts.
        sides = box[:, 2:] - box[:, :2]
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x = block(x, sides)
        return x


def _stage(
    inputs: int, width: int, count: int, *, stride: int = 1, dilation: int = 1, hybrid: bool = True
) -> nn.ModuleList:
    """The first block is plain and dilated by half."""
    first = _Block(inputs, width, stride, max(1, dilation // 2), hybrid=False)
    more = (_Block(4 * width, width, 1, dilation, hybrid=hybrid) for _ in range(count - 1))
    return nn.ModuleList((first, *more))


class _Block(nn.Module):
    """The paper's hybrid block: a path on the polar map and, where ``hybrid``, one on the map unrolled."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int, *, hybrid: bool) -> None:
        super().__init__()
        half = width // 2
        self._hybrid = hybrid
        self.conv1_a = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn1_a = nn.BatchNorm2d(half)
        self.conv1_b = nn.Conv2d(inputs, half, 1, bias=False)
        self.bn1_b = nn.BatchNorm2d(half)
        polar = nn.Conv2d(half, half, 3, stride, dilation=dilation, bias=False)
        square = nn.Conv2d(half, half, 3, stride, dilation, dilation, bias=False)
        self.conv_polar = nn.Sequential(nn.Sequential(_PolarPad(dilation), polar), nn.BatchNorm2d(half))
        self.conv_cart = nn.Sequential(square, nn.BatchNorm2d(half))
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inputs != 4 * width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor, sides: Tensor) -> Tensor:
        polar = self.conv_polar(torch.relu(self.bn1_a(self.conv1_a(x))))
        other = torch.relu(self.bn1_b(self.conv1_b(x)))
        if self._hybrid:
            other = square_to_polar(self.conv_cart(polar_to_square(other, sides)), sides)
        else:
            other = self.conv_cart(other)
        both = torch.relu(torch.cat((polar, other), 1))
        return torch.relu(self.bn3(self.conv3(both)) + self.downsample(x))


class _PolarPad(nn.Module):
    """Angles go round, radii end."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width

    def forward(self, x: Tensor) -> Tensor:
        n = self._width
        return functional.pad(
            functional.pad(x, (0, 0, n, n), mode="circular"), (n, n, 0, 0), mode="replicate"
        )


def polar_to_square(x: Tensor, sides: Tensor) -> Tensor:
    """A tanh-polar map [N, C, H, W] (rows: angles, columns: radii) as the tanh map of the same face and size.

    ``sides`` [N, 2]: width and height of the face's box, of which only the ratio counts.
    """
    high, wide = x.shape[2:]
    half = sides[:, :, None, None] / 2
    right, down = _unsqueezed(wide) * half[:, 0], _unsqueezed(high)[:, None] * half[:, 1]
    distance = torch.sqrt(right * right + down * down)
    # The middle of an odd map has no direction: atan2(0, 1) is 0 in every runtime, atan2(0, 0) is not.
    angle = torch.atan2(down, torch.where(distance > 0, right, 1.0))
    column = torch.tanh(distance / _reach(angle, sides)) * wide
    row = torch.remainder(angle / (2 * math.pi), 1.0) * high
    x = functional.pad(functional.pad(x, (0, 0, 1, 1), mode="circular"), (1, 0, 0, 0), mode="replicate")
    return _sampled(x, column + 1, row + 1)


def square_to_polar(x: Tensor, sides: Tensor) -> Tensor:
    """The way back of `polar_to_square`."""
    high, wide = x.shape[2:]
    half = sides[:, :, None, None] / 2
    angle = torch.arange(high, dtype=torch.float32)[:, None] * (2 * math.pi / high)
    distance = _atanh(torch.arange(wide, dtype=torch.float32) / wide) * _reach(angle, sides)
    column = (torch.tanh(distance * angle.cos() / half[:, 0]) + 1) / 2 * wide - 0.5
    row = (torch.tanh(distance * angle.sin() / half[:, 1]) + 1) / 2 * high - 0.5
    return _sampled(x, column, row)


def _atanh(x: Tensor) -> Tensor:
    return torch.log((1 + x) / (1 - x)) / 2  # torch has one, but no ONNX file gets it


def _unsqueezed(count: int) -> Tensor:
    """Where the cells of a tanh axis lie, in half sides of the box from its centre."""
    return _atanh((torch.arange(count, dtype=torch.float32) + 0.5) * (2 / count) - 1)


def _reach(angle: Tensor, sides: Tensor) -> Tensor:
    """Radius in this direction of the ellipse that has the box's area and aspect."""
    wide, high = (sides[:, k, None, None] / math.sqrt(math.pi) for k in (0, 1))
    return wide * high / torch.sqrt((high * angle.cos()) ** 2 + (wide * angle.sin()) ** 2)


def _sampled(x: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Bilinear at these cells [N, H, W]; nothing beyond the edge."""
    high, wide = x.shape[2:]
    grid = torch.stack((column * (2 / (wide - 1)) - 1, row * (2 / (high - 1)) - 1), -1)
    return functional.grid_sample(x, grid, align_corners=True)
