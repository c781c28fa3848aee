"""The written part of an overlay: the chip or the bars of an expression, and the legend of a parsing map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeface.render.canvas import text_metrics
from edgeface.render.layout import Rect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeface.render.canvas import Canvas, Colour

__all__ = ["Bars", "Chip", "Legend", "Lettering", "Palette"]


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours of everything written, and how opaque its ground is."""

    ground: Colour = (14, 17, 23)
    opacity: float = 0.66
    ink: Colour = (246, 248, 250)
    faint: Colour = (188, 197, 208)
    track: Colour = (96, 104, 116)
    accent: Colour = (88, 222, 212)


@dataclass(frozen=True, slots=True)
class Lettering:
    """Sizes in pixels that follow from the height of a capital."""

    cap: int

    @property
    def row(self) -> int:
        """Height of a line of text with the room around it."""
        return round(self.cap * 1.95)

    @property
    def pad(self) -> int:
        """Room between a panel's edge and its content."""
        return max(4, round(self.cap * 0.85))

    @property
    def radius(self) -> float:
        """Of a panel's corners."""
        return self.cap * 0.65

    def baseline(self, top: int) -> int:
        """Last row of the capitals in a line that begins at `top`."""
        return top + (self.row + self.cap) // 2


def _percent(value: float) -> str:
    return f"{100 * value:.0f}%"


@dataclass(frozen=True, slots=True)
class Chip:
    """One line of text, and under it a bar for `value` if there is one."""

    text: str
    value: float | None
    lettering: Lettering

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width = text_metrics(self.text, self.lettering.cap, bold=True).width + 2 * self.lettering.pad
        return width, self.lettering.row + (self._bar + 1 if self.value is not None else 0)

    @property
    def _bar(self) -> int:
        return max(2, round(self.lettering.cap * 0.28))

    def draw(self, canvas: Canvas, at: Rect, palette: Palette) -> None:
        """Draw it into `at`, a rectangle of its size."""
        canvas.panel(at, self.lettering.radius, palette.ground, palette.opacity)
        baseline = self.lettering.baseline(at.top)
        left = at.left + self.lettering.pad
        canvas.text(left, baseline, self.text, self.lettering.cap, palette.ink, bold=True)
        if self.value is None:
            return
        full = at.width - 2 * self.lettering.pad
        bar = Rect(left, at.top + self.lettering.row - self._bar // 2, full, self._bar)
        _bar(canvas, bar, self.value, palette.accent, palette)


@dataclass(frozen=True, slots=True)
class Bars:
    """One labelled bar per expression; the strongest is accented."""

    scores: Mapping[str, float]
    lettering: Lettering

    @property
    def _columns(self) -> tuple[int, int, int]:
        """Widths of the names, the bars and the figures."""
        names = max(text_metrics(name, self.lettering.cap).width for name in self.scores)
        figures = text_metrics("100%", self.lettering.cap).width
        return names, round(self.lettering.cap * 6.5), figures

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return sum(self._columns) + 4 * self.lettering.pad, len(
            self.scores
        ) * self.lettering.row + self.lettering.pad

    def draw(self, canvas: Canvas, at: Rect, palette: Palette) -> None:
        """Draw it into `at`, a rectangle of its size."""
        kind = self.lettering
        canvas.panel(at, kind.radius, palette.ground, palette.opacity)
        names, length, _ = self._columns
        left, top = at.left + kind.pad, at.top + kind.pad // 2
        best = max(self.scores, key=lambda name: self.scores[name])
        thick = max(3, round(kind.cap * 0.55))
        for name, score in self.scores.items():
            strong = name == best
            ink = palette.ink if strong else palette.faint
            baseline = kind.baseline(top)
            canvas.text(left, baseline, name, kind.cap, ink)
            bar = Rect(left + names + kind.pad, baseline - (kind.cap + thick) // 2 + 1, length, thick)
            _bar(canvas, bar, score, palette.accent if strong else palette.faint, palette)
            figure = _percent(score)
            right = at.right - kind.pad - text_metrics(figure, kind.cap).width
            canvas.text(right, baseline, figure, kind.cap, ink)
            top += kind.row


@dataclass(frozen=True, slots=True)
class Legend:
    """Swatches of one or two colours with a name, in `columns` columns."""

    entries: Sequence[tuple[str, tuple[Colour, ...]]]
    columns: int
    lettering: Lettering

    @property
    def _rows(self) -> int:
        return math.ceil(len(self.entries) / self.columns)

    @property
    def _swatch(self) -> int:
        return round(self.lettering.cap * 1.15)

    @property
    def _widths(self) -> list[int]:
        """Width of each column: swatch, gap and its longest name."""
        names = [text_metrics(name, self.lettering.cap).width for name, _ in self.entries]
        rows = self._rows
        starts = range(0, len(names), rows)
        return [self._swatch + self.lettering.pad // 2 + max(names[start : start + rows]) for start in starts]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        widths = self._widths
        return sum(widths) + (
            len(widths) + 1
        ) * self.lettering.pad, self._rows * self.lettering.row + self.lettering.pad

    def draw(self, canvas: Canvas, at: Rect, palette: Palette) -> None:
        """Draw it into `at`, a rectangle of its size."""
        kind = self.lettering
        canvas.panel(at, kind.radius, palette.ground, palette.opacity)
        rows, left = self._rows, at.left + kind.pad
        for column, width in enumerate(self._widths):
            for row, (name, colours) in enumerate(self.entries[column * rows : (column + 1) * rows]):
                baseline = kind.baseline(at.top + kind.pad // 2 + row * kind.row)
                side = self._swatch
                swatch = Rect(left, baseline - (kind.cap + side) // 2 + 1, side, side)
                canvas.panel(swatch, side * 0.28, colours[0], 1.0, colours[-1])
                canvas.text(left + side + kind.pad // 2, baseline, name, kind.cap, palette.ink)
            left += width + kind.pad


def _bar(canvas: Canvas, rect: Rect, value: float, colour: Colour, palette: Palette) -> None:
    """A round-ended track filled from the left up to `value` in 0..1."""
    canvas.panel(rect, rect.height / 2, palette.track, 0.55)
    filled = round(min(max(value, 0.0), 1.0) * rect.width)
    if filled and value >= 0.005:  # what rounds to 0 % shows no bar
        shown = Rect(rect.left, rect.top, max(filled, rect.height), rect.height)
        canvas.panel(shown, rect.height / 2, colour, 1.0)
