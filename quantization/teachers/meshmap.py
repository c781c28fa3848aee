"""The map from the face mesh to 68 points, fitted on human labels, and its worth on photos it never saw.

A map graded on its own photos flatters itself: 957 numbers go into each coordinate, and there are a few
hundred photos. So the photos are put in folds by the hash of their names, and each is asked of a map that was
fitted without its fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import IBUG68

from ..datasets import lfpw
from ..metrics import inter_ocular, nme
from ..splits import fold_of
from .facemesh import FaceMesh, RidgeMap
from .mirror import mirrored

if TYPE_CHECKING:
    from ..label import Labels

__all__ = ["FOLDS", "Shown", "both_meshes", "errors", "fit_map", "shown", "unseen_errors"]

Array = NDArray[np.float32]

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Shown:
    """A labelled face as the mesh sees it, in the photo and in its mirror image; all points in pixels."""

    name: str
    mesh: Array  # [478, 2]
    mirror_mesh: Array  # [478, 2] in the mirror image
    points: Array  # [68, 2] by a person
    width: int  # of the photo


def both_meshes(mesh: FaceMesh, rgb: NDArray[np.uint8], box: Array) -> tuple[Array, Array, float]:
    """The mesh of the face in a box, that of its mirror image, and how sure the first is of a face."""
    seen, score = mesh.mesh(rgb, box)
    other, _ = mesh.mesh(*mirrored(rgb, box))
    return seen, other, score


def shown(data: Path, humans: Labels, mesh: FaceMesh) -> list[Shown]:
    """The photos of LFPW's training part in which the mesh finds a face."""
    found = []
    for name, part, box, points in zip(humans.names, humans.parts, humans.boxes, humans.points, strict=True):
        if part != "train":
            continue
        rgb = lfpw.load_photo(data / "landmarks/lfpw/trainset", str(name))
        seen, other, score = both_meshes(mesh, rgb, box)
        if score >= 0.5:
            found.append(Shown(str(name), seen, other, points, rgb.shape[1]))
    return found


def fit_map(faces: Sequence[Shown]) -> RidgeMap:
    """The 68-point map of these faces, each as seen and mirrored."""
    meshes, truths = [], []
    for face in faces:
        flipped = face.points[list(IBUG68.flip)]
        flipped[:, 0] = face.width - 1 - flipped[:, 0]
        meshes += [face.mesh, face.mirror_mesh]
        truths += [face.points, flipped]
    return RidgeMap.fit(np.stack(meshes), np.stack(truths))


def errors(ridge: RidgeMap, faces: Sequence[Shown]) -> NDArray[np.float64]:
    """NME [N] by the outer eye corners of what the map says of these faces, both views together."""
    said = np.stack([ridge.both_views(face.mesh, face.mirror_mesh, face.width) for face in faces])
    truth = np.stack([face.points for face in faces])
    return np.asarray(nme(said, truth, inter_ocular(truth)), np.float64)


def unseen_errors(faces: Sequence[Shown], folds: int = FOLDS) -> NDArray[np.float64]:
    """The same of each face by the map of all other folds; NaN where these are empty."""
    fold = np.array([fold_of(face.name, folds) for face in faces])
    found = np.full(len(faces), np.nan)
    for k in np.unique(fold):
        others = [face for face, own in zip(faces, fold, strict=True) if own != k]
        asked = [face for face, own in zip(faces, fold, strict=True) if own == k]
        if others:
            found[fold == k] = errors(fit_map(others), asked)
    return found
