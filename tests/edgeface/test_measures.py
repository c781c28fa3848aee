"""Eyes, mouth and attention on points that are drawn, and over time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeface.measures import BlinkWatch, FacingWatch, Openness, openness
from edgeface.pose import _HEAD, HeadPose

SECOND = 1_000_000_000


def drawn(lid: float = 1.0, lips: float = 1.0, size: float = 60.0) -> NDArray[np.float32]:
    """The mean head's points; `lid` and `lips` stretch the height of eyes and inner lips."""
    points = _HEAD[:, :2] * (size, -size)
    for part, factor in ((slice(36, 42), lid), (slice(42, 48), lid), (slice(60, 68), lips)):
        middle = points[part, 1].mean()
        points[part, 1] = middle + factor * (points[part, 1] - middle)
    return points.astype(np.float32)


def test_openness_is_height_over_width_at_any_distance() -> None:
    measured = openness(drawn())
    assert 0.2 < measured.left_eye < 0.4
    assert measured.left_eye == pytest.approx(measured.right_eye, abs=1e-4)
    assert openness(drawn(size=600)).left_eye == pytest.approx(measured.left_eye, rel=1e-4)
    assert openness(drawn(lid=0.2)).right_eye == pytest.approx(0.2 * measured.right_eye, rel=0.3)
    assert openness(drawn(lips=3)).mouth > 2 * measured.mouth
    assert openness(np.zeros((68, 2), np.float32)) == Openness(0, 0, 0)


def eyes(value: float) -> Openness:
    return Openness(value, value, 0.1)


def blinks_of(values: list[float], rate: int = 30, pose: HeadPose | None = None) -> BlinkWatch:
    watch = BlinkWatch()
    for k, value in enumerate(values):
        watch.update(eyes(value), pose, k * SECOND // rate)
    return watch


@pytest.mark.parametrize("wide", [0.2, 0.3, 0.4])
def test_blinks_are_counted_by_the_persons_own_eyes(wide: float) -> None:
    once = [wide] * 30 + [0.4 * wide] * 4 + [wide] * 30
    assert blinks_of(once * 3).blinks == 3
    assert not blinks_of(once).shut
    # Narrowed, trembling eyes are open eyes.
    assert blinks_of(([wide] * 10 + [0.8 * wide, 0.72 * wide] * 5) * 4).blinks == 0


def test_long_shut_eyes_are_shut_and_no_blink() -> None:
    watch = blinks_of([0.3] * 30 + [0.1] * 900)
    assert watch.shut
    assert watch.blinks == 0
    assert blinks_of([0.3] * 30 + [0.1] * 60 + [0.3] * 5).blinks == 0


def test_a_profile_says_nothing_about_the_eyes() -> None:
    away = HeadPose(60, 0, 0, 1, 1, 1)
    assert blinks_of([0.3] * 30 + [0.05] * 4 + [0.3] * 9, pose=away).blinks == 0


def test_facing_begins_within_and_ends_farther_out() -> None:
    watch = FacingWatch(25.0)
    told = []
    for k, yaw in enumerate((40, 27, 24, 27, 29, 31, 27)):
        watch.update(HeadPose(yaw, 0, 0, 1, 1, 1), k * SECOND)
        told.append(watch.facing)
    assert told == [False, False, True, True, True, False, False]
    assert watch.total_ns == 3 * SECOND
    watch.update(None, 8 * SECOND)
    assert not watch.facing
