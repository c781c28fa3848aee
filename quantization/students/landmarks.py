"""The landmark student: residual to the mean shape, visibility, whether a face is there, how it moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from .blocks import ConvBnRelu, bound, residual, stage

__all__ = ["COEFFICIENTS", "FacePoints", "LandmarkNet", "MovementNet"]

COEFFICIENTS = 43
"""Of the 52, those that their teacher ever moves: `quantization.teachers.blendshapes.LIVE`."""


class FacePoints(nn.Module):
    """What a student and a full-size teacher end in: points, visibility and presence out of one code."""

    def end_in_points(self, code: int) -> None:
        """Makes the three outputs; to be called last, so that random weights are drawn in that order."""
        self.points = nn.Conv2d(code, 136, 1)
        self.visibility = nn.Conv2d(code, 68, 1)
        self.presence = nn.Conv2d(code, 1, 1)
        nn.init.normal_(self.points.weight, std=1e-3)
        nn.init.zeros_(self.points.bias)

    def answers(self, code: Tensor) -> tuple[Tensor, ...]:
        """The three of a code [N, C, 1, 1]."""
        return self.points(code), self.visibility(code), self.presence(code)


class LandmarkNet(FacePoints):
    """RGB crop [N, 3, 112, 112] to points [N, 136, 1, 1], visibility [N, 68, 1, 1] and presence [N, 1, 1, 1].

    Points are residuals to the mean shape in units of the crop, the others logits.

    The last map, ``grid`` x ``grid``, is read by one valid convolution over all of it, which keeps where a
    feature was seen; a global mean would not.
    """

    outputs: tuple[str, ...] = ("points", "visibility", "presence")
    two_sided = ("presence",)
    """Logits of which calibration crops show one side alone: they are faces, and presence never says no."""

    def __init__(
        self,
        widths: Sequence[int] = (16, 32, 64, 96, 128),
        code: int = 256,
        grid: int = 4,
        expand: Sequence[int] = (0, 0, 0),
        bounded: bool = False,
    ) -> None:
        """``grid`` of the map that is read: 4, halved once more, or 7, where it is only made narrower.

        ``expand`` of each stage: 0 of plain blocks, else how wide inverted ones are. ``bounded``: what lies
        behind the last stage stops at 6.
        """
        super().__init__()
        stem, second, third, fourth, fifth = widths
        self.backbone = nn.Sequential(
            ConvBnRelu(3, stem, stride=2),  # 56
            stage(stem, second, 1, expand[0]),  # 28
            stage(second, third, 2, expand[1]),  # 14
            stage(third, fourth, 2, expand[2]),  # 7
            residual(fourth, expand[2]),
            ConvBnRelu(fourth, fifth, stride=2) if grid == 4 else ConvBnRelu(fourth, fifth, kernel=1),
        )
        self.code = ConvBnRelu(fifth, code, kernel=grid, padding=0)
        if bounded:
            bound(self.backbone[4], self.backbone[5], self.code)
        self.end_in_points(code)

    @staticmethod
    def of(student: Mapping[str, Any]) -> LandmarkNet:
        """The untrained network of a recipe's ``student``."""
        kind = MovementNet if student.get("blendshapes") else LandmarkNet
        shape = (int(student["code"]), int(student.get("grid", 4)), student.get("expand", (0, 0, 0)))
        return kind(student["widths"], *shape, bool(student.get("bounded")))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.answers(self.code(self.backbone(x)))


class MovementNet(LandmarkNet):
    """A landmark student that also says how far each movement of the face goes: logits [N, 43, 1, 1].

    All else is as without them, random weights included: the layer is drawn last.
    """

    outputs = (*LandmarkNet.outputs, "blendshapes")
    begun_later = ("blendshapes.",)
    """Parts that the weights of a course to start from may lack: they begin as they were drawn."""
    rates: ClassVar[Mapping[str, float]] = {"blendshapes.": 10.0}
    """How many times the rate of the others parts learn: the code is small (its standard deviation 0.08), and
    these logits span fifteen. After 4,000 steps over a code that stays as it is, at a rate of 0.0016: mean
    correlation on tuning photos 0.60 at the same rate, 0.69 at ten times that."""

    def __init__(
        self,
        widths: Sequence[int],
        code: int,
        grid: int = 4,
        expand: Sequence[int] = (0, 0, 0),
        bounded: bool = False,
    ) -> None:
        super().__init__(widths, code, grid, expand, bounded)
        self.blendshapes = nn.Conv2d(code, COEFFICIENTS, 1)

    def answers(self, code: Tensor) -> tuple[Tensor, ...]:
        """The four of a code [N, C, 1, 1]."""
        return *super().answers(code), self.blendshapes(code)
