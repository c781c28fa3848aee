"""Rendered faces as a data set: every label that a student is taught by, of pictures that anybody may use.

Two of three faces show an emotion and carry shares of its classes; the others move anyhow. One picture in
seven has no face. ``facing`` ones all show an emotion and look about ahead: what an expression is, is hard
enough to learn from those. Sample i depends on (seed, i) alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import CELEBAMASK19, IBUG68

from ..datasets import Sample, Terms
from .backgrounds import Backgrounds
from .emotions import draw_emotion
from .faces import FaceMaker, Head
from .head import Pose
from .worn import wear

__all__ = ["TERMS", "draw_samples"]

TERMS = Terms(
    "heads of ICT-FaceKit's morphable face (Li et al., 2020), rendered before Poly Haven's panoramas, "
    "scikit-image's photos and made-up surfaces",
    "MIT (the model), CC0 and public domain (pictures): free for any use",
    True,
    "LICENSE beside the model (USC Institute for Creative Technologies); quantization/synthetic/pictures",
)
_ALL = {"faces": "all"}  # the boxes are those of everybody in the picture
_EMPTY, _EMOTION = 1 / 7, 2 / 3
_SIDE = (0.34, 0.62)  # of a head's box, in sides of the picture
_AHEAD = (16.0, 9.0, 7.0)  # standard deviations of yaw, pitch and roll of who looks about ahead, degrees


def draw_samples(
    maker: FaceMaker, backgrounds: Backgrounds, count: int, size: int, seed: int, facing: bool = False
) -> Iterator[Sample]:
    """``count`` pictures, ``size`` pixels a side."""
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        behind = backgrounds.draw(rng, size, size)
        if facing:
            yield _face(maker, behind, rng, f"facing-{seed}-{i:06d}", _ahead(rng))
        elif rng.random() < _EMPTY:
            yield Sample(f"empty-{seed}-{i:06d}", behind, boxes=np.zeros((0, 4), np.float32), attributes=_ALL)
        else:
            yield _face(maker, behind, rng, f"face-{seed}-{i:06d}", None)


def _ahead(rng: np.random.Generator) -> Pose:
    return Pose(*(float(rng.normal(0, sd)) for sd in _AHEAD))


def _face(
    maker: FaceMaker, behind: NDArray[np.uint8], rng: np.random.Generator, name: str, ahead: Pose | None
) -> Sample:
    """A head that looks ``ahead`` and shows an emotion; None: anywhere, and some show one."""
    size = behind.shape[0]
    x, y = rng.uniform(0.42, 0.58, 2) * size
    side = float(rng.uniform(*_SIDE)) * size
    head = Head.draw(rng, maker.model.identities, (float(x), float(y)), side, ahead)
    votes = None
    if ahead is not None or rng.random() < _EMOTION:
        coefficients, shares = draw_emotion(rng)
        head = replace(head, expression=coefficients)
        votes = np.concatenate([shares, np.zeros(2, np.float32)])
    face = wear(maker.render(head, behind), rng)
    return Sample(
        name,
        face.image,
        boxes=face.box[None],
        points=face.annotated,
        points_scheme=IBUG68.key,
        visible=face.visible,
        mask=face.mask,
        mask_scheme=CELEBAMASK19.key,
        votes=votes,
        blendshapes=np.concatenate([np.zeros(1, np.float32), face.expression]),
        blendshapes_known=np.arange(len(face.expression) + 1) > 0,  # not MediaPipe's own _neutral
        attributes=_ALL | {"yaw": face.pose.yaw, "pitch": face.pose.pitch, "roll": face.pose.roll},
    )
