"""A look painted on the mesh's own atlas: skin, lips, brows, beard, hair, cloth, and the class of each."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeface.labels import CELEBAMASK19

from .head import Morphable
from .look import Look
from .raster import Raster

__all__ = ["Atlas"]

Array = NDArray[np.float32]
_SIDE = 256  # texels along each of the atlas's two squares: the face and the back of the head
_LABEL = {name: i for i, name in enumerate(CELEBAMASK19.names)}
_OTHER = np.arange(len(CELEBAMASK19), dtype=np.uint8)
for _one, _two in CELEBAMASK19.flip_pairs:
    _OTHER[[_LABEL[_one], _LABEL[_two]]] = _LABEL[_two], _LABEL[_one]
# The outline of the ear on the person's right in the face's square (u, 1 - v), traced from the mesh.
_EAR = np.array([
    (0.0, 0.33), (0.03, 0.315), (0.065, 0.317), (0.105, 0.355), (0.112, 0.43), (0.1, 0.51), (0.06, 0.545),
    (0.0, 0.55),
])  # fmt: skip
_AZIMUTHS = (0, 30, 55, 75, 92, 112, 180)  # degrees from the nose at which a hairline is drawn


class Atlas:
    """Paints a :class:`Look`: one texture of colours and one of CelebAMask-19 classes, [256, 512] texels."""

    def __init__(self, model: Morphable) -> None:
        marks = model.neutral[model.landmarks]
        self._low, self._unit = float(marks[8, 1]), float(marks[17:27, 1].mean() - marks[8, 1])
        self._axis = float(marks[[0, 16], 2].mean()) - 0.11 * self._unit
        self._half = float(np.abs(marks[[0, 16], 0]).mean())
        self.texels = (model.uv * (_SIDE, -_SIDE) + (-0.5, _SIDE - 0.5)).astype(np.float32)
        self._place, mine = self._places(model)
        self.height, self.azimuth = self._polar(self._place)
        self.vertex_height, self.vertex_azimuth = self._polar(model.neutral)
        self._marks = self._find_marks(model, mine)
        self._base = self._base_labels()
        self._zones = self._soft_zones()
        rows, columns = (
            model.triangles[mine].ravel(),
            np.rint(self.texels[model.corners[mine].ravel()]).astype(int),
        )
        at = np.clip(columns, 0, (2 * _SIDE - 1, _SIDE - 1))
        self._bare = np.zeros(len(model.neutral), np.bool_)
        self._bare[rows[np.isin(self._base[at[:, 1], at[:, 0]], (_LABEL["l_ear"], _LABEL["r_ear"]))]] = True

    def _polar(self, vertices: Array) -> tuple[Array, Array]:
        """Height (chin 0, brows 1) and degrees from the nose around the head's axis."""
        around = np.degrees(np.arctan2(np.abs(vertices[..., 0]), vertices[..., 2] - self._axis))
        return (vertices[..., 1] - self._low) / self._unit, around

    def _places(self, model: Morphable) -> tuple[Array, NDArray[np.int64]]:
        """Where on the neutral head texels lie [256, 512, 3]; empty ones take their nearest's place."""
        mine = np.flatnonzero(np.isin(model.material, ["M_Face", "M_BackHead"]))
        corners = model.corners[mine]
        xy = self.texels[corners]
        a, b = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
        turned = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0)[:, None]
        order = np.where(turned, (0, 2, 1), (0, 1, 2))
        size = (2 * _SIDE, _SIDE)
        uv_corners = np.take_along_axis(corners, order, 1)
        found = Raster().draw(self.texels, np.ones(len(self.texels), np.float32), uv_corners, size)
        vertices = np.take_along_axis(model.triangles[mine], order, 1)
        place = np.zeros((2 * _SIDE * _SIDE, 3), np.float32)
        place[found.pixel] = found.blend(model.neutral, vertices)
        empty = np.ones(2 * _SIDE * _SIDE, np.uint8)
        empty[found.pixel] = 0
        _, nearest = cv2.distanceTransformWithLabels(
            empty.reshape(_SIDE, -1), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        table = np.zeros(int(nearest.max()) + 1, np.int64)
        table[nearest.ravel()[found.pixel]] = found.pixel
        return place[table[nearest.ravel()]].reshape(_SIDE, -1, 3), mine

    def _find_marks(self, model: Morphable, mine: NDArray[np.int64]) -> NDArray[np.float64]:
        """The 68 points in texels of the face's square."""
        rows, columns = model.triangles[mine].ravel()[::-1], model.corners[mine].ravel()[::-1]
        at = np.full(len(model.neutral), -1)
        at[rows] = columns
        return self.texels[at[model.landmarks]].astype(np.float64)

    def _base_labels(self) -> NDArray[np.uint8]:
        """The classes that no look changes: skin, neck, ears, nose, lips, inner mouth."""
        p, label = self._marks, np.full((_SIDE, 2 * _SIDE), _LABEL["neck"], np.uint8)
        jaw = [(-9, p[3, 1] - 8), *p[3:14], (_SIDE + 9, p[13, 1] - 8), (_SIDE + 9, -9), (-9, -9)]
        _fill(label[:, :_SIDE], jaw, _LABEL["skin"])
        label[:, _SIDE:][self.height[:, _SIDE:] > 0.45] = _LABEL["skin"]
        for name, u in (("r_ear", _EAR), ("l_ear", _EAR * (-1, 1) + (1, 0))):
            _fill(label[:, :_SIDE], u * _SIDE - 0.5, _LABEL[name])
        far = np.abs(self._place[..., 0]) > 1.06 * self._half
        behind = far & (self.height > 0.2) & (self.height < 1) & (self.azimuth > 75)
        behind[:, :_SIDE] = False
        label[behind] = np.where(self._place[..., 0] > 0, _LABEL["l_ear"], _LABEL["r_ear"])[behind]
        wing = [p[i] + 0.45 * (p[i] - p[33]) - 0.4 * (p[33] - p[30]) for i in (31, 35)]
        nose = [
            *(p[27] + 0.25 * (p[39] - p[27]), p[28] + 0.3 * (p[39] - p[27]), wing[0], p[31]),
            *(p[33] + (0, 1), p[35], wing[1], p[28] + 0.3 * (p[42] - p[27]), p[27] + 0.25 * (p[42] - p[27])),
        ]
        _fill(label[:, :_SIDE], nose, _LABEL["nose"])
        across = p[[60, 67, 66, 65, 64, 63, 62, 61]]
        inner = p[60:68] + 0.2 * (across - p[60:68])
        _fill(label[:, :_SIDE], [*p[48:55], *inner[4::-1]], _LABEL["u_lip"])
        _fill(label[:, :_SIDE], [*p[54:60], p[48], inner[0], *inner[:3:-1]], _LABEL["l_lip"])
        _fill(label[:, :_SIDE], inner, _LABEL["mouth"])
        return label

    def _soft_zones(self) -> dict[str, Array]:
        """Weights [256, 256] in the face's square for what has no edge."""
        p = self._marks
        eye = np.linalg.norm(p[45] - p[36]) / 2
        rows, columns = np.indices((_SIDE, _SIDE), np.float32)
        step = np.array([0.0, 4.0])

        def spots(centres: list[NDArray[np.float64]], radius: float) -> Array:
            total = np.zeros((_SIDE, _SIDE), np.float32)
            for x, y in centres:
                total += np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
            return total

        cheeks = spots([(p[41] + p[48]) / 2 - (eye / 4, 0), (p[46] + p[54]) / 2 + (eye / 4, 0)], 0.35 * eye)
        under = spots([p[[40, 41]].mean(0) + step, p[[46, 47]].mean(0) + step], 0.2 * eye)
        beard = np.zeros((_SIDE, _SIDE), np.float32)
        upper = [
            p[3] - (4, 0),
            p[48] - (8, 0),
            p[48] - (4, 10),
            p[31] + (0, 3),
            p[33] + (0, 4),
            p[35] + (0, 3),
        ]
        upper += [p[54] + (4, -10), p[54] + (8, 0), p[13] + (4, 0)]
        _fill(beard, [*upper, *(p[12:3:-1] + 2 * step)], 1.0)
        lids = np.zeros((_SIDE, _SIDE), np.float32)
        for first, thick in ((36, 2), (42, 2)):
            ring = np.round(p[first : first + 6] * 16).astype(np.int32)
            cv2.polylines(lids, [ring[:4]], False, 1.0, thick, cv2.LINE_AA, 4)
            cv2.polylines(lids, [ring[[3, 4, 5, 0]]], False, 0.5, 1, cv2.LINE_AA, 4)
        return {
            "red": cheeks + spots([p[30]], 0.22 * eye),
            "under": under,
            "beard": cv2.GaussianBlur(beard, (0, 0), 4),
            "lids": cv2.GaussianBlur(lids, (0, 0), 0.8),
        }

    def hair(self, look: Look, height: Array, azimuth: Array) -> Array:
        """How far inside the hair places are, in heights; below 0 outside."""
        line = np.interp(azimuth, _AZIMUTHS, look.hairline)
        return (height - line).astype(np.float32)

    def thickness(self, look: Look) -> Array:
        """How far the hair lifts each vertex of the model along its normal, centimetres [V]."""
        inside = np.clip(self.hair(look, self.vertex_height, self.vertex_azimuth) / 0.12, 0, 1)
        inside[self._bare] = 0  # ears keep their shape
        wave = np.sin(look.seed % 97 + 9 * self.vertex_height) * np.cos(0.11 * self.vertex_azimuth)
        return (np.sqrt(inside) * look.volume * self._unit / 13.6 * (0.85 + 0.15 * wave)).astype(np.float32)

    def paint(self, look: Look) -> tuple[Array, NDArray[np.uint8]]:
        """Linear RGB float32 [256, 512, 3] and classes uint8 [256, 512]."""
        rng = np.random.default_rng(look.seed)
        label, face = self._base.copy(), slice(None, _SIDE)
        coarse = cv2.resize(
            rng.standard_normal((12, 24), np.float32), (2 * _SIDE, _SIDE), interpolation=cv2.INTER_CUBIC
        )
        fine = rng.standard_normal((_SIDE, 2 * _SIDE), np.float32)
        streaks = cv2.resize(rng.standard_normal((20, 2 * _SIDE), np.float32), (2 * _SIDE, _SIDE))
        colour = np.empty((_SIDE, 2 * _SIDE, 3), np.float32)
        colour[:] = look.skin
        colour *= (1 + look.grain * (0.05 * coarse + 0.05 * fine))[..., None]
        skin = colour[:, face]
        skin *= 1 - look.blush * self._zones["red"][..., None] * np.array([0.0, 0.45, 0.4], np.float32)
        skin *= (1 - 0.25 * np.minimum(self._zones["under"], 1))[..., None]
        if look.freckles:
            spots = cv2.GaussianBlur((fine[:, face] > 2.4).astype(np.float32), (0, 0), 0.7)
            skin *= 1 - look.freckles * np.minimum(2 * spots, 1)[..., None] * np.array(
                [0.4, 0.6, 0.7], np.float32
            )
        hair = look.hair.astype(np.float32)
        _mix(
            skin,
            hair * 1.2,
            look.beard * self._zones["beard"] * (0.85 + 0.15 * np.clip(fine[:, face], -1, 1)),
        )
        lips = (label[:, face] == _LABEL["u_lip"]) | (label[:, face] == _LABEL["l_lip"])
        _mix(skin, look.lips.astype(np.float32), 0.85 * cv2.GaussianBlur(lips.astype(np.float32), (0, 0), 1))
        skin[label[:, face] == _LABEL["mouth"]] *= np.array([0.7, 0.35, 0.35], np.float32)
        self._brows(look, skin, label[:, face], streaks[:, face], fine[:, face])
        _mix(skin, np.full(3, 0.01, np.float32), look.liner * self._zones["lids"])
        inside = self.hair(look, self.height, self.azimuth) + 0.02 * coarse
        grown = (inside > 0) & (label != _LABEL["l_ear"]) & (label != _LABEL["r_ear"])
        label[grown] = _LABEL["hair"]
        strands = hair * np.exp(0.35 * streaks + 0.25 * fine)[..., None]
        _mix(colour, strands, grown * np.clip(inside / 0.05, 0.25, 1))
        low = self.height < look.neckline + 0.15 * np.abs(self._place[..., 0]) / self._unit
        dressed = low & (label == _LABEL["neck"])
        label[dressed] = _LABEL["cloth"]
        colour[dressed] = (look.cloth * np.exp(0.08 * coarse[..., None]))[dressed]
        if look.flipped:
            colour, label = (np.hstack([a[:, face][:, ::-1], a[:, _SIDE:][:, ::-1]]) for a in (colour, label))
            label = _OTHER[label]
        return np.maximum(colour, 0.002), np.ascontiguousarray(label)

    def _brows(self, look: Look, skin: Array, label: NDArray[np.uint8], streaks: Array, fine: Array) -> None:
        p = self._marks
        thick, opacity = look.brow
        for name, row, eye in (
            ("r_brow", p[17:22], p[36:40].mean(0)),
            ("l_brow", p[26:21:-1], p[42:46].mean(0)),
        ):
            down = np.array([0, (eye[1] - row[:, 1].mean()) * thick])
            taper = np.array([0.25, 0.8, 1, 1, 0.9])[:, None]
            ring = np.concatenate([row - 0.35 * down * taper, (row + 0.75 * down * taper)[::-1]])
            drawn = np.zeros((_SIDE, _SIDE), np.uint8)
            _fill(drawn, ring, 255)
            label[drawn > 127] = _LABEL[name]
            soft = cv2.GaussianBlur(drawn, (0, 0), 0.9).astype(np.float32) / 255
            _mix(
                skin,
                look.hair.astype(np.float32),
                opacity * soft * np.clip(0.9 + 0.12 * (streaks + fine), 0.4, 1),
            )

    def iris(self, look: Look, radius: Array) -> Array:
        """Linear RGB [N, 3] of an eyeball at ``radius`` centimetres from the middle of the cornea."""
        knots = (0, 0.2, 0.24, 0.52, 0.6, 0.68, 0.95, 3)
        iris, white = look.iris, np.array([0.5, 0.46, 0.44])
        row = np.array(
            [
                (0.004,) * 3,
                (0.004,) * 3,
                1.3 * iris,
                iris,
                0.35 * iris,
                white,
                white,
                white * (0.8, 0.6, 0.55),
            ]
        )
        return np.stack([np.interp(radius, knots, row[:, k]) for k in range(3)], axis=1).astype(np.float32)


def _fill(
    image: NDArray[np.uint8] | Array, corners: list[NDArray[np.float64]] | NDArray[np.float64], value: float
) -> None:
    """A polygon whose corners are given to a sixteenth of a texel."""
    cv2.fillPoly(image, [np.round(np.asarray(corners) * 16).astype(np.int32)], value, cv2.LINE_8, 4)


def _mix(colour: Array, over: Array, share: Array) -> None:
    share = np.clip(share, 0, 1).astype(np.float32)[..., None]
    colour += (over - colour) * share
