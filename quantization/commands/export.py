"""Files for every target, and whether they hold: `convert`, `calibrate`, `check`, `parity`, `pack`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ..card import CardError
from ..provenance import write_bytes, write_json
from ..recipe import RECIPES, TASKS
from ..terms import TermsError
from . import options

__all__ = ["calibrate", "check", "convert", "pack", "parity"]


@click.command()
@click.argument("source")
@options.some_data
@options.labels
@options.weights
@click.option("--images", type=options.FOLDER, help="Of an .onnx: photos like those that it will see.")
@click.option("--frames", default=100, show_default=True, help="Of an .onnx: how many of them.")
@click.option("--mean", type=float, multiple=True, default=(0.0,), help="Of an .onnx: once, or per channel.")
@click.option("--std", type=float, multiple=True, default=(1.0,), help="Of an .onnx: once, or per channel.")
@click.option("--bgr", is_flag=True, help="Of an .onnx: it takes BGR.")
@options.folder_out(Path("runs/converted"), "Folder of the files.")
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
    from ..convert import ExportError
    from ..foreign import Pixels, convert_file

    try:
        if source in TASKS:
            from ..artifacts import student_artifacts

            files = student_artifacts(source, data, labels, weights)
        elif images is None:
            raise click.UsageError(f"{source} is none of {', '.join(TASKS)}; for an .onnx file give --images")
        else:
            files, summary = convert_file(Path(source), images, Pixels(mean, std, bgr), frames)
            click.echo(summary)
    except (ExportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for name, content in files.items():
        write_bytes(out / name, content)
        click.echo(f"{out / name}: {len(content):,} bytes")


@click.command()
@click.argument("task", type=click.Choice(TASKS))
@options.data
@options.labels
@options.weights
@options.file_out(None, "Where to write the JSON (default: standard output).")
def calibrate(task: str, data: Path, labels: Path, weights: Path, out: Path | None) -> None:
    """Tell the range of every tensor of TASK's student over its calibration crops, as JSON.

    `convert`, `pack` and `build` calibrate by themselves; this shows what they see: a tensor with a few
    extreme values is what ruins an int8 file.
    """
    from ..artifacts import student_ranges

    found = student_ranges(task, data, labels, weights)
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
@click.argument("tasks", nargs=-1, type=click.Choice(TASKS))
@options.data
@options.labels
@options.weights
@options.bundle
@click.option(
    "--metrics",
    type=options.NEW_FILE,
    default=options.METRICS,
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
@options.file_out(None, "The same as JSON.")
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

    from ..artifacts import student_parity
    from ..convert import ExportError

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
        write_json(out, [one.to_dict() for one in found])
    failed = [gate for one in found for gate in one.failed]
    if failed:
        click.echo("\n".join(f"FAILED: {gate}" for gate in failed), err=True)
        context.exit(1)


@click.command()
@options.data
@options.labels
@options.weights
@options.file_out(options.BUNDLE, "The bundle to write.")
@options.only_tasks
@click.option(
    "--with", "formats", multiple=True, type=click.Choice(["onnx"]), help="Each student in this format, too."
)
def pack(
    data: Path, labels: Path, weights: Path, out: Path, tasks: tuple[str, ...], formats: tuple[str, ...]
) -> None:
    """Quantise the trained weights and write the bundle."""
    from ..build import build

    try:
        recipes = [RECIPES / f"{task}.toml" for task in tasks or TASKS]
        content = build(recipes, data, labels, weights, options.METRICS, with_onnx="onnx" in formats)
    except (TermsError, CardError) as error:
        raise click.ClickException(str(error)) from error
    write_bytes(out, content)
    click.echo(f"{out}: {len(content):,} bytes")
