"""A record as one HTML file that needs nothing else: tables, plots, and the conditions beside them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeface.benchmark import plots, tables

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["html"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
body{color:#1a1a1a;background:#fff}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .4rem}p{margin:.3rem 0;color:#444}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th{font-weight:600}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}
tr.bare td{color:#666}tr.whole td{font-weight:600}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem}dt{color:#666}dd{margin:0}
.flag{display:inline-block;padding:.1rem .5rem;margin:.3rem .3rem 0 0;border:1px solid #e0b050}
.flag{border-radius:.3rem;background:#fff1d6}
.scroll{overflow-x:auto}svg{width:100%;height:auto;font:12px system-ui,sans-serif}
svg text{fill:#333}.grid{stroke:#e4e4e4}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;font-size:.85rem}
.legend svg{width:.8rem;height:.8rem;margin-right:.4rem;vertical-align:-.1rem}
"""
_COLD_PARTS = ("interpreter", "import", "load", "first")


def html(record: dict[str, Any]) -> str:
    """The page, without scripts and without anything fetched."""
    flags = "".join(f'<span class="flag">{escape(flag)}</span>' for flag in _flags(record))
    title = f"EdgeFace, {record['scenario']}"
    where = f"{tables.device_line(record)}; {record['created']}"
    # A cold start takes a hundred times as long as a call: on one axis nothing would be seen of the calls.
    cases = [case for case in record["cases"] if case["kind"] != "process"]
    starts = [case for case in record["cases"] if case["kind"] == "process"]
    sections = [
        f"<h1>{escape(title)}</h1><p>{escape(where)}</p>{flags}",
        _section("Times", "Milliseconds; the rows in grey are the bare runs of the models.", _table(record)),
        _section(
            "How the times are spread",
            "The share of calls that took at most so long. Every call is in it but the warm-up.",
            plots.cdf([(case["name"], _milliseconds(case, "total")) for case in cases or starts]),
        ),
        _section(
            "Where the time goes",
            "Means of each stage, which add up; the bare run of a model apart from what is around it.",
            plots.bars([(case["name"], _parts(case)) for case in cases], "milliseconds")
            + plots.bars([(case["name"], _parts(case)) for case in starts], "milliseconds"),
        ),
        _section("In the course of time", _course_text(record), _course(cases or starts, record["timeline"])),
        _section("By minute", "Frames per second, and milliseconds of whole calls.", _minutes(record)),
        _section("Conditions", "", _facts(record)),
    ]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<style>{_STYLE}</style>{''.join(sections)}</html>\n"
    )


def _flags(record: dict[str, Any]) -> list[str]:
    return [*(["interrupted"] if record["interrupted"] else []), *record["flags"]]


def _section(title: str, text: str, body: str) -> str:
    if not body:
        return ""
    return f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>{body}</section>"


def _table(record: dict[str, Any]) -> str:
    figures = ("p50", "p90", "p95", "p99", "min", "max")
    rows = [_row(("case", "stage", "calls", *figures), "th")]
    for case in record["cases"]:
        for stage in tables.stage_order(list(case["stages_ms"])):
            told = case["stages_ms"][stage]
            kind = "bare" if stage.endswith(".run") else "whole" if stage == "total" else ""
            values = (tables.number(told[name]) for name in figures)
            rows.append(_row((case["name"], stage, str(told["count"]), *values), "td", kind))
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>'


def _minutes(record: dict[str, Any]) -> str:
    rows = [_row(cells, "td" if number else "th") for number, cells in enumerate(tables.minutes(record))]
    return f'<div class="scroll"><table>{"".join(rows)}</table></div>' if rows else ""


def _row(cells: Sequence[str], tag: str, kind: str = "") -> str:
    filled = "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
    return f'<tr class="{kind}">{filled}</tr>'


def _milliseconds(case: dict[str, Any], stage: str) -> list[float]:
    return [value / 1e6 for value in case["raw_ns"].get(stage, ()) if value is not None]


def _parts(case: dict[str, Any]) -> list[tuple[str, float]]:
    """Mean milliseconds of a call in each part of it; unlike medians they add up to that of the whole."""
    # A stage that only some frames have, such as the detector of a stream, counts by how many.
    told = {
        name: (found["mean"] or 0.0) * found["count"] / case["count"]
        for name, found in case["stages_ms"].items()
    }
    if case["kind"] == "process":
        return [(name, told[name]) for name in _COLD_PARTS if name in told]
    parts, rest = [], told["total"]
    for name in tables.stage_order([name for name in told if name not in ("total", "age")]):
        if not name.endswith(".run"):
            bare = told.get(f"{name}.run", 0.0)
            parts += [(f"{name}, bare run", bare), (f"{name}, around it", told[name] - bare)]
            rest -= told[name]
    return [part for part in [*parts, ("the rest", rest)] if part[1] > 0]


def _course_text(record: dict[str, Any]) -> str:
    heat = any(entry["temperature_c"] is not None for entry in record["timeline"])
    told = "and the temperature of the processor" if heat else "no temperature is known"
    return f"Calls, the slowest and quickest of each moment if there are many; {told}."


def _course(cases: Sequence[dict[str, Any]], timeline: Sequence[dict[str, Any]]) -> str:
    curves = []
    for case in cases:
        raw = case["raw_ns"]
        points = [(at / 1e9, value / 1e6) for at, value in zip(raw["at"], raw["total"], strict=True)]
        curves.append(plots.Line(case["name"], points, dots=True))
    right = [
        (entry["seconds"], entry["temperature_c"]) for entry in timeline if entry["temperature_c"] is not None
    ]
    return plots.lines(
        [*curves, plots.Line("temperature", right, right=True)],
        "seconds",
        "milliseconds",
        "°C" if right else "",
    )


def _facts(record: dict[str, Any]) -> str:
    device = record["device"]
    told = [
        *tables.facts(record),
        ("system", f"{device['system']}, Linux {device['kernel']}, {device['architecture']}"),
        ("software", ", ".join(f"{name} {version}" for name, version in record["software"].items())),
        ("models", ", ".join(f"{task} {m['sha256'][:12]}" for task, m in record["models"]["models"].items())),
        ("bundle", f"{record['models']['bundle']['name']} {record['models']['bundle']['digest'][:12]}"),
    ]
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(text)}</dd>' for name, text in told)}</dl>"
