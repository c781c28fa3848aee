from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface import BBox
from quantization.shrunk import SIZES, shrunk

pytestmark = pytest.mark.workshop


def painted(width: int, height: int, x: int, y: int, side: int):
    """A grey photo with one white square, and the square's box."""
    photo = np.full((height, width, 3), 90, np.uint8)
    photo[y : y + side, x : x + side] = 255
    return photo, BBox(x - 0.5, y - 0.5, side, side)


@given(st.integers(60, 900), st.integers(60, 900), st.floats(0, 1), st.floats(0, 1), st.sampled_from(SIZES))
def test_the_box_is_where_the_frame_shows_the_face(width, height, across, down, side):
    face = max(60, min(width, height) // 4)
    photo, box = painted(width, height, round(across * (width - face)), round(down * (height - face)), face)
    frame, there = shrunk(photo, box, side)
    assert frame.shape == (480, 640, 3)
    lit = np.argwhere(frame[..., 0] > 172)
    (y0, x0), (y1, x1) = lit.min(0), lit.max(0)
    assert (x0, y0, x1, y1) == pytest.approx(
        (there.x + 0.5, there.y + 0.5, there.x + there.width - 0.5, there.y + there.height - 0.5), abs=1.5
    )
    assert max(there.width, there.height) == pytest.approx(side, rel=0.5 / min(width, height) * face + 0.03)


def test_a_photo_that_fits_stands_whole_in_the_middle():
    photo, box = painted(300, 200, 0, 0, 120)
    frame, there = shrunk(photo, box, 24)
    shown = np.argwhere(frame.any(2))
    assert (shown.min(0).tolist(), shown.max(0).tolist()) == ([220, 290], [259, 349])
    assert (there.x, there.y) == (289.5, 219.5)


@pytest.mark.parametrize("corner", ["first", "last"])
def test_a_photo_that_does_not_fit_shows_the_face_and_no_black(corner):
    x, y = (0, 0) if corner == "first" else (1540, 1140)
    frame, there = shrunk(*painted(1600, 1200, x, y, 60), 60)
    assert frame.min() == 90
    assert (there.x, there.y) == ((-0.5, -0.5) if corner == "first" else (579.5, 419.5))
    assert (frame == 255).all(2).sum() == 3600
