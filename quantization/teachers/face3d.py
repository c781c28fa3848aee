"""A 3D face (ICT-FaceKit, Li et al., 2020; MIT): head pose of 68 points, and which of them the head hides."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets import Terms

__all__ = ["TERMS", "Face3D"]

TERMS = Terms(
    "ICT-FaceKit (Li et al., 2020), a 3D face",
    "MIT",
    commercial=True,
    source="https://github.com/ICT-VGL/ICT-FaceKit",
)

Array = NDArray[np.float64]
_STEP = 5  # degrees between the poses of the visibility table
_YAW, _PITCH = 90, 45
_GRID = 72  # cells of the depth buffer over the head's height


class Face3D:
    """The neutral mesh; x right of the picture, y up, z toward the viewer, in centimetres."""

    def __init__(self, path: Path) -> None:
        with np.load(path, allow_pickle=True) as model:
            self._vertices = model["neutral"].astype(np.float64)
            self._triangles = model["triangles"].astype(np.int64)
            self._ids = model["landmarks68"].astype(np.int64)
        self._vertices -= self._vertices[self._ids].mean(0)

    def pose(self, points: NDArray[np.float32]) -> tuple[float, float, float]:
        """Yaw, pitch, roll in degrees of 68 image points (y down).

        The scaled rotation nearest to an affine camera's least-squares fit. Yaw is positive when the face
        looks to the picture's right, pitch when it looks up, roll clockwise.
        """
        target = points.astype(np.float64) * (1, -1)
        source = np.c_[self._vertices[self._ids], np.ones(68)]
        affine = np.linalg.lstsq(source, target, rcond=None)[0].T[:, :3]
        u, _, vt = np.linalg.svd(affine, full_matrices=False)
        rows = u @ vt
        rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
        yaw = np.degrees(np.arcsin(np.clip(rotation[0, 2], -1, 1)))
        pitch = np.degrees(np.arctan2(-rotation[1, 2], rotation[2, 2]))
        roll = np.degrees(np.arctan2(rotation[0, 1], rotation[0, 0]))
        return float(yaw), float(-pitch), float(roll)

    def visible(self, yaw: float, pitch: float) -> NDArray[np.bool_]:
        """Bool [68]: what a viewer sees of the points at this pose, from a table of poses 5 degrees apart."""
        i = round((np.clip(yaw, -_YAW, _YAW) + _YAW) / _STEP)
        j = round((np.clip(pitch, -_PITCH, _PITCH) + _PITCH) / _STEP)
        return self._table[int(i), int(j)]

    @cached_property
    def _table(self) -> NDArray[np.bool_]:
        rows = [
            [self._render(float(y), float(p)) for p in range(-_PITCH, _PITCH + 1, _STEP)]
            for y in range(-_YAW, _YAW + 1, _STEP)
        ]
        return np.array(rows)

    def _render(self, yaw: float, pitch: float) -> NDArray[np.bool_]:
        """A point is hidden where its surface looks away or something lies 1.5 cm or more in front of it."""
        a, b = np.radians(yaw), np.radians(-pitch)
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        nod = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        vertices = self._vertices @ (nod @ turn).T
        corners = vertices[self._triangles]
        faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals = np.zeros_like(vertices)
        for k in range(3):
            np.add.at(normals, self._triangles[:, k], faces)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        extent = np.ptp(vertices[:, 1])
        cell = np.floor((vertices[:, :2] - vertices[:, :2].min(0)) / extent * _GRID).astype(np.int64)
        depth = np.full((cell[:, 0].max() + 1, cell[:, 1].max() + 1), -np.inf)
        np.maximum.at(depth, (cell[:, 0], cell[:, 1]), vertices[:, 2])
        at = cell[self._ids]
        behind = depth[at[:, 0], at[:, 1]] - vertices[self._ids, 2]
        return (normals[self._ids, 2] > -0.25) & (behind < 1.5)
