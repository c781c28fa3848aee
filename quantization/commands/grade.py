"""Figures and what is written of them: `evaluate`, `report`, `tables`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..recipe import TASKS
from . import options

if TYPE_CHECKING:
    from ..artifacts import Trained

__all__ = ["evaluate", "report", "tables"]


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
    borrows the built-in one's.

    With --data-set KIND:PATH any model is graded on any data set that has the labels: a bundle, the .tflite
    of a student, or a teacher's .onnx with its --adapter. Shards (webdataset:FOLDER) are graded one by one,
    with --engine ray on several processes; after a crash the same command does the rest.
    """
    if recipe is not None and (data_set or teacher or tasks):
        raise click.UsageError("a RECIPE is graded alone: leave --data-set, --teacher and --task out")
    if data_set is not None:
        asked = model or options.BUNDLE, adapter, tasks, accept_licence
        _evaluate_set(data_set, part, asked, data, store, engine, workers, out)
        return
    for given, option in ((adapter, "--adapter"), (part, "--part"), (engine != "local", "--engine")):
        if given:
            raise click.UsageError(f"{option} is for data sets and shards: give --data-set")
    if not data.is_dir():
        raise click.BadParameter(f"{data}: there is no such folder", param_hint="--data")
    if recipe is not None:
        _evaluate_student(options.student(recipe, weights, run), model, precision, data, labels, out)
        return
    from ..courses import WEIGHTS
    from ..evaluate import graders, record

    _of_all(weights, run)
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


def _of_all(weights: Path | None, run: Path | None) -> None:
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


def _evaluate_set(
    data_set: tuple[str, Path],
    part: str | None,
    asked: tuple[Path, str | None, tuple[str, ...], bool],
    data: Path,
    store: Path,
    engine: str,
    workers: int,
    out: Path | None,
) -> None:
    from ..evaluate import record
    from ..graded_rows import TaskError
    from ..grading import Grading, grade_set
    from ..subjects import Subject
    from ..teachers.catalogue import adapter_named
    from ..teachers.onnx import licence_told

    model, name, tasks, accept_licence = asked
    kind, root = data_set
    face3d = data / "face3d" / "ict_face_model_light.npz"
    refused: list[TaskError] = []
    try:
        adapter = adapter_named(name) if name else None
        if adapter:
            click.echo(licence_told(adapter), err=True)
        subject = Subject.of(model, adapter, tasks, accept_licence)
        for task in subject.tasks:
            work = Grading(subject, task, face3d if face3d.is_file() else None)
            try:
                graded, faults = grade_set(
                    work, kind, root, part=part, store=store, engine=engine, workers=workers
                )
            except TaskError as error:
                refused.append(error)
                continue
            whose = f"{model.stem} on {kind}{f' {part}' if part else ''}"
            click.echo(f"{task} {whose}: " + json.dumps(graded.metrics))
            for fault in faults:
                click.echo(f"  {fault}", err=True)
            if out is not None:
                record(out, task, whose, graded.metrics)
                record(out.with_name("curves.json"), task, whose, graded.curves)
    except ValueError as error:  # of subject, adapter, licence, data set and engine, which name the mend
        raise click.ClickException(str(error)) from error
    # A bundle is graded by what the data set has; what was asked for by name must be there.
    if refused and (tasks or len(refused) == len(subject.tasks)):
        raise click.ClickException("\n".join(str(error) for error in refused))


@click.command()
@click.argument("recipe", type=options.FILE, required=False)
@click.option(
    "--out",
    type=options.NEW_FOLDER,
    help="Folder of the page and its plots (default: runs/report, of a RECIPE report/ in its run).",
)
@click.option(
    "--results",
    type=options.FOLDER,
    help="Where `evaluate` wrote (default: quantization/results, of a RECIPE results/ in its run).",
)
@options.student_weights
@options.run
@options.model
def report(
    recipe: Path | None,
    out: Path | None,
    results: Path | None,
    weights: Path | None,
    run: Path | None,
    model: Path | None,
) -> None:
    """Write a page of what was measured: figures and plots per student, and where they come from.

    With RECIPE it is the page of that run alone, with the learning curves of its courses.
    """
    from ..report import Sources, write_report

    try:
        if recipe is None:
            _of_all(weights, run)
            from ..courses import WEIGHTS

            found = results or options.METRICS.parent
            sources = Sources(found, weights or WEIGHTS, model or options.BUNDLE)
            page = write_report(sources, out or Path("runs/report"))
        else:
            from ..artifacts import student_report

            student = options.student(str(recipe), weights, run)
            found = results or options.metrics_of(student).parent
            bundle = model or options.bundle_of(student)
            page = student_report(student, found, bundle, out or bundle.with_name("report"))
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{page}: {page.stat().st_size:,} bytes")


@click.command()
@options.bundle
@click.option(
    "--benchmark",
    type=options.FILE,
    default=options.HERE.parent / "benchmarks" / "results" / "facemesh-x86-64.json",
    show_default=True,
)
def tables(bundle: Path, benchmark: Path) -> None:
    """Rewrite the README's tables from the metrics, the bundle and the benchmark's result."""
    from ..tables import rewrite

    readme = options.HERE.parent / "README.md"
    readme.write_text(rewrite(readme.read_text(), options.METRICS, bundle, benchmark))
