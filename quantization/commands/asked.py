"""The options by which `label` and `evaluate` name teachers, and the panel that they name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
import tomllib

from ..recipe import RecipeError

if TYPE_CHECKING:
    from ..panel import Member, Panel

__all__ = ["mirror", "panel_of", "teacher"]

teacher = click.option(
    "--teacher",
    "names",
    multiple=True,
    metavar="NAME",
    help="Who is asked: an adapter (see `teachers`) or its .toml file, the RECIPE of what was trained here, "
    "facemesh or blendshapes. Several are asked together.",
)
mirror = click.option(
    "--mirror", is_flag=True, help="Of --teacher: ask also about the mirror image, and take the mean."
)


def panel_of(
    names: Sequence[str],
    models: Sequence[Path],
    mirror: bool,
    data: Path,
    labels: Path,
    accept_licence: bool = False,
) -> Panel:
    """The teachers that were named; the terms of foreign ones are told first.

    Args:
        names: As `--teacher` takes them.
        models: Their files in the same order; who was trained here needs none.
        mirror: Ask about the mirror image, too.
        data: The data sets, on which what was trained here finds what its head needs.
        labels: What `label` wrote of them.
        accept_licence: The terms of foreign teachers were read and allow the use.
    """
    from ..panel import Panel

    files = _files(names, models)
    try:
        members = [_member(*one, data, labels, accept_licence) for one in zip(names, files, strict=True)]
        return Panel.of(members, mirror)
    except (ValueError, RecipeError) as error:  # of adapter, licence, recipe and panel: they name the mend
        raise click.ClickException(str(error)) from error


def _files(names: Sequence[str], models: Sequence[Path]) -> list[Path | None]:
    """A file for each: all have one, or those that need one."""
    if len(models) == len(names):
        return list(models)
    needy = [not _is_recipe(name) for name in names]
    if len(models) != sum(needy):
        missing = ", ".join(name for name, needs in zip(names, needy, strict=True) if needs) or "none"
        raise click.UsageError(
            f"--teacher was given {len(names)} times and --model {len(models)} times: give the files in the "
            f"order of the teachers, one to each, or only to those that were not trained here ({missing})"
        )
    left = iter(models)
    return [next(left) if needs else None for needs in needy]


def _is_recipe(name: str) -> bool:
    """Whether a .toml file is a recipe and no adapter: it describes a network."""
    try:
        return name.endswith(".toml") and "student" in tomllib.loads(Path(name).read_text())
    except (OSError, ValueError):
        return False  # who reads it says what is wrong


def _member(name: str, model: Path | None, data: Path, labels: Path, accept_licence: bool) -> Member:
    if _is_recipe(name):
        from ..taught import Taught

        return Taught.of(Path(name), data, labels, model)
    from ..members import MESHES, Foreign, Mesh
    from ..teachers.catalogue import adapter_named
    from ..teachers.onnx import licence_told

    assert model is not None  # noqa: S101  # for the type checker
    if name in MESHES:
        return Mesh.of(name, model)
    adapter = adapter_named(name)
    click.echo(licence_told(adapter), err=True)
    return Foreign.of(adapter, model, accept_licence)
