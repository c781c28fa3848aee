"""Teachers that were not trained here, as members of a panel: any with an adapter, and MediaPipe's bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from edgeface.labels import FER8

from .datasets import Terms
from .provenance import digest
from .teachers.adapter import Adapter, AdapterError
from .teachers.answers import Ask, BlendshapesAnswer, PointsAnswer
from .teachers.catalogue import terms_of

__all__ = ["MESHES", "Foreign", "Mesh"]

MESHES = ("facemesh", "blendshapes")
"""What `Mesh` can be: 478 points, and 52 blendshape coefficients with them."""
_LEAST_PRESENCE = 0.5

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model file and the adapter that describes it. Made by :meth:`of`."""

    adapter: Adapter
    model: Path
    accept_licence: bool = False
    digest: str = field(default="", repr=False)

    @classmethod
    def of(cls, adapter: Adapter, model: Path, accept_licence: bool = False) -> Foreign:
        """The member.

        Args:
            adapter: What is known of it.
            model: Its ONNX file.
            accept_licence: Its terms were read and allow the use.

        Raises:
            LicenceError: Its terms were not accepted.
            AdapterError: There is no such file.
        """
        from .teachers.onnx import check_licence

        check_licence(adapter, accept_licence)
        if not model.is_file():
            raise AdapterError(f"{model}: there is no such file; give the .onnx file of {adapter.name}")
        model = model.resolve()
        return cls(adapter, model, accept_licence, str(digest(model)))

    @property
    def name(self) -> str:
        return self.adapter.name

    @property
    def task(self) -> str:
        return self.adapter.task

    @property
    def scheme(self) -> str:
        return FER8.key if self.task == "expression" else str(getattr(self.adapter.output, "scheme", ""))

    @property
    def needs(self) -> str:
        kind = self.adapter.crop.kind
        return {"whole": "nothing", "points": "keypoints", "celebahq": "keypoints"}.get(kind, "a box")

    @property
    def terms(self) -> tuple[Terms, ...]:
        return (self.adapter.terms,)

    @property
    def asked(self) -> list[Any]:
        return [asdict(self.adapter), self.digest]

    @property
    def size(self) -> int:
        return self.model.stat().st_size

    def open(self, min_score: float | None = None) -> Ask:
        """Loads the model, whose adapter names the threshold.

        Raises:
            AdapterError: It is not the adapter's.
        """
        from .teachers.onnx import OnnxTeacher

        return OnnxTeacher(self.adapter, self.model, accept_licence=self.accept_licence)


@dataclass(frozen=True, slots=True)
class Mesh:
    """``face_landmarker.task``, whose networks have code of their own: one of `MESHES`. Made by :meth:`of`.

    ``facemesh`` says points (scheme ``mediapipe478``), ``blendshapes`` these and the coefficients, and which
    of them it cannot tell. A face that the mesh doubts, by its own presence score, is none.
    """

    name: str
    model: Path
    digest: str = field(repr=False)

    @classmethod
    def of(cls, name: str, model: Path) -> Mesh:
        """The member.

        Raises:
            AdapterError: There is no such file, or it is no such bundle.
        """
        if not model.is_file():
            raise AdapterError(f"{model}: there is no such file; {name} needs MediaPipe's bundle")
        model = model.resolve()
        made = cls(name, model, str(digest(model)))
        made.open()  # a file that cannot be opened is told now, not by a worker
        return made

    @property
    def task(self) -> str:
        return "landmarks" if self.name == MESHES[0] else "blendshapes"

    @property
    def scheme(self) -> str:
        return "mediapipe478"

    @property
    def needs(self) -> str:
        return "a box"

    @property
    def terms(self) -> tuple[Terms, ...]:
        return tuple(terms_of(one) for one in MESHES[: MESHES.index(self.name) + 1])

    @property
    def asked(self) -> list[Any]:
        return [self.name, self.digest]

    @property
    def size(self) -> int:
        return self.model.stat().st_size

    def open(self, min_score: float | None = None) -> Ask:
        """Loads the networks.

        Raises:
            AdapterError: The file lacks one.
        """
        from .teachers.blendshapes import MediaPipeFace
        from .teachers.facemesh import FaceMesh

        try:
            if self.name == "facemesh":
                return partial(_points, FaceMesh(self.model).mesh)
            return partial(_blendshapes, MediaPipeFace(self.model))
        except (BadZipFile, KeyError) as error:
            raise AdapterError(
                f"{self.model}: holds no network of {self.name} ({error}): "
                "bring MediaPipe's face_landmarker.task"
            ) from error


def _points(mesh: Any, rgb: NDArray[np.uint8], box: Array, *_: Array) -> PointsAnswer | None:
    points, presence = mesh(rgb, box)
    return PointsAnswer(points, "mediapipe478") if presence >= _LEAST_PRESENCE else None


def _blendshapes(face: Any, rgb: NDArray[np.uint8], box: Array, *_: Array) -> BlendshapesAnswer | None:
    from .teachers.blendshapes import LIVE

    points, values, presence = face(rgb, box)
    if presence < _LEAST_PRESENCE:
        return None
    return BlendshapesAnswer(PointsAnswer(points, "mediapipe478"), values, LIVE)
