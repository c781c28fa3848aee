"""Data and labels: `split`, `label`, `teachers`."""

from __future__ import annotations

from pathlib import Path

import click

from . import options

__all__ = ["label", "show_teachers", "split"]


@click.command()
@options.data
def split(data: Path) -> None:
    """Fix which image trains and which grades; rewrites quantization/splits."""
    from ..splits import make_all

    for path, count in make_all(data):
        click.echo(f"{path.name}: {count} images")


@click.command()
@options.data
@options.labels
@options.teachers
@click.option("--only", multiple=True, help="Only these splits.")
@click.option(
    "--parsing",
    "weights",
    type=options.FILE,
    default=None,
    help="Weights of the parsing teacher: it draws the maps of the splits named by --only.",
)
def label(data: Path, labels: Path, teachers: Path, only: tuple[str, ...], weights: Path | None) -> None:
    """Let the teachers label boxes and points, or, with --parsing, maps."""
    from ..label import label_all, label_parsing

    if weights is None:
        label_all(data, teachers, labels, only or None)
        return
    from ..recipe import RECIPES, load_recipe
    from ..teachers.parsing import labeller

    ask = labeller(load_recipe(RECIPES / "parsing-teacher.toml"), weights)
    for name in only or ("celeba_hq",):
        click.echo(f"{name}: {label_parsing(data, labels, name, ask)} maps")


@click.command("teachers")
@click.argument("name", required=False)
@click.option("--model", type=options.NEW_FILE, help="The .onnx file you brought.")
@click.option("--checkpoint", type=options.FILE, help="Of bisenet19: written to --model first.")
@click.option(
    "--image",
    type=options.FILE,
    default=options.HERE.parent / "examples" / "astronaut.jpg",
    help="What it is tried on (default: the astronaut).",
)
@options.some_teachers
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
    from ..teachers.catalogue import adapter_named, description, overview, try_model

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
