"""`edgeface models warmup`: opens every model once, so that nothing has to be built when it is needed.

TensorRT builds an engine per model, which takes minutes on a Jetson and is silent; here it is watched.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import click

from edgeface.backends.base import create
from edgeface.bundle import Bundle
from edgeface.cli.inputs import printable
from edgeface.golden import golden_input

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["warm_up"]


def warm_up(path: Path | None, backend_name: str, threads: int = 1, *, rebuild: bool = False) -> None:
    """Open and run every model of a bundle on one backend, and say what ran it and how long that took.

    In this process and without a deadline: what `isolated` would take for a hang is TensorRT at work.

    Args:
        path: the bundle; None for the built-in one.
        backend_name: as `FaceAnalyzer` takes it, for example ``"onnx:tensorrt"``.
        threads: per model.
        rebuild: delete what was built before.

    Raises:
        ArgumentError: there is no such backend.
        BundleError: the bundle is damaged, or holds a model in no format of the backend.
        DeviceError: the backend is not there, or cannot run a model.
    """
    bundle = Bundle.builtin() if path is None else Bundle.load(path)
    backend = create(backend_name)
    forget = getattr(backend, "forget", None)
    if rebuild and forget is None:
        click.echo(f"{backend_name} keeps nothing between runs, so there is nothing to build anew", err=True)
    specs = [bundle.model(task).for_formats(backend.formats) for task in bundle.tasks]
    for number, spec in enumerate(specs, 1):
        artifact = bundle.artifact(spec.artifact)
        if rebuild and forget is not None:
            forget(artifact)
        start = time.monotonic()
        with _working(f"{spec.task} ({number} of {len(specs)}): opening on {backend_name}"):
            session = backend.open(spec, artifact, threads)
            opened = time.monotonic()
            try:
                session.run(golden_input(spec))
                ran = session.ran
            finally:
                session.close()
        left = "" if ran.cpu_operators is None else f", {ran.cpu_operators} operators on the CPU"
        click.echo(
            printable(
                f"{spec.task}: {ran.delegate or 'no delegate'}, {ran.precision}{left}; opened in "
                f"{opened - start:.1f} s, first frame {(time.monotonic() - opened) * 1e3:.0f} ms"
            )
        )


@contextlib.contextmanager
def _working(what: str) -> Iterator[None]:
    """A line that counts the seconds on a terminal; elsewhere a plain one, so that a log shows it, too."""
    if not sys.stderr.isatty():
        click.echo(f"{what} ...", err=True)
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(what, total=None)
        yield
