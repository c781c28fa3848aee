"""The steps of one recipe, in order: labels, teachers, trainings, files, checks, figures, bundle, page.

Under the folder of runs: ``NAME/`` is the training of the recipe NAME.toml, ``built/NAME/`` what was made of
its weights, ``state/`` what each step depended on.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import made, missing, splits
from .chain import Step
from .courses import Course, Report
from .provenance import EXPORT, TRAINING, versions
from .recipe import LABELLED, RecipeError, flat, holds, is_teacher, sets_of, teachers_of, teaches

__all__ = ["Workplace", "steps_of"]

_LOGS = Path(__file__).parent / "logs"
_MESH = "mediapipe_face_landmarker.task"
_LABELLERS = (
    "yunet_n_640_640.onnx",
    "yunet_n_320_320.onnx",
    _MESH,
    "ultralight_version-RFB-320.onnx",
)
_GRADING = ("split", "labels", "shards")  # what of a training's inputs grades its student, too
# What of [deploy] is in the files; the rest is wording of the bundle.
_FILES = ("deploy.calibration", "deploy.crop", "deploy.head", "deploy.labels", "deploy.precision")


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where everything lies, and how the work is done."""

    data: Path
    labels: Path
    teachers: Path
    runs: Path
    bundle: Path
    """Its detector finds the faces of photos when another student than a detector is graded."""
    threads: int = 1
    frames: int = 64
    """Validation photos that parity looks at."""
    say: Callable[[str], None] = lambda _: None
    watch: Callable[[str, int], AbstractContextManager[Report | None]] = lambda *_: nullcontext()
    """Gives what a training of that name and that many steps reports to."""
    device: str = "auto"
    """What trains: one of :data:`quantization.team.DEVICES`."""
    interpreters: Mapping[str, Path] = field(default_factory=dict)
    """Pythons that parity asks, too: of ``"tflite-runtime"``, of ``"tflite-micro"``."""

    def course(self, path: Path) -> Course:
        """The training of a recipe's file."""
        course = Course.of(path, self.data, self.labels, self.teachers, self.runs / path.stem)
        return replace(course, committed=None)  # the chain teaches the teachers itself

    @property
    def states(self) -> Path:
        return self.runs / "state"


def steps_of(path: Path, place: Workplace) -> list[Step]:
    """All steps of a recipe, those it builds on first.

    Raises:
        RecipeError: it, or a recipe it names, is not sound or not there.
    """
    courses = list(_courses(path, place, ()))
    sets = {name for course in courses for name in sets_of(course.recipe) if name in LABELLED}
    if sets:
        sets.add("lfpw")  # what the mesh's points are fitted on
    steps = [_label(name, place) for name in LABELLED if name in sets]
    if any(course.recipe["student"].get("blendshapes") for course in courses):
        steps += [_label_blendshapes(name, place) for name in LABELLED if name in sets]
    for course in courses:
        beside = [course.path.with_name(f"{name}.toml") for name in teachers_of(course.recipe)]
        teachers = [place.course(path) for path in beside]
        steps += [_draw_maps(s, teachers, place) for s in course.recipe["student"].get("taught", ())]
        steps.append(_train(course, place))
    if not is_teacher(courses[-1].recipe):
        steps += _make(courses[-1], place)
    return list({step.name: step for step in steps}.values())


def _courses(path: Path, place: Workplace, above: tuple[str, ...]) -> Iterator[Course]:
    """The trainings that a recipe builds on, each after those it needs, then its own."""
    if path.stem in above:
        raise RecipeError(f"{path}: builds on itself: {' -> '.join((*above, path.stem))}")
    course = place.course(path)
    named = [("teacher", name) for name in teachers_of(course.recipe)]
    if course.started:
        named.append(("schedule.start", course.started))
    for key, name in named:
        other = path.with_name(f"{name}.toml")
        if not other.exists():
            near = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml") if p != path))
            raise RecipeError(f"{path}: {key} is {name!r}; write one of the recipes beside it: {near}")
        yield from _courses(other, place, (*above, path.stem))
        theirs = place.course(other).recipe
        if key == "teacher" and not teaches(theirs):
            raise RecipeError(f"{path}: teacher is {name!r}, which trains no teacher")
        if key == "schedule.start" and is_teacher(theirs) and not is_teacher(course.recipe):
            raise RecipeError(f"{path}: schedule.start is {name!r}, which trains a teacher")
    yield course


def _label(name: str, place: Workplace) -> Step:
    def work() -> None:
        from .label import label_all

        label_all(place.data, place.teachers, place.labels, [name])

    reads = {f"split list {name}": splits.SPLITS / f"{name}.csv"}
    reads |= {file: place.teachers / file for file in _LABELLERS}
    writes = {"labels": place.labels / f"{name}.npz"}
    if name == "lfpw":
        writes["faces"] = place.labels / "lfpw_faces.npz"
    else:  # the face mesh's points are fitted on LFPW's
        reads["labels lfpw"] = place.labels / "lfpw.npz"
    return Step(
        f"label {name}",
        {},
        reads,
        writes,
        work,
        needs=lambda: missing.before(missing.LABELLING, missing.of_set(name, place.data)),
        mend=missing.mend,
        adopts=True,
    )


def _label_blendshapes(name: str, place: Workplace) -> Step:
    def work() -> None:
        from .coefficients import label_blendshapes

        label_blendshapes(place.data, place.teachers, place.labels, [name])

    reads = {f"labels {name}": place.labels / f"{name}.npz", _MESH: place.teachers / _MESH}
    return Step(
        f"label blendshapes {name}",
        {},
        reads,
        {"blendshapes": place.labels / f"{name}_blendshapes.npz"},
        work,
        needs=lambda: missing.before(missing.LABELLING, missing.of_set(name, place.data)),
        mend=missing.mend,
        adopts=True,
    )


def _draw_maps(name: str, teachers: Sequence[Course], place: Workplace) -> Step:
    """The maps that all of the teachers draw together."""

    def work() -> None:
        from .label import label_parsing
        from .teachers.parsing import Drawer, labeller

        drawers = [Drawer.of(one.recipe, one.weights) for one in teachers]
        label_parsing(place.data, place.labels, name, labeller(drawers))

    settings: dict[str, Any] = {}
    reads = {f"labels {name}": place.labels / f"{name}.npz"}
    for one in teachers:
        whose = "" if one is teachers[0] else f"{one.path.stem}: "
        keys = flat(one.recipe, "student.size", "student.decoder", "deploy.crop")
        settings |= {f"{whose}{key}": value for key, value in keys.items()}
        reads[f"{whose}teacher's weights"] = one.weights
    return Step(
        f"label --parsing {name}",
        settings,
        reads,
        {"maps": place.labels / "parsing" / name},
        work,
        needs=lambda: missing.before(missing.TRAINING, missing.of_set(name, place.data)),
    )


def _train(course: Course, place: Workplace) -> Step:
    def work() -> None:
        from .team import Team

        with place.watch(course.path.stem, int(course.recipe["schedule"]["steps"])) as report:
            course.train(place.threads, report, place.say, Team.of_environment(place.device))

    return Step(
        f"{'teach' if is_teacher(course.recipe) else 'distill'} {course.path.stem}",
        course.settings(),
        course.reads(),
        {"weights": course.weights},
        work,
        estimate=lambda: _training_seconds(course),
        needs=lambda: missing.before(
            missing.TRAINING,
            missing.of_lessons(course.recipe, place.data),
            missing.of_device(place.device),
        ),
        mend=missing.mend,
        goes_on=True,
    )


def _make(course: Course, place: Workplace) -> list[Step]:
    """What is made of a student's weights."""
    stem, recipe = course.path.stem, course.recipe
    task, gates = recipe["task"], recipe.get("gates", {})
    student = made.Made(course, place.runs / "built" / stem, place.bundle)
    files = {name: student.folder / name for name in student.names}
    tflite, draft = files[student.tflite], student.draft
    results = student.folder / "results"
    metrics = results / "metrics.json"
    trained = {"weights": course.weights}
    packages = {f"package {name}": version for name, version in versions((*TRAINING, *EXPORT)).items()}
    borrowed = {} if task in {"detection", "expression"} else {"detector's bundle": place.bundle}
    held_out = {what: path for what, path in course.reads().items() if what.startswith(_GRADING)}
    floor = flat(recipe, "deploy.min_sqnr_db")
    asked = {f"Python of {kind}": str(python) for kind, python in place.interpreters.items()}
    once = functools.cache(student.lessons)  # the data is read once for all steps of this process

    def step(name: str, *rest: Any, **more: Any) -> Step:
        return Step(f"{name} {stem}", *rest, mend=missing.mend, **more)

    def needs(packages: Mapping[str, str]) -> Callable[[], tuple[str, ...]]:
        return lambda: missing.before(
            packages,
            missing.of_lessons(recipe, place.data),
            missing.of_terms(course.path),
            missing.of_threshold(recipe, place.teachers),
        )

    return [
        step(
            "convert",
            packages | floor | flat(recipe, *_FILES),
            trained | held_out,
            files | {"draft": draft},
            lambda: student.convert(once()),
            needs=needs(missing.CONVERTING),
            gates=lambda: student.too_large(gates.get("bytes")),
        ),
        step(
            "check",
            {},
            {"tflite": tflite},
            {"verdict": student.folder / "check.json"},
            student.check,
            gates=lambda: student.unmapped() if gates.get("edgetpu", True) else (),
        ),
        step(
            "parity",
            packages | floor | {"frames": place.frames} | asked,
            trained | held_out | {"draft": draft},
            {"parity": student.folder / "parity.json"},
            lambda: student.parity(once(), place.frames, place.interpreters),
            needs=needs(missing.CONVERTING),
            gates=lambda: _mended(course, student.differing()) if gates.get("parity", True) else (),
        ),
        step(
            "evaluate",
            {},
            trained | held_out | borrowed | {"draft": draft},
            {"metrics": metrics, "curves": results / "curves.json"},
            student.evaluate,
            needs=needs(missing.GRADING),
            gates=lambda: _failed(student, gates),
            told=lambda: _targets(student, recipe.get("targets", {})),
        ),
        step(
            "bundle",
            flat(recipe, "deploy.licence", "deploy.description", "seen"),
            {"draft": draft, "metrics": metrics, "curves": results / "curves.json"} | trained,
            {"bundle": student.folder / "student.bundle"},
            lambda: student.pack(student.folder / "student.bundle", metrics),
            needs=needs(missing.CONVERTING),
            told=lambda: (str(student.folder / "student.bundle"),),
        ),
        step(
            "report",
            {},
            {"bundle": student.folder / "student.bundle", "curves": results / "curves.json"} | trained,
            {"page": student.folder / "report" / "report.html"},
            student.report,
            needs=lambda: missing.before(missing.REPORTING),
            told=lambda: (str(student.folder / "report" / "report.html"),),
        ),
    ]


def _failed(student: made.Made, gates: Mapping[str, Any]) -> Sequence[str]:
    found = list(_mended(student.course, tuple(student.lost()))) if gates.get("lost", True) else []
    int8 = student.figures()["int8"]
    for name, wanted in gates.get("figures", {}).items():
        value = float(int8.get(name, float("nan")))
        if not holds(value, wanted):
            found.append(f"gates.figures.{name}: {value:.4g}, wanted {wanted}")
    return found


def _mended(course: Course, failed: Sequence[str]) -> Sequence[str]:
    """The gates that failed, and what mends those of int8: a float file or a rule is another matter."""
    by_int8 = [gate for gate in failed if " fp" not in gate and "TensorRT" not in gate]
    return (*failed, course.mend) if by_int8 else failed


def _targets(student: made.Made, targets: Mapping[str, str]) -> Iterator[str]:
    int8 = student.figures()["int8"]
    for name, wanted in targets.items():
        value = float(int8.get(name, float("nan")))
        yield f"target {name} {wanted}: {value:.4g}, {'reached' if holds(value, wanted) else 'not reached'}"


def _training_seconds(course: Course) -> float | None:
    """From the log of this run, or of the recipe's last published one: time a step, times the steps left."""
    own = course.run / "log.jsonl"
    log = own if own.exists() else _LOGS / f"{course.path.stem}.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not rows:
        return None
    seconds, last = 0.0, 0.0
    for row in rows:  # a resumed run counts its seconds anew
        seconds += row["seconds"] - (last if row["seconds"] >= last else 0.0)
        last = row["seconds"]
    left = int(course.recipe["schedule"]["steps"])
    if own.exists() and (course.run / "checkpoint.pt").exists():
        left = max(0, left - rows[-1]["step"])
    return seconds / rows[-1]["step"] * left
