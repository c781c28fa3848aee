"""What is made of a trained student: files for every target, a bundle, parity, figures, a page."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from edgeface import Bundle, FaceAnalyzer

from .build import build, deployed, load_trained
from .calibrate import tensor_ranges
from .convert import to_float_tflite
from .courses import WEIGHTS
from .evaluate import DOUBTFUL, Graded, Grader
from .heldout import held_out_frames
from .heldshards import graded_on, held_out_shard
from .lines import BASE, Line
from .onnx_export import export_onnx
from .pack import build_bundle, export_student, student_of
from .parity import Parity, measure
from .progress import progress
from .provenance import digest
from .recipe import RecipeError, is_teacher
from .reference import MixedBackend
from .report import Sources, write_report
from .tasks import TASKS, load_recipe, load_task

__all__ = [
    "Trained",
    "student_artifacts",
    "student_bundle",
    "student_figures",
    "student_parity",
    "student_ranges",
    "student_report",
]

_MIN_SQNR_DB = 10.0  # of a recipe that does not say
_RUNS = Path("runs")


@dataclass(frozen=True)
class Trained:
    """A trained student: the file of its recipe and the file of its float weights."""

    path: Path
    weights: Path
    run: Path | None
    """Folder of its run, where what is made of it goes; None: one of this package."""
    line: Line = BASE
    """Of this package: its line."""

    @classmethod
    def of(
        cls, name: str, weights: Path | None = None, run: Path | None = None, line: Line = BASE
    ) -> Trained:
        """A student by its task's name, which is that of this package, or by its recipe's file.

        Args:
            name: A task, or the path of a .toml.
            weights: The float weights, or a folder of them; None: the run's, of a task the committed.
            run: Folder of its run; None: of a recipe ``runs/NAME``, as `distill` has it.
            line: Of a task: which line's student.

        Raises:
            RecipeError: the recipe is not sound or trains a teacher, or its weights are not there.
        """
        shipped = name in TASKS
        path = line.recipe(name) if shipped else Path(name)
        if not shipped and path.suffix != ".toml":
            raise RecipeError(f"{name}: give one of {', '.join(TASKS)}, or a recipe's .toml file")
        recipe = load_recipe(path)
        if is_teacher(recipe):
            raise RecipeError(f"{path} trains a teacher: files are made of students")
        home = run or (None if shipped else _RUNS / path.stem)
        if weights is None:
            weights = WEIGHTS if home is None else home / "weights.npz"
        stem = path.stem if shipped else recipe["task"]
        found = weights / f"{stem}.npz" if weights.is_dir() else weights
        if not found.is_file():
            raise RecipeError(
                f"{found}: there are no weights; train them (`distill {path}`), or say where they are: "
                "--run or --weights"
            )
        return cls(path, found, home, line)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        return load_recipe(self.path)

    @property
    def task(self) -> str:
        return str(self.recipe["task"])

    @property
    def home(self) -> Path:
        """The folder of its log and of what did not train it."""
        return self.weights.parent if self.run is None else self.run

    @property
    def floor(self) -> float:
        """What every output of an int8 file must keep, in dB."""
        return float(self.recipe["deploy"].get("min_sqnr_db", _MIN_SQNR_DB))

    @property
    def percentile(self) -> float:
        return float(self.recipe["deploy"].get("percentile", 100.0))

    def network(self) -> nn.Module:
        """The float network as it is deployed."""
        return deployed(load_trained(self.recipe, self.weights))

    def calibration(self, data: Path, labels: Path) -> list[NDArray[np.float32]]:
        """Its calibration crops, float [H, W, C] in [-1, 127/128]."""
        return self.crops(load_task(self.recipe, data, labels))

    def crops(self, lessons: Any) -> list[NDArray[np.float32]]:
        """Those of its task over the data."""
        count = int(self.recipe["deploy"]["calibration"])
        return list(progress(f"{self.task}: calibration crops", lessons.calibration(count), count))


def student_artifacts(student: Trained, data: Path, labels: Path) -> dict[str, bytes]:
    """File name -> content: int8 .tflite (CPU, Edge TPU), ONNX in fp32, fp16, U8S8 (CPU) and S8S8 (TensorRT).

    Raises:
        ExportError: an export fails its own checks.
    """
    calibration, network, task = student.calibration(data, labels), student.network(), student.task
    names, share = type(network).outputs, student.percentile
    made: dict[str, Any] = {}
    for kind in progress(f"{task}: files", ("tflite", "onnx")):
        made[kind] = (
            export_student(
                network,
                names,
                calibration,
                percentile=share,
                min_sqnr_db=student.floor,
                require_edgetpu=student.recipe.get("gates", {}).get("edgetpu", True),
            )
            if kind == "tflite"
            else export_onnx(network, names, calibration, percentile=share)
        )
    files = made["onnx"]
    return {
        f"{task}.int8.tflite": made["tflite"].tflite,
        f"{task}.fp32.onnx": files.fp32,
        f"{task}.fp16.onnx": files.fp16,
        f"{task}.int8-u8s8.onnx": files.u8s8,
        f"{task}.int8-s8s8.onnx": files.s8s8,
    }


def student_ranges(student: Trained, data: Path, labels: Path) -> dict[str, tuple[float, float]]:
    """Tensor name -> least and largest value over the student's calibration crops."""
    crops = student.calibration(data, labels)
    height, width, channels = crops[0].shape[-3:]
    model = to_float_tflite(student.network(), height, width, channels=channels)
    watched = progress(f"{student.task}: ranges", crops)
    return tensor_ranges(model, watched, percentile=student.percentile)


def student_bundle(
    students: Sequence[Trained],
    data: Path,
    labels: Path,
    metrics: Path,
    *,
    teachers: Path | None = None,
    with_onnx: bool = False,
) -> bytes:
    """The bundle of the students, with the figures in ``metrics`` where there are any.

    Raises:
        RecipeError: two are of one task.
        TermsError: a recipe or a card claims more than the terms of data and teachers give.
        ExportError: a student does not pass the checks of :mod:`quantization.pack`.
    """
    tasks = [student.task for student in students]
    if len(set(tasks)) < len(tasks):
        raise RecipeError(
            f"two students of one task ({', '.join(sorted(tasks))}): a bundle holds one of each"
        )
    with tempfile.TemporaryDirectory() as weights:
        for student in students:
            shutil.copy(student.weights, Path(weights) / f"{student.task}.npz")
        recipes = [student.path for student in students]
        return build(
            recipes,
            data,
            labels,
            Path(weights),
            metrics,
            teachers=teachers,
            with_onnx=with_onnx,
            name=students[0].line.title,
            card=students[0].line.card,
        )


def student_parity(
    student: Trained,
    bundle: Bundle,
    data: Path,
    labels: Path,
    *,
    frames: int,
    figures: Mapping[str, Mapping[str, float]] | None = None,
    interpreters: Mapping[str, Path] | None = None,
    lessons: Any = None,
) -> Parity:
    """Parity of the bundle's student and of the ONNX files made from the same weights and calibration.

    ``lessons``: its task over the data, where somebody has it already.

    Raises:
        ExportError: an export fails, or a runtime cannot run its file.
    """
    shard = held_out_shard(student.recipe, student.home)
    found = held_out_frames(student.task, bundle, data, labels, frames, shard)
    return measure(
        student.task,
        student.network(),
        bundle,
        student.calibration(data, labels) if lessons is None else student.crops(lessons),
        found.frames,
        photos=found.photos,
        percentile=student.percentile,
        min_sqnr_db=student.floor,
        figures=figures,
        interpreters=interpreters,
    )


def student_figures(
    student: Trained,
    bundle: Bundle,
    base: Bundle,
    data: Path,
    labels: Path,
    kinds: Sequence[str] = ("int8", "fp32"),
) -> Iterator[tuple[str, Graded]]:
    """The figures of the bundle's student, ``int8``, and of the weights it was made of, ``fp32``.

    A bundle without a detector borrows that of ``base``, to find the faces it is graded on. One that learned
    from shards is graded on what of them did not train it.
    """
    task, shard = student.task, held_out_shard(student.recipe, student.home)
    int8 = bundle.artifact(bundle.model(task).artifact)
    if task not in {"detection", "expression"} and "detection" not in bundle.tasks:
        bundle = _with_detector(bundle, base)  # expression is graded on whole pictures
    for kind in kinds:
        stored = kind == "int8"
        backend: Any = "auto" if stored else MixedBackend({task: student.network()})
        whose = hashlib.sha256(int8).hexdigest() if stored else str(digest(student.weights))
        make: Any = partial(FaceAnalyzer, bundle=bundle, backend=backend)
        if shard is not None:
            yield kind, graded_on(shard, task, make, whose, data)
            continue
        eager = partial(make, (), min_score=DOUBTFUL)
        yield kind, Grader(data, labels, make, eager, {task: whose}).measure(task)


def student_report(student: Trained, results: Path, bundle: Path, out: Path) -> Path:
    """Writes the page of a student's run, with the recipes and the logs of its courses; returns its path.

    Raises:
        FileNotFoundError: it was not graded yet, or the run has no log.
    """
    run = student.home
    with tempfile.TemporaryDirectory() as name:
        weights, recipes, logs = (Path(name) / part for part in ("weights", "recipes", "logs"))
        for folder in (weights, recipes, logs):
            folder.mkdir()
        for recipe in student.path.parent.glob("*.toml"):
            shutil.copy(recipe, recipes)
        for log in run.parent.glob("*/log.jsonl"):
            shutil.copy(log, logs / f"{log.parent.name}.jsonl")
            if (log.parent / "weights.npz").is_file():
                shutil.copy(log.parent / "weights.npz", weights / f"{log.parent.name}.npz")
        # The page looks for a task's recipe under the task's name.
        shutil.copy(student.weights, weights / f"{student.task}.npz")
        shutil.copy(student.path, recipes / f"{student.task}.toml")
        shutil.copy(run / "log.jsonl", logs / f"{student.task}.jsonl")
        return write_report(Sources(results, weights, bundle, recipes, logs), out)


def _with_detector(draft: Bundle, base: Bundle) -> Bundle:
    """The draft's student and the detector of another bundle."""
    students = [student_of(draft, task) for task in draft.tasks] + [student_of(base, "detection")]
    content = build_bundle(
        students, name=draft.name, version=draft.version, created_by=draft.created_by, licence=draft.licence
    )
    return Bundle.from_bytes(content, "a draft with a borrowed detector")
