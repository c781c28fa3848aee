"""`edgeface models`: what a bundle holds, as its verified header says."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from edgeface.bundle import Bundle
from edgeface.cli.inputs import printable
from edgeface.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["card_text", "listing", "show"]


def show(path: Path | None, as_json: bool) -> None:
    """List the models of a bundle (None: the built-in one)."""
    known = listing(_load(path))
    if as_json:
        click.echo(json.dumps(known, indent=2, allow_nan=False))
    else:
        (_table if sys.stdout.isatty() else _plain)(known)
        click.echo("edgeface models --card TASK tells how one was made, measured and may be used.")


def card_text(path: Path | None, task: str) -> str:
    """The model card of a task (Markdown), without anything that a terminal would obey."""
    bundle = _load(path)
    if task not in bundle.tasks:
        raise ArgumentError(f"--card: no model is for {task!r}; choose from {', '.join(bundle.tasks)}")
    text = bundle.card(task)
    if not text:
        return f"The bundle {bundle.name} has no card for {task}."
    return "\n".join(printable(line.expandtabs()) for line in text.splitlines())


def listing(bundle: Bundle) -> dict[str, Any]:
    """What is in a bundle, as plain values, in the form that ``--json`` prints (``edgeface.models/1``)."""
    artifacts = {artifact.name: artifact for artifact in bundle.artifacts}
    models = []
    for task in bundle.tasks:
        spec = bundle.model(task)
        artifact = artifacts[spec.artifact]
        models.append(
            {
                "task": task,
                "artifact": artifact.name,
                "size": artifact.size,
                "sha256": artifact.sha256,
                "format": spec.format,
                "variants": dict(spec.variants),
                "precision": spec.precision,
                "input": list(spec.input.shape),
                "labels": spec.labels,
                "metrics": dict(spec.metrics),
                "licence": spec.licence,
                "description": spec.description,
                "card": task in bundle.cards,
            }
        )
    return {
        "schema": "edgeface.models/1",
        "name": bundle.name,
        "version": bundle.version,
        "licence": bundle.licence,
        "created_by": bundle.created_by,
        "source": bundle.source,
        "digest": bundle.digest,
        "models": models,
    }


def _load(path: Path | None) -> Bundle:
    return Bundle.builtin() if path is None else Bundle.load(path)


def _cells(model: dict[str, Any]) -> list[str]:
    _, height, width, _ = model["input"]
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in model["metrics"].items())
    return [
        model["task"],
        model["artifact"],
        f"{model['size'] / 1000:.0f} kB",
        f"{model['precision']} {width} x {height}",
        _short(model["licence"], model["card"]),
        model["sha256"][:12],
        printable(metrics),
    ]


def _short(licence: str, card: bool) -> str:
    """What a licence says first; whose terms it follows from may be a paragraph, which the card tells."""
    first = licence.split(", ", 1)[0]
    if first != licence:
        first += ", see card" if card else ", see --json"
    return printable(first)


_TITLES = ("task", "artifact", "size", "input", "licence", "sha256", "metrics")
_FILE = ("size", "input", "sha256")  # one cell of the table, so that it fits a terminal of 80 columns


def _head(known: dict[str, Any]) -> str:
    return printable(f"{known['name']} {known['version']}, {known['licence']}, digest {known['digest'][:12]}")


def _plain(known: dict[str, Any]) -> None:
    click.echo(_head(known))
    rows = [list(_TITLES), *(_cells(model) for model in known["models"])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _table(known: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("task", no_wrap=True)
    table.add_column("\n".join(_FILE), no_wrap=True)
    table.add_column("licence", overflow="fold", max_width=16)
    table.add_column("metrics", overflow="fold")
    for model in known["models"]:
        cells = dict(zip(_TITLES, _cells(model), strict=True))
        file = "\n".join(cells[title] for title in _FILE)
        metrics = cells["metrics"].replace(", ", "\n")
        table.add_row(
            *(Text(cell) for cell in (cells["task"], file, cells["licence"], metrics)), end_section=True
        )
    console = Console(file=sys.stdout)
    console.print(Text(_head(known)))
    console.print(table)
