"""ARKit's coefficients of a face's movement, as MediaPipe names and orders them (Apache-2.0).

51 of ARKit's, all but the tongue's, behind MediaPipe's own ``_neutral``: the 52 outputs of
``tasks/cc/vision/face_landmarker/face_blendshapes_graph.cc``.
"""

from __future__ import annotations

__all__ = ["BLENDSHAPES"]


def _sided(*stems: str) -> list[str]:
    return [stem + side for stem in stems for side in ("Left", "Right")]


BLENDSHAPES = (
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
"""Names of the 52 outputs; left and right are the person's own."""
