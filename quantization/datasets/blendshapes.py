"""ARKit's coefficients of a face's movement, as MediaPipe names and orders them (Apache-2.0).

51 of ARKit's, all but the tongue's, behind MediaPipe's own ``_neutral``: the 52 outputs of
``tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc``.
"""

from __future__ import annotations

__all__ = ["BLENDSHAPES", "sided"]


def sided(*stems: str) -> list[str]:
    """The stems with each side behind them."""
    return [stem + side for stem in stems for side in ("Left", "Right")]


BLENDSHAPES = (
    "_neutral",
    *sided("browDown"),
    "browInnerUp",
    *sided("browOuterUp"),
    "cheekPuff",
    *sided("cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint"),
    *sided("eyeWide"),
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    *sided("mouthDimple", "mouthFrown"),
    "mouthFunnel",
    "mouthLeft",
    *sided("mouthLowerDown", "mouthPress"),
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    *sided("mouthSmile", "mouthStretch", "mouthUpperUp", "noseSneer"),
)
"""Names of the 52 outputs; left and right are the person's own."""
