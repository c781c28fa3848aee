"""`edgeface models compile`: the students of a bundle compiled for the Edge TPU, in a new bundle."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import click

from edgeface.backends.tflite_graph import check_graph
from edgeface.bundle import Bundle, ModelSpec, encode_bundle
from edgeface.cli.inputs import printable
from edgeface.cli.quiet import without_remarks
from edgeface.edgetpu_compiler import ON_CPU, compile_model, find_compiler
from edgeface.errors import ArgumentError, BundleError, DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeface.edgetpu_compiler import CompilerReport

__all__ = ["compile_bundle"]

_ABSENT = (
    "edgetpu_compiler is not on PATH, so nothing was compiled; it is a program for x86-64 Debian and Ubuntu: "
    "install it there (coral.ai/docs/edgetpu/compiler), compile, and copy the new bundle to the device"
)


def compile_bundle(path: Path | None, out: Path) -> int:
    """Compile every student of a bundle for the Edge TPU and write a bundle that holds both forms.

    Args:
        path: the bundle; None for the built-in one.
        out: file of the new bundle, which must not exist.

    Returns:
        0: everything maps. 3: something stays on the CPU; the bundle is written all the same.

    Raises:
        ArgumentError: ``out`` exists.
        BundleError: the bundle is damaged, or the compiler made another graph of a student.
        DeviceError: there is no compiler, it does not run, or it refuses a student.
        OSError: ``out`` cannot be written.
    """
    if out.exists():
        raise ArgumentError(f"--out {out}: exists already; name a new file")
    bundle = Bundle.builtin() if path is None else Bundle.load(path)
    compiler = find_compiler()
    if compiler is None:
        for task in bundle.tasks:
            click.echo(_known(bundle.model(task)))
        raise DeviceError(_ABSENT)
    models: dict[str, ModelSpec] = {}
    artifacts = {artifact.name: bundle.artifact(artifact.name) for artifact in bundle.artifacts}
    whole = True
    for task in bundle.tasks:
        spec = bundle.model(task)
        if "tflite" not in spec.formats:
            click.echo(f"{task}: has no tflite artifact; left as it is")
            models[task] = spec
            continue
        source = spec.for_formats(frozenset({"tflite"}))
        report, compiled = compile_model(compiler, bundle.artifact(source.artifact))
        click.echo(_printable_lines(f"{task}: {report.summary()}"))
        if compiled is None:
            raise DeviceError(f"edgetpu_compiler refuses {task!r}: {printable(str(report.refusal))}")
        whole = whole and report.fully_mapped
        name = f"{source.artifact.removesuffix('.tflite')}_edgetpu.tflite"
        _check_compiled(dataclasses.replace(source, artifact=name), compiled)
        artifacts[name] = compiled
        models[task] = _with_variant(spec, name, report)
    out.write_bytes(encode_bundle(_header(bundle, models), artifacts))
    click.echo(f"wrote {out}")
    return 0 if whole else 3


def _printable_lines(text: str) -> str:
    """Several lines without anything that a terminal would obey."""
    return "\n".join(printable(line) for line in text.splitlines())


def _known(spec: ModelSpec) -> str:
    left = spec.metrics.get(ON_CPU)
    if left is None:
        return f"{spec.task}: the bundle holds no verdict on the Edge TPU"
    verdict = "everything maps" if left == 0 else f"{left:g} operators stay on the CPU"
    return f"{spec.task}: {verdict}, by the check that the bundle was packed with; no compiler has seen it"


def _check_compiled(spec: ModelSpec, compiled: bytes) -> None:
    """The header goes on to describe the compiled file, so its tensors must be the same."""
    from ai_edge_litert.interpreter import Interpreter

    if b"edgetpu-custom-op" not in compiled:
        raise BundleError(f"artifact '{spec.artifact}': edgetpu_compiler mapped nothing of it")
    try:
        with without_remarks():
            interpreter = Interpreter(model_content=compiled, num_threads=1)
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (RuntimeError, ValueError) as error:
        raise BundleError(f"artifact '{spec.artifact}': edgetpu_compiler wrote no model ({error})") from error
    check_graph(spec, inputs, outputs)


def _with_variant(spec: ModelSpec, name: str, report: CompilerReport) -> ModelSpec:
    return dataclasses.replace(
        spec,
        variants={**spec.variants, "edgetpu": name},
        metrics={**spec.metrics, ON_CPU: float(report.on_cpu)},
    )


def _header(bundle: Bundle, models: Mapping[str, ModelSpec]) -> dict[str, Any]:
    facts = {name: getattr(bundle, name) for name in ("name", "version", "created_by", "licence")}
    return {
        **facts,
        "models": {task: _plain(spec) for task, spec in models.items()},
        "cards": {task: card for task, card in bundle.cards.items() if task in models},
    }


def _plain(spec: ModelSpec) -> dict[str, Any]:
    """A model as the header writes it: the fields of the types, by their names."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(spec):
        value = getattr(spec, field.name)
        if field.name in ("input", "crop") and value is not None:
            values[field.name] = dataclasses.asdict(value)
        elif field.name == "outputs":
            values[field.name] = [dataclasses.asdict(output) for output in value]
        elif field.name in ("head", "metrics", "variants"):
            values[field.name] = dict(value)
        else:
            values[field.name] = value
    return values
