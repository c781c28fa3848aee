"""Data and labels: `split`, `shard`, `label`, `teachers`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import asked, options

if TYPE_CHECKING:
    from ..panel import Panel

__all__ = ["label", "mistaken", "shard", "show_teachers", "split"]


@click.command()
@options.data
def split(data: Path) -> None:
    """Fix which image trains and which grades; rewrites quantization/splits."""
    from ..splits import make_all

    for path, count in make_all(data):
        click.echo(f"{path.name}: {count} images")


@click.command()
@options.data
@options.teachers
def mistaken(data: Path, teachers: Path) -> None:
    """List what the built-in detector takes for a face; rewrites quantization/splits/lfpw-mistaken.csv."""
    from ..mistaken import make_mistaken

    click.echo(f"{make_mistaken(data, teachers)} boxes without a face")


@click.command()
@click.argument("data_set", type=options.data_set)
@click.option("--part", help="Only this part of it (default: all).")
@click.option("--size", type=click.IntRange(1), default=1000, show_default=True, help="Samples in a shard.")
@click.option("--licence", help="Of pictures of your own (folder:PATH): on what terms they may be used.")
@click.option("--title", help="Of --licence: whose pictures they are (default: the folder's name).")
@click.option("--commercial", is_flag=True, help="Of --licence: it allows commercial use.")
@options.folder_out(Path("runs/shards"), "Folder of the shards.")
def shard(
    data_set: tuple[str, Path],
    part: str | None,
    size: int,
    licence: str | None,
    title: str | None,
    commercial: bool,
    out: Path,
) -> None:
    """Write a data set, KIND:PATH, as webdataset shards, labels and terms included.

    The terms travel with the shards to the licence of what learns from them. Of pictures whose terms nobody
    states no permission is known: weights that learned from them are for research only.
    """
    from ..datasets import DataSetError, Terms, open_dataset
    from ..datasets.shards import write_shards

    if (title or commercial) and not licence:
        raise click.UsageError("--title and --commercial are of --licence: give it")
    own = Terms(title or data_set[1].name, licence, commercial, "who made the shards") if licence else None
    try:
        data = open_dataset(*data_set, own, **({"part": part} if part else {}))
        paths = write_shards(out, data, data.terms, size)
    except DataSetError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out}: {len(paths)} shards, {len(data.faults)} broken items left out")
    for fault in data.faults:
        click.echo(f"  {fault}")


@click.command()
@options.some_data
@options.labels
@options.some_teachers
@click.option("--only", multiple=True, help="Only these splits.")
@click.option(
    "--parsing",
    "weights",
    type=options.FILE,
    multiple=True,
    help="Weights of a parsing teacher: it draws the maps of the splits named by --only; --teacher is its "
    "RECIPE (default: parsing-teacher). Several, in the order of --teacher, draw together.",
)
@click.option(
    "--shards",
    type=click.Path(exists=True, path_type=Path),
    help="Webdataset shards (a folder or a .tar, see `shard`): label these, with --teacher.",
)
@asked.teacher
@options.teacher_models
@asked.mirror
@options.accept_licence
@options.folder_out(Path("runs/labelled"), "Of --shards: where the labelled shards go.")
@options.engine
@options.workers
def label(
    data: Path,
    labels: Path,
    teachers: Path,
    only: tuple[str, ...],
    weights: tuple[Path, ...],
    shards: Path | None,
    names: tuple[str, ...],
    models: tuple[Path, ...],
    mirror: bool,
    accept_licence: bool,
    out: Path,
    engine: str,
    workers: int,
) -> None:
    """Let the teachers label boxes, points and blendshapes, or, with --parsing, maps; or any teacher shards.

    With --shards every shard becomes a new one with what the teachers say in it: several as one, and how far
    they agree. A shard that is done stays done: after a crash the same command does the rest.
    """
    if shards is not None:
        if not names:
            raise click.UsageError("--shards needs --teacher: who is to label")
        panel = asked.panel_of(names, models, mirror, data, labels, accept_licence)
        _label_shards(shards, panel, teachers, out, engine, workers)
        return
    if mirror or models:
        raise click.UsageError("--mirror and --model are of --shards: give it")
    if engine != "local":
        raise click.UsageError(f"--engine {engine} works over shards: give --shards (see `shard`)")
    for folder, option in ((data, "--data"), (teachers, "--teachers")):
        if not folder.is_dir():
            raise click.BadParameter(f"{folder}: there is no such folder", param_hint=option)
    from ..coefficients import label_blendshapes
    from ..label import label_all, label_parsing

    if not weights:
        label_all(data, teachers, labels, only or None)
        label_blendshapes(data, teachers, labels, only or None)
        return
    from ..provenance import digest
    from ..recipe import RECIPES, RecipeError, load_recipe
    from ..teachers.parsing import Drawer, labeller

    recipes = [Path(name) for name in names] or [RECIPES / "parsing-teacher.toml"] * len(weights)
    if len(recipes) != len(weights):
        raise click.UsageError(
            f"--parsing was given {len(weights)} times and --teacher {len(names)} times: a RECIPE to each"
        )
    try:
        drawers = [Drawer.of(load_recipe(path), file) for path, file in zip(recipes, weights, strict=True)]
    except (RecipeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    ask, drawn_by = labeller(drawers), "\n".join(f"{digest(file)}" for file in (*recipes, *weights))
    for name in only or ("celeba_hq",):
        click.echo(f"{name}: {label_parsing(data, labels, name, ask, drawn_by=drawn_by)} maps")


def _label_shards(shards: Path, panel: Panel, teachers: Path, out: Path, engine: str, workers: int) -> None:
    from ..shardlabels import Labelling, label_shards, summary

    try:
        click.echo(summary(label_shards(Labelling.of(panel, teachers), shards, out, engine, workers)))
    except ValueError as error:  # of panel, adapter, data set and engine, which name the mend
        raise click.ClickException(str(error)) from error


@click.command("teachers")
@click.argument("name", required=False)
@click.option("--model", type=options.NEW_FILE, help="The file you brought.")
@click.option(
    "--checkpoint", type=options.FILE, help="The authors' .pth or .pt: it is written to --model first."
)
@click.option(
    "--image",
    type=options.FILE,
    default=options.HERE.parent / "examples" / "astronaut.jpg",
    help="What it is tried on (default: the astronaut).",
)
@options.some_teachers
@options.accept_licence
def show_teachers(
    name: str | None,
    model: Path | None,
    checkpoint: Path | None,
    image: Path,
    teachers: Path,
    accept_licence: bool,
) -> None:
    """List the teachers; with NAME (or a .toml file) tell all about one, with --model try it on a photo."""
    from ..teachers.catalogue import adapter_named, built_in, description, overview, try_model

    if checkpoint and not (name and model):
        raise click.UsageError(
            "--checkpoint needs NAME and --model: whose it is, and where its .onnx file goes"
        )
    if name is None:
        click.echo(overview())
        return
    try:
        adapter = built_in(name) or adapter_named(name)
        click.echo(description(adapter))
        if model:
            click.echo(try_model(adapter, model, checkpoint, image, teachers, accept_licence))
    except ValueError as error:
        raise click.ClickException(str(error)) from error
