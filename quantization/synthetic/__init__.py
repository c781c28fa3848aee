"""Synthetic faces: the MIT-licensed morphable face rendered with labels that are exact.

Three steps, each usable alone: a shape before a camera (``head``), what is seen of it (``raster``), what
covers and lights it (``look``, painted
by ``appearance``); ``faces`` joins them and says where everything is::

    maker = FaceMaker(Path("data/face3d/ict_face_model_light.npz"))
    head = Head.draw(rng, maker.model.identities, centre=(96, 96), side=110)
    face = maker.render(head, background)  # RGB uint8 [H, W, 3], points, visibility, mask, pose, expression
"""

from __future__ import annotations

from .faces import FaceMaker, Head, SyntheticFace, box_of
from .head import EXPRESSIONS, Camera, Morphable, Pose, draw_expression
from .look import Light, Look

__all__ = [
    "EXPRESSIONS",
    "Camera",
    "FaceMaker",
    "Head",
    "Light",
    "Look",
    "Morphable",
    "Pose",
    "SyntheticFace",
    "box_of",
    "draw_expression",
]
