"""Figures: `evaluate`, `robustness`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..lines import Line
from ..recipe import TASKS, RecipeError, is_teacher, load_recipe, sets_of
from . import asked, options

if TYPE_CHECKING:
    from ..artifacts import Trained
    from ..graded import Graded
    from ..panel import Panel
    from ..subjects import Subject
    from ..taught import Taught

__all__ = ["evaluate", "of_all", "robustness"]


@click.command()
@click.argument("recipe", required=False)
@options.some_data
@options.labels
@click.option(
    "--model",
    "--bundle",
    "models",
    type=options.FILE,
    multiple=True,
    help="The bundle (default: the built-in one, of a RECIPE what `pack` wrote into its run); of --teacher "
    "the file of each, in their order: .onnx, or weights .npz (of what was trained here also without).",
)
@options.student_weights
@options.run
@click.option("--precision", type=click.Choice(["int8", "fp32"]), multiple=True, default=("int8", "fp32"))
@asked.teacher
@asked.mirror
@options.line
@click.option(
    "--careful",
    is_flag=True,
    help="Also as they answer with smallest_face=20 and mirror=True, under `careful`.",
)
@click.option("--published", is_flag=True, help="Grade YuNet and the face mesh too, under `teacher`.")
@options.some_teachers
@options.only_tasks
@click.option("--data-set", type=options.data_set, help="Grade on this data set instead.")
@click.option("--part", help="Of --data-set: only this part of it.")
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
    "--plots",
    type=options.NEW_FOLDER,
    help="Of --data-set and --teacher: a PNG of every curve, and their numbers, into this folder.",
)
@click.option(
    "--out",
    type=options.NEW_FILE,
    help="The figures, merged into what is there (default: quantization/results/metrics.json; of a RECIPE "
    "results/metrics.json in its run; of --data-set and --teacher: none, they are printed).",
)
def evaluate(
    recipe: str | None,
    data: Path,
    labels: Path,
    models: tuple[Path, ...],
    weights: Path | None,
    run: Path | None,
    precision: tuple[str, ...],
    names: tuple[str, ...],
    mirror: bool,
    line: Line,
    careful: bool,
    published: bool,
    teachers: Path,
    tasks: tuple[str, ...],
    data_set: tuple[str, Path] | None,
    part: str | None,
    accept_licence: bool,
    store: Path,
    engine: str,
    workers: int,
    plots: Path | None,
    out: Path | None,
) -> None:
    """Grade a bundle on the validation splits, int8 and the float networks it came from.

    Merges the figures into OUT and what their plots are drawn from into `curves.json` beside it. With RECIPE
    (a .toml, or a task) it is that student alone, in what `pack` wrote of it; a bundle without a detector
    borrows the built-in one's. The RECIPE of a teacher grades its float weights, filed under its name.

    With --teacher it is a teacher, or several asked together (--mirror: also about the mirror image): foreign
    ones by their adapter and --model, those trained here by their recipe.

    With --data-set KIND:PATH any model is graded on any data set that has the labels: a bundle, the .tflite
    of a student, teachers (--teacher), or the RECIPE of a teacher that was trained here.
    Shards (webdataset:FOLDER) are graded one by one, with --engine ray on several processes; after a crash
    the same command does the rest.
    """
    trains_teacher = recipe is not None and _trains_teacher(recipe)
    _check_together(recipe, trains_teacher, names, models, mirror=mirror, published=published, tasks=tasks)
    panel: Taught | Panel | None = None
    if names:
        panel = asked.panel_of(names, models, mirror, data, labels, accept_licence)
        if tasks and set(tasks) != {panel.task}:
            raise click.UsageError(f"{panel.name}: is for {panel.task}, not for {', '.join(tasks)}")
    elif trains_teacher:
        panel = _taught(Path(str(recipe)), data, labels, weights, run)
    told = _Told(out, plots)
    if data_set is not None:
        if recipe is not None and not trains_teacher:
            raise click.UsageError(f"{recipe}: on a --data-set a student is its file: give --model")
        subject = _subject(models[0] if models else options.BUNDLE, panel, tasks)
        _evaluate_set(data_set, part, subject, bool(tasks), data, store, engine, workers, told)
        return
    for given, option in ((part, "--part"), (engine != "local", "--engine")):
        if given:
            raise click.UsageError(f"{option} is for data sets and shards: give --data-set")
    if plots and panel is None:
        raise click.UsageError("--plots is for --data-set and --teacher; `report` draws those of students")
    if not data.is_dir() and not _needs_shards_alone(recipe):
        raise click.BadParameter(f"{data}: there is no such folder", param_hint="--data")
    if panel is not None:
        if not names:  # the RECIPE of a teacher: its run has a place for them
            told = _Told(
                out or (run or Path("runs") / Path(str(recipe)).stem) / "results" / "metrics.json", plots
            )
        _evaluate_panel(panel, data, labels, told)
        return
    model = models[0] if models else None
    if recipe is not None:
        _evaluate_student(options.student(recipe, weights, run), model, precision, data, labels, out)
        return
    from ..courses import WEIGHTS
    from ..evaluate import graders

    of_all(weights, run)
    told = _Told(out or line.metrics)
    asked_too = teachers if published else None
    bundle = model or line.bundle
    made = graders(bundle, weights or WEIGHTS, data, labels, precision, asked_too, line, careful)
    for kind, graded_tasks, grader in made:
        for task in [t for t in tasks or TASKS if t in graded_tasks]:
            told.tell(task, kind, grader.measure(task))


@click.command()
@options.data
@options.labels
@options.line
@click.option("--bundle", type=options.FILE, help="Default: the line's.")
@options.only_tasks
@click.option("--plots", type=options.NEW_FOLDER, help="A PNG per task into this folder.")
@options.file_out(
    None, "The figures, merged into what is there (default: robustness.json of the line's results)."
)
def robustness(
    data: Path,
    labels: Path,
    line: Line,
    bundle: Path | None,
    tasks: tuple[str, ...],
    plots: Path | None,
    out: Path | None,
) -> None:
    """Grade a bundle again on damaged validation photos, int8, and say where each student breaks.

    Blur, darkness, noise, JPEG, few pixels, occlusion, rotation and lost colour, three or four levels of
    each. A task takes minutes; its figures are written as soon as it is done. `pack` puts them into the
    cards.
    """
    from edgeface import Bundle, EdgeFaceError, FaceAnalyzer

    from ..evaluate import record
    from ..printed import printed_robustness
    from ..robustness import measure, plot_of

    if not data.is_dir():
        raise click.BadParameter(f"{data}: there is no such folder", param_hint="--data")
    try:
        students = Bundle.load(bundle or line.bundle)
        digests = {artifact.name: artifact.sha256 for artifact in students.artifacts}
        for task in tasks or TASKS:
            asked_for = () if task == "detection" else (task,)
            sha256 = digests[students.model(task).artifact]
            with FaceAnalyzer(asked_for, bundle=students) as analyzer:
                found = {"sha256": sha256} | measure(task, analyzer, data, labels)
            record(out or line.robustness, task, "int8", found)
            click.echo(printed_robustness(task, found))
            if plots is not None:
                from ..plots import draw
                from ..provenance import write_bytes

                plot = plot_of(task, found)
                write_bytes(plots / f"{plot.name}.png", draw(plot))
    except (EdgeFaceError, FileNotFoundError) as error:
        raise click.ClickException(str(error)) from error


def _check_together(
    recipe: str | None,
    trains_teacher: bool,
    names: Sequence[str],
    models: Sequence[Path],
    *,
    mirror: bool,
    published: bool,
    tasks: Sequence[str],
) -> None:
    """What of the command line contradicts itself."""
    if recipe is not None and (published or tasks or names):
        raise click.UsageError("a RECIPE is graded alone: leave --teacher, --published and --task out")
    if trains_teacher and models:
        raise click.UsageError("a teacher's RECIPE is graded by its weights: leave --model out")
    if mirror and not names:
        raise click.UsageError("--mirror is of teachers: name them with --teacher")
    if names and published:
        raise click.UsageError("--published is graded beside the students: leave --teacher out")
    if len(models) > 1 and not names:
        raise click.UsageError(
            "one bundle is graded: give --model once, or the teachers' names with --teacher"
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """Where figures go beside the terminal: a file that they are merged into, and a folder of plots."""

    out: Path | None
    plots: Path | None = None

    def tell(self, task: str, whose: str, graded: Graded) -> None:
        from ..evaluate import record
        from ..printed import printed, write_plots

        click.echo(printed(task, whose, graded))
        if self.out is not None:
            record(self.out, task, whose, graded.metrics)
            record(self.out.with_name("curves.json"), task, whose, graded.curves)
        if self.plots is not None:
            files = write_plots(self.plots, task, whose, graded)
            click.echo(f"{self.plots}: {', '.join(path.name for path in files)}")


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

    told = _Told(out or options.metrics_of(student))
    path = model or options.bundle_of(student)
    if not path.is_file():
        raise click.ClickException(f"{path}: there is no such bundle; `pack` the student first")
    try:
        bundles = Bundle.load(path), Bundle.load(options.BUNDLE)
        for kind, graded in student_figures(student, *bundles, data, labels, precision):
            told.tell(student.task, kind, graded)
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


def _evaluate_panel(panel: Taught | Panel, data: Path, labels: Path, told: _Told) -> None:
    from ..evaluate import grader_of

    if panel.task not in TASKS:
        raise click.ClickException(f"{panel.name}: {panel.task} are not graded; known are {', '.join(TASKS)}")
    told.tell(panel.task, panel.name, grader_of(panel, data, labels).measure(panel.task))


def _subject(model: Path, teacher: Taught | Panel | None, tasks: tuple[str, ...]) -> Subject:
    from ..panel import Panel
    from ..subjects import Subject

    try:
        if teacher is None:
            return Subject.of(model, tasks)
        return Subject.of_panel(teacher if isinstance(teacher, Panel) else Panel.of([teacher]))
    except ValueError as error:  # of subject and adapter, which name the mend
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
    told: _Told,
) -> None:
    """``by_name``: its tasks were asked for, and must be there."""
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
            told.tell(task, whose, graded)
            for fault in faults:
                click.echo(f"  {fault}", err=True)
    except ValueError as error:  # of data set and engine, which name the mend
        raise click.ClickException(str(error)) from error
    # A bundle is graded by what the data set has; what was asked for by name must be there.
    if refused and (by_name or len(refused) == len(subject.tasks)):
        raise click.ClickException("\n".join(str(error) for error in refused))
