"""The command line in four groups, in the order in which a student passes through them."""

from __future__ import annotations

import os

import click

from ..synthetic.command import synthesise
from .build import build
from .compare import compare
from .data import label, mistaken, shard, show_teachers, split
from .export import calibrate, check, convert, pack, parity
from .grade import evaluate, robustness
from .publish import publish
from .tell import report, tables
from .train import distill, teach

__all__ = ["main"]

# What the help shows, and in which order.
_GROUPS = {
    "All of it": (build,),
    "1. Data and labels": (split, mistaken, shard, label, show_teachers, synthesise),
    "2. Training": (teach, distill, compare),
    "3. Files": (convert, calibrate, check, parity, pack),
    "4. Figures": (evaluate, robustness, report, tables),
    "5. Devices": (publish,),
}


class _Grouped(click.Group):
    """A group whose help lists its commands under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in _GROUPS.items():
            rows = [(str(c.name), c.get_short_help_str(200)) for c in commands]
            with formatter.section(title):
                formatter.write_dl(rows, col_max=12)


@click.group(cls=_Grouped)
def main() -> None:
    """Train, quantise, grade and pack EdgeFace's students.

    `build RECIPE` walks the whole way for one recipe and does only what must be done. By hand, in its order:
    label, teach, label --parsing, distill, convert, check, pack, evaluate, parity, pack, report; from convert
    on they take the RECIPE, or the name of a task for the student of this package; check takes a file.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


for _commands in _GROUPS.values():
    for _command in _commands:
        main.add_command(_command)
