"""Resizing a window of whole pixels sees what warping sees, and never skips pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.geometry import crop_similarity, warp
from edgeface.heads.sampling import Window, resample


def photo(height: int, width: int) -> np.ndarray:
    noise = np.random.default_rng(3).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


@given(x=st.floats(-50, 500), y=st.floats(-50, 500), side=st.floats(0.1, 400))
def test_a_window_is_the_nearest_whole_square(x: float, y: float, side: float) -> None:
    window = Window.around((x, y), side)
    assert window.width == window.height >= 1
    assert abs(window.width - side) <= 0.5 or window.width == 1
    assert max(abs(window.center[0] - x), abs(window.center[1] - y)) <= 0.5 + 1e-3 + 1e-9


@given(
    x=st.integers(-50, 500),
    y=st.integers(-50, 500),
    width=st.integers(1, 300),
    shift=st.sampled_from([0.0, 0.12, -0.07]),
)
def test_a_face_that_moves_by_whole_pixels_moves_its_window_along(
    x: int, y: int, width: int, shift: float
) -> None:
    """Boxes of whole numbers lie halfway between two windows and must all choose alike."""
    middle = width / 2 + shift * width
    here = Window.around((x + middle, y + middle), 1.25 * width)
    there = Window.around((x + 1 + middle, y + 3 + middle), 1.25 * width)
    assert (there.left - here.left, there.top - here.top) == (1, 3)


@pytest.mark.parametrize("side", [20, 63, 112, 150, 200, 223])
def test_a_window_resized_is_the_crop_warped(side: int) -> None:
    rgb = photo(320, 400)
    window = Window(31, 17, side, side)
    similarity = crop_similarity(window.center, side, 0.0, 112, 112)
    quick = np.empty((112, 112, 3), np.uint8)
    resample(rgb, window, quick)
    exact = warp(rgb, similarity, (112, 112))
    # Inside a one-pixel rim both read the same pixels; at the rim the window does not look beyond itself.
    difference = np.abs(quick[2:-2, 2:-2].astype(int) - exact[2:-2, 2:-2])
    assert difference.max() <= 3
    assert difference.mean() < 0.6


def test_a_fine_pattern_becomes_grey_instead_of_aliasing() -> None:
    board = np.indices((512, 512)).sum(axis=0) % 2 * 255
    rgb = np.repeat(board.astype(np.uint8)[..., np.newaxis], 3, axis=2)
    for side in (56, 64, 100, 128):
        small = np.empty((side, side, 3), np.uint8)
        resample(rgb, Window(0, 0, 512, 512), small)
        assert small.min() > 100
        assert small.max() < 155


def test_inside_means_all_of_it() -> None:
    rgb = np.zeros((10, 20, 3), np.uint8)
    assert Window(0, 0, 20, 10).inside(rgb)
    for window in (Window(-1, 0, 5, 5), Window(0, -1, 5, 5), Window(16, 0, 5, 5), Window(0, 6, 5, 5)):
        assert not window.inside(rgb)
