"""Files for every target, and whether they hold: `convert`, `calibrate`, `check`, `parity`, `pack`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..card import CardError
from ..datasets import DataSetError
from ..lines import Line
from ..provenance import write_bytes, write_json
from ..recipe import TASKS, RecipeError
from ..terms import TermsError
from . import options

__all__ = ["calibrate", "check", "convert", "pack", "parity"]

_SIGNED_DAYS = 365


@click.command()
@click.argument("source")
@options.some_data
@options.labels
@options.student_weights
@options.run
@click.option("--images", type=options.FOLDER, help="Of an .onnx: photos like those that it will see.")
@click.option("--frames", default=100, show_default=True, help="Of an .onnx: how many of them.")
@click.option("--mean", type=float, multiple=True, default=(0.0,), help="Of an .onnx: once, or per channel.")
@click.option("--std", type=float, multiple=True, default=(1.0,), help="Of an .onnx: once, or per channel.")
@click.option("--bgr", is_flag=True, help="Of an .onnx: it takes BGR.")
@click.option(
    "--min-sqnr-db",
    "least",
    default=20.0,
    show_default=True,
    help="Of an .onnx: what every output must keep; less where one is silent on these photos.",
)
@click.option(
    "--to",
    "formats",
    multiple=True,
    type=click.Choice(["tflite", "onnx"]),
    default=("tflite", "onnx"),
    show_default=True,
    help="Of an .onnx: what it becomes.",
)
@options.folder_out(Path("runs/converted"), "Folder of the files.")
def convert(
    source: str,
    data: Path,
    labels: Path,
    weights: Path | None,
    run: Path | None,
    images: Path | None,
    frames: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    bgr: bool,
    least: float,
    formats: tuple[str, ...],
    out: Path,
) -> None:
    """Write every file of the student SOURCE, a RECIPE or a task, or quantise the .onnx SOURCE of any origin.

    An .onnx becomes a .tflite (`check` tells what an Edge TPU takes of it) and an .onnx each for CPUs and for
    TensorRT; what stays float is named. Exit code 1 if an output keeps too little; the files are written all
    the same.
    """
    from ..convert import ExportError
    from ..foreign import Pixels, convert_file, outdated

    noisy: tuple[str, ...] = ()
    older: tuple[str, ...] = ()
    try:
        if source in TASKS or source.endswith(".toml"):
            from ..artifacts import student_artifacts

            files = student_artifacts(options.student(source, weights, run), data, labels)
        elif images is None:
            known = f"{', '.join(TASKS)}, nor a recipe's .toml"
            raise click.UsageError(f"{source} is none of {known}; for an .onnx file give --images")
        else:
            files, made = convert_file(Path(source), images, Pixels(mean, std, bgr), frames, least, formats)
            click.echo("\n".join(one.summary() for one in made))
            noisy = tuple(said for one in made for said in one.told_noisy)
            older = outdated(Path(source).stem, files)
    except (DataSetError, ExportError, OSError, RecipeError) as error:
        raise click.ClickException(str(error)) from error
    for name, content in files.items():
        write_bytes(out / name, content)
        click.echo(f"{out / name}: {len(content):,} bytes")
    for path in (out / name for name in older):
        if path.exists():
            path.unlink()
            click.echo(f"{path}: removed, an earlier run's form of this network")
    if noisy:
        raise click.ClickException("\n".join(noisy))


@click.command()
@click.argument("student")
@options.data
@options.labels
@options.student_weights
@options.run
@options.file_out(None, "Where to write the JSON (default: standard output).")
def calibrate(
    student: str, data: Path, labels: Path, weights: Path | None, run: Path | None, out: Path | None
) -> None:
    """Tell the range of every tensor of STUDENT, a RECIPE or a task, over its calibration crops, as JSON.

    `convert`, `pack` and `build` calibrate by themselves; this shows what they see: a tensor with a few
    extreme values is what ruins an int8 file.
    """
    from ..artifacts import student_ranges

    try:
        found = student_ranges(options.student(student, weights, run), data, labels)
    except (DataSetError, RecipeError) as error:
        raise click.ClickException(str(error)) from error
    if out is None:
        click.echo(json.dumps(found, indent=1))
    else:
        write_json(out, found)
        click.echo(f"{out}: {len(found)} tensors")


@click.command()
@click.argument("model", type=options.FILE)
@click.option("--json", "as_json", is_flag=True, help="Plain JSON.")
@click.pass_context
def check(context: click.Context, model: Path, as_json: bool) -> None:
    """Tell what of MODEL, a .tflite or a bundle, an Edge TPU would take.

    Asks edgetpu_compiler too where that is on PATH. Exit code 1 if anything stays on the CPU.
    """
    from edgeface import EdgeFaceError
    from edgeface.edgetpu_compiler import find_compiler

    from ..check import read_networks, verdict
    from ..convert import ExportError

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


@click.command()
@click.argument("students", nargs=-1)
@options.data
@options.labels
@options.student_weights
@options.run
@click.option(
    "--bundle",
    type=options.FILE,
    help="Default: the built-in one, of a RECIPE what `pack` wrote into its run.",
)
@click.option(
    "--metrics",
    type=options.NEW_FILE,
    help="What `evaluate` wrote (default: quantization/results/metrics.json, of a RECIPE its run's).",
)
@click.option(
    "--unmeasured", is_flag=True, help="Pass what `evaluate` has not measured: signal over noise alone."
)
@click.option("--frames", default=64, show_default=True, help="Validation photos per task.")
@options.python_tflite_runtime
@options.python_tflite_micro
@options.file_out(None, "The same as JSON.")
@click.pass_context
def parity(
    context: click.Context,
    students: tuple[str, ...],
    data: Path,
    labels: Path,
    weights: Path | None,
    run: Path | None,
    bundle: Path | None,
    metrics: Path | None,
    unmeasured: bool,
    frames: int,
    tflite_runtime: Path | None,
    tflite_micro: Path | None,
    out: Path | None,
) -> None:
    """Hold every runtime of the STUDENTS, RECIPES or tasks (default: all tasks), against PyTorch.

    Exit code 1 if a gate fails, or cannot be judged because `evaluate` has not measured what int8 costs.
    """
    from edgeface import Bundle, EdgeFaceError

    from ..artifacts import student_parity
    from ..convert import ExportError

    found = []
    try:
        for student in options.students(students, weights, run):
            measured = metrics or options.metrics_of(student)
            figures = json.loads(measured.read_text()) if measured.exists() else {}
            found.append(
                student_parity(
                    student,
                    Bundle.load(bundle or options.bundle_of(student)),
                    data,
                    labels,
                    frames=frames,
                    figures=figures.get(student.task, {}),
                    interpreters=options.interpreters(tflite_runtime, tflite_micro),
                )
            )
            click.echo(found[-1].table())
    except (DataSetError, ExportError, RecipeError, EdgeFaceError) as error:
        raise click.ClickException(str(error)) from error
    if out:
        write_json(out, [one.to_dict() for one in found])
    failed = [str(gate) for one in found for gate in one.failed]
    if not unmeasured:
        failed += [
            f"{one.task}: what int8 costs is not measured; run `evaluate`, or pass --unmeasured"
            for one in found
            if one.unmeasured
        ]
    if failed:
        click.echo("\n".join(f"FAILED: {line}" for line in failed), err=True)
        context.exit(1)


@click.command()
@click.argument("students", nargs=-1)
@options.data
@options.labels
@options.some_teachers
@options.student_weights
@options.run
@click.option(
    "--metrics",
    type=options.NEW_FILE,
    help="What `evaluate` wrote (default: quantization/results/metrics.json, of a RECIPE its run's).",
)
@click.option(
    "--out",
    type=options.NEW_FILE,
    help="The bundle to write (default: the built-in one, of one RECIPE student.bundle in its run).",
)
@options.only_tasks
@options.line
@click.option(
    "--with", "formats", multiple=True, type=click.Choice(["onnx"]), help="Each student in this format, too."
)
@click.option(
    "--sign",
    "owners",
    type=options.FILE,
    multiple=True,
    help="release-NAME.pem: sign the bundle with it for devices, as `publish sign` does, for a year.",
)
def pack(
    students: tuple[str, ...],
    data: Path,
    labels: Path,
    teachers: Path,
    weights: Path | None,
    run: Path | None,
    metrics: Path | None,
    out: Path | None,
    tasks: tuple[str, ...],
    line: Line,
    formats: tuple[str, ...],
    owners: tuple[Path, ...],
) -> None:
    """Quantise the trained weights of the STUDENTS, RECIPES or tasks (default: all tasks), into one bundle.

    A bundle that was packed before `evaluate` says that nothing was measured: pack it again afterwards.
    """
    from edgeface import EdgeFaceError

    from ..artifacts import student_bundle
    from ..convert import ExportError

    found = options.students((*students, *tasks), weights, run, line)
    own = [one for one in found if one.run]
    if own and len(found) > 1:
        for given, option in ((out, "--out"), (metrics, "--metrics")):
            if given is None:
                raise click.UsageError(f"several students, and a RECIPE among them: give {option}")
    try:
        content = student_bundle(
            found,
            data,
            labels,
            metrics or options.metrics_of(found[0]),
            teachers=teachers,
            with_onnx="onnx" in formats,
        )
    except (DataSetError, ExportError, RecipeError, TermsError, CardError, EdgeFaceError) as error:
        raise click.ClickException(str(error)) from error
    path = out or options.bundle_of(found[0])
    write_bytes(path, content)
    click.echo(f"{path}: {len(content):,} bytes")
    if owners:
        from ..publish import PublishError, sign_release

        try:
            click.echo(sign_release(path, owners, _SIGNED_DAYS))
        except PublishError as error:
            raise click.ClickException(str(error)) from error
