"""What a foreign model sees of a picture, and where its answer lies in the picture.

Pixel centres are at integers, as everywhere in the house; resampling is bilinear after halving
(`edgeface.geometry.warp`), while most published code shrinks with an anti-aliased filter of its library: the
tensors agree to a few grey levels, not to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.geometry import Similarity, crop_similarity, letterbox, warp

from .adapter import AdapterError, Crop, Template

__all__ = ["Decided", "View", "decide", "look"]

Array = NDArray[np.float64]
Move = Callable[[Array], Array]
_BAND = 256  # rows of the picture that are decided at a time, which bounds the memory of large photos


@dataclass(frozen=True)
class View:
    """A crop: its size (width, height) and the ways between it and the picture, both for points [..., 2].

    Attributes:
        affine: The way as a matrix where there is one; the picture is then shrunk without aliasing.
        circular: The rows are a circle (tanh-polar): the last is the neighbour of the first.
    """

    size: tuple[int, int]
    to_crop: Move
    to_frame: Move
    affine: Similarity | None = None
    circular: bool = False

    def image(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crop, uint8 [height, width, 3]; black outside the picture."""
        if self.affine is not None:
            return warp(rgb, self.affine, self.size)
        x, y = _split(self.to_frame(_pixels(self.size)))
        return np.asarray(cv2.remap(rgb, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)

    def put_back(
        self, maps: NDArray[np.float32], frame: tuple[int, int], background: int = 0
    ) -> NDArray[np.uint8]:
        """The likeliest class of every pixel of the picture, uint8 [H, W]; ``frame``: (width, height).

        ``maps``: probabilities float32 [C, h, w] over the crop, of any resolution. Outside the crop all is
        background.
        """
        return decide([(self, maps)], frame, background).labels

    def sampled(
        self, maps: NDArray[np.float32], points: Array
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Values of ``maps`` (float32 [C, h, w] over the crop) at points [H, W, 2] of the picture.

        Returns them, [C, H, W], and which of the points lie in the crop, [H, W].
        """
        height, width = maps.shape[1:]
        share = np.array([width / self.size[0], height / self.size[1]])
        where = self.to_crop(points)
        inside = ((where >= -0.5) & (where <= np.array(self.size) - 0.5)).all(-1) | self.circular
        x, y = _split(where * share if self.circular else (where + 0.5) * share - 0.5)
        circles = np.concatenate((maps, maps[:, :1]), 1) if self.circular else maps
        found = [cv2.remap(one, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for one in circles]
        return np.array(found, np.float32), inside


class Decided(NamedTuple):
    """The likeliest classes uint8 [H, W], how many views saw each pixel, and how many say the same."""

    labels: NDArray[np.uint8]
    saw: NDArray[np.uint8]
    agreed: NDArray[np.uint8]


def decide(
    said: Sequence[tuple[View, NDArray[np.float32]]], frame: tuple[int, int], background: int = 0
) -> Decided:
    """The likeliest class of every pixel of a picture by the mean of several views' probabilities.

    Args:
        said: Views and their probabilities float32 [C, h, w] over the crop, of any resolution.
        frame: (width, height) of the picture.
        background: Class of what no view sees.
    """
    width, height = frame
    decided = Decided(np.full((height, width), background, np.uint8), *np.zeros((2, height, width), np.uint8))
    for top in range(0, height, _BAND):
        labels, saw, agreed = (part[top : top + _BAND] for part in decided)
        pixels = _pixels((width, len(labels))) + np.array([0, top])
        seen = [view.sampled(maps, pixels) for view, maps in said]
        total = seen[0][0] * seen[0][1]
        for values, inside in seen[1:]:
            total += values * inside
        best = total.argmax(0).astype(np.uint8)
        for values, inside in seen:
            saw += inside
            agreed += inside & (values.argmax(0) == best)
        labels[saw > 0] = best[saw > 0]
    return decided


def look(
    crop: Crop,
    size: tuple[int, int],
    frame: tuple[int, int],
    box: NDArray[np.float32] | None = None,
    keypoints: NDArray[np.float32] | None = None,
) -> View:
    """The view that a crop rule gives of one face.

    Args:
        crop: The rule.
        size: (width, height) of the model's input.
        frame: (width, height) of the picture.
        box: (x, y, width, height) of the face, for rules that go by it.
        keypoints: [5, 2] of the face, for rules that go by them: the eye on the picture's left first, as
            YuNet and RetinaFace give them.

    Raises:
        AdapterError: The rule needs a box or keypoints and there are none.
    """
    if crop.kind == "whole":
        if crop.fit == "letterbox":
            return _affine(letterbox(*frame, *size, max_scale=np.inf), size)
        return _affine(_stretch(np.array([-0.5, -0.5]), np.array(frame) - 0.5, size), size)
    if crop.kind in ("box", "polar"):
        corner, sides = _corner(_needed(box, crop, "box"))
        if crop.kind == "polar":
            return _polar(corner + sides / 2, sides / np.sqrt(np.pi), size)
        return _affine(_stretch(*_edges(crop, corner, sides, frame), size), size)
    points = np.asarray(_needed(keypoints, crop, "keypoints"), np.float64).reshape(5, 2)
    if crop.kind == "celebahq":
        return _affine(_celebahq(points, size), size)
    aligned = min((_umeyama(points, t) for t in crop.templates), key=lambda fit: fit[1])[0]
    return _squeezed(aligned, size, crop.tanh) if crop.tanh else _affine(aligned, size)


def _needed(value: NDArray[np.float32] | None, crop: Crop, what: str) -> NDArray[np.float32]:
    if value is None:
        raise AdapterError(
            f"a crop of the kind {crop.kind!r} goes by the face's {what}: run a detector first"
        )
    return value


def _pixels(size: tuple[int, int]) -> Array:
    return np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).astype(np.float64)


def _split(points: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return points[..., 0].astype(np.float32), points[..., 1].astype(np.float32)


def _affine(matrix: Similarity, size: tuple[int, int]) -> View:
    return View(size, matrix.apply, matrix.inverse().apply, matrix)


def _stretch(low: Array, high: Array, size: tuple[int, int]) -> Similarity:
    """Edges (left, top) and (right, bottom) of the picture onto the edges of the crop."""
    scale = np.array(size) / (high - low)
    return Similarity(np.column_stack((np.diag(scale), -0.5 - scale * low)))


def _corner(box: NDArray[np.float32]) -> tuple[Array, Array]:
    values = np.asarray(box, np.float64)
    return values[:2], values[2:]


def _edges(crop: Crop, corner: Array, sides: Array, frame: tuple[int, int]) -> tuple[Array, Array]:
    centre = corner + sides / 2 + np.array(crop.shift) * sides
    half = (np.full(2, sides.max()) if crop.square else sides) * crop.scale / 2
    low, high = centre - half, centre + half
    if crop.clip:
        edge = np.array(frame) - 0.5
        low, high = np.clip(low, -0.5, edge - 1), np.clip(high, 0.5, edge)
    return low, high


def _celebahq(points: Array, size: tuple[int, int]) -> Similarity:
    """The square of CelebA-HQ (Karras et al., 2018, appendix C): upright to the eyes and the mouth."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0], mouth - eyes
    axis = across + np.array([down[1], -down[0]])
    half = max(2.0 * np.hypot(*across), 1.8 * np.hypot(*down))
    roll = np.degrees(np.arctan2(axis[1], axis[0]))
    return crop_similarity(tuple(eyes + 0.1 * down), 2 * half, float(roll), *size)


def _umeyama(points: Array, template: Template) -> tuple[Similarity, float]:
    """The turn, scale and shift nearest to the template (Umeyama, 1991), and how far it stays from it."""
    goal = np.array(template)
    a, b = points - points.mean(0), goal - goal.mean(0)
    # In the plane the best turn and scale are one complex number.
    source, target = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    factor = np.vdot(source, target) / np.vdot(source, source).real
    turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    shift = goal.mean(0) - turn @ points.mean(0)
    error = np.linalg.norm(points @ turn.T + shift - goal, axis=1).sum()
    return Similarity(np.column_stack((turn, shift))), float(error)


def _squeezed(aligned: Similarity, size: tuple[int, int], share: float) -> View:
    """Straight within ``1 - share`` of the half side, tanh beyond (FaRL: Zheng et al., 2022)."""
    half, straight = np.array(size) / 2, 1 - share

    def bend(points: Array, curve: Move) -> Array:
        unit = (points + 0.5) / half - 1
        beyond = np.maximum(np.abs(unit) - straight, 0) / share
        bent = np.sign(unit) * (np.minimum(np.abs(unit), straight) + share * curve(beyond))
        return (bent + 1) * half - 0.5

    def open_up(beyond: Array) -> Array:
        return np.arctanh(np.minimum(beyond, 0.999))

    inverse = aligned.inverse()
    return View(
        size,
        lambda points: bend(aligned.apply(np.asarray(points, np.float64)), np.tanh),
        lambda points: inverse.apply(bend(np.asarray(points, np.float64), open_up)),
    )


def _polar(centre: Array, radii: Array, size: tuple[int, int]) -> View:
    """RoI tanh-polar whose rows are true angles of the picture (the paper's code: keep_aspect_ratio)."""

    def reach(angle: Array) -> Array:
        """The ellipse's radius in this direction."""
        return radii.prod() / np.hypot(radii[1] * np.cos(angle), radii[0] * np.sin(angle))

    def to_frame(cells: Array) -> Array:
        angle = cells[..., 1] * (2 * np.pi / size[1])
        radius = np.arctanh(cells[..., 0] / size[0]) * reach(angle)
        return np.stack((radius * np.cos(angle), radius * np.sin(angle)), -1) + centre

    def to_crop(points: Array) -> Array:
        x, y = np.moveaxis(np.asarray(points, np.float64) - centre, -1, 0)
        angle = np.arctan2(y, x)
        radius = np.tanh(np.hypot(x, y) / reach(angle))
        return np.stack((radius * size[0], angle / (2 * np.pi) % 1.0 * size[1]), -1)

    return View(size, to_crop, to_frame, circular=True)
