"""The pieces of a page that loads nothing: its frame, a table, a plot with its numbers, a fold."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape
from pathlib import Path

from .plots import Plot, Table, draw

__all__ = ["figure", "fold", "page", "table"]

_STYLE = Path(__file__).with_name("report.css")


def page(title: str, links: Mapping[str, str], body: str) -> str:
    """The whole document; ``links``: id of a heading to its name. A browser is told to load nothing."""
    named = "".join(f'<a href="#{escape(target)}">{escape(name)}</a>' for target, name in links.items())
    rule = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{rule}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE.read_text()}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1><nav>{named}</nav></header>\n<main>{body}</main></body></html>\n"
    )


def figure(plot: Plot, out: Path) -> str:
    """The plot in light and dark colours, and its numbers; the light one also as ``out``/NAME.png."""
    light, dark = draw(plot), draw(plot, dark=True)
    (out / f"{plot.name}.png").write_bytes(light)
    day, night = (f"data:image/png;base64,{base64.b64encode(png).decode()}" for png in (light, dark))
    return (
        f"\n<figure><figcaption>{escape(plot.title)}</figcaption><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{night}">'
        f'<img src="{day}" alt="{escape(plot.alt)}"></picture>'
        f"{fold('The numbers', table(plot.title, plot.table))}</figure>"
    )


def table(caption: str, rows: Table) -> str:
    """A table; the first row is its head, the first cell of each other row that row's."""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in rows[0])
    body = "".join(
        f'\n<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows[1:]
    )
    return (
        f'\n<div class="scroll"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def fold(summary: str, body: str) -> str:
    """A part that opens on demand; ``body`` is HTML."""
    return f"\n<details><summary>{escape(summary)}</summary>{body}</details>"
