"""The 3D points in `edgeface.pose` come from the model that it names, and the errors it tells are true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeface.pose import _CERTAINTY, _TABLE, _TOGETHER, fit_pose
from quantization.pose_points import Heads, spread_of, table_of
from quantization.synthetic.head import Morphable

pytestmark = pytest.mark.workshop


@pytest.fixture(scope="module")
def heads(shared_data: Path) -> Heads:
    """Other heads than those that made the table."""
    return Heads(Morphable(shared_data / "face3d" / "ict_face_model_light.npz"), 150, seed=11)


def test_the_table_is_the_mean_of_such_heads(heads: Heads) -> None:
    mean, spread = table_of(heads)
    assert np.abs(mean - _TABLE[:, :3]).max() < 0.03
    assert np.abs(spread / _TABLE[:, 3] - 1).max() < 0.35


def test_heads_of_other_shapes_are_read_within_a_few_degrees(heads: Heads) -> None:
    factor, errors = spread_of(heads, _TABLE[:, :3], _TABLE[:, 3])
    assert (np.sqrt((errors**2).mean(0)) < (3.0, 3.8, 2.0)).all()
    assert np.abs(errors.mean(0)).max() < 1.0
    assert factor == pytest.approx(_TOGETHER, rel=0.25)


def test_two_of_three_errors_lie_within_what_is_told(heads: Heads) -> None:
    fits = [fit_pose(points, _CERTAINTY) for points in heads.seen]
    errors = np.abs(np.array([fit.angles for fit in fits]) - heads.poses)
    within = (errors <= np.array([fit.deviations for fit in fits]) * _TOGETHER).mean(0)
    assert (within > 0.58).all()
    assert (within < 0.85).all()
