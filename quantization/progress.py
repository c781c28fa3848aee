"""How long work will take: a bar with the time left on standard error, where somebody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

import click

__all__ = ["progress"]

_T = TypeVar("_T")


def progress(label: str, items: Iterable[_T], length: int | None = None) -> Iterator[_T]:
    """The items, while a bar tells how many are done and when the rest will be.

    ``length`` is how many there are, where they cannot say it themselves; it may be an upper bound. Where
    standard error is no terminal, the label alone is written, once.
    """
    with click.progressbar(items, length=length, label=label, file=sys.stderr) as bar:
        yield from bar
