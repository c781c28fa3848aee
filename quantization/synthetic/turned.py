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
from .head import EXPRESSIONS, Morphable, Pose
from .raster import Fragments, Raster

__all__ = ["HeadFit", "HeadTurner", "TurnedHead", "TurningError", "profile_box"]

Array = NDArray[np.float32]
Exact = NDArray[np.float64]
_LONGEST = 200  # side in pixels at which heads are turned
_CELL = 3  # pixels between the nodes of what surrounds the head
_ROUNDS = 10  # of the fit
_SPREAD, _JAW_SPREAD = 0.12, 0.6  # centimetres by which the teacher's points miss the mesh's
_EXPRESSED = 0.3  # how far an expression goes, in its own coefficients
_SKULL = (0.0, 4.5, -8.0)  # centimetres: its middle, in the neutral head
_SWELL = (0.97, 1.4)  # how far the hair may take the skull's outline
_STEPS = np.arange(-20, 91, 5)  # degrees of elevation at which it is measured
_TORN = 4  # a cell of it that goes so many times as deep as wide is torn
_FADE = 3.0  # centimetres beside the mesh within which the depth goes on toward the axis
_GLOBE = (128, 64)  # azimuths and elevations of the skull at which colours are kept for what was not seen
_PROFILE = (-0.035, 0.07, -0.055)  # how much farther out a profile's box ends: front, back, top
_FAR = 100.0  # centimetres to the viewer, for the z-buffer alone: the view is parallel


class TurningError(ValueError):
    """A portrait cannot be turned; the message names what is wrong with it and the mend."""


@dataclass(frozen=True, slots=True)
class HeadFit:
    """The morphable head on a portrait, seen in parallel (weak perspective).

    Attributes:
        pose: Degrees, see :class:`~quantization.synthetic.head.Pose`.
        scale: Pixels per centimetre.
        centre: float64 [2], pixels of the head's origin.
        identity: float32, standard deviations; ``expression``: float32 [51] in [0, 1].
        error: Mean distance of the 51 inner points from the mesh's, as a share of the outer eye corners'.
    """

    pose: Pose
    scale: float
    centre: Exact
    identity: Array
    expression: Array
    error: float


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
        error: Of the fit, see :class:`HeadFit`.
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
    """Turns portraits; keeps the model and what the fit needs of it in memory (50 ms of one core a head).

    Args:
        model: The file of the morphable face.

    Attributes:
        model: The morphable head, and ``skin``: int64 [T, 3], its triangles but teeth and gums.
        raster: Its buffers are kept between heads.
        scalp: float32 [V], how much of the hair's growth a vertex takes.
        globe: float32 [V, 2], where a vertex lies on a map of the directions from the skull's middle.

    Raises:
        ValueError: The file is not the whole morphable face.
    """

    def __init__(self, model: Path) -> None:
        self.model, self.raster = Morphable(model), Raster()
        skin = np.isin(self.model.material, ["M_Face", "M_BackHead", "M_ScleraLeft", "M_ScleraRight"])
        self.skin = self.model.triangles[skin]
        self._basis()
        away = self.model.neutral - np.array(_SKULL, np.float32)
        azimuth = np.arctan2(away[:, 0], away[:, 2])
        elevation = np.arctan2(away[:, 1], np.hypot(away[:, 0], away[:, 2]))
        self.scalp = _scalp(np.degrees(np.abs(azimuth)), np.degrees(elevation))
        columns, rows = _GLOBE
        self.globe = np.stack(
            [(azimuth / np.pi + 1) / 2 * (columns - 1), (0.5 - elevation / np.pi) * (rows - 1)], axis=1
        ).astype(np.float32)

    def _basis(self) -> None:
        """The offsets of the vertices that points may be: the 68 points', then the jaw's parallels'."""
        model = self.model
        rows = np.concatenate([model.landmarks, model.parallels.ravel()])
        still, calm = np.zeros(model.identities, np.float32), np.zeros(len(EXPRESSIONS), np.float32)
        neutral = model.shape(still, calm).vertices[rows]
        moves = [model.shape(e, calm).vertices[rows] - neutral for e in np.eye(len(still), dtype=np.float32)]
        moves += [model.shape(still, e).vertices[rows] - neutral for e in np.eye(len(calm), dtype=np.float32)]
        self._fit_neutral = neutral.astype(np.float64)
        self._fit_moves = np.stack(moves).astype(np.float64)
        gaze = np.array([name.startswith("eyeLook") for name in EXPRESSIONS])  # no point says where it goes
        self._spread = np.concatenate([np.ones(len(still)), np.where(gaze, 1e-3, _EXPRESSED)])

    def fit(self, points: Array) -> HeadFit:
        """Pose, shape and expression from points float32 [68, 2], by Gauss-Newton with a ridge.

        Raises:
            TurningError: The points are of another shape, not finite, or all in one place.
        """
        wanted = _checked_points(points) * (1, -1)
        state = self._begin(wanted)
        moves = np.zeros(len(self._spread))
        weight = np.full(68, 1 / _SPREAD)
        weight[:17] = 1 / _JAW_SPREAD
        for _ in range(_ROUNDS):
            state, moves = self._step(wanted, state, moves, weight)
        seen, _ = self._predict(state, moves)
        missed = np.linalg.norm(seen - wanted, axis=1)[17:].mean()
        apart = float(np.linalg.norm(wanted[45] - wanted[36]))
        count = self.model.identities
        return HeadFit(
            Pose(*(float(a) for a in state[:3])),
            float(np.exp(state[3])),
            state[4:6] * (1, -1),
            moves[:count].astype(np.float32),
            moves[count:].astype(np.float32),
            float(missed / max(apart, 1e-6)),
        )

    def _begin(self, wanted: Exact) -> Exact:
        """Pose, log scale and centre [6] of the neutral head, from its best affine view."""
        rows = np.arange(17, 68)
        design = np.column_stack([self._fit_neutral[rows], np.ones(len(rows))])
        view = np.linalg.lstsq(design, wanted[rows], rcond=None)[0]
        scale = np.linalg.norm(view[:3], axis=0).mean()
        if not scale > 1e-6:
            raise TurningError("the 68 points lie in one place: give a portrait's points in pixels")
        u, _, vt = np.linalg.svd(view[:3].T, full_matrices=False)
        across, up = u @ vt
        matrix = np.stack([across, up, np.cross(across, up)])
        yaw = np.degrees(np.arcsin(np.clip(matrix[0, 2], -1, 1)))
        pitch = np.degrees(np.arctan2(matrix[1, 2], matrix[2, 2]))
        roll = np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))
        return np.array([yaw, pitch, roll, np.log(scale), *view[3]])

    def _predict(self, state: Exact, moves: Exact) -> tuple[Exact, NDArray[np.int64]]:
        """The points [68, 2], y up, and which of the fit's vertices they are."""
        vertices = self._fit_neutral + np.tensordot(moves, self._fit_moves, 1)
        matrix = Pose(*state[:3]).matrix()
        turned = vertices @ matrix[:2].T
        rows = np.arange(68)
        lines = turned[68:].reshape(*self.model.parallels.shape, 2)
        rows[:17] = 68 + np.arange(17) * lines.shape[1] + _outermost(lines, matrix)
        return turned[rows] * np.exp(state[3]) + state[4:6], rows

    def _step(self, wanted: Exact, state: Exact, moves: Exact, weight: Exact) -> tuple[Exact, Exact]:
        """State and coefficients after one step of Gauss-Newton; the points of the jaw slide at each."""
        seen, rows = self._predict(state, moves)
        scale = float(np.exp(state[3]))
        vertices = (self._fit_neutral + np.tensordot(moves, self._fit_moves, 1))[rows]
        matrix = Pose(*state[:3]).matrix()
        slopes = []
        for k in range(3):
            nudged = state[:3] + np.eye(3)[k] * 0.1
            slopes.append((vertices @ (Pose(*nudged).matrix() - matrix)[:2].T * 10).ravel())
        slopes.append((vertices @ matrix[:2].T).ravel())
        slopes += [np.tile(axis, 68) / scale for axis in ((1.0, 0.0), (0.0, 1.0))]
        shifts = (self._fit_moves[:, rows] @ matrix[:2].T).reshape(len(moves), -1)
        design = np.column_stack([*slopes, *shifts]) * np.repeat(weight, 2)[:, None]
        rest = ((wanted - seen) / scale).ravel() * np.repeat(weight, 2)
        hold = np.concatenate([np.full(6, 1e-3), 1 / self._spread])
        pull = np.concatenate([np.zeros(6), -moves / self._spread])
        step = np.linalg.solve(design.T @ design + np.diag(hold**2), design.T @ rest + hold * pull)
        state = state + np.concatenate([np.clip(step[:3], -15, 15), np.clip(step[3:4], -0.3, 0.3), step[4:6]])
        moves = moves + step[6:]
        count = self.model.identities
        moves[:count] = np.clip(moves[:count], -2.5, 2.5)
        moves[count:] = np.clip(moves[count:], 0, 1)
        return state, moves

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
        self.photo, self.size = _spread(photo, mask), photo.shape[1::-1]
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
        there = _look_up(cv2.erode(depth, np.ones((3, 3))), at, cv2.INTER_NEAREST)
        open_ = self.vertices[:, 2] > np.where(np.isfinite(there), there, -99) - 0.7
        masked = _look_up(self.mask, at, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT).astype(np.float32) / 255
        facing, later = self.normals[:, 2], (self.normals @ self.turned.T)[:, 2]
        plain = _smooth(facing / np.maximum(later, 0.05), 0.1, 0.3) * (facing > 0)
        share = (open_ * _smooth(masked, 0.3, 0.8) * plain).astype(np.float32)
        within = cv2.distanceTransform((self.mask > 200).astype(np.uint8), cv2.DIST_L2, 5)
        deep = _smooth(_look_up(within, at, cv2.INTER_LINEAR), 1, 6)  # masks of hair are drawn too wide
        trust = open_ * (masked > 0.9) * deep * _smooth(facing, 0.1, 0.45)
        colour = _look_up(self.photo, at, cv2.INTER_LINEAR).astype(np.float32)
        return share, self._guess(colour, trust.astype(np.float32))

    def _guess(self, colour: Array, trust: Array) -> Array:
        """Colours [V, 3] from a globe about the skull: what the photo shows goes on around the head."""
        columns, rows = _GLOBE
        at = np.rint(self.turner.globe).astype(int)
        index = at[:, 1] * columns + at[:, 0]
        values = np.column_stack([colour * trust[:, None], trust])
        sums = [np.bincount(index, values[:, k], rows * columns) for k in range(4)]
        globe = np.stack(sums, axis=1).reshape(rows, columns, 4).astype(np.float32)
        globe /= np.maximum(globe[..., 3:], 1.0)
        globe += globe[:, ::-1] * (1 - globe[..., 3:]) * 0.3  # the other side, where it is all there is
        filled = _filled(globe)
        return _look_up(_turned_round(filled, globe[..., 3]), self.turner.globe, cv2.INTER_LINEAR)

    def _above_the_cut(self) -> NDArray[np.int64]:
        """The mesh's triangles down to where the portrait's mask ends."""
        shape = self.vertices @ self.before
        chin = float(shape[self.turner.model.landmarks[8], 1])
        front = (self.normals[:, 2] > 0.3) & (shape[:, 1] < chin)
        at = self._pixels(self.vertices)
        masked = _look_up(self.mask, at, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 127
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
        paint = _look_up(self.photo, np.ascontiguousarray(values[:, :2]), cv2.INTER_LINEAR) * known
        paint += values[:, 3:] * (1 - known)
        image = np.zeros((height * width, 3), np.uint8)
        image[seen.pixel] = np.clip(paint + 0.5, 0, 255).astype(np.uint8)
        alpha, unknown = np.zeros(height * width, np.uint8), np.zeros(height * width, np.bool_)
        alpha[seen.pixel], unknown[seen.pixel] = 255, known[:, 0] < 0.5
        alpha = cv2.morphologyEx(alpha.reshape(height, width), cv2.MORPH_CLOSE, np.ones((3, 3)))
        image = _spread(image.reshape(height, width, 3), alpha)
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
        points[:17] = lines[np.arange(17), _outermost(lines * (1, -1), self.pose.matrix())]
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


def _outermost(lines: Array | Exact, matrix: Exact) -> NDArray[np.int64]:
    """Where each parallel [17, K, 2] (y up) reaches farthest out, across the head as it leans: [17]."""
    out = lines @ np.array([matrix[1, 1], -matrix[0, 1]])
    out[:8] *= -1
    best = out.argmax(1)
    best[8] = 0
    return best


def _scalp(azimuth: Array, elevation: Array) -> Array:
    """How much of the hair's swelling a vertex takes, [V] in [0, 1]: none on the face, ears and neck."""
    line = np.interp(azimuth, (0, 40, 70, 100, 125, 180), (42, 40, 30, 22, -10, -25))
    return _smooth(elevation, line - 15, line + 15)


def _smooth(value: Array, low: Array | float, high: Array | float) -> Array:
    """From 0 at ``low`` to 1 at ``high`` without a bend."""
    t = np.clip((value - low) / (np.asarray(high) - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)


def _look_up(picture: NDArray, at: Array, how: int, border: int = cv2.BORDER_REPLICATE) -> NDArray:
    """The picture at places [N, 2]; in rows of 1024, as OpenCV's pictures have less than 32768 of them."""
    padded = np.zeros((-(-len(at) // 1024) * 1024, 2), np.float32)
    padded[: len(at)] = at
    found = cv2.remap(picture, padded.reshape(-1, 1024, 2), None, how, borderMode=border)
    return found.reshape(-1, *picture.shape[2:])[: len(at)]


def _spread(photo: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo with its background taken over by the colours at the mask's border."""
    sure = cv2.erode((mask > 200).astype(np.uint8), np.ones((3, 3)), borderValue=1)
    if not sure.any():
        return photo
    _, label = cv2.distanceTransformWithLabels(1 - sure, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros((int(label.max()) + 1, 3), np.uint8)
    table[label[sure > 0]] = photo[sure > 0]
    return table[label]


def _turned_round(filled: Array, weight: Array) -> Array:
    """The globe [H, W, 3], its back taken from the sides: the last 20 degrees seen, stretched around.

    Behind the ears, down to the nape, there is what is above them: hair, or a bald head's skin.
    """
    rows, columns = weight.shape
    azimuth = np.linspace(-180, 180, columns, dtype=np.float32)
    elevation = np.linspace(90, -90, rows, dtype=np.float32)[:, None]
    edge = np.empty((2, rows), np.float32)
    for side, sign in enumerate((-1, 1)):
        mine = (weight > 0.1) & (azimuth * sign > 30)
        edge[side] = np.where(mine.any(1), np.where(mine, np.abs(azimuth), 0).max(1), 75)
    edge = cv2.blur(np.clip(edge, 50, 110), (5, 1))

    def sampled(level: Array) -> Array:
        row = (0.5 - level / 180) * (rows - 1) * np.ones_like(azimuth)
        last = np.where(azimuth < 0, *(np.interp(row, np.arange(rows), e) for e in edge))
        past = np.maximum(np.abs(azimuth) - last, 0) / (180 - last)
        column = (np.where(past > 0, last - 20 * past, np.abs(azimuth)) * np.sign(azimuth) / 360 + 0.5) * (
            columns - 1
        )
        return cv2.remap(filled, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR)

    above = np.where(elevation < 38, 38 + (38 - elevation) * 0.3, elevation)
    raised = (_smooth(np.abs(azimuth), 95, 120) * _smooth(elevation, -45, -20))[..., None]
    return sampled(elevation) * (1 - raised) + sampled(above) * raised


def _filled(globe: Array) -> Array:
    """Colours [H, W, 3] from shares of colours and their weight [H, W, 4], by ever coarser means."""
    if min(globe.shape[:2]) <= 2:
        mean = globe.sum((0, 1))
        return np.broadcast_to(mean[:3] / max(float(mean[3]), 1e-6), (*globe.shape[:2], 3)).astype(np.float32)
    half = cv2.resize(globe, (globe.shape[1] // 2, globe.shape[0] // 2), interpolation=cv2.INTER_AREA)
    half /= np.maximum(half[..., 3:], 0.25)
    coarse = cv2.resize(_filled(half), globe.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    weight = np.clip(globe[..., 3:], 0, 1)
    own = globe[..., :3] / np.maximum(globe[..., 3:], 1e-6)
    return own * weight + coarse * (1 - weight)


def _checked_points(points: Array) -> Exact:
    if np.shape(points) != (68, 2) or not np.isfinite(points).all():
        raise TurningError(f"points have the shape {np.shape(points)}: give 68 finite x, y in pixels")
    return np.asarray(points, np.float64)


def _reduced(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], points: Array
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Array]:
    """The part of the portrait that its mask holds, at most 200 pixels long, and the points in it."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise TurningError(f"rgb is {rgb.dtype} {rgb.shape}: give RGB uint8 [H, W, 3]")
    if alpha.shape != rgb.shape[:2] or alpha.dtype != np.uint8:
        raise TurningError(f"alpha is {alpha.dtype} {alpha.shape}: give uint8 of the photo's {rgb.shape[:2]}")
    points = _checked_points(points)
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
