"""MediaPipe's bundle as a teacher of shards: 478 points, and 52 blendshape coefficients with them.

What `shardlabels` does with an ONNX teacher and its adapter is done here with ``face_landmarker.task``, whose
networks have code of their own: ``facemesh`` writes the points (scheme ``mediapipe478``), ``blendshapes``
writes them and the coefficients, each under its name, and names those that this teacher cannot tell. A face
that the mesh doubts, by its own presence score, is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from .datasets import Terms
from .engines import Read, question_of
from .provenance import digest
from .shardlabels import DETECTOR, FORMAT, label_shard
from .teachers.adapter import AdapterError
from .teachers.answers import BlendshapesAnswer, PointsAnswer
from .teachers.blendshapes import LIVE, MediaPipeFace
from .teachers.catalogue import terms_of
from .teachers.facemesh import FaceMesh

__all__ = ["MESHES", "MeshLabelling"]

MESHES = ("facemesh", "blendshapes")
"""The teachers of `MeshLabelling`."""
_LEAST_PRESENCE = 0.5

Array = NDArray[np.float32]
Mesh = Callable[[NDArray[np.uint8], Array], tuple[Array, float]]
Shapes = Callable[[NDArray[np.uint8], Array], tuple[Array, Array, float]]


@dataclass(frozen=True, slots=True)
class MeshLabelling:
    """What `engines.finish` does with every shard. Made by :meth:`of`."""

    name: str
    model: Path
    detector: Path
    terms: tuple[Terms, ...]
    question: str = field(repr=False)
    suffix: str = ".tar"

    @classmethod
    def of(cls, name: str, model: Path, teachers: Path) -> MeshLabelling:
        """The work of one of `MESHES`.

        Args:
            name: Which.
            model: ``face_landmarker.task``.
            teachers: Folder of YuNet's file, which finds the face.

        Raises:
            AdapterError: A file is missing, or is no such bundle.
        """
        model, detector = model.resolve(), (teachers / DETECTOR).resolve()
        for path in (model, detector):
            if not path.is_file():
                raise AdapterError(f"{path}: there is no such file; {name} needs its bundle and YuNet's file")
        asked = [terms_of(one) for one in MESHES[: MESHES.index(name) + 1]]
        question = question_of(FORMAT, name, digest(model), digest(detector))
        made = cls(name, model, detector, tuple(asked), question)
        made.teacher()  # a file that cannot be opened is told now, not by a worker
        return made

    def teacher(self) -> Callable[..., PointsAnswer | BlendshapesAnswer | None]:
        """Loads the networks.

        Raises:
            AdapterError: The file lacks one.
        """
        try:
            if self.name == "facemesh":
                return partial(_points, FaceMesh(self.model).mesh)
            return partial(_blendshapes, MediaPipeFace(self.model))
        except (BadZipFile, KeyError) as error:
            raise AdapterError(
                f"{self.model}: holds no network of {self.name} ({error}): "
                "bring MediaPipe's face_landmarker.task"
            ) from error

    def open(self) -> Read:
        """Loads the teacher and YuNet."""
        from .label import find_face
        from .teachers.yunet import YuNet

        detector = YuNet(self.detector)
        return partial(
            label_shard,
            self.teacher(),
            self.name,
            self.terms,
            lambda rgb, where: find_face(detector, rgb, 1.0, where),
        )


def _points(mesh: Mesh, rgb: NDArray[np.uint8], box: Array, *_: Array) -> PointsAnswer | None:
    points, presence = mesh(rgb, box)
    return PointsAnswer(points, "mediapipe478") if presence >= _LEAST_PRESENCE else None


def _blendshapes(face: Shapes, rgb: NDArray[np.uint8], box: Array, *_: Array) -> BlendshapesAnswer | None:
    points, values, presence = face(rgb, box)
    if presence < _LEAST_PRESENCE:
        return None
    return BlendshapesAnswer(PointsAnswer(points, "mediapipe478"), values, LIVE)
