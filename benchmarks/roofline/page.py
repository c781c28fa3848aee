"""A roofline as text and as one HTML file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from edgeface.benchmark import plots

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["html", "markdown"]

_SHOWN = 12
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:2rem 0 .4rem}pre{overflow-x:auto;font-size:.8rem}
svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:#333}.grid{stroke:#e4e4e4}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;font-size:.85rem}
.legend svg{width:.8rem;height:.8rem;margin-right:.4rem;vertical-align:-.1rem}
"""


def markdown(result: dict[str, Any]) -> str:
    """The roof, the students under it, and the frame."""
    roof, whole = result["roof"], result["frame"]
    lines = [
        f"- int8 {roof['int8_gmacs']:.1f} GMAC/s, fp32 {roof['fp32_gmacs']:.1f} GMAC/s: the best of "
        "LiteRT's own large convolutions, one thread",
        "- copied: " + ", ".join(f"{size}: {fast:.1f} GB/s" for size, fast in roof["copy_gbytes"].items()),
        "",
        "| student | MMAC | bare run, ms | its operators alone, ms | roof, ms | times the roof |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for task, told in result["students"].items():
        times = " | ".join(f"{told[name] / 1e6:.3f}" for name in ("ns", "operators_ns", "roof_ns"))
        lines.append(f"| {task} | {told['macs'] / 1e6:.1f} | {times} | {told['times_the_roof']:.2f} |")
    lines += ["", "| kind of operator | share of the time | times the roof |", "|---|---:|---:|"]
    kinds = _kinds(result["students"].values())
    spent = sum(ns for ns, _ in kinds.values())
    for kind, (ns, least) in sorted(kinds.items(), key=lambda item: -item[1][0]):
        lines.append(f"| {kind} | {100 * ns / spent:.1f} % | {ns / least:.1f} |")
    lines += ["", "| slowest operators | output | µs | times the roof |", "|---|---|---:|---:|"]
    for place, one in _slowest(result)[:_SHOWN]:
        kind, _, shape = one["name"].rpartition(" ")
        times = one["ns"] / max(one["roof_ns"], 1)
        lines.append(f"| {place}, {kind} | {shape} | {one['ns'] / 1e3:.0f} | {times:.1f} |")
    lines += ["", "| stage of a frame | bare run, ms | around it, ms |", "|---|---:|---:|"]
    for stage, told in whole["stages_ns"].items():
        lines.append(f"| {stage} | {told['bare'] / 1e6:.3f} | {told['around'] / 1e6:.3f} |")
    times = whole["times_the_bare_runs"]
    lines += [
        "",
        f"- a frame of one face, every student: {times['of_minima']:.2f} times its bare runs by the least of "
        f"each part, {times['median']:.2f} in the median call ({whole['ns']['median'] / 1e6:.3f} ms)",
    ]
    return "\n".join(lines)


def html(result: dict[str, Any]) -> str:
    """The same as a page, with bars of where the time goes."""
    whole = result["frame"]
    parts = [
        (f"{stage}, {part}", told[key] / 1e6)
        for stage, told in whole["stages_ns"].items()
        for part, key in (("bare run", "bare"), ("around it", "around"))
    ]
    rows = [
        (task, [(kind, ns / 1e6) for kind, (ns, _) in _kinds([told]).items()])
        for task, told in result["students"].items()
    ]
    slowest = [
        (place, [("roof", one["roof_ns"] / 1e3), ("above it", _above(one) / 1e3)])
        for place, one in _slowest(result)[: 2 * _SHOWN]
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>EdgeFace, roofline</title>'
        f"<style>{_STYLE}</style><h1>EdgeFace under the roof of this machine</h1>"
        f"<h2>One frame with one face</h2>{plots.bars([('frame', parts)], 'milliseconds')}"
        f"<h2>Kinds of operators</h2>{plots.bars(rows, 'milliseconds')}"
        f"<h2>The slowest operators</h2>{plots.bars(slowest, 'microseconds')}"
        f"<h2>In numbers</h2><pre>{escape(markdown(result))}</pre></html>\n"
    )


def _slowest(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every operator with its student and its place in it, the slowest first."""
    found = [
        (f"{task} {number}", one)
        for task, told in result["students"].items()
        for number, one in enumerate(told["operators"])
    ]
    return sorted(found, key=lambda row: -row[1]["ns"])


def _above(operator: dict[str, Any]) -> int:
    return max(0, int(operator["ns"]) - int(operator["roof_ns"]))


def _kinds(students: Iterable[dict[str, Any]]) -> dict[str, tuple[int, int]]:
    """Kind -> nanoseconds, and those that the roof allows."""
    found: dict[str, tuple[int, int]] = {}
    for told in students:
        for operator in told["operators"]:
            ns, least = found.get(operator["kind"], (0, 0))
            found[operator["kind"]] = (ns + operator["ns"], least + operator["roof_ns"])
    return found
