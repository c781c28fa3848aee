"""Where panels go: whole-pixel rectangles, and the place for one that covers least of worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

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
    fitting = [rect for rect in candidates if rect.inside(area)]
    if not fitting:
        return None
    costs = _covering(fitting, obstacles)
    if anchor is not None:
        away_x = [abs(rect.left + rect.right - anchor.left - anchor.right) / 2 for rect in fitting]
        away_y = [abs(rect.top + rect.bottom - anchor.top - anchor.bottom) / 2 for rect in fitting]
        costs += _NEAR * (np.array(away_x) + steep * np.array(away_y)) / (area.width + area.height)
    # rounded, so that noise in the last digits does not decide between equals
    best = int(np.argmin(np.round(costs, 9)))
    return Place(fitting[best], float(costs[best]))


def _covering(rects: Sequence[Rect], obstacles: Sequence[Obstacle]) -> NDArray[np.float64]:
    """What each rectangle costs by what it covers; a crowd has hundreds of obstacles, so all at once.

    The shared area counts relative to the smaller of the two: a small face under a large panel is covered as
    badly as a large one by a small panel that lies on it entirely.
    """
    if not obstacles:
        return np.zeros(len(rects))
    one = np.array([(r.left, r.top, r.right, r.bottom, r.area) for r in rects], np.float64)[:, None]
    things = [(o.rect.left, o.rect.top, o.rect.right, o.rect.bottom, o.rect.area) for o in obstacles]
    other = np.array(things, np.float64)[None]
    shared = np.minimum(one[..., 2:4], other[..., 2:4]) - np.maximum(one[..., :2], other[..., :2])
    shared = np.maximum(shared, 0).prod(axis=2) / np.maximum(np.minimum(one[..., 4], other[..., 4]), 1)
    weights = np.array([item.weight for item in obstacles])
    return np.asarray((shared * weights).sum(axis=1), np.float64)
