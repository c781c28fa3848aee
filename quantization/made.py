"""What is made of one trained student alone: files, verdicts, figures, a bundle, a page."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeface import Bundle

from .courses import Course
from .provenance import digest, write_bytes, write_json

__all__ = ["Made"]

_MIN_SQNR_DB = 10.0  # of a recipe that does not say


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

        network = self._network()
        onnx = export_onnx(
            network, type(network).outputs, self._calibration(lessons), percentile=self._percentile
        )
        self.pack(self.draft, self.folder / "nothing-measured-yet.json")
        bundle = Bundle.load(self.draft)
        tflite = bundle.artifact(bundle.model(self.task).artifact)
        contents = (tflite, onnx.fp32, onnx.fp16, onnx.u8s8, onnx.s8s8)
        for name, content in zip(self.names, contents, strict=True):
            write_bytes(self.folder / name, content)

    def pack(self, path: Path, metrics: Path) -> None:
        """Writes a bundle of this student alone, with the figures in ``metrics`` where there are any."""
        from .build import build

        course = self.course
        with tempfile.TemporaryDirectory() as weights:
            shutil.copy(course.weights, Path(weights) / f"{self.task}.npz")
            write_bytes(path, build([course.path], course.data, course.labels, Path(weights), metrics))

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

    def parity(self, lessons: Any, frames: int) -> None:
        """Writes what every runtime says of held-out frames beside what the float network says."""
        from .heldout import held_out_frames
        from .parity import measure

        bundle = Bundle.load(self.draft)
        found = measure(
            self.task,
            self._network(),
            bundle,
            self._calibration(lessons),
            held_out_frames(self.task, bundle, self.course.data, self.course.labels, frames),
            percentile=self._percentile,
            min_sqnr_db=self._floor,
        )
        write_json(self.folder / "parity.json", found.to_dict())

    def differing(self) -> Sequence[str]:
        """The gate ``parity``: where a runtime differs more from the float network than it may."""
        found = json.loads((self.folder / "parity.json").read_text())["gates"]
        return [_told("parity", gate) for gate in found if not gate["passed"]]

    def evaluate(self) -> None:
        """Writes figures and curves of the int8 file and of the float network."""
        from edgeface import FaceAnalyzer

        from .evaluate import DOUBTFUL, Grader, record
        from .reference import MixedBackend

        course, bundle = self.course, Bundle.load(self.draft)
        if self.task not in {"detection", "expression"}:  # expression is graded on whole pictures
            bundle = _with_detector(bundle, Bundle.load(self.base))
        float_backend = MixedBackend({self.task: self._network()})
        results = self.folder / "results"
        for kind, backend, file in (
            ("int8", "auto", self.folder / self.tflite),
            ("fp32", float_backend, course.weights),
        ):
            make: Any = partial(FaceAnalyzer, bundle=bundle, backend=backend)
            eager = partial(make, (), min_score=DOUBTFUL)
            grader = Grader(course.data, course.labels, make, eager, {self.task: str(digest(file))})
            graded = grader.measure(self.task)
            record(results / "metrics.json", self.task, kind, graded.metrics)
            record(results / "curves.json", self.task, kind, graded.curves)

    def figures(self) -> dict[str, dict[str, float]]:
        """The figures by kind, ``int8`` and ``fp32``."""
        found = json.loads((self.folder / "results" / "metrics.json").read_text())
        return dict(found[self.task])

    def lost(self) -> Iterator[str]:
        """The gate ``lost``: the figures of which int8 costs more than it may."""
        from .parity import metric_gates

        for gate in metric_gates(self.task, self.figures()):
            if not gate.passed:
                yield _told("lost", asdict(gate))

    def report(self) -> None:
        """Writes the page of this student, with the recipes and the logs of its courses."""
        from .report import Sources, write_report

        course = self.course
        with tempfile.TemporaryDirectory() as name:
            for part in ("weights", "recipes", "logs"):
                (Path(name) / part).mkdir()
            shutil.copy(course.weights, Path(name) / "weights" / f"{self.task}.npz")
            for recipe in course.path.parent.glob("*.toml"):
                shutil.copy(recipe, Path(name) / "recipes")
            for log in course.run.parent.glob("*/log.jsonl"):
                shutil.copy(log, Path(name) / "logs" / f"{log.parent.name}.jsonl")
            # The page looks for a task's recipe under the task's name.
            shutil.copy(course.path, Path(name) / "recipes" / f"{self.task}.toml")
            shutil.copy(course.run / "log.jsonl", Path(name) / "logs" / f"{self.task}.jsonl")
            sources = Sources(
                self.folder / "results",
                Path(name) / "weights",
                self.folder / "student.bundle",
                Path(name) / "recipes",
                Path(name) / "logs",
            )
            write_report(sources, self.folder / "report")

    @property
    def _floor(self) -> float:
        return float(self.course.recipe["deploy"].get("min_sqnr_db", _MIN_SQNR_DB))

    @property
    def _percentile(self) -> float:
        return float(self.course.recipe["deploy"].get("percentile", 100.0))

    def _network(self) -> Any:
        from .build import deployed, load_trained

        return deployed(load_trained(dict(self.course.recipe), self.course.weights))

    def _calibration(self, lessons: Any) -> list[Any]:
        return list(lessons.calibration(int(self.course.recipe["deploy"]["calibration"])))


def _told(gate: str, found: Mapping[str, Any]) -> str:
    return f"gates.{gate}: {found['name']}: {found['value']:.4g}, bound {found['bound']:.4g}"


def _with_detector(draft: Bundle, base: Bundle) -> Bundle:
    """The draft's student and the detector of another bundle, which finds the faces it is graded on."""
    from .pack import build_bundle, student_of

    students = [student_of(draft, task) for task in draft.tasks] + [student_of(base, "detection")]
    content = build_bundle(
        students, name=draft.name, version=draft.version, created_by=draft.created_by, licence=draft.licence
    )
    return Bundle.from_bytes(content, "a draft with a borrowed detector")
