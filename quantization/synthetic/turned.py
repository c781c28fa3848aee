"""Heads in profile out of portraits: a photo's head is given a depth, turned further aside, and drawn again.

Photos of faces beyond 60 degrees of yaw are rare, and detectors miss what they have not seen. As in "face
profiling" (Zhu et al., "Face Alignment Across Large Poses: A 3D Solution", CVPR 2016; 300W-LP was made so)
the morphable head is fitted to a portrait's 68 points, the rest of the picture gets a depth too, and all of
it turns as one textured surface. Here the skull also swells until its outline is that of the hair, so that
a profile has a back of the head; what was never seen takes the colour of the other side, or of what is near::

    turner = HeadTurner(Path("data/face3d/ict_face_model_light.npz"))
    head = turner.turn(rgb, alpha, points, yaw=75)  # RGB uint8 [H, W, 3], alpha, points, five, box, poses
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .faces import box_of
from .fitting import HeadFit, HeadFitter, TurningError, checked_points, outermost
from .head import Morphable, Pose
from .raster import Fragments, Raster
from .unseen import Globe, look_up, smooth, spread

__all__ = ["HeadTurner", "TurnedHead", "TurningError", "profile_box"]

Array = NDArray[np.float32]
Exact = NDArray[np.float64]
_LONGEST = 200  # side in pixels at which heads are turned
_CELL = 3  # pixels between the nodes of what surrounds the head
_SKULL = (0.0, 4.5, -8.0)  # centimetres: its middle, in the neutral head
_SWELL = (0.97, 1.4)  # how far the hair may take the skull's outline
_STEPS = np.arange(-20, 91, 5)  # degrees of elevation at which it is measured
_TORN = 4  # a cell of it that goes so many times as deep as wide is torn
_FADE = 3.0  # centimetres beside the mesh within which the depth goes on toward the axis
_PROFILE = (-0.035, 0.07, -0.055)  # how much farther out a profile's box ends: front, back, top
_FAR = 100.0  # centimetres to the viewer, for the z-buffer alone: the view is parallel


@dataclass(frozen=True, slots=True)
class TurnedHead:
    """A portrait's head in another pose; coordinates are pixels, x right, y down, centres at integers.

    Attributes:
        image: RGB uint8 [H, W, 3].
        alpha: uint8 [H, W], of what was drawn.
        points: float32 [68, 2]; the jaw's slide to the silhouette, as photos are annotated.
        five: float32 [5, 2]: eyes (picture's left first), tip of the nose, corners of the mouth.
        box: float32 [4], x, y, width, height, as YuNet draws it, see :func:`profile_box`.
        before: The portrait's pose in degrees, and ``pose``: the one it has now.
        error: Of the fit, see :class:`~quantization.synthetic.fitting.HeadFit`.
        guessed: Share of the drawn face (within its points' hull) that the portrait did not show.
    """

    image: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    points: Array
    five: Array
    box: Array
    before: Pose
    pose: Pose
    error: float
    guessed: float


class HeadTurner:
    """Turns portraits; keeps the model and what the fit needs of it in memory (33 ms of one core a head).

    Args:
        model: The file of the morphable face.

    Attributes:
        model: The morphable head, and ``skin``: int64 [T, 3], its triangles but teeth and gums.
        raster: Its buffers are kept between heads.
        scalp: float32 [V], how much of the hair's growth a vertex takes.
        globe: Gives its vertices the colours that a portrait does not show.

    Raises:
        ValueError: The file is not the whole morphable face.
    """

    def __init__(self, model: Path) -> None:
        self.model, self.raster = Morphable(model), Raster()
        skin = np.isin(self.model.material, ["M_Face", "M_BackHead", "M_ScleraLeft", "M_ScleraRight"])
        self.skin = self.model.triangles[skin]
        self._fitter = HeadFitter(self.model)
        away = self.model.neutral - np.array(_SKULL, np.float32)
        azimuth = np.arctan2(away[:, 0], away[:, 2])
        elevation = np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2]))
        self.scalp = _scalp(np.degrees(np.abs(azimuth)), np.degrees(elevation))
        self.globe = Globe(azimuth, elevation)

    def fit(self, points: Array) -> HeadFit:
        """What :meth:`turn` takes the portrait's head for, see :meth:`HeadFitter.fit`.

        Raises:
            TurningError: The points are of another shape, not finite, or all in one place.
        """
        return self._fitter.fit(points)

    def turn(
        self, rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], points: Array, yaw: float, pitch: float = 0.0
    ) -> TurnedHead:
        """The portrait's head, turned to ``yaw`` on the side to which it already looks.

        Args:
            rgb: The portrait, RGB uint8 [H, W, 3].
            alpha: uint8 [H, W], 255 where its head (and neck, and shoulders) is.
            points: float32 [68, 2], iBUG-68.
            yaw: Degrees aside, 0 to 100, whatever the side.
            pitch: Degrees added to the portrait's, up.

        Raises:
            TurningError: Shapes or values are not as above, or points lie outside the picture.
        """
        if not 0 <= yaw <= 100:
            raise TurningError(f"yaw is {yaw}: give 0 to 100 degrees; the portrait says to which side")
        photo, mask, points = _reduced(rgb, alpha, points)
        fit = self.fit(points)
        aside = yaw if fit.pose.yaw >= 0 else -yaw
        pose = Pose(aside, fit.pose.pitch + pitch, fit.pose.roll)
        return _Turning(self, photo, mask, points, fit, pose).draw()


class _Turning:
    """One head on its way: its surface before the viewer, centimetres, seen in parallel; and its colours."""

    def __init__(
        self,
        turner: HeadTurner,
        photo: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        points: Array,
        fit: HeadFit,
        pose: Pose,
    ) -> None:
        self.turner, self.mask, self.points, self.fit, self.pose = turner, mask, points, fit, pose
        self.photo, self.size = spread(photo, mask), photo.shape[1::-1]
        self.before = fit.pose.matrix().astype(np.float32)
        self.turned = (pose.matrix() @ fit.pose.matrix().T).astype(np.float32)
        self.middle = self.before @ np.array(_SKULL, np.float32)
        self.still = turner.model.shape(fit.identity, fit.expression).vertices @ self.before.T
        self.vertices = self._swollen()
        self.normals = turner.model.normals(self.vertices)

    def _pixels(self, vertices: Array) -> Array:
        """Where vertices [V, 3] before the viewer lie in the portrait, [V, 2]."""
        x, y = self.fit.centre
        scale = self.fit.scale
        return np.stack([vertices[:, 0] * scale + x, y - vertices[:, 1] * scale], axis=1).astype(np.float32)

    def _swollen(self) -> Array:
        """The vertices with the skull grown to the outline of the hair, by its growth on either side."""
        away = self.still - self.middle
        level = np.hypot(away[:, 0], away[:, 2]) + 1e-6
        elevation = np.degrees(np.arctan2(away[:, 1], level))
        left, right = (np.interp(elevation, _STEPS, self._growth(away, sign)) for sign in (-1, 1))
        share = (1 + away[:, 0] / level) / 2
        grown = left * (1 - share) + right * share - 1
        # Hair stands up and to the sides more than to the back.
        behind = np.clip(-(away @ self.before[:, 2]) / np.linalg.norm(away, axis=1), 0, 1)
        grown *= self.turner.scalp * (1 - 0.6 * behind)
        return (self.still + away * grown[:, None]).astype(np.float32)

    def _growth(self, away: Array, sign: int) -> Exact:
        """Per step the mask's radius over the mesh's about the skull's middle, on a side of the portrait."""
        height, width = self.mask.shape
        (cx, cy), scale = self._pixels(self.middle[None])[0], self.fit.scale
        radius, angle = np.hypot(away[:, 0], away[:, 1]), np.arctan2(away[:, 1], away[:, 0] * sign)
        bins = np.rint((np.degrees(angle) - _STEPS[0]) / (_STEPS[1] - _STEPS[0])).astype(int)
        held = (bins >= 0) & (bins < len(_STEPS))
        mesh = np.full(len(_STEPS), 1e-6)
        np.maximum.at(mesh, bins[held], radius[held])
        reach = np.arange(0, 26, 0.1)
        x = np.rint(cx + sign * scale * np.outer(np.cos(np.radians(_STEPS)), reach)).astype(int)
        y = np.rint(cy - scale * np.outer(np.sin(np.radians(_STEPS)), reach)).astype(int)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        masked = inside & (self.mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 127)
        last = np.where(masked.any(1), masked.shape[1] - 1 - masked[:, ::-1].argmax(1), 0)
        ratio = np.where(masked.any(1), reach[last] / mesh, 1)
        cut = last >= inside.sum(1) - 2  # by the picture's border: the hair goes on
        ratio = np.clip(np.where(cut, np.maximum(ratio, 1), ratio), *_SWELL)
        return cv2.GaussianBlur(ratio[None], (5, 1), 0)[0]

    def draw(self) -> TurnedHead:
        """The head, what surrounds it, and its labels."""
        depth = self._depth()
        share, colour = self._shown(depth)
        nodes, cells = self._surroundings(depth)
        share = np.concatenate([share, np.ones(len(nodes), np.float32)])
        colour = np.concatenate([colour, np.zeros((len(nodes), 3), np.float32)])
        triangles = np.concatenate([self._above_the_cut(), cells + len(self.vertices)])
        surface = np.concatenate([self.vertices, nodes])
        values = np.column_stack([self._pixels(surface), share, colour])
        surface = surface @ self.turned.T
        pixels = self._pixels(surface)
        drawn = np.zeros(len(pixels), np.bool_)
        drawn[triangles] = True
        if not drawn.any():
            raise TurningError("alpha and points are of different places: give the mask of this head")
        low, high = np.floor(pixels[drawn].min(0)) - 2, np.ceil(pixels[drawn].max(0)) + 3
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        seen = self.turner.raster.draw(pixels - low, _FAR - surface[:, 2], triangles, size)
        image, alpha, unknown = self._paint(seen, seen.blend(values, triangles), size)
        return self._labelled(image, alpha, unknown, low)

    def _depth(self) -> Array:
        """Of the mesh in the portrait, centimetres toward the viewer; -inf beside it."""
        found = self.turner.raster.draw(
            self._pixels(self.vertices), _FAR - self.vertices[:, 2], self.turner.skin, self.size
        )
        return _FAR - found.depth

    def _shown(self, depth: Array) -> tuple[Array, Array]:
        """Per vertex how well the portrait shows what the turned head does, and a colour for the rest."""
        at = self._pixels(self.vertices)
        there = look_up(cv2.erode(depth, np.ones((3, 3))), at, cv2.INTER_NEAREST)
        open_ = self.vertices[:, 2] > np.where(np.isfinite(there), there, -99) - 0.7
        masked = look_up(self.mask, at, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT).astype(np.float32) / 255
        facing, later = self.normals[:, 2], (self.normals @ self.turned.T)[:, 2]
        plain = smooth(facing / np.maximum(later, 0.05), 0.1, 0.3) * (facing > 0)
        share = (open_ * smooth(masked, 0.3, 0.8) * plain).astype(np.float32)
        within = cv2.distanceTransform((self.mask > 200).astype(np.uint8), cv2.DIST_L2, 5)
        deep = smooth(look_up(within, at, cv2.INTER_LINEAR), 1, 6)  # masks of hair are drawn too wide
        trust = open_ * (masked > 0.9) * deep * smooth(facing, 0.1, 0.45)
        colour = look_up(self.photo, at, cv2.INTER_LINEAR).astype(np.float32)
        return share, self.turner.globe.around(colour, trust.astype(np.float32))

    def _above_the_cut(self) -> NDArray[np.int64]:
        """The mesh's triangles down to where the portrait's mask ends."""
        shape = self.vertices @ self.before
        chin = float(shape[self.turner.model.landmarks[8], 1])
        front = (self.normals[:, 2] > 0.3) & (shape[:, 1] < chin)
        at = self._pixels(self.vertices)
        masked = look_up(self.mask, at, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 127
        lowest = -99.0
        for top in np.arange(chin, -20, -0.5):
            level = front & (shape[:, 1] <= top) & (shape[:, 1] > top - 0.5)
            if level.any() and masked[level].mean() < 0.5:
                lowest = float(top)
                break
        triangles = self.turner.skin
        return triangles[(shape[:, 1][triangles] > lowest).all(1)]

    def _surroundings(self, depth: Array) -> tuple[Array, NDArray[np.int64]]:
        """A grid over what the mask has beside the mesh: its nodes [N, 3] and triangles."""
        width, height = self.size
        covered = np.isfinite(depth)
        columns, rows = np.meshgrid(np.arange(0, width, _CELL), np.arange(0, height, _CELL))
        z = self._goes_on(depth, covered)[rows, columns]
        inner = cv2.erode(covered.astype(np.uint8), np.ones((2 * _CELL + 1,) * 2))[rows, columns] > 0
        masked = self.mask[rows, columns] > 100
        node = np.arange(z.size).reshape(z.shape)
        corners = np.stack([node[:-1, :-1], node[:-1, 1:], node[1:, :-1], node[1:, 1:]], axis=-1)
        span = z.ravel()[corners]
        use = (masked & ~inner).ravel()[corners].any(-1) & masked.ravel()[corners].all(-1)
        use &= (span.max(-1) - span.min(-1)) < _TORN * _CELL / self.fit.scale
        a, b, c, d = (corners[use][:, k] for k in range(4))
        x, y = self.fit.centre
        nodes = np.stack([(columns - x) / self.fit.scale, (y - rows) / self.fit.scale, z], axis=-1)
        cells = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
        return nodes.reshape(-1, 3).astype(np.float32), cells

    def _goes_on(self, depth: Array, covered: NDArray[np.bool_]) -> Array:
        """The depth beside the mesh: its rim's, toward that of the head's axis within some centimetres."""
        gap, label = cv2.distanceTransformWithLabels(
            (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        near = np.zeros(int(label.max()) + 1, np.float32)
        near[label[covered]] = depth[covered]
        rim, axis = cv2.blur(near[label], (7, 7)), float(self.middle[2])
        fade = np.exp(-gap / (_FADE * self.fit.scale))
        return np.where(covered, depth, axis + (rim - axis) * fade).astype(np.float32)

    def _paint(
        self, seen: Fragments, values: Array, size: tuple[int, int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
        """Picture, alpha and what is guessed of it; ``values`` [N, 6]: place in the photo, share, colour."""
        width, height = size
        known = values[:, 2:3]
        paint = look_up(self.photo, np.ascontiguousarray(values[:, :2]), cv2.INTER_LINEAR) * known
        paint += values[:, 3:] * (1 - known)
        image = np.zeros((height * width, 3), np.uint8)
        image[seen.pixel] = np.clip(paint + 0.5, 0, 255).astype(np.uint8)
        alpha, unknown = np.zeros(height * width, np.uint8), np.zeros(height * width, np.bool_)
        alpha[seen.pixel], unknown[seen.pixel] = 255, known[:, 0] < 0.5
        alpha = cv2.morphologyEx(alpha.reshape(height, width), cv2.MORPH_CLOSE, np.ones((3, 3)))
        image = spread(image.reshape(height, width, 3), alpha)
        soft = cv2.GaussianBlur(cv2.erode(alpha, np.ones((3, 3))), (0, 0), 1.2)
        return image, np.minimum(alpha, soft), unknown.reshape(height, width)

    def _labelled(
        self, image: NDArray[np.uint8], alpha: NDArray[np.uint8], unknown: NDArray[np.bool_], low: Array
    ) -> TurnedHead:
        model, fit = self.turner.model, self.fit
        marks = self.still[model.landmarks]
        # What the photo shows of a point turns with the surface where it was seen, beside the mesh's vertex.
        marks[17:, :2] += (self.points - self._pixels(marks))[17:] * np.array([1, -1]) / np.float32(fit.scale)
        points = self._pixels(marks @ self.turned.T) - low
        lines = self._pixels(self.still[model.parallels.ravel()] @ self.turned.T) - low
        lines = lines.reshape(*model.parallels.shape, 2)
        points[:17] = lines[np.arange(17), outermost(lines * (1, -1), self.pose.matrix())]
        hull = np.zeros(alpha.shape, np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.rint(points).astype(np.int32)), 1)
        face = (hull > 0) & (alpha > 127)
        five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
        guessed = float(unknown[face].mean()) if face.any() else 1.0
        box = profile_box(points, self.pose.yaw)
        return TurnedHead(image, alpha, points, five, box, fit.pose, self.pose, fit.error, guessed)


def profile_box(points: Array, yaw: float) -> Array:
    """The box YuNet would draw, x, y, width, height, of annotated points [68, 2] at ``yaw`` degrees.

    Up to 60 degrees it is :func:`~quantization.synthetic.faces.box_of`'s. In profile the points end at the
    cheekbone, and the nose stands out: YuNet's box lies farther back and a little lower. The shares of the
    height are medians over 100 turned heads of CelebAMask-HQ beyond 60 degrees (median IoU at 80 to 90
    degrees 0.82, without them 0.74; 0.90 below 45 degrees).
    """
    x, y, width, height = box_of(points)
    aside = height * float(np.clip((abs(yaw) - 60) / 30, 0, 1.1))
    front, back, top = (share * aside for share in _PROFILE)
    left = back if yaw > 0 else front
    return np.array([x - left, y - top, width + front + back, height + top], np.float32)


def _scalp(azimuth: Array, elevation: Array) -> Array:
    """How much of the hair's swelling a vertex takes, [V] in [0, 1]: none on the face, ears and neck."""
    line = np.interp(azimuth, (0, 40, 70, 100, 125, 180), (42, 40, 30, 22, -10, -25))
    return smooth(elevation, line - 15, line + 15)


def _reduced(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], points: Array
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Array]:
    """The part of the portrait that its mask holds, at most 200 pixels long, and the points in it."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise TurningError(f"rgb is {rgb.dtype} {rgb.shape}: give RGB uint8 [H, W, 3]")
    if alpha.shape != rgb.shape[:2] or alpha.dtype != np.uint8:
        raise TurningError(f"alpha is {alpha.dtype} {alpha.shape}: give uint8 of the photo's {rgb.shape[:2]}")
    points = checked_points(points)
    inner = points[17:]
    if (inner < 0).any() or (inner > np.array(rgb.shape[1::-1]) - 1).any():
        raise TurningError("points lie outside the picture: give a portrait that holds the whole face")
    held = cv2.boundingRect(alpha)
    if not held[2] or not held[3]:
        raise TurningError("alpha is empty: give the head's mask")
    x, y, width, height = held
    photo, mask = rgb[y : y + height, x : x + width], alpha[y : y + height, x : x + width]
    scale = min(1.0, _LONGEST / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA)
    return photo, mask, ((points - (x, y) + 0.5) * scale - 0.5).astype(np.float32)
