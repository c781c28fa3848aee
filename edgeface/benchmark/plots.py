"""Plots as SVG text, by hand: a device has no plotting library, and these need five shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Line", "Point", "bars", "cdf", "frontier", "lines"]

# Okabe and Ito's colours, told apart by colour-blind people too.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933")
_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 64, 16, 44
_MOST_POINTS = 600  # of a line: more cannot be told apart on the page


@dataclass(frozen=True, slots=True)
class Line:
    """A curve: its name and points; whether it is read on the right axis, and drawn as steps or dots."""

    name: str
    points: Sequence[tuple[float, float]]
    right: bool = False
    steps: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """Something that is the better the smaller ``x`` and ``y`` are; ``marked``: it is ours."""

    name: str
    x: float
    y: float
    marked: bool = False


@dataclass(slots=True)
class _Axes:
    """A frame with ticks; maps values to pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    right: tuple[float, float] | None = None
    log_x: bool = False
    parts: list[str] = field(default_factory=list)

    def at_x(self, value: float) -> float:
        low, high = self.x
        if self.log_x:
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-9))
        return _LEFT + (value - low) / ((high - low) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def at_y(self, value: float, right: bool = False) -> float:
        low, high = self.right if right and self.right else self.y
        return _HEIGHT - _BOTTOM - (value - low) / ((high - low) or 1) * (_HEIGHT - _TOP - _BOTTOM)

    def frame(self, labels: tuple[str, str, str]) -> None:
        """Draw grid, ticks and the labels of the x, left and right axes."""
        for value in _log_ticks(*self.x) if self.log_x else _ticks(*self.x):
            x = self.at_x(value)
            self.parts.append(
                f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>'
            )
            self.parts.append(_text(x, _HEIGHT - _BOTTOM + 16, f"{value:g}", "middle"))
        for value in _ticks(*self.y):
            y = self.at_y(value)
            self.parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            )
            self.parts.append(_text(_LEFT - 6, y + 4, f"{value:g}", "end"))
        if self.right:
            for value in _ticks(*self.right):
                self.parts.append(
                    _text(_WIDTH - _RIGHT + 6, self.at_y(value, right=True) + 4, f"{value:g}", "start")
                )
            self.parts.append(_turned(_WIDTH - 12, labels[2]))
        self.parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 8, labels[0], "middle"))
        self.parts.append(_turned(14, labels[1]))


def lines(curves: Sequence[Line], x_label: str, y_label: str, right_label: str = "") -> str:
    """Curves over time, with a second axis on the right for those that ask for it; "" when all are empty."""
    curves = [curve for curve in curves if len(curve.points) > 1]
    if not curves:
        return ""
    x = _range([point[0] for curve in curves for point in curve.points], from_zero=False)
    left = [point[1] for curve in curves if not curve.right for point in curve.points]
    right = [point[1] for curve in curves if curve.right for point in curve.points]
    axes = _Axes(x, _range(left or [0.0, 1.0]), _range(right, from_zero=False) if right else None)
    axes.frame((x_label, y_label, right_label))
    return _drawn(axes, curves)


def cdf(cases: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Which share of the calls took at most so long; every sample counts, the slowest too.

    Args:
        cases: name and milliseconds; the axis of times is logarithmic, so that the tail can be seen.
    """
    cases = [(name, sorted(values)) for name, values in cases if len(values) > 1]
    if not cases:
        return ""
    low = min(values[0] for _, values in cases) * 0.95
    high = max(values[-1] for _, values in cases) * 1.05
    axes = _Axes((max(low, 1e-6), max(high, 1e-5)), (0.0, 100.0), log_x=True)
    axes.frame(("milliseconds, logarithmic", "% of the calls", ""))
    curves = [
        Line(name, [(value, 100 * (rank + 1) / len(values)) for rank, value in enumerate(values)], steps=True)
        for name, values in cases
    ]
    return _drawn(axes, curves)


def frontier(points: Sequence[Point], x_label: str, y_label: str) -> str:
    """Points with their names; those that no other beats in both are joined by steps. "" for fewer than two.

    Args:
        points: what is compared; their x is above 0, and its axis logarithmic.
        x_label: what x is.
        y_label: what y is.
    """
    if len(points) < 2:
        return ""
    low, high = min(point.x for point in points), max(point.x for point in points)
    axes = _Axes(
        (0.8 * low, 2.5 * high), _range([point.y for point in points]), log_x=True
    )  # names need room
    axes.frame((f"{x_label}, logarithmic", y_label, ""))
    best = sorted((point for point in points if not _beaten(point, points)), key=lambda point: point.x)
    path = f"M{axes.at_x(best[0].x):.1f} {axes.at_y(best[0].y):.1f}" + "".join(
        f"H{axes.at_x(point.x):.1f}V{axes.at_y(point.y):.1f}" for point in best[1:]
    )
    axes.parts.append(f'<path d="{path}" fill="none" stroke="#999" stroke-width="1.5"/>')
    taken: list[tuple[float, float, float]] = []
    for point in sorted(points, key=lambda point: (-point.y, point.x)):
        x, y = axes.at_x(point.x), axes.at_y(point.y)
        axes.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_COLOURS[not point.marked]}"/>')
        wide, line = 6.5 * len(point.name), y + 4
        while any(abs(line - there) < 12 and x < end and begin < x + wide for begin, end, there in taken):
            line += 3
        taken.append((x, x + wide, line))
        axes.parts.append(_text(x + 7, line, point.name, "start"))
    return _svg(axes.parts, _HEIGHT)


def _beaten(point: Point, points: Sequence[Point]) -> bool:
    return any(
        other.x <= point.x and other.y <= point.y and (other.x, other.y) != (point.x, point.y)
        for other in points
    )


def bars(rows: Sequence[tuple[str, Sequence[tuple[str, float]]]], x_label: str) -> str:
    """Stacked bars, one a row.

    Args:
        rows: name of the row, and name and length of each of its parts.
        x_label: what a length is.
    """
    if not rows:
        return ""
    # In the order of the longest row: it has what the others lack where it belongs.
    longest_first = sorted(rows, key=lambda row: -len(row[1]))
    names = list(dict.fromkeys(name for _, parts in longest_first for name, _ in parts))
    paints = _paints(names)
    most = max(sum(value for _, value in parts) for _, parts in rows) or 1.0
    high, left = 34, 110
    bottom = _TOP + high * len(rows)
    drawn = []
    for value in _ticks(0.0, most):
        x = left + value / most * (_WIDTH - left - 24)
        drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}"/>')
        drawn.append(_text(x, bottom + 16, f"{value:g}", "middle"))
    for row, (name, parts) in enumerate(rows):
        y, x = _TOP + high * row + 5, float(left)
        drawn.append(_text(left - 8, y + 16, name, "end"))
        for part, value in parts:
            wide = value / most * (_WIDTH - left - 24)
            told = escape(f"{part}: {value:.3g}")
            drawn.append(
                f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{high - 10}" {paints[part]}>'
                f"<title>{told}</title></rect>"
            )
            x += wide
    drawn.append(_text((left + _WIDTH) / 2, bottom + 34, x_label, "middle"))
    return _svg(drawn, bottom + 44) + _legend([(name, paints[name]) for name in names])


def _paints(names: Sequence[str]) -> dict[str, str]:
    """A colour for each; "X, around it" has that of "X, bare run", paler."""
    stems = list(dict.fromkeys(name.partition(",")[0] for name in names))
    colours = {stem: _COLOURS[index % len(_COLOURS)] for index, stem in enumerate(stems)}
    return {
        name: f'fill="{colours[name.partition(",")[0]]}"'
        + (' fill-opacity="0.45"' if name.endswith(", around it") else "")
        for name in names
    }


def _drawn(axes: _Axes, curves: Sequence[Line]) -> str:
    for index, curve in enumerate(curves):
        colour = _COLOURS[index % len(_COLOURS)]
        dashes = ' stroke-dasharray="6 4"' if curve.right else ""
        points = _thinned(curve.points)
        if curve.dots:
            path = "".join(f"M{axes.at_x(x):.1f} {axes.at_y(y, curve.right):.1f}h0" for x, y in points)
            axes.parts.append(f'<path d="{path}" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>')
            continue
        path = f"M{axes.at_x(points[0][0]):.1f} {axes.at_y(points[0][1], curve.right):.1f}"
        for x, y in points[1:]:
            across = f"H{axes.at_x(x):.1f}" if curve.steps else ""
            path += f"{across}L{axes.at_x(x):.1f} {axes.at_y(y, curve.right):.1f}"
        axes.parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashes}/>')
    names = [curve.name for curve in curves]
    return _svg(axes.parts, _HEIGHT) + _legend(list(zip(names, _paints(names).values(), strict=True)))


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """As many points as a page can show: of each stretch the first, lowest and highest, and the last."""
    stretch = -(-len(points) // (_MOST_POINTS // 3))
    if stretch <= 3:
        return list(points)
    kept = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        ends = {0, *(pick(range(len(part)), key=lambda index: part[index][1]) for pick in (min, max))}
        kept += [part[index] for index in sorted(ends)]
    return [*kept, points[-1]]


def _range(values: Sequence[float], *, from_zero: bool = True) -> tuple[float, float]:
    low, high = min(values), max(values)
    if from_zero and low > 0:
        low = 0.0
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return (low if from_zero else low - room), high + room


def _ticks(low: float, high: float) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) or 1))
    step = next(step * part for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (step * part) <= 7)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    found = [
        digit * 10.0**power
        for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for digit in (1, 2, 5)
    ]
    inside = [value for value in found if low <= value <= high]
    return inside if len(inside) > 1 else _ticks(low, high)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _turned(x: float, text: str) -> str:
    y = (_TOP + _HEIGHT - _BOTTOM) / 2
    return f'<text x="{x}" y="{y}" text-anchor="middle" transform="rotate(-90 {x} {y})">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: int) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _legend(items: Sequence[tuple[str, str]]) -> str:
    drawn = (
        f'<li><svg viewBox="0 0 10 10"><rect width="10" height="10" {paint}/></svg>{escape(name)}</li>'
        for name, paint in items
    )
    return f'<ul class="legend">{"".join(drawn)}</ul>'
