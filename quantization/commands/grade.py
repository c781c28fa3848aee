"""Figures: `evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..recipe import TASKS, RecipeError, is_teacher, load_recipe, sets_of
from . import options

if TYPE_CHECKING:
    from ..artifacts import Trained
    from ..subjects import Subject
    from ..taught import Taught

__all__ = ["evaluate", "of_all"]


@click.command()
@click.argument("recipe", required=False)
@options.some_data
@options.labels
@options.model
@options.student_weights
@options.run
@click.option("--precision", type=click.Choice(["int8", "fp32"]), multiple=True, default=("int8", "fp32"))
@click.option("--teacher", is_flag=True, help="Grade YuNet and the face mesh too, under `teacher`.")
@options.some_teachers
@options.only_tasks
@click.option("--data-set", type=options.data_set, help="Grade on this data set instead.")
@click.option("--part", help="Of --data-set: only this part of it.")
@click.option("--adapter", help="Of --data-set: NAME or .toml of the adapter of a teacher's .onnx --model.")
@options.accept_licence
@click.option(
    "--store",
    type=options.NEW_FOLDER,
    default=Path("runs/graded"),
    show_default=True,
    help="Of --data-set: where finished shards are kept.",
)
@options.engine
@options.workers
@click.option(
    "--out",
    type=options.NEW_FILE,
    help="The figures, merged into what is there (default: quantization/results/metrics.json; of a RECIPE "
    "results/metrics.json in its run; of --data-set: none, they are printed).",
)
def evaluate(
    recipe: str | None,
    data: Path,
    labels: Path,
    model: Path | None,
    weights: Path | None,
    run: Path | None,
    precision: tuple[str, ...],
    teacher: bool,
    teachers: Path,
    tasks: tuple[str, ...],
    data_set: tuple[str, Path] | None,
    part: str | None,
    adapter: str | None,
    accept_licence: bool,
    store: Path,
    engine: str,
    workers: int,
    out: Path | None,
) -> None:
    """Grade a bundle on the validation splits, int8 and the float networks it came from.

    Merges the figures into OUT and what their plots are drawn from into `curves.json` beside it. With RECIPE
    (a .toml, or a task) it is that student alone, in what `pack` wrote of it; a bundle without a detector
    borrows the built-in one's. The RECIPE of a teacher grades its float weights, filed under its name.

    With --data-set KIND:PATH any model is graded on any data set that has the labels: a bundle, the .tflite
    of a student, a teacher's .onnx with its --adapter, or the RECIPE of a teacher that was trained here.
    Shards (webdataset:FOLDER) are graded one by one, with --engine ray on several processes; after a crash
    the same command does the rest.
    """
    if recipe is not None and (teacher or tasks):
        raise click.UsageError("a RECIPE is graded alone: leave --teacher and --task out")
    trains_teacher = recipe is not None and _trains_teacher(recipe)
    if trains_teacher and (model or adapter):
        raise click.UsageError("a teacher's RECIPE is graded by its weights: leave --model and --adapter out")
    if data_set is not None:
        if recipe is not None and not trains_teacher:
            raise click.UsageError(f"{recipe}: on a --data-set a student is its file: give --model")
        subject = (
            _taught_subject(Path(str(recipe)), data, labels, weights, run)
            if trains_teacher
            else _subject(model or options.BUNDLE, adapter, tasks, accept_licence)
        )
        _evaluate_set(data_set, part, subject, bool(tasks), data, store, engine, workers, out)
        return
    for given, option in ((adapter, "--adapter"), (part, "--part"), (engine != "local", "--engine")):
        if given:
            raise click.UsageError(f"{option} is for data sets and shards: give --data-set")
    if not data.is_dir() and not _needs_shards_alone(recipe):
        raise click.BadParameter(f"{data}: there is no such folder", param_hint="--data")
    if trains_teacher:
        _evaluate_taught(_taught(Path(str(recipe)), data, labels, weights, run), data, labels, out)
        return
    if recipe is not None:
        _evaluate_student(options.student(recipe, weights, run), model, precision, data, labels, out)
        return
    from ..courses import WEIGHTS
    from ..evaluate import graders, record

    of_all(weights, run)
    out = out or options.METRICS
    made = graders(
        model or options.BUNDLE, weights or WEIGHTS, data, labels, precision, teachers if teacher else None
    )
    for kind, graded_tasks, grader in made:
        for task in [t for t in tasks or TASKS if t in graded_tasks]:
            graded = grader.measure(task)
            record(out, task, kind, graded.metrics)
            record(out.with_name("curves.json"), task, kind, graded.curves)
            click.echo(f"{task} {kind}: " + json.dumps(graded.metrics))


def of_all(weights: Path | None, run: Path | None) -> None:
    """Refuses options that are of one student where none was named."""
    for wrong, option in ((run, "--run"), (weights and not weights.is_dir(), "--weights with a file")):
        if wrong:
            raise click.UsageError(f"{option} is of one student: name its RECIPE")


def _evaluate_student(
    student: Trained,
    model: Path | None,
    precision: tuple[str, ...],
    data: Path,
    labels: Path,
    out: Path | None,
) -> None:
    from edgeface import Bundle, EdgeFaceError

    from ..artifacts import student_figures
    from ..datasets import DataSetError
    from ..evaluate import record

    out = out or options.metrics_of(student)
    path = model or options.bundle_of(student)
    if not path.is_file():
        raise click.ClickException(f"{path}: there is no such bundle; `pack` the student first")
    try:
        bundles = Bundle.load(path), Bundle.load(options.BUNDLE)
        for kind, graded in student_figures(student, *bundles, data, labels, precision):
            record(out, student.task, kind, graded.metrics)
            record(out.with_name("curves.json"), student.task, kind, graded.curves)
            click.echo(f"{student.task} {kind}: " + json.dumps(graded.metrics))
    except EdgeFaceError as error:
        raise click.ClickException(f"{path}: {error}") from error
    except DataSetError as error:
        raise click.ClickException(str(error)) from error


def _needs_shards_alone(recipe: str | None) -> bool:
    return recipe is not None and recipe.endswith(".toml") and not sets_of(load_recipe(Path(recipe)))


def _trains_teacher(recipe: str) -> bool:
    if not recipe.endswith(".toml"):
        return False  # a task, whose student is this package's
    try:
        return is_teacher(load_recipe(Path(recipe)))
    except RecipeError as error:
        raise click.ClickException(str(error)) from error


def _taught(recipe: Path, data: Path, labels: Path, weights: Path | None, run: Path | None) -> Taught:
    from ..taught import Taught

    try:
        return Taught.of(recipe, data, labels, weights, run)
    except RecipeError as error:
        raise click.ClickException(str(error)) from error


def _evaluate_taught(teacher: Taught, data: Path, labels: Path, out: Path | None) -> None:
    from ..evaluate import grader_of, record

    out = out or teacher.run / "results" / "metrics.json"
    graded = grader_of(teacher, data, labels).measure(teacher.task)
    record(out, teacher.task, teacher.name, graded.metrics)
    record(out.with_name("curves.json"), teacher.task, teacher.name, graded.curves)
    click.echo(f"{teacher.task} {teacher.name}: " + json.dumps(graded.metrics))


def _taught_subject(
    recipe: Path, data: Path, labels: Path, weights: Path | None, run: Path | None
) -> Subject:
    from ..subjects import Subject

    return Subject.of_taught(_taught(recipe, data, labels, weights, run))


def _subject(model: Path, adapter: str | None, tasks: tuple[str, ...], accept_licence: bool) -> Subject:
    from ..subjects import Subject
    from ..teachers.catalogue import adapter_named
    from ..teachers.onnx import licence_told

    try:
        found = adapter_named(adapter) if adapter else None
        if found:
            click.echo(licence_told(found), err=True)
        return Subject.of(model, found, tasks, accept_licence)
    except ValueError as error:  # of subject, adapter and licence, which name the mend
        raise click.ClickException(str(error)) from error


def _evaluate_set(
    data_set: tuple[str, Path],
    part: str | None,
    subject: Subject,
    by_name: bool,
    data: Path,
    store: Path,
    engine: str,
    workers: int,
    out: Path | None,
) -> None:
    """``by_name``: its tasks were asked for, and must be there."""
    from ..evaluate import record
    from ..graded_rows import TaskError
    from ..grading import Grading, grade_set

    kind, root = data_set
    face3d = data / "face3d" / "ict_face_model_light.npz"
    refused: list[TaskError] = []
    try:
        for task in subject.tasks:
            work = Grading(subject, task, face3d if face3d.is_file() else None)
            try:
                graded, faults = grade_set(
                    work, kind, root, part=part, store=store, engine=engine, workers=workers
                )
            except TaskError as error:
                refused.append(error)
                continue
            whose = f"{subject.name} on {kind}{f' {part}' if part else ''}"
            click.echo(f"{task} {whose}: " + json.dumps(graded.metrics))
            for fault in faults:
                click.echo(f"  {fault}", err=True)
            if out is not None:
                record(out, task, whose, graded.metrics)
                record(out.with_name("curves.json"), task, whose, graded.curves)
    except ValueError as error:  # of data set and engine, which name the mend
        raise click.ClickException(str(error)) from error
    # A bundle is graded by what the data set has; what was asked for by name must be there.
    if refused and (by_name or len(refused) == len(subject.tasks)):
        raise click.ClickException("\n".join(str(error) for error in refused))
