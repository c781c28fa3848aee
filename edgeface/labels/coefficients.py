"""ARKit's coefficients of a face's movement, as MediaPipe names and orders them (Apache-2.0)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BLENDSHAPES52", "CoefficientScheme"]


@dataclass(frozen=True)
class CoefficientScheme:
    """Numbers in [0, 1] of how far each movement of a face goes; several move at once.

    Attributes:
        key: Registry name.
        names: One name per coefficient; left and right are the person's own.
        flip: ``flip[i]`` is the coefficient that coefficient ``i`` becomes when the picture is mirrored.
        source: Where names and order are defined.
    """

    key: str
    names: tuple[str, ...]
    flip: tuple[int, ...]
    source: str

    def __len__(self) -> int:
        return len(self.names)


def _sided(*stems: str) -> list[str]:
    return [stem + side for stem in stems for side in ("Left", "Right")]


def _mirrored(name: str) -> str:
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


_NAMES = (
    "_neutral",
    *_sided("browDown"),
    "browInnerUp",
    *_sided("browOuterUp"),
    "cheekPuff",
    *_sided("cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint"),
    *_sided("eyeWide"),
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    *_sided("mouthDimple", "mouthFrown"),
    "mouthFunnel",
    "mouthLeft",
    *_sided("mouthLowerDown", "mouthPress"),
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    *_sided("mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer"),
)

BLENDSHAPES52 = CoefficientScheme(
    key="blendshapes52",
    names=_NAMES,
    flip=tuple(_NAMES.index(_mirrored(name)) for name in _NAMES),
    source="MediaPipe, tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc: 51 of ARKit's, all but the "
    "tongue's, behind its own _neutral",
)
