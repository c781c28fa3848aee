"""The workshop's command line: ``python -m quantization --help``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from .tasks import RECIPES, TASKS, load_recipe, load_task

_HERE = Path(__file__).parent
_BUNDLE = _HERE.parent / "edgeface" / "models" / "students.bundle"
_METRICS = _HERE / "results" / "metrics.json"

_folder = click.Path(exists=True, file_okay=False, path_type=Path)
_data = click.option(
    "--data", type=_folder, default=Path("../shared/data"), show_default=True, help="The data sets."
)
_labels = click.option(
    "--labels",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/labels"),
    show_default=True,
    help="What `label` writes.",
)
_teachers = click.option("--teachers", type=_folder, default=Path("../shared/teachers"), show_default=True)


@click.group()
def main() -> None:
    """Train, quantise, pack and grade EdgeFace's students."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


@main.command()
@_data
def split(data: Path) -> None:
    """Fix which image trains and which grades; rewrites quantization/splits."""
    from .splits import make_all

    for path, count in make_all(data):
        click.echo(f"{path.name}: {count} images")


@main.command()
@_data
@_labels
@_teachers
@click.option("--only", multiple=True, help="Only these splits.")
@click.option(
    "--parsing",
    "weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Weights of the parsing teacher: it draws the maps of the splits named by --only.",
)
def label(data: Path, labels: Path, teachers: Path, only: tuple[str, ...], weights: Path | None) -> None:
    """Let the teachers label boxes and points, or, with --parsing, maps."""
    from .label import label_all, label_parsing

    if weights is None:
        label_all(data, teachers, labels, only or None)
        return
    from .teachers.parsing import labeller

    ask = labeller(load_recipe(RECIPES / "parsing-teacher.toml"), weights)
    for name in only or ("celeba_hq",):
        click.echo(f"{name}: {label_parsing(data, labels, name, ask)} maps")


@main.command()
@click.argument("recipe", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_data
@_labels
@_teachers
@click.option(
    "--run", type=click.Path(file_okay=False, path_type=Path), default=None, help="Folder of the run."
)
@click.option("--threads", default=2, show_default=True)
def train(recipe: Path, data: Path, labels: Path, teachers: Path, run: Path | None, threads: int) -> None:
    """Train the student (or the teacher) of RECIPE; resumes a run that was cut off."""
    from .training import Schedule, fit

    settings = load_recipe(recipe)
    task = load_task(settings, data, labels, teachers)
    fit(task, Schedule(**settings["schedule"]), run or Path("runs") / recipe.stem, threads)


@main.command()
@_data
@_labels
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Folder of TASK.npz.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=_BUNDLE, show_default=True)
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only these tasks (default: all)."
)
def pack(data: Path, labels: Path, weights: Path, out: Path, tasks: tuple[str, ...]) -> None:
    """Quantise the trained weights and write the bundle."""
    from .build import build

    content = build([RECIPES / f"{t}.toml" for t in tasks or TASKS], data, labels, weights, _METRICS)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(out)
    click.echo(f"{out}: {len(content):,} bytes")


@main.command()
@_data
@_labels
@click.option(
    "--model",
    "--bundle",
    "model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=_BUNDLE,
    help="The bundle to grade (default: the built-in one).",
)
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Of the float networks.")
@click.option("--precision", type=click.Choice(["int8", "fp32"]), multiple=True, default=("int8", "fp32"))
@click.option("--teacher", is_flag=True, help="Grade YuNet and the face mesh too, under `teacher`.")
@click.option(
    "--teachers",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("../shared/teachers"),
    show_default=True,
    help="Where they lie.",
)
@click.option(
    "--task", "tasks", multiple=True, type=click.Choice(TASKS), help="Only these tasks (default: all)."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), default=_METRICS, show_default=True)
def evaluate(
    data: Path,
    labels: Path,
    model: Path,
    weights: Path,
    precision: tuple[str, ...],
    teacher: bool,
    teachers: Path,
    tasks: tuple[str, ...],
    out: Path,
) -> None:
    """Grade a bundle on the validation splits, int8 and the float networks it came from.

    Merges the figures into OUT and what their plots are drawn from into `curves.json` beside it.
    """
    from .evaluate import graders, record

    made = graders(model, weights, data, labels, precision, teachers if teacher else None)
    for kind, graded_tasks, grader in made:
        for task in [t for t in tasks or TASKS if t in graded_tasks]:
            graded = grader.measure(task)
            record(out, task, kind, graded.metrics)
            record(out.with_name("curves.json"), task, kind, graded.curves)
            click.echo(f"{task} {kind}: " + json.dumps(graded.metrics))


@main.command()
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/report"),
    show_default=True,
    help="Folder of the page and its plots.",
)
@click.option(
    "--results",
    type=_folder,
    default=_METRICS.parent,
    show_default="quantization/results",
    help="Where `evaluate` wrote.",
)
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Of the float networks.")
@click.option(
    "--model",
    "--bundle",
    "model",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=_BUNDLE,
    help="The bundle that was graded (default: the built-in one).",
)
def report(out: Path, results: Path, weights: Path, model: Path) -> None:
    """Write a page of what was measured: figures and plots per student, and where they come from."""
    from .report import Sources, write_report

    try:
        page = write_report(Sources(results=results, weights=weights, bundle=model), out)
    except FileNotFoundError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{page}: {page.stat().st_size:,} bytes")


@main.command()
@click.option("--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=_BUNDLE)
@click.option(
    "--benchmark",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=_HERE.parent / "benchmarks" / "results" / "facemesh-x86-64.json",
    show_default=True,
)
def tables(bundle: Path, benchmark: Path) -> None:
    """Rewrite the README's tables from the metrics, the bundle and the benchmark's result."""
    from .tables import rewrite

    readme = _HERE.parent / "README.md"
    readme.write_text(rewrite(readme.read_text(), _METRICS, bundle, benchmark))


@main.command("teachers")
@click.argument("name", required=False)
@click.option("--model", type=click.Path(dir_okay=False, path_type=Path), help="The .onnx file you brought.")
@click.option(
    "--checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of bisenet19: written to --model first.",
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=_HERE.parent / "examples" / "astronaut.jpg",
    help="What it is tried on (default: the astronaut).",
)
@click.option(
    "--teachers",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("../shared/teachers"),
    show_default=True,
    help="Where YuNet lies, which finds the face.",
)
@click.option("--accept-licence", is_flag=True, help="You have read the terms and may use it.")
def show_teachers(
    name: str | None,
    model: Path | None,
    checkpoint: Path | None,
    image: Path,
    teachers: Path,
    accept_licence: bool,
) -> None:
    """List the teachers; with NAME (or a .toml file) tell all about one, with --model try it on a photo."""
    from .teachers.catalogue import adapter_named, description, overview, try_model

    if name is None:
        click.echo(overview())
        return
    try:
        adapter = adapter_named(name)
        click.echo(description(adapter))
        if model:
            click.echo(try_model(adapter, model, checkpoint, image, teachers, accept_licence))
    except ValueError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.argument("source")
@_data
@_labels
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Of a student: folder of TASK.npz.")
@click.option("--images", type=_folder, help="Of an .onnx: photos like those that it will see.")
@click.option("--frames", default=100, show_default=True, help="Of an .onnx: how many of them.")
@click.option("--mean", type=float, multiple=True, default=(0.0,), help="Of an .onnx: once, or per channel.")
@click.option("--std", type=float, multiple=True, default=(1.0,), help="Of an .onnx: once, or per channel.")
@click.option("--bgr", is_flag=True, help="Of an .onnx: it takes BGR.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/converted"),
    show_default=True,
)
def convert(
    source: str,
    data: Path,
    labels: Path,
    weights: Path,
    images: Path | None,
    frames: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    bgr: bool,
    out: Path,
) -> None:
    """Write every file of the student SOURCE, or quantise the .onnx SOURCE, whatever its origin."""
    from .convert import ExportError
    from .foreign import Pixels, convert_file

    try:
        if source in TASKS:
            from .artifacts import student_artifacts

            files = student_artifacts(source, data, labels, weights)
        elif images is None:
            raise click.UsageError(f"{source} is none of {', '.join(TASKS)}; for an .onnx file give --images")
        else:
            files, summary = convert_file(Path(source), images, Pixels(mean, std, bgr), frames)
            click.echo(summary)
    except (ExportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        partial = out / f"{name}.partial"
        partial.write_bytes(content)
        partial.replace(out / name)
        click.echo(f"{out / name}: {len(content):,} bytes")


@main.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Plain JSON.")
@click.pass_context
def check(context: click.Context, model: Path, as_json: bool) -> None:
    """Tell what of MODEL, a .tflite or a bundle, an Edge TPU would take.

    Asks edgetpu_compiler too where that is on PATH. Exit code 1 if anything stays on the CPU.
    """
    from edgeface import EdgeFaceError

    from .check import read_networks, verdict
    from .convert import ExportError
    from .edgetpu_compiler import find_compiler

    compiler = find_compiler()
    try:
        verdicts = [verdict(name, content, compiler) for name, content in read_networks(model)]
    except (ExportError, EdgeFaceError) as error:
        raise click.ClickException(f"{model}: {error}") from error
    if as_json:
        click.echo(json.dumps([found.to_dict() for found in verdicts], indent=1))
    else:
        click.echo("\n".join(found.summary() for found in verdicts))
    if not verdicts or not all(found.fully_mapped for found in verdicts):
        context.exit(1)


@main.command()
@click.argument("tasks", nargs=-1, type=click.Choice(TASKS))
@_data
@_labels
@click.option("--weights", type=_folder, default=_HERE / "weights", help="Folder of TASK.npz.")
@click.option("--bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=_BUNDLE)
@click.option(
    "--metrics",
    type=click.Path(dir_okay=False, path_type=Path),
    default=_METRICS,
    show_default=True,
    help="What `evaluate` wrote.",
)
@click.option("--frames", default=64, show_default=True, help="Validation photos per task.")
@click.option(
    "--python-tflite-runtime",
    "tflite_runtime",
    type=click.Path(exists=True, path_type=Path),
    help="A Python that has tflite-runtime.",
)
@click.option(
    "--python-tflite-micro",
    "tflite_micro",
    type=click.Path(exists=True, path_type=Path),
    help="A Python that has tflite-micro.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The same as JSON.")
@click.pass_context
def parity(
    context: click.Context,
    tasks: tuple[str, ...],
    data: Path,
    labels: Path,
    weights: Path,
    bundle: Path,
    metrics: Path,
    frames: int,
    tflite_runtime: Path | None,
    tflite_micro: Path | None,
    out: Path | None,
) -> None:
    """Hold every runtime of the TASKS' students (default: all) against PyTorch.

    Exit code 1 if a gate fails.
    """
    from edgeface import Bundle, EdgeFaceError

    from .artifacts import student_parity
    from .convert import ExportError

    figures = json.loads(metrics.read_text()) if metrics.exists() else {}
    given = {"tflite-runtime": tflite_runtime, "tflite-micro": tflite_micro}
    found = []
    try:
        loaded = Bundle.load(bundle)
        for task in tasks or TASKS:
            found.append(
                student_parity(
                    task,
                    loaded,
                    data,
                    labels,
                    weights,
                    frames=frames,
                    figures=figures.get(task, {}),
                    interpreters={kind: python for kind, python in given.items() if python},
                )
            )
            click.echo(found[-1].table())
    except (ExportError, EdgeFaceError) as error:
        raise click.ClickException(str(error)) from error
    if out:
        out.write_text(json.dumps([one.to_dict() for one in found], indent=1) + "\n")
    failed = [gate for one in found for gate in one.failed]
    if failed:
        click.echo("\n".join(f"FAILED: {gate}" for gate in failed), err=True)
        context.exit(1)


if __name__ == "__main__":
    main()
