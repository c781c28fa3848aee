"""The table of peers as one HTML file that needs nothing else: the table, and who is beaten in what."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from benchmarks.peers import result as results
from edgeface.benchmark import plots

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["html"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:80rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2rem 0 .4rem}h3{font-size:.9rem;margin:1rem 0 0}
table{border-collapse:collapse;font-size:.8rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .5rem;border-bottom:1px solid #ddd;text-align:right}
td:nth-child(-n+2),th:nth-child(-n+2),td:last-child,th:last-child{text-align:left}
.scroll{overflow-x:auto}.pair{display:grid;grid-template-columns:repeat(auto-fill,minmax(32rem,1fr));gap:2rem}
svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:#333}.grid{stroke:#e4e4e4}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;font-size:.85rem}
.legend svg{width:.8rem;height:.8rem;margin-right:.4rem;vertical-align:-.1rem}
"""
_GROUPS = {
    "boxes": "Who finds faces",
    "points": "Who gives points",
    "all": "Who gives points and more",
    "network": "Our landmark network under several runtimes",
    "expression": "Who reads expressions",
}
_OURS = ("edgeface", "litert")


def html(result: dict[str, Any]) -> str:
    """The page, without scripts and without anything fetched; as in the table, no speed without accuracy."""
    machine = result["machine"]
    where = ", ".join(str(part) for part in (machine["board"], machine["cpu"], result["created"]) if part)
    table, _, notes = results.table(result).partition("\n\n")
    sections = "".join(_group(result, gives, title) for gives, title in _GROUPS.items())
    listed = "".join(f"<li>{escape(note.removeprefix('- '))}</li>" for note in notes.splitlines())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>EdgeFace beside its peers</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style><h1>EdgeFace beside its peers</h1><p>{escape(where)}</p>"
        f'<div class="scroll">{_table(table)}</div><ul>{listed}</ul>{sections}</html>\n'
    )


def _table(markdown: str) -> str:
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in markdown.splitlines()]
    head, _, *others = rows
    return f"<table>{_row(head, 'th')}{''.join(_row(cells, 'td') for cells in others)}</table>"


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _group(result: dict[str, Any], gives: str, title: str) -> str:
    """Of those that give the same: time against error and memory, and how the times are spread."""
    told = {
        name: row
        for name, row in result["variants"].items()
        if row["gives"] == gives and row["accuracy"] is not None
    }
    timed = (
        frame for frame in result["conditions"]["frames"] if any(_on(row, frame) for row in told.values())
    )
    frame = next(timed, None)
    if frame is None:
        return ""
    rows = {name: row for name, row in told.items() if _on(row, frame)}
    raw = result["raw"]["latency_ns"]
    times = [(name, [ns / 1e6 for calls in raw[name][frame] for ns in calls]) for name in rows]
    plotted = {
        "Time and error": _frontier(rows, frame, _error(gives), _errors(rows, gives)),
        "Time and memory": _frontier(rows, frame, "peak memory, MiB", _peaks(rows)),
        "How the times are spread": plots.cdf(times),
    }
    drawn = "".join(f"<div><h3>{name}</h3>{svg}</div>" for name, svg in plotted.items() if svg)
    if not drawn:
        return ""
    return f'<section><h2>{title}, {escape(frame)}</h2><div class="pair">{drawn}</div></section>'


def _on(row: dict[str, Any], frame: str) -> bool:
    return frame in row["latency_ms"]


def _frontier(rows: dict[str, dict[str, Any]], frame: str, label: str, values: dict[str, float]) -> str:
    """Those that none beats in both are joined."""
    points = [
        plots.Point(name, rows[name]["latency_ms"][frame]["median"], value, rows[name]["peer"] in _OURS)
        for name, value in values.items()
    ]
    return plots.frontier(points, "milliseconds, median", label)


def _error(gives: str) -> str:
    return {"network": "NME of 68 points, %", "expression": "read wrongly, %"}.get(
        gives, "NME of 5 points, %"
    )


def _errors(rows: dict[str, dict[str, Any]], gives: str) -> dict[str, float]:
    if gives == "expression":
        told = {name: row["accuracy"]["expression"]["percent"] for name, row in rows.items()}
        return {name: 100 - percent for name, percent in told.items() if percent is not None}
    which = "nme68_common_percent" if gives == "network" else "nme5_common_percent"
    found = {name: row["accuracy"][which] for name, row in rows.items()}
    return {name: value for name, value in found.items() if value is not None}


def _peaks(rows: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: row["peak_memory_mib"]["median"] for name, row in rows.items() if row["peak_memory_mib"]}
