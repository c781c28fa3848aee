"""Head pose on heads whose pose is known, and how sure it says it is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeface.analyzer import FaceAnalyzer
from edgeface.frame import read_image
from edgeface.labels import IBUG68
from edgeface.pose import _HEAD, _TABLE, HeadPose, head_pose, misfit
from edgeface.results import Landmarks


def seen(yaw: float, pitch: float, roll: float, size: float = 40.0, noise: float = 0.0) -> Landmarks:
    """The points of the mean head: it leans first, then turns, then nods."""
    y, p, r = np.radians([yaw, -pitch, -roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    lean = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    flat = (_HEAD @ (nod @ turn @ lean).T)[:, :2] * (size, -size) + (200, 150)
    flat = flat + np.random.default_rng(0).normal(0, 1, flat.shape) * noise
    return landmarks(flat)


def landmarks(points: NDArray[np.float64], visibility: float = 1.0) -> Landmarks:
    return Landmarks(points.astype(np.float32), np.full(68, visibility, np.float32), 1.0)


@given(st.floats(-70, 70), st.floats(-50, 50), st.floats(-170, 170), st.floats(5, 400))
def test_a_known_pose_comes_back(yaw: float, pitch: float, roll: float, size: float) -> None:
    pose = head_pose(seen(yaw, pitch, roll, size))
    assert pose is not None
    assert (pose.yaw, pose.pitch) == pytest.approx((yaw, pitch), abs=0.05)
    assert (pose.roll - roll + 180) % 360 - 180 == pytest.approx(0, abs=0.05)


@given(st.floats(-50, 50), st.floats(-40, 40), st.floats(-40, 40))
def test_the_mirror_image_looks_the_other_way(yaw: float, pitch: float, roll: float) -> None:
    found = seen(yaw, pitch, roll, noise=1.0)
    mirrored = landmarks(IBUG68.flip_points(found.points, 400).astype(np.float64))
    one, other = head_pose(found), head_pose(mirrored)
    assert one is not None
    assert other is not None
    assert (other.yaw, other.pitch, other.roll) == pytest.approx((-one.yaw, one.pitch, -one.roll), abs=0.1)
    assert other.yaw_error == pytest.approx(one.yaw_error, rel=0.01)


def test_signs_as_they_are_documented() -> None:
    """A nose to the picture's right of the eyes' middle: yaw above 0. Tipped clockwise: roll above 0."""
    right = seen(30, 0, 0).points
    assert right[30, 0] > right[36:48, 0].mean()
    up = seen(0, 25, 0).points
    assert up[30, 1] - up[36:48, 1].mean() < 0.7 * (right[30, 1] - right[36:48, 1].mean())
    clockwise = seen(0, 0, 20).points
    assert clockwise[45, 1] > clockwise[36, 1]


def test_noise_makes_it_less_sure_and_the_error_says_how_much() -> None:
    calm, noisy = head_pose(seen(20, 5, 0, noise=0.2)), head_pose(seen(20, 5, 0, noise=2.0))
    assert calm is not None
    assert noisy is not None
    assert noisy.yaw_error > 5 * calm.yaw_error
    for told, true in ((noisy.yaw, 20), (noisy.pitch, 5), (noisy.roll, 0)):
        assert abs(told - true) < 3 * max(noisy.yaw_error, noisy.pitch_error, noisy.roll_error)


def test_hidden_points_count_little() -> None:
    found = seen(0, 0, 0)
    points = found.points.astype(np.float64)
    points[48:68] += (0, 15)
    visibility = np.ones(68, np.float32)
    visibility[48:68] = 0
    seen_all = head_pose(landmarks(points))
    covered = head_pose(Landmarks(points.astype(np.float32), visibility, 1.0))
    assert seen_all is not None
    assert covered is not None
    assert abs(covered.pitch) < 0.4 * abs(seen_all.pitch)


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.c_[np.arange(68.0), np.zeros(68)],
                                    np.c_[np.arange(68.0), 2 * np.arange(68.0) + 7],
                                    np.full((68, 2), np.nan), np.full((68, 2), np.inf)])  # fmt: skip
def test_points_without_extent_have_no_pose(points: NDArray[np.float64]) -> None:
    assert head_pose(landmarks(points)) is None


@given(st.floats(-70, 70), st.floats(-50, 50), st.floats(-170, 170), st.floats(5, 400))
def test_a_head_fits_whatever_its_pose_and_noise_does_not(
    yaw: float, pitch: float, roll: float, size: float
) -> None:
    found = seen(yaw, pitch, roll, size).points
    assert misfit(found) < 0.01
    assert misfit(found[::-1]) > 0.25
    assert misfit(np.random.default_rng(int(size)).normal(0, size, (68, 2)).astype(np.float32)) > 0.7
    assert misfit(np.full((68, 2), 7, np.float32)) == 1.0


def test_off_axis_is_the_angle_of_the_nose() -> None:
    assert HeadPose(0, 0, 30, 1, 1, 1).off_axis == pytest.approx(0)
    assert HeadPose(30, 0, 0, 1, 1, 1).off_axis == pytest.approx(30)
    assert HeadPose(30, 30, 0, 1, 1, 1).off_axis == pytest.approx(math.degrees(math.acos(0.75)))


def test_the_table_is_its_own_mirror_image() -> None:
    np.testing.assert_allclose(_TABLE[list(IBUG68.flip)] * (-1, 1, 1, 1), _TABLE, atol=1e-4)
    assert np.sqrt((_HEAD**2).sum(1).mean()) == pytest.approx(1, abs=1e-3)


def test_the_astronaut_leans_a_little_and_looks_nearly_here(astronaut_path: Path) -> None:
    with FaceAnalyzer(("landmarks",)) as analyzer:
        face = analyzer.analyze(read_image(astronaut_path)).faces[0]
    assert face.landmarks is not None
    pose = head_pose(face.landmarks)
    assert pose is not None
    assert pose.off_axis < 25
    assert 0 < pose.yaw_error < 8
    assert face.roll is not None
    assert abs(pose.roll - face.roll) < 8
