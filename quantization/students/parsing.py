"""The parsing student: a residual encoder and a light decoder with lateral connections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from .blocks import ConvBnRelu, Residual, stage, upsample2

__all__ = ["ParsingNet"]


class ParsingNet(nn.Module):
    """RGB crop [N, 3, S, S] to logits [N, 19, S, S].

    The classes are decided at half the resolution and their logits brought up bilinearly, where a
    full-resolution convolution would cost a third of the net.
    """

    outputs = ("logits",)

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 48, 64, 96),
        decoder: Sequence[int] = (64, 48, 32, 16),
        classes: int = 19,
        expand: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        """``expand`` of each stage of the encoder: 0 of plain blocks, else how wide inverted ones are."""
        super().__init__()
        w2, w4, w8, w16, w32 = widths
        d16, d8, d4, d2 = decoder
        self.down2 = ConvBnRelu(3, w2, stride=2)
        self.down4 = stage(w2, w4, 1, expand[0])
        self.down8 = stage(w4, w8, 1, expand[1])
        self.down16 = stage(w8, w16, 1, expand[2])
        self.down32 = stage(w16, w32, 2, expand[3])
        self.side16, self.side8 = ConvBnRelu(w16, d16, 1), ConvBnRelu(w8, d8, 1)
        self.side4, self.side2 = ConvBnRelu(w4, d4, 1), ConvBnRelu(w2, d2, 1)
        self.top = ConvBnRelu(w32, d16, 1)
        self.up16, self.up8 = Residual(d16), ConvBnRelu(d16, d8, 1)
        self.mix8, self.up4 = Residual(d8), ConvBnRelu(d8, d4, 1)
        self.mix4, self.up2 = Residual(d4), ConvBnRelu(d4, d2, 1)
        self.mix2 = ConvBnRelu(d2, d2)
        self.dropout = nn.Dropout2d(0.05)
        self.head = nn.Conv2d(d2, classes, 1)

    @classmethod
    def of(cls, student: Mapping[str, Any], classes: int) -> ParsingNet:
        """The untrained network of a recipe's ``student``."""
        return cls(student["widths"], student["decoder"], classes, student.get("expand", (0, 0, 0, 0)))

    def maps(self, x: Tensor) -> list[Tensor]:
        """The decoder's features at strides 16, 8, 4 and 2, of as many channels as ``decoder`` says."""
        x2 = self.down2(x)
        x4 = self.down4(x2)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        y = self.top(self.down32(x16))
        y16 = self.up16(upsample2(y) + self.side16(x16))
        y8 = self.mix8(upsample2(self.up8(y16)) + self.side8(x8))
        y4 = self.mix4(upsample2(self.up4(y8)) + self.side4(x4))
        y2 = self.mix2(upsample2(self.up2(y4)) + self.side2(x2))
        return [y16, y8, y4, y2]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.classified(self.maps(x)[-1]),)

    def classified(self, finest: Tensor) -> Tensor:
        """Logits from the last of :meth:`maps`."""
        return upsample2(self.head(self.dropout(finest)))
