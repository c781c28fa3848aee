"""What is made of one trained student alone: files, verdicts, figures, a bundle, a page."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeface import Bundle

from .courses import Course
from .provenance import write_bytes, write_json

if TYPE_CHECKING:
    from .artifacts import Trained

__all__ = ["Made"]


@dataclass(frozen=True, slots=True)
class Made:
    """One student's course, the folder of what is made of it, the bundle whose detector may be borrowed."""

    course: Course
    folder: Path
    base: Path

    @property
    def task(self) -> str:
        return str(self.course.recipe["task"])

    @property
    def draft(self) -> Path:
        """The bundle before it was graded: the same network, no figures."""
        return self.folder / "draft.bundle"

    @property
    def tflite(self) -> str:
        """Name of the file that the bundle holds."""
        return f"{self.task}.int8.tflite"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files for every target."""
        onnx = (f"{self.task}.{kind}.onnx" for kind in ("fp32", "fp16", "int8-u8s8", "int8-s8s8"))
        return (self.tflite, *onnx)

    def lessons(self) -> Any:
        """The task over its data: what gives the calibration crops."""
        from .tasks import load_task

        course = self.course
        return load_task(dict(course.recipe), course.data, course.labels, course.teachers)

    def convert(self, lessons: Any) -> None:
        """Writes a file for every target (LiteRT, Edge TPU, ONNX for CPUs and TensorRT) and a draft."""
        from .onnx_export import export_onnx

        student = self._student
        network, crops = student.network(), student.crops(lessons)
        onnx = export_onnx(network, type(network).outputs, crops, percentile=student.percentile)
        self.pack(self.draft, self.folder / "nothing-measured-yet.json")
        bundle = Bundle.load(self.draft)
        tflite = bundle.artifact(bundle.model(self.task).artifact)
        contents = (tflite, onnx.fp32, onnx.fp16, onnx.u8s8, onnx.s8s8)
        for name, content in zip(self.names, contents, strict=True):
            write_bytes(self.folder / name, content)

    def pack(self, path: Path, metrics: Path) -> None:
        """Writes a bundle of this student alone, with the figures in ``metrics`` where there are any."""
        from .artifacts import student_bundle

        course = self.course
        content = student_bundle(
            [self._student], course.data, course.labels, metrics, teachers=course.teachers
        )
        write_bytes(path, content)

    def check(self) -> None:
        """Writes what an Edge TPU would take of the .tflite."""
        from edgeface.edgetpu_compiler import find_compiler

        from .check import verdict

        found = verdict(self.tflite, (self.folder / self.tflite).read_bytes(), find_compiler())
        write_json(self.folder / "check.json", found.to_dict())

    def unmapped(self) -> Sequence[str]:
        """The gate ``edgetpu``: the types of operators that would stay on the CPU."""
        found = json.loads((self.folder / "check.json").read_text())
        left = ", ".join(sorted({o["name"] for o in found["predicted"]["unmapped"]})) or "see check.json"
        return () if found["fully_mapped"] else (f"gates.edgetpu: not all of it maps: {left}",)

    def too_large(self, most: int | None) -> Sequence[str]:
        """The gate ``bytes``: what the .tflite takes beyond what it may."""
        size = (self.folder / self.tflite).stat().st_size
        if most is None or size <= most:
            return ()
        mend = "lower student.widths, or raise the gate"
        return (f"gates.bytes: {self.tflite} has {size:,}, at most {most:,} are wanted; {mend}",)

    def parity(self, lessons: Any, frames: int, interpreters: Mapping[str, Path]) -> None:
        """Writes what every runtime says of held-out frames beside what the float network says.

        ``interpreters``: Pythons that have ``"tflite-runtime"`` or ``"tflite-micro"``, by that name.
        """
        from .artifacts import student_parity

        course, bundle = self.course, Bundle.load(self.draft)
        found = student_parity(
            self._student,
            bundle,
            course.data,
            course.labels,
            frames=frames,
            interpreters=interpreters,
            lessons=lessons,
        )
        write_json(self.folder / "parity.json", found.to_dict())

    def differing(self) -> Sequence[str]:
        """The gate ``parity``: where a runtime differs more from the float network than it may."""
        found = json.loads((self.folder / "parity.json").read_text())["gates"]
        return [_told("parity", gate) for gate in found if not gate["passed"]]

    def evaluate(self) -> None:
        """Writes figures and curves of the int8 file and of the float network."""
        from .artifacts import student_figures
        from .evaluate import record

        course, results = self.course, self.folder / "results"
        bundles = Bundle.load(self.draft), Bundle.load(self.base)
        for kind, graded in student_figures(self._student, *bundles, course.data, course.labels):
            record(results / "metrics.json", self.task, kind, graded.metrics)
            record(results / "curves.json", self.task, kind, graded.curves)

    def figures(self) -> dict[str, dict[str, float]]:
        """The figures by kind, ``int8`` and ``fp32``; NaN where the file has null."""
        found = json.loads((self.folder / "results" / "metrics.json").read_text())[self.task]
        return {
            kind: {name: math.nan if value is None else value for name, value in figures.items()}
            for kind, figures in found.items()
        }

    def lost(self) -> Iterator[str]:
        """The gate ``lost``: the figures of which int8 costs more than it may."""
        from .parity import metric_gates

        for gate in metric_gates(self.task, self.figures()):
            if not gate.passed:
                yield _told("lost", asdict(gate))

    def report(self) -> None:
        """Writes the page of this student, with the recipes and the logs of its courses."""
        from .artifacts import student_report

        bundle = self.folder / "student.bundle"
        student_report(self._student, self.folder / "results", bundle, self.folder / "report")

    @property
    def _student(self) -> Trained:
        from .artifacts import Trained

        return Trained(self.course.path, self.course.weights, self.course.run)


def _told(gate: str, found: Mapping[str, Any]) -> str:
    value = math.nan if found["value"] is None else found["value"]
    return f"gates.{gate}: {found['name']}: {value:.4g}, bound {found['bound']:.4g}"
