"""The shape of a head: ICT-FaceKit's morphable face (Li et al., 2020; MIT), its pose, and a camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import BLENDSHAPES52, IBUG68

__all__ = ["EXPRESSIONS", "Camera", "Morphable", "Pose", "Shape", "draw_expression", "mirrored_expression"]

Array = NDArray[np.float32]
_IDENTITIES = 50  # of the file's 100; each of the rest moves the skin by less than 0.1 mm in the mean
_UNSEEN = {  # clear films over the eye, the iris behind the cornea (painted on it), and cards of lashes
    "M_IrisLeft", "M_IrisRight", "M_LacrimalFluid", "M_EyeBlend", "M_EyeOcclusion", "M_EyeLashes",
}  # fmt: skip
_PARALLEL = 14  # places along which a point of the jaw slides to the silhouette


EXPRESSIONS: tuple[str, ...] = BLENDSHAPES52.names[1:]
"""ARKit's coefficients but the tongue's, in MediaPipe's order less ``_neutral``; sides are the person's."""

_SWAP = [place - 1 for place in BLENDSHAPES52.flip[1:]]


def mirrored_expression(coefficients: Array) -> Array:
    """The coefficients of the mirror image: left and right change places."""
    return coefficients[..., _SWAP]


# Movements of a face that come together; each drawn with its own strength.
_MOVES: tuple[dict[str, float], ...] = (
    {"mouthSmile": 0.9, "cheekSquint": 0.5, "mouthDimple": 0.2, "eyeSquint": 0.2},
    {"mouthSmile": 0.8, "jawOpen": 0.25, "mouthUpperUp": 0.4, "mouthLowerDown": 0.3, "cheekSquint": 0.6},
    {"jawOpen": 0.7, "browInnerUp": 0.8, "browOuterUp": 0.8, "eyeWide": 0.7},
    {"browDown": 0.9, "noseSneer": 0.4, "mouthPress": 0.5, "eyeSquint": 0.4},
    {"mouthFrown": 0.7, "browInnerUp": 0.7, "mouthShrugLower": 0.4},
    {"noseSneer": 0.9, "mouthUpperUp": 0.5, "browDown": 0.5, "eyeSquint": 0.5},
    {"mouthPucker": 0.8, "mouthFunnel": 0.3},
    {"jawOpen": 0.35, "mouthLowerDown": 0.3, "mouthFunnel": 0.4},
    {"mouthStretch": 0.6, "browInnerUp": 0.7, "eyeWide": 0.6, "jawOpen": 0.2},
    {"jawOpen": 0.9, "eyeBlink": 0.8, "mouthStretch": 0.3},
    {"mouthRollLower": 0.6, "mouthRollUpper": 0.6, "mouthPress": 0.3},
    {"cheekPuff": 0.8, "mouthPress": 0.3},
)


def draw_expression(rng: np.random.Generator) -> Array:
    """Coefficients float32 [51], by EXPRESSIONS: one or two movements, a blink, a gaze, some one-sided."""
    found = dict.fromkeys(EXPRESSIONS, 0.0)

    def add(stem: str, value: float) -> None:
        for name, share in (
            (stem, 1.0),
            *((stem + s, float(rng.uniform(0.7, 1))) for s in ("Left", "Right")),
        ):
            if name in found:
                found[name] = min(1.0, found[name] + value * share)

    for _ in range(int(rng.choice([0, 1, 2], p=[0.2, 0.55, 0.25]))):
        strength = float(rng.uniform(0.3, 1.1))
        for stem, value in _MOVES[rng.integers(len(_MOVES))].items():
            add(stem, value * strength * float(rng.uniform(0.7, 1.2)))
    closed = rng.random()
    if closed < 0.3:
        add("eyeBlink", float(rng.uniform(0.1, 0.5)) if closed < 0.15 else float(rng.uniform(0.7, 1)))
    elif closed < 0.36:
        found["eyeBlink" + ("Left", "Right")[rng.integers(2)]] = float(rng.uniform(0.6, 1))
    across, up = rng.normal(0, 0.3, 2)
    for side, sign in (("Left", 1), ("Right", -1)):  # the person's left eye looks out to the picture's right
        found[("eyeLookOut" if across * sign > 0 else "eyeLookIn") + side] = min(1.0, abs(across))
        found[("eyeLookUp" if up > 0 else "eyeLookDown") + side] = min(1.0, abs(up))
    if rng.random() < 0.15:
        found[("jaw", "mouth")[rng.integers(2)] + ("Left", "Right")[rng.integers(2)]] = float(
            rng.uniform(0.2, 0.7)
        )
    if rng.random() < 0.2:
        single = EXPRESSIONS[rng.integers(len(EXPRESSIONS))]
        found[single] = max(found[single], float(rng.uniform(0.1, 0.8)))
    # Lids that are shut do not open wide as well.
    for side in ("Left", "Right"):
        found["eyeWide" + side] *= 1 - found["eyeBlink" + side]
        found["eyeSquint" + side] *= 1 - found["eyeBlink" + side]
    return np.array([found[name] for name in EXPRESSIONS], np.float32)


@dataclass(frozen=True, slots=True)
class Pose:
    """Degrees, as ``teachers.face3d`` has them: yaw positive to the right, pitch up, roll clockwise.

    The head leans first (about its own axis), then turns, then nods: the order of 300W-LP and AFLW2000-3D.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    def matrix(self) -> NDArray[np.float64]:
        """The rotation [3, 3] of the head's axes: x to the picture's right, y up, z toward the viewer."""
        y, p, r = np.radians([self.yaw, -self.pitch, -self.roll])
        turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
        nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
        lean = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
        return nod @ turn @ lean

    def mirrored(self) -> Pose:
        """The pose of the mirror image."""
        return Pose(-self.yaw, self.pitch, -self.roll)


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera that looks at the middle of the face.

    Attributes:
        centre: x, y in pixels of the middle of the 68 points' space.
        focal: Focal length in pixels.
        distance: From the camera to that middle, centimetres.
    """

    centre: tuple[float, float]
    focal: float
    distance: float

    def project(self, vertices: Array) -> tuple[Array, Array]:
        """Pixels [V, 2] and distances along the view [V] of turned vertices [V, 3]."""
        depth = np.float32(self.distance) - vertices[:, 2]
        scale = np.float32(self.focal) / depth
        x = vertices[:, 0] * scale + np.float32(self.centre[0])
        y = np.float32(self.centre[1]) - vertices[:, 1] * scale
        return np.stack([x, y], axis=1), depth

    def finer(self, factor: int) -> Camera:
        """The same view on a grid ``factor`` times as fine."""
        x, y = ((c + 0.5) * factor - 0.5 for c in self.centre)
        return replace(self, centre=(x, y), focal=self.focal * factor)


@dataclass(frozen=True, slots=True)
class Shape:
    """A head before it turns: float32 [V, 3] in centimetres, and whether its mouth shows anything."""

    vertices: Array
    mouth_open: bool


class Morphable:
    """The mesh, its offsets and what lies where on it.

    Attributes:
        neutral: float32 [V, 3] in centimetres about the middle of the 68 points; x to the picture's right
            (the person's left), y up, z toward the viewer.
        triangles: int64 [T, 3], and ``corners``: the rows of ``uv`` [U, 2] at their corners.
        material: Names of the triangles' materials, [T].
        landmarks: int64 [68], vertices of the iBUG-68 points.

    Raises:
        ValueError: The file lacks an array, or an expression by an ARKit name.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            wanted = (
                *("neutral", "identity", "expression", "expression_names", "triangles", "uv"),
                *("uv_triangles", "material", "material_names", "landmarks68"),
            )
            missing = [name for name in wanted if name not in file.files]
            if missing:
                raise ValueError(f"{path}: no {', '.join(missing)}: not the whole morphable face")
            parts = {name: file[name] for name in wanted}
        names = parts["material_names"].astype(str)[parts["material"]]
        kept = ~np.isin(names, list(_UNSEEN))
        landmarks = parts["landmarks68"].astype(np.int64)
        used = np.unique(np.concatenate([parts["triangles"][kept].ravel(), landmarks]))
        place = np.zeros(len(parts["neutral"]), np.int64)
        place[used] = np.arange(len(used))
        self.triangles = place[parts["triangles"][kept]]
        self.corners = parts["uv_triangles"][kept].astype(np.int64)
        self.uv = parts["uv"].astype(np.float32)
        self.material = names[kept]
        self.landmarks = place[landmarks]
        neutral = parts["neutral"][used].astype(np.float32)
        self.neutral = neutral - neutral[self.landmarks].mean(0)
        self._identity = self._offsets(parts["identity"][:_IDENTITIES], used)
        self._expression = self._offsets(parts["expression"], used)
        self._rows = self._name_rows(path, [str(n) for n in parts["expression_names"]])

    @staticmethod
    def _offsets(values: NDArray[np.float16], used: NDArray[np.int64]) -> Array:
        return np.ascontiguousarray(values[:, used], np.float32).reshape(len(values), -1)

    @staticmethod
    def _name_rows(path: Path, found: list[str]) -> list[list[int]]:
        """Per name of EXPRESSIONS the file's rows: ``_L`` and ``_R`` are sides; ARKit may join both."""
        rows = []
        for name in EXPRESSIONS:
            short = name.replace("Left", "_L") if name.endswith("Left") and name[:3] != "jaw" else name
            short = short.replace("Right", "_R") if name.endswith("Right") and name[:3] != "jaw" else short
            ways = ([name], [short], [name + "_L", name + "_R"])
            way = next((w for w in ways if all(n in found for n in w)), None)
            if way is None:
                raise ValueError(f"{path}: no expression is called {name} or {short}")
            rows.append([found.index(n) for n in way])
        return rows

    @property
    def identities(self) -> int:
        """How many identity coefficients there are."""
        return len(self._identity)

    def shape(self, identity: Array, expression: Array) -> Shape:
        """A head with ``identity`` in standard deviations and ``expression`` [51] in [0, 1]."""
        vertices = self.neutral.ravel() + identity.astype(np.float32) @ self._identity
        for row, value in zip(self._rows, expression, strict=True):
            if value:
                for k in row:
                    vertices += np.float32(value) * self._expression[k]
        vertices = vertices.reshape(-1, 3)
        inner = vertices[self.landmarks[[61, 62, 63, 65, 66, 67]], 1]
        return Shape(vertices, bool((inner[:3] - inner[:2:-1]).max() > self._closed + 0.1))

    @cached_property
    def _closed(self) -> float:
        inner = self.neutral[self.landmarks[[61, 62, 63, 65, 66, 67]], 1]
        return float((inner[:3] - inner[:2:-1]).max())

    @cached_property
    def mirrored_identity(self) -> Array:
        """float32 [identities]: 1 for offsets that are their own mirror image, -1 for the others."""
        points = self._identity.reshape(len(self._identity), -1, 3)[:, self.landmarks]
        other = points[:, list(IBUG68.flip)] * np.array([-1, 1, 1], np.float32)
        return np.where((points * other).sum((1, 2)) < 0, -1, 1).astype(np.float32)

    def normals(self, vertices: Array) -> Array:
        """float32 [V, 3]: the mean of the triangles around each vertex, by their size."""
        a, b, c = (vertices[self.triangles[:, k]] for k in range(3))
        u, v = b - a, c - a
        ids = self.triangles.T.ravel()
        found = np.empty_like(vertices)
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            facet = u[:, i] * v[:, j] - u[:, j] * v[:, i]
            found[:, k] = np.bincount(ids, np.tile(facet, 3), len(vertices))
        found /= np.sqrt((found * found).sum(1, keepdims=True)) + 1e-12
        return found

    @cached_property
    def parallels(self) -> NDArray[np.int64]:
        """Vertices [17, 14]: from each point of the jaw inward at its height, to mid-cheek.

        As a head turns, photos are annotated where such a line meets the silhouette ("landmark marching",
        Zhu et al., 2015).
        """
        skin = np.unique(self.triangles[self.material == "M_Face"])
        skin = skin[self.normals(self.neutral)[skin, 2] > 0]
        rows = []
        for k in self.landmarks[:17]:
            start = self.neutral[k]
            inner = start[0] * np.linspace(1, 0.4, _PARALLEL)
            apart = (self.neutral[skin, 0] - inner[:, None]) ** 2 + (self.neutral[skin, 1] - start[1]) ** 2
            near = skin[apart.argmin(1)]
            near[0] = k
            rows.append(near)
        return np.array(rows)
