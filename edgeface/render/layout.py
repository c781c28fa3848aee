"""Where panels go: whole-pixel rectangles, and the place for one that covers least of worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeface.results import BBox

__all__ = ["Obstacle", "Place", "Rect", "around", "cheapest", "corners", "grid"]

# what the distance of a whole picture diagonal from the anchor costs; far less than any covering
_NEAR = 0.02


@dataclass(frozen=True, slots=True)
class Rect:
    """Pixels `left` .. `left + width - 1` and `top` .. `top + height - 1`."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """First column to the right of it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.top + self.height

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @classmethod
    def of(cls, box: BBox, grow: float = 0.0) -> Rect:
        """The pixels that a box touches, after growing it by `grow` of its size on each side."""
        left, top = box.x - grow * box.width, box.y - grow * box.height
        right, bottom = box.x + (1 + grow) * box.width, box.y + (1 + grow) * box.height
        return cls(int(left), int(top), int(right - left) + 1, int(bottom - top) + 1)

    def overlap(self, other: Rect) -> int:
        """Number of pixels that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(width, 0) * max(height, 0)

    def inside(self, other: Rect) -> bool:
        """Whether no pixel of it lies outside `other`."""
        return (
            self.left >= other.left
            and self.top >= other.top
            and self.right <= other.right
            and self.bottom <= other.bottom
        )


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that should stay visible; `weight` is the cost of a panel that lies on it entirely."""

    rect: Rect
    weight: float


@dataclass(frozen=True, slots=True)
class Place:
    """A chosen rectangle and what it costs: 0 means that it covers nothing of worth."""

    rect: Rect
    cost: float


def corners(size: tuple[int, int], area: Rect) -> list[Rect]:
    """The four corners of `area` and the middles of its edges, best first, for a panel of (width, height)."""
    width, height = size
    left, right = area.left, area.right - width
    top, bottom = area.top, area.bottom - height
    middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
    spots = [
        (left, bottom),
        (right, bottom),
        (left, top),
        (right, top),
        (middle_x, bottom),
        (middle_x, top),
        (left, middle_y),
        (right, middle_y),
    ]
    return [Rect(x, y, width, height) for x, y in spots]


def around(size: tuple[int, int], anchor: Rect, gap: int) -> list[Rect]:
    """Places above, below and beside `anchor`, `gap` pixels away, best first."""
    width, height = size
    middle_x = anchor.left + (anchor.width - width) // 2
    middle_y = anchor.top + (anchor.height - height) // 2
    beside = (anchor.right + gap, anchor.left - gap - width)
    over = (anchor.top - gap - height, anchor.bottom + gap)
    spots = [(x, y) for y in over for x in (middle_x, anchor.left, anchor.right - width)]
    spots += [(x, y) for x in beside for y in (middle_y, anchor.top, anchor.bottom - height)]
    return [Rect(x, y, width, height) for x, y in spots]


def grid(size: tuple[int, int], area: Rect, steps: int = 12) -> list[Rect]:
    """An even grid of places over the whole of `area`."""
    width, height = size
    free_x, free_y = max(area.width - width, 0), max(area.height - height, 0)
    return [
        Rect(area.left + free_x * i // steps, area.top + free_y * j // steps, width, height)
        for j in range(steps + 1)
        for i in range(steps + 1)
    ]


def cheapest(
    candidates: Iterable[Rect],
    area: Rect,
    obstacles: Sequence[Obstacle],
    anchor: Rect | None = None,
    steep: float = 1.0,
) -> Place | None:
    """The candidate inside `area` that covers least, near `anchor` if there is one; None when none fits.

    `steep` above 1 prefers places beside the anchor to those above and below it.
    Of equals the first wins, so that the same picture always looks the same.
    """
    best: Place | None = None
    for rect in candidates:
        if not rect.inside(area):
            continue
        cost = sum(item.weight * rect.overlap(item.rect) / _smaller(rect, item.rect) for item in obstacles)
        if anchor is not None:
            away = abs(rect.left + rect.right - anchor.left - anchor.right) / 2
            away += abs(rect.top + rect.bottom - anchor.top - anchor.bottom) / 2 * steep
            cost += _NEAR * away / (area.width + area.height)
        if best is None or cost < best.cost - 1e-9:
            best = Place(rect, cost)
    return best


def _smaller(one: Rect, other: Rect) -> int:
    """A small face under a large panel is covered as badly as a large one by a small panel on it."""
    return max(1, min(one.area, other.area))
