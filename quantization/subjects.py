"""What is graded: a bundle, the .tflite of one student, or teachers; each as an analyzer.

A .tflite says nothing of its head: crop, mean shape, temperature and thresholds are those of the built-in
bundle's student of the same task, and so is the detector that finds its faces. Teachers are a
:class:`quantization.panel.Panel`, of one or more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeface import Bundle, EdgeFaceError, FaceAnalyzer
from edgeface.labels import IBUG68

from .panel import Panel
from .provenance import digest
from .recipe import TASKS

if TYPE_CHECKING:
    from .pack import Student

__all__ = ["Subject", "SubjectError"]

_OPTIONAL = "blendshapes"  # the last output of a landmark student, which some do not have


class SubjectError(ValueError):
    """A file cannot be graded as what it is said to be; the message names it and the mend."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is graded; opened where it works. Made by :meth:`of`.

    Attributes:
        name: What figures are filed under.
        tasks: What it can be graded at.
        digest: SHA-256 of all that its answers depend on.
        model: The file of a student or of several; None where teachers are graded.
        panel: The teachers.
    """

    name: str
    tasks: tuple[str, ...]
    digest: str
    model: Path | None = None
    panel: Panel | None = None

    @classmethod
    def of(cls, model: Path, tasks: Collection[str] = ()) -> Subject:
        """The subject in a file, by its suffix.

        Args:
            model: ``.tflite``, or anything else: a bundle.
            tasks: Only these; none: all it has. A ``.tflite`` is of one, the first word of its name without.

        Raises:
            SubjectError: The file cannot be graded so.
        """
        model = model.resolve()
        if model.suffix == ".onnx":
            raise SubjectError(f"{model}: an .onnx file says nothing of its preprocessing: give --teacher")
        if model.suffix == ".tflite":
            own: tuple[str, ...] = (_task_of(model, tasks),)
        else:
            own = tuple(task for task in _bundle(model).tasks if task in TASKS)
            if "detection" not in own:
                raise SubjectError(f"{model}: has no detector to find the faces: pack it with one")
        if missing := sorted(set(tasks) - set(own)):
            raise SubjectError(f"{model}: is for {', '.join(own)}, not for {', '.join(missing)}")
        told = _told([digest(model), Bundle.builtin().digest, sorted(own)])
        return cls(model.stem, tuple(t for t in own if not tasks or t in tasks), told, model)._tried()

    @classmethod
    def of_panel(cls, panel: Panel) -> Subject:
        """The subject that teachers are.

        Raises:
            SubjectError: They say points that nothing is graded by.
            AdapterError: A model is not its adapter's.
        """
        if panel.task == "landmarks" and panel.scheme != IBUG68.key:
            raise SubjectError(
                f"{panel.name}: its points are not {IBUG68.key}'s, in which landmarks are graded: bring a "
                "teacher of those"
            )
        if panel.task not in TASKS:
            raise SubjectError(f"{panel.name}: {panel.task} are not graded; known are {', '.join(TASKS)}")
        told = _told([panel.digest, Bundle.builtin().digest])
        return cls(panel.name, (panel.task,), told, panel=panel)._tried()

    def _tried(self) -> Subject:
        """Itself: a file that cannot be opened is told now, not by a worker."""
        self.open(()).__exit__(None, None, None)
        return self

    def open(self, tasks: Collection[str], min_score: float | None = None) -> Any:
        """An analyzer for some tasks; ``min_score`` of its faces, where it is a student that finds them.

        Raises:
            SubjectError: The file is not what it was.
            AdapterError: The same of a teacher's.
        """
        if self.panel is not None:
            return self.panel.analyzer(tasks, min_score)
        assert self.model is not None  # noqa: S101  # for the type checker
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


def _told(asked: list[Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


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


def _telling(student: Student, channels: Sequence[int]) -> Student:
    """The landmark student with as many outputs as the file: with blendshapes, or without."""
    from .coefficients import LIVE_NAMES

    three = [spec for spec in student.exported.outputs if spec.name != _OPTIONAL]
    head = {key: value for key, value in student.head.items() if key != _OPTIONAL}
    if len(channels) == len(three) + 1 and channels[-1] == len(LIVE_NAMES):
        three.append(replace(three[-1], name=_OPTIONAL, shape=(1, 1, 1, len(LIVE_NAMES))))
        head |= {_OPTIONAL: list(LIVE_NAMES)}
    return replace(student, head=head, exported=replace(student.exported, outputs=tuple(three)))


def _with_student(model: Path, task: str) -> Bundle:
    """The built-in bundle with another network for one task."""
    from .pack import build_bundle, student_of

    builtin = Bundle.builtin()
    students = {name: student_of(builtin, name) for name in {"detection", task}}
    own = students[task].exported
    content = model.read_bytes()
    image, outputs = _tensors(model, content)
    shapes = [o["shape"] for o in outputs]
    if task == "landmarks":
        students[task] = _telling(students[task], [shape[-1] for shape in shapes])
        own = students[task].exported
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
