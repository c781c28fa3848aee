"""What is graded: a bundle, the .tflite of one student, or a teacher; each as an analyzer.

A .tflite says nothing of its head: crop, mean shape, temperature and thresholds are those of the built-in
bundle's student of the same task, and so is the detector that finds its faces. A teacher's faces are found by
that detector too, so that teacher and student are asked about the same boxes; one with an adapter that sees
the whole picture is asked about that. One that was trained here is a :class:`quantization.taught.Taught`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeface import (
    BBox,
    Bundle,
    EdgeFaceError,
    Expression,
    Face,
    FaceAnalyzer,
    Frame,
    FrameResult,
    Landmarks,
    ParsingMap,
)
from edgeface.labels import FER8, IBUG68

from .provenance import digest
from .recipe import TASKS
from .taught import Taught
from .teachers.adapter import Adapter
from .teachers.adapter import Landmarks as LandmarksRule
from .teachers.answers import ExpressionAnswer, FacesAnswer, MapAnswer, PointsAnswer

__all__ = ["AdapterAnalyzer", "Subject", "SubjectError"]


class SubjectError(ValueError):
    """A file cannot be graded as what it is said to be; the message names it and the mend."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is graded; opened where it works. Made by :meth:`of`.

    Attributes:
        model: The file.
        tasks: What it can be graded at.
        digest: SHA-256 of all that its answers depend on.
        adapter: Of a teacher of any origin.
        accept_licence: A teacher's terms were read and allow the use.
        taught: The teacher that was trained here, whose weights the file is.
    """

    model: Path
    tasks: tuple[str, ...]
    digest: str
    adapter: Adapter | None = field(default=None, repr=False)
    accept_licence: bool = False
    taught: Taught | None = None

    @classmethod
    def of(
        cls,
        model: Path,
        adapter: Adapter | None = None,
        tasks: Collection[str] = (),
        accept_licence: bool = False,
    ) -> Subject:
        """The subject in a file: a teacher where there is an adapter, else by the file's suffix.

        Args:
            model: ``.onnx`` (with an adapter), ``.tflite``, or anything else: a bundle.
            adapter: Of a teacher.
            tasks: Only these; none: all it has. A ``.tflite`` is of one, the first word of its name without.
            accept_licence: A teacher's terms were read and allow the use.

        Raises:
            SubjectError: The file cannot be graded so.
            AdapterError: The model is not the adapter's, or its terms were not accepted.
        """
        model = model.resolve()
        asked: list[Any] = [digest(model), Bundle.builtin().digest]
        if adapter is not None:
            _check_teacher(adapter)
            own: tuple[str, ...] = (adapter.task,)
            asked.append(asdict(adapter))
        elif model.suffix == ".onnx":
            raise SubjectError(f"{model}: an .onnx file says nothing of its preprocessing: give --adapter")
        elif model.suffix == ".tflite":
            own = (_task_of(model, tasks),)
        else:
            own = tuple(task for task in _bundle(model).tasks if task in TASKS)
            if "detection" not in own:
                raise SubjectError(f"{model}: has no detector to find the faces: pack it with one")
        if missing := sorted(set(tasks) - set(own)):
            raise SubjectError(f"{model}: is for {', '.join(own)}, not for {', '.join(missing)}")
        told = hashlib.sha256(json.dumps([*asked, sorted(own)], sort_keys=True).encode()).hexdigest()
        found = cls(model, tuple(t for t in own if not tasks or t in tasks), told, adapter, accept_licence)
        found.open(()).__exit__(None, None, None)  # a file that cannot be opened is told now, not by a worker
        return found

    @classmethod
    def of_taught(cls, taught: Taught) -> Subject:
        """The subject that a teacher trained here is."""
        asked = [taught.digest, Bundle.builtin().digest, taught.recipe, taught.head]
        told = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        return cls(taught.weights, (taught.task,), told, taught=taught)

    @property
    def name(self) -> str:
        """What figures are filed under."""
        return self.model.stem if self.taught is None else self.taught.name

    def open(self, tasks: Collection[str], min_score: float | None = None) -> Any:
        """An analyzer for some tasks; ``min_score`` of its faces, where it is a student that finds them.

        Raises:
            SubjectError: The file is not what it was.
            AdapterError: The same of a teacher's.
        """
        if self.taught is not None:
            return self.taught.analyzer(tasks, min_score)
        if self.adapter is not None:
            from .teachers.onnx import OnnxTeacher

            teacher = OnnxTeacher(self.adapter, self.model, accept_licence=self.accept_licence)
            return AdapterAnalyzer(teacher)
        bundle = (
            _with_student(self.model, self.tasks[0])
            if self.model.suffix == ".tflite"
            else _bundle(self.model)
        )
        heads = tuple(task for task in tasks if task != "detection")
        try:
            return FaceAnalyzer(heads, bundle=bundle, min_score=min_score)
        except EdgeFaceError as error:
            raise SubjectError(f"{self.model}: {error}") from error


class AdapterAnalyzer:
    """A foreign teacher that answers like :class:`edgeface.FaceAnalyzer`, a face at a time.

    A face without the keypoints that the teacher's crop goes by gets no answer.
    """

    def __init__(self, teacher: Any) -> None:
        self._teacher, self._adapter = teacher, teacher.adapter
        self._whole = self._adapter.crop.kind == "whole"
        self._finder = None if self._whole else FaceAnalyzer(())

    def __enter__(self) -> AdapterAnalyzer:
        return self

    def __exit__(self, *_: object) -> None:
        if self._finder is not None:
            self._finder.close()

    def analyze(self, frame: Frame | NDArray[np.uint8], boxes: Sequence[BBox] | None = None) -> FrameResult:
        """The faces of an RGB picture, largest first; ``boxes`` in place of the detector's."""
        rgb = frame.rgb if isinstance(frame, Frame) else frame
        if self._adapter.task == "detection":
            faces = _boxes(self._teacher(rgb))
        elif self._whole:
            box = boxes[0] if boxes else BBox(-0.5, -0.5, rgb.shape[1], rgb.shape[0])
            faces = [self._face(rgb, Face(box))]
        else:
            faces = [self._face(rgb, face) for face in self._found(rgb, boxes)]
        return FrameResult(tuple(faces), rgb.shape[1], rgb.shape[0], backend="teacher")

    def _found(self, rgb: NDArray[np.uint8], boxes: Sequence[BBox] | None) -> list[Face]:
        if self._finder is None:
            return []
        if boxes is not None and self._adapter.crop.kind in ("box", "polar"):
            return [Face(box) for box in boxes]
        found = list(self._finder.analyze(rgb).faces)
        if boxes is None:
            return found
        best = [(box, _likest(box, found)) for box in boxes]
        return [Face(box) if face is None else replace(face, bbox=box) for box, face in best]

    def _face(self, rgb: NDArray[np.uint8], face: Face) -> Face:
        needs_points = self._adapter.crop.kind in ("points", "celebahq")
        if needs_points and face.keypoints is None:
            return face
        box = np.array([face.bbox.x, face.bbox.y, face.bbox.width, face.bbox.height], np.float32)
        said = self._teacher(rgb, box, face.keypoints)
        if isinstance(said, PointsAnswer):
            everywhere = np.ones(len(said.points), np.float32)  # a teacher does not say what is covered
            return replace(face, landmarks=Landmarks(said.points, everywhere, 1.0))
        if isinstance(said, MapAnswer):
            height, width = said.labels.shape
            return replace(
                face, parsing=ParsingMap(said.labels, BBox(-0.5, -0.5, width, height), said.scheme)
            )
        assert isinstance(said, ExpressionAnswer)  # noqa: S101  # for the type checker
        scores = dict(zip(FER8.names, np.clip(said.probabilities, 0, 1).tolist(), strict=True))
        return replace(face, expression=Expression(scores))


def _likest(box: BBox, faces: Sequence[Face]) -> Face | None:
    best = max(faces, key=lambda face: face.bbox.iou(box), default=None)
    return best if best is not None and best.bbox.iou(box) > 0.3 else None


def _boxes(said: Any) -> list[Face]:
    assert isinstance(said, FacesAnswer)  # noqa: S101  # for the type checker
    rows = zip(said.boxes.tolist(), said.scores.tolist(), strict=True)
    faces = [Face(BBox(*box, score=min(max(score, 0.0), 1.0))) for box, score in rows if min(box[2:]) > 0]
    return sorted(faces, key=lambda face: -face.bbox.area)


def _check_teacher(adapter: Adapter) -> None:
    if isinstance(adapter.output, LandmarksRule) and adapter.output.scheme != IBUG68.key:
        raise SubjectError(
            f"{adapter.name}: its {adapter.output.count} points are not {IBUG68.key}'s, "
            "in which landmarks are graded: bring a teacher of those"
        )


def _bundle(path: Path) -> Bundle:
    try:
        return Bundle.load(path)
    except EdgeFaceError as error:
        raise SubjectError(f"{error}; a model file must end in .tflite or .onnx") from error


def _task_of(model: Path, tasks: Collection[str]) -> str:
    found = list(tasks) or [task for task in TASKS if task == model.name.partition(".")[0]]
    if len(found) != 1:
        raise SubjectError(f"{model}: say with --task which one of {', '.join(TASKS)} this student is for")
    return found[0]


def _with_student(model: Path, task: str) -> Bundle:
    """The built-in bundle with another network for one task."""
    from .pack import build_bundle, student_of

    builtin = Bundle.builtin()
    students = {name: student_of(builtin, name) for name in {"detection", task}}
    own = students[task].exported
    content = model.read_bytes()
    image, outputs = _tensors(model, content)
    shapes = [o["shape"] for o in outputs]
    wanted = [spec.shape[-1] for spec in own.outputs]
    if [shape[-1] for shape in shapes] != wanted:
        raise SubjectError(
            f"{model}: has outputs of {', '.join(str(list(s)) for s in shapes)}, but a student of {task} has "
            f"{len(wanted)} with {', '.join(map(str, wanted))} channels: is it one of another task?"
        )
    exported = replace(
        own,
        tflite=content,
        input=replace(own.input, **image),
        outputs=tuple(
            replace(spec, **{**values, "index": i})
            for i, (spec, values) in enumerate(zip(own.outputs, outputs, strict=True))
        ),
    )
    students[task] = replace(students[task], exported=exported)
    try:
        return Bundle.from_bytes(
            build_bundle(
                students.values(), name="graded", version="0", created_by="evaluate", licence="see the file"
            ),
            source=str(model),
        )
    except EdgeFaceError as error:
        raise SubjectError(f"{model}: {error}; give the int8 file that `convert` writes") from error


def _tensors(model: Path, content: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Shape, type, scale and zero point of the input and of every output."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        images, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (RuntimeError, ValueError) as error:
        raise SubjectError(f"{model}: LiteRT cannot open it ({error}): convert it again") from error
    if len(images) != 1:
        raise SubjectError(f"{model}: has {len(images)} inputs, a student has one")
    return _values(images[0]), [_values(detail) for detail in outputs]


def _values(detail: Any) -> dict[str, Any]:
    scale, zero_point = detail["quantization"]
    return {
        "shape": tuple(int(side) for side in detail["shape"]),
        "dtype": np.dtype(detail["dtype"]).name,
        "scale": float(scale),
        "zero_point": int(zero_point),
    }
