"""MobileFaceNet (Chen et al., 2018) and its parts, called as in the many descendants of InsightFace's code.

The variant here is the one that POSTER++ asks for landmarks and DDAMFN's backbone grew from.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["Bottleneck", "ConvBn", "ConvBnPrelu", "MobileFaceNet", "Stack"]


class ConvBn(nn.Module):
    """A convolution and its norm; ``kernel`` is one side or (height, width), and nothing pads unless told."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class ConvBnPrelu(ConvBn):
    """The same with a leak of its own for every channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding, groups)
        self.prelu = nn.PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(super().forward(x))


class Bottleneck(nn.Module):
    """Wide within: 1 x 1, depthwise 3 x 3, 1 x 1."""

    def __init__(
        self, inputs: int, outputs: int, middle: int, stride: int = 1, residual: bool = False
    ) -> None:
        super().__init__()
        self.conv = ConvBnPrelu(inputs, middle)
        self.conv_dw = ConvBnPrelu(middle, middle, 3, stride, 1, groups=middle)
        self.project = ConvBn(middle, outputs)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        inner = self.project(self.conv_dw(self.conv(x)))
        return x + inner if self.residual else inner


class Stack(nn.Module):
    """Blocks one after the other."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class MobileFaceNet(nn.Module):
    """RGB [N, 3, 112, 112] to maps [N, 64, 28, 28], [N, 128, 14, 14] and [N, 512, 7, 7]."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.conv1 = ConvBnPrelu(3, 64, 3, 2, 1)
        self.conv2_dw = ConvBnPrelu(64, 64, 3, 1, 1, groups=64)
        self.conv_23 = Bottleneck(64, 64, 128, 2)
        self.conv_3 = _residuals(64, 128, 4)
        self.conv_34 = Bottleneck(64, 128, 256, 2)
        self.conv_4 = _residuals(128, 256, 6)
        self.conv_45 = Bottleneck(128, 128, 512, 2)
        self.conv_5 = _residuals(128, 256, 2)
        self.conv_6_sep = ConvBnPrelu(128, 512)
        self.output_layer = _Answers(answers)  # it was trained with, and is stored; the maps are what is used

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(x))))
        middle = self.conv_4(self.conv_34(fine))
        return fine, middle, self.conv_6_sep(self.conv_5(self.conv_45(middle)))


def _residuals(channels: int, middle: int, count: int) -> Stack:
    return Stack(*(Bottleneck(channels, channels, middle, residual=True) for _ in range(count)))


class _Answers(nn.Module):
    """The paper's global depthwise convolution."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.conv_6_dw = ConvBn(512, 512, 7, groups=512)
        self.linear = nn.Linear(512, answers, bias=False)
        self.bn = nn.BatchNorm1d(answers)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.linear(self.conv_6_dw(x).flatten(1)))
