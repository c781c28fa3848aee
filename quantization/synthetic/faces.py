"""Faces with exact labels: a head is drawn from a generator, rendered, and laid over any picture."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import CELEBAMASK19

from .appearance import Atlas
from .head import Camera, Morphable, Pose, draw_expression, mirrored_expression
from .look import Light, Look
from .raster import Fragments, Raster

__all__ = ["FaceMaker", "Head", "SyntheticFace", "box_of"]

Array = NDArray[np.float32]
_FACE_HEIGHT = 18.0  # centimetres of a head's box, about
_HIDDEN = 0.75  # a point is hidden by what lies so many centimetres before it: more than lip before lip
_RAISED = 0.36  # the box above the brows, as a share of the points' height
_PARTS = {name: i for i, name in enumerate(CELEBAMASK19.names)}


@dataclass(frozen=True, slots=True)
class Head:
    """Everything a picture of a head is made from.

    Attributes:
        identity: float32, standard deviations of the mesh's identity offsets.
        expression: float32 [51] in [0, 1], by EXPRESSIONS.
    """

    identity: Array
    expression: Array
    pose: Pose
    camera: Camera
    look: Look
    light: Light

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        identities: int,
        centre: tuple[float, float],
        side: float,
        pose: Pose | None = None,
    ) -> Head:
        """Anybody, in any light.

        Args:
            rng: All that is drawn comes from it.
            identities: How many identity coefficients the model has.
            centre: The middle of the face in pixels.
            side: About the height of its box in pixels.
            pose: Drawn when absent: yaw within 90 degrees, pitch 40, roll 60, small angles more often.
        """
        if pose is None:
            yaw = rng.uniform(-90, 90) if rng.random() < 0.5 else np.clip(rng.normal(0, 25), -90, 90)
            roll = rng.uniform(-60, 60) if rng.random() < 0.2 else np.clip(rng.normal(0, 12), -60, 60)
            pose = Pose(float(yaw), float(np.clip(rng.normal(0, 15), -40, 40)), float(roll))
        distance = float(np.exp(rng.uniform(np.log(35), np.log(250))))
        return cls(
            np.clip(rng.normal(0, 0.9, identities), -2.2, 2.2).astype(np.float32),
            draw_expression(rng),
            pose,
            Camera(centre, side * distance / _FACE_HEIGHT, distance),
            Look.draw(rng),
            Light.draw(rng),
        )

    def mirrored(self, model: Morphable, width: int) -> Head:
        """The head whose picture, ``width`` pixels wide, is this one's mirror image."""
        x, y = self.camera.centre
        return Head(
            self.identity * model.mirrored_identity,
            mirrored_expression(self.expression),
            self.pose.mirrored(),
            replace(self.camera, centre=(width - 1 - x, y)),
            self.look.mirrored(),
            self.light.mirrored(),
        )


@dataclass(frozen=True, slots=True)
class SyntheticFace:
    """A picture and what is true of it; coordinates are pixels, x right, y down, centres at integers.

    Attributes:
        image: RGB uint8 [H, W, 3].
        points: float32 [68, 2], the iBUG-68 vertices of the mesh: the jaw is fixed to the skin (3D).
        annotated: float32 [68, 2], the same but for points 0 to 16, which slide to the silhouette where the
            far cheek hides them, as photos are annotated (2D).
        visible: bool [68], whether nothing lies before a point of ``points``, and it is in the picture.
        mask: uint8 [H, W], CelebAMask-19 classes. There are no glasses, hats, earrings or necklaces (3, 14
            to 16), hair is short, and a beard counts as skin.
        box: float32 [4], x, y, width, height, by :func:`box_of`.
        five: float32 [5, 2]: eyes (picture's left first), tip of the nose, corners of the mouth.
        pose: Degrees, see :class:`~quantization.synthetic.head.Pose`.
        expression: float32 [51] by ``EXPRESSIONS``.
    """

    image: NDArray[np.uint8]
    points: Array
    annotated: Array
    visible: NDArray[np.bool_]
    mask: NDArray[np.uint8]
    box: Array
    five: Array
    pose: Pose
    expression: Array


def box_of(points: Array) -> Array:
    """The box YuNet would draw, x, y, width, height, from annotated points [68, 2].

    It is the points' bounding box, raised above the brows by 0.36 of its height: the median over the 804
    photos of LFPW's training set that both YuNet and a person labelled (median IoU 0.90 with YuNet's boxes).
    """
    low, high = points.min(0), points.max(0)
    low = low - (0, _RAISED * (high[1] - low[1]))
    return np.array([*low, *(high - low)], np.float32)


class FaceMaker:
    """Renders heads; keeps the model, its atlas and the buffers in memory.

    Args:
        model: The file of the morphable face.
        oversample: Samples per pixel along each axis; 1 is fast and has harder inner edges.
    """

    def __init__(self, model: Path, oversample: int = 2) -> None:
        if oversample < 1:
            raise ValueError(f"oversample is {oversample}: give 1 or more samples per pixel")
        self.model, self._over = Morphable(model), oversample
        self._atlas, self._raster = Atlas(self.model), Raster()
        material = self.model.material
        self._inside = np.isin(material, ["M_GumsTongue", "M_Teeth"])
        self._closed = np.flatnonzero(~self._inside)
        self._all = np.arange(len(material))
        names, number = np.unique(material, return_inverse=True)
        self._kinds, self._number = {str(n): i for i, n in enumerate(names)}, number
        self._balls = self._eyeballs()

    def _eyeballs(self) -> Array:
        """Per vertex the distance from the middle of its cornea, seen along the eye's axis, centimetres."""
        radius = np.full(len(self.model.neutral), 9, np.float32)
        for side in ("Left", "Right"):
            mine = np.unique(self.model.triangles[self.model.material == f"M_Sclera{side}"])
            offset = self.model.neutral[mine] - self.model.neutral[mine].mean(0)
            radius[mine] = np.where(offset[:, 2] > -0.3, np.hypot(offset[:, 0], offset[:, 1]), 9)
        return radius

    def render(self, head: Head, background: NDArray[np.uint8]) -> SyntheticFace:
        """The head over a copy of ``background``, RGB uint8 [H, W, 3]."""
        height, width = background.shape[:2]
        shape = self.model.shape(head.identity, head.expression)
        lift = self._atlas.thickness(head.look)
        still = shape.vertices + self.model.normals(shape.vertices) * lift[:, None]
        vertices = still @ head.pose.matrix().T.astype(np.float32)
        points, _ = head.camera.project(vertices)
        low = np.clip(np.floor(points.min(0)) - 2, 0, (width, height)).astype(int)
        high = np.clip(np.ceil(points.max(0)) + 3, 0, (width, height)).astype(int)
        image, mask = background.copy(), np.zeros((height, width), np.uint8)
        if (high > low).all():
            window = (slice(low[1], high[1]), slice(low[0], high[0]))
            x, y = head.camera.centre
            camera = replace(head.camera, centre=(x - int(low[0]), y - int(low[1]))).finer(self._over)
            size = tuple(int(n) * self._over for n in high - low)
            seen = self._see(camera, vertices, self._all if shape.mouth_open else self._closed, size)
            image[window], mask[window] = self._shade(head, vertices, seen, image[window])
            depth = seen.depth
        else:
            depth = np.full((1, 1), np.inf, np.float32)
        return self._labelled(head, vertices, depth, low, image, mask)

    def _see(
        self, camera: Camera, vertices: Array, rows: NDArray[np.int64], size: tuple[int, int]
    ) -> Fragments:
        points, distance = camera.project(vertices)
        # Past a few centimetres before the lens nothing is drawn: a nose cannot be inside the camera.
        near = np.maximum(distance, 1.0)
        seen = self._raster.draw(points, near, self.model.triangles[rows], size)
        return replace(seen, triangle=rows[seen.triangle])

    def _shade(
        self, head: Head, vertices: Array, seen: Fragments, under: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The window's picture and classes."""
        model, (rows, columns) = self.model, seen.depth.shape
        colour, label = self._atlas.paint(head.look)
        at = seen.blend(self._atlas.texels, model.corners)
        albedo, part = _sample(colour, at, cv2.INTER_LINEAR), _sample(label, at, cv2.INTER_NEAREST)
        gloss = np.full(len(part), head.look.gloss, np.float32)
        kind = self._number[seen.triangle]
        for material, name in (("M_ScleraLeft", "l_eye"), ("M_ScleraRight", "r_eye")):
            mine = np.flatnonzero(kind == self._kinds.get(material, -1))
            part[mine], gloss[mine] = _PARTS[name], 0.5
            radius = replace(seen, triangle=seen.triangle[mine], weight=seen.weight[mine])
            albedo[mine] = self._atlas.iris(head.look, radius.blend(self._balls, model.triangles))
        for material, tint in (("M_GumsTongue", (0.3, 0.06, 0.05)), ("M_Teeth", (0.6, 0.55, 0.45))):
            mine = kind == self._kinds.get(material, -1)
            part[mine], albedo[mine], gloss[mine] = _PARTS["mouth"], tint, 0.3
        gloss[(part == _PARTS["hair"]) | (part == _PARTS["cloth"])] *= 0.3
        normal = seen.blend(model.normals(vertices), model.triangles)
        normal /= np.sqrt(np.einsum("ij,ij->i", normal, normal))[:, None] + 1e-9
        lit = head.light.shade(albedo, normal, gloss, self._openness(seen, head.camera))
        canvas = np.zeros((rows * columns, 4), np.float32)
        canvas[seen.pixel, :3] = cv2.pow(np.clip(lit, 0, 1), 1 / 2.2) * 255
        canvas[seen.pixel, 3] = 1
        classes = np.zeros(rows * columns, np.uint8)
        classes[seen.pixel] = part
        return self._settle(canvas.reshape(rows, columns, 4), classes.reshape(rows, columns), under)

    def _openness(self, seen: Fragments, camera: Camera) -> Array:
        """Crevices are dark: the share of light where a surface lies deeper than what surrounds it, [N]."""
        known = np.isfinite(seen.depth)
        depth = np.where(known, seen.depth, 0)
        reach = max(1.0, 0.9 * self._over * camera.focal / camera.distance)  # about 0.9 cm on the face
        around = cv2.blur(
            cv2.blur(np.dstack([depth, known.astype(np.float32)]), (2 * int(reach) + 1,) * 2), (3, 3)
        )
        sunk = depth - around[..., 0] / np.maximum(around[..., 1], 1e-6)
        return np.exp(-1.1 * np.maximum(sunk.ravel()[seen.pixel] - 0.05, 0))

    def _settle(
        self, canvas: Array, classes: NDArray[np.uint8], under: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """From samples to pixels: colours by their mean over what is behind, classes by a vote of corners."""
        n, size = self._over, under.shape[1::-1]
        mean = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA) if n > 1 else canvas
        if n == 1:  # the outline is softened by half a pixel, as a lens does
            mean[..., 3] = np.minimum(mean[..., 3], cv2.GaussianBlur(mean[..., 3], (3, 3), 0.5))
            mean[..., :3] *= mean[..., 3:]
        image = (mean[..., :3] + under * (1 - mean[..., 3:]) + 0.5).clip(0, 255).astype(np.uint8)
        a, b = classes[::n, ::n], classes[n - 1 :: n, n - 1 :: n]
        c, d = classes[::n, n - 1 :: n], classes[n - 1 :: n, ::n]
        return image, np.where((b == c) | (b == d), b, np.where(c == d, c, a))

    def _labelled(
        self,
        head: Head,
        vertices: Array,
        depth: Array,
        low: NDArray[np.int64],
        image: NDArray[np.uint8],
        mask: NDArray[np.uint8],
    ) -> SyntheticFace:
        ids = self.model.landmarks
        points, distance = head.camera.project(vertices[ids])
        visible = self._visible(points - low.astype(np.float32), distance, depth)
        visible &= ((points > -0.5) & (points < (image.shape[1] - 0.5, image.shape[0] - 0.5))).all(1)
        annotated = points.copy()
        annotated[:17] = self._slide(head, vertices)
        eyes = points[36:42].mean(0), points[42:48].mean(0)
        five = np.stack([*eyes, points[30], points[48], points[54]])
        box = box_of(annotated)
        return SyntheticFace(
            image, points, annotated, visible, mask, box, five, head.pose, head.expression.copy()
        )

    def _visible(self, points: Array, distance: Array, depth: Array) -> NDArray[np.bool_]:
        """Whether the farthest of the surfaces about a point is not much nearer than it."""
        n = self._over
        at = np.floor((points + 0.5) * n).astype(int)
        rows, columns = depth.shape
        farthest = np.full(len(points), 0, np.float32)
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                x, y = np.clip(at[:, 0] + dx, 0, columns - 1), np.clip(at[:, 1] + dy, 0, rows - 1)
                here = depth[y, x]  # what lies beside the outline says nothing about a point behind it
                farthest = np.maximum(farthest, np.where(np.isfinite(here), here, 0))
        return (farthest == 0) | (distance < farthest + _HIDDEN)

    def _slide(self, head: Head, vertices: Array) -> Array:
        """Points 0 to 16 where their parallels reach farthest out, across the head as it leans."""
        lines = self.model.parallels
        places, _ = head.camera.project(vertices[lines.ravel()])
        places = places.reshape(*lines.shape, 2)
        up = head.pose.matrix()[:2, 1]
        across = np.array([up[1], up[0]]) / (np.hypot(*up) + 1e-9)  # to the picture's right when upright
        out = places @ across.astype(np.float32)
        out[:8] *= -1
        best = out.argmax(1)
        best[8] = 0
        return places[np.arange(17), best]


def _sample(texture: NDArray, at: Array, how: int) -> NDArray:
    """A texture at places [N, 2], in rows of 1024: OpenCV's pictures have less than 32768 of them."""
    padded = np.zeros((-(-len(at) // 1024) * 1024, 2), np.float32)
    padded[: len(at)] = at
    places = padded.reshape(-1, 1024, 2)
    found = cv2.remap(texture, places, None, how, borderMode=cv2.BORDER_REPLICATE)
    return found.reshape(-1, *texture.shape[2:])[: len(at)]
