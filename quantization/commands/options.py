"""The options and arguments that commands share: one name, one default, one meaning each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engines import ENGINES
from ..lines import BASE, LINES, Line
from ..recipe import TASKS, RecipeError

if TYPE_CHECKING:
    from ..artifacts import Trained

__all__ = [
    "BUNDLE",
    "FILE",
    "FOLDER",
    "HERE",
    "METRICS",
    "NEW_FILE",
    "NEW_FOLDER",
    "accept_licence",
    "bundle",
    "bundle_of",
    "data",
    "data_set",
    "device",
    "engine",
    "file_out",
    "folder_out",
    "interpreters",
    "labels",
    "line",
    "metrics_of",
    "model",
    "only_tasks",
    "python_tflite_micro",
    "python_tflite_runtime",
    "recipe",
    "run",
    "some_data",
    "some_teachers",
    "student",
    "student_weights",
    "students",
    "teacher_models",
    "teachers",
    "threads",
    "workers",
]

HERE = Path(__file__).parent.parent
BUNDLE, METRICS = BASE.bundle, BASE.metrics

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FILE = click.Path(dir_okay=False, path_type=Path)


def _folder(name: str, default: str, what: str, kind: click.Path = FOLDER) -> Any:
    return click.option(name, type=kind, default=Path(default), show_default=True, help=what)


recipe = click.argument("recipe", type=FILE)
# A recipe that learns from shards alone needs none: who reads it says if it is not there.
data = _folder("--data", "../shared/data", "The data sets.", NEW_FOLDER)
labels = _folder("--labels", "runs/labels", "What `label` writes.", NEW_FOLDER)
# Of commands that take a student: its task, or the recipe it was trained by.
student_weights = click.option(
    "--weights",
    type=click.Path(exists=True, path_type=Path),
    help="The float weights, a .npz or a folder of TASK.npz (default: of a RECIPE its run's, else those of "
    "this package).",
)
run = click.option(
    "--run", type=FOLDER, help="Of a RECIPE: folder of its run, as `distill` has it (default: runs/NAME)."
)
only_tasks = click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only these tasks (default: all)."
)
line = click.option(
    "--line",
    type=click.Choice(tuple(LINES)),
    default=BASE.name,
    callback=lambda _context, _option, name: LINES[name],
    show_default=True,
    help="Which of this package's students: base; nano, which cost a fraction; clean, of free data alone.",
)
bundle = click.option("--bundle", type=FILE, default=BUNDLE, help="Default: the built-in one.")
# Two names: a bundle is what is graded today, and other model files may be.
model = click.option(
    "--model",
    "--bundle",
    "model",
    type=FILE,
    help="The bundle (default: the built-in one, of a RECIPE what `pack` wrote into its run).",
)
teacher_models = click.option(
    "--model",
    "models",
    type=FILE,
    multiple=True,
    help="A teacher's file, in the order of --teacher: .onnx, face_landmarker.task, or weights .npz (of what "
    "was trained here also without: its run's, or the committed ones).",
)
threads = click.option("--threads", default=2, show_default=True, help="With 1, the same weights every time.")
device = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="What trains; auto: a GPU where torch sees one for each process.",
)
teachers = _folder("--teachers", "../shared/teachers", "The published networks.")
# Of commands that can do without.
some_data = _folder("--data", "../shared/data", "The data sets.", NEW_FOLDER)
some_teachers = _folder("--teachers", "../shared/teachers", "The published networks.", NEW_FOLDER)
accept_licence = click.option(
    "--accept-licence", is_flag=True, help="You have read the teacher's terms and may use it."
)
engine = click.option(
    "--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="Ray: shards alone."
)
workers = click.option("--workers", type=click.IntRange(1), default=2, show_default=True, help="Of Ray.")


def _python(kind: str) -> Any:
    path = click.Path(exists=True, dir_okay=False, path_type=Path)
    return click.option(
        f"--python-{kind}", kind.replace("-", "_"), type=path, help=f"A Python that has {kind}."
    )


# Of commands that hold every runtime against PyTorch.
python_tflite_runtime = _python("tflite-runtime")
python_tflite_micro = _python("tflite-micro")


def interpreters(tflite_runtime: Path | None, tflite_micro: Path | None) -> dict[str, Path]:
    """The Pythons that were named, by what they have."""
    given = {"tflite-runtime": tflite_runtime, "tflite-micro": tflite_micro}
    return {kind: python for kind, python in given.items() if python is not None}


def student(name: str, weights: Path | None, run: Path | None, line: Line = BASE) -> Trained:
    """The student that an argument names: a task's of this package, or a recipe's."""
    from ..artifacts import Trained

    try:
        return Trained.of(name, weights, run, line)
    except RecipeError as error:
        raise click.ClickException(str(error)) from error


def students(
    names: Sequence[str], weights: Path | None, run: Path | None, line: Line = BASE
) -> list[Trained]:
    """The same of several, by default of all tasks of this package."""
    if len(names) != 1 and (run or (weights and not weights.is_dir())):
        raise click.UsageError("--run, and --weights with a file, are of one student: name it alone")
    return [student(name, weights, run, line) for name in names or TASKS]


def bundle_of(student: Trained) -> Path:
    """Where the students of its line are, or that of a recipe."""
    return student.line.bundle if student.run is None else student.run / "student.bundle"


def metrics_of(student: Trained) -> Path:
    """Where their figures are."""
    return student.line.metrics if student.run is None else student.run / "results" / "metrics.json"


class _DataSetName(click.ParamType):
    name = "KIND:PATH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, Path]:
        if isinstance(value, tuple):
            return value
        kind, colon, path = value.partition(":")
        if not (kind and colon and path):
            self.fail(f"{value!r} is not KIND:PATH, for example 300w:data/lfpw", param, ctx)
        return kind, Path(path).expanduser()


data_set = _DataSetName()
"""Type of a data set's name: its layout, as `quantization.datasets.KINDS` has it, and where it lies."""


def file_out(default: Path | None, what: str) -> Any:
    """``--out``: the file to write."""
    return click.option("--out", type=NEW_FILE, default=default, show_default=bool(default), help=what)


def folder_out(default: Path, what: str) -> Any:
    """``--out``: the folder to write into."""
    return click.option("--out", type=NEW_FOLDER, default=default, show_default=True, help=what)
