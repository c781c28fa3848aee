"""`--bundle`, which all commands that run models have: a file, or the models that are installed here."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["bundle_option"]


def _chosen(_context: click.Context, _option: click.Parameter, named: Path | None) -> Path | None:
    if named is None or str(named) != "store":
        return named
    from edgeface.store import chosen_path

    return chosen_path(named)


bundle_option = click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=_chosen,
    help="Models other than the built-in ones: a bundle file, not a link to one, or `store` for what "
    "`edgeface models install` put there.",
)
