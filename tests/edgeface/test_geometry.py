"""Geometry without any model: a crop and its inverse agree, a warp puts each pixel where the matrix says."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeface.errors import ArgumentError
from edgeface.geometry import (
    Similarity,
    crop_similarity,
    iou_matrix,
    letterbox,
    nms,
    roll_from_keypoints,
    tanh_polar_points,
    tanh_polar_points_inverse,
    tanh_polar_unwarp,
    tanh_polar_warp,
    warp,
)

sides = st.integers(1, 4000)
positions = st.floats(-4000, 8000)
rolls = st.floats(-180, 180)
points = st.lists(st.tuples(positions, positions), min_size=1, max_size=8).map(np.array)


def ramp(height: int = 200, width: int = 240) -> NDArray[np.uint8]:
    """A picture that says where it is: red is x, green is y, blue is full."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.full_like(x, 255)], axis=-1).astype(np.uint8)


def where_pixels_come_from(similarity: Similarity, size: tuple[int, int]) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(size[0], dtype=np.float64), np.arange(size[1], dtype=np.float64))
    return similarity.inverse().apply(np.stack([x, y], axis=-1))


@given(positions, positions, st.floats(1, 4000), rolls, st.integers(1, 640), st.integers(1, 640), points)
def test_a_crop_and_its_inverse_agree(
    x: float, y: float, side: float, roll: float, width: int, height: int, frame: NDArray[np.float64]
) -> None:
    crop = crop_similarity((x, y), side, roll, width, height)
    assert np.abs(crop.inverse().apply(crop.apply(frame)) - frame).max() <= 1e-4
    assert crop.scale == pytest.approx(min(width, height) / side)
    assert crop.inverse().scale * crop.scale == pytest.approx(1)
    middle = crop.apply(np.array([[x, y]]))
    assert middle[0] == pytest.approx([(width - 1) / 2, (height - 1) / 2], abs=1e-6)


@given(st.floats(0, 640), st.floats(0, 480), st.floats(20, 480), rolls, points)
def test_float32_points_of_a_camera_frame_agree_too(
    x: float, y: float, side: float, roll: float, frame: NDArray[np.float64]
) -> None:
    crop = crop_similarity((x, y), side, roll, 128, 128)
    exact = (frame % 480).astype(np.float32)
    there = crop.apply(exact)
    assert there.dtype == np.float32
    # One float32 step of the crop coordinate, seen in frame pixels, is all that may be lost.
    step = float(np.spacing(np.abs(there)).max()) / crop.scale
    assert np.abs(crop.inverse().apply(there) - exact).max() <= 1e-4 + step


def test_a_leaning_face_stands_upright_in_the_crop() -> None:
    # Clockwise on the screen by 30 degrees: the eye on the right of the picture is lower.
    lean = math.radians(30)
    right_eye = np.array([[100 + 20 * math.cos(lean), 80 + 20 * math.sin(lean)]])
    crop = crop_similarity((100, 80), 64, 30, 128, 128)
    assert crop.apply(right_eye)[0] == pytest.approx([63.5 + 40, 63.5])


def test_a_wide_output_keeps_the_whole_square() -> None:
    crop = crop_similarity((50, 50), 40, 0, 200, 100)
    corners = crop.apply(np.array([[30.0, 30.0], [70.0, 70.0]]))
    assert corners.ravel() == pytest.approx([49.5, -0.5, 149.5, 99.5])


@given(sides, sides, st.integers(1, 640), st.integers(1, 640))
def test_a_letterbox_holds_the_whole_picture_at_its_top_left(width: int, height: int, w: int, h: int) -> None:
    box = letterbox(width, height, w, h)
    edges = box.apply(np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]]))
    assert edges[0] == pytest.approx([-0.5, -0.5])
    assert edges[1, 0] <= w - 0.5 + 1e-6
    assert edges[1, 1] <= h - 0.5 + 1e-6
    filled = max((edges[1, 0] + 0.5) / w, (edges[1, 1] + 0.5) / h)
    assert box.scale == pytest.approx(4.0) if filled < 1 - 1e-6 else box.scale <= 4.0


def test_a_letterbox_of_the_camera_halves_it() -> None:
    box = letterbox(640, 480, 320, 256)
    assert box.matrix.tolist() == [[0.5, 0.0, -0.25], [0.0, 0.5, -0.25]]
    assert letterbox(8, 8, 320, 256, max_scale=2).scale == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: letterbox(0, 4, 4, 4),
        lambda: crop_similarity((0, 0), 0, 0, 4, 4),
        lambda: crop_similarity((0, 0), float("nan"), 0, 4, 4),
        lambda: crop_similarity((0, float("inf")), 4, 0, 4, 4),
        lambda: crop_similarity((0, 0), 4, 0, 4, 0),
        lambda: Similarity(np.zeros((2, 3))),
        lambda: Similarity(np.eye(3)),
        lambda: warp(ramp(), letterbox(9, 9, 9, 9), (9, 9), out=np.zeros((9, 8, 3), np.uint8)),
        lambda: warp(ramp(), letterbox(9, 9, 9, 9), (9, 9), out=np.zeros((9, 9, 3), np.float32)),  # type: ignore[arg-type]
        lambda: tanh_polar_points([[0, 0]], (0, 0, 0, 5), (8, 8)),
    ],
)
def test_what_cannot_be_a_crop_is_refused(wrong: object) -> None:
    with pytest.raises(ArgumentError):
        wrong()  # type: ignore[operator]


def test_a_matrix_cannot_be_changed_afterwards() -> None:
    box = letterbox(640, 480, 320, 256)
    with pytest.raises(ValueError, match="read-only"):
        box.matrix[0, 0] = 7


@given(
    st.floats(20, 220), st.floats(20, 180), st.floats(8, 1500), rolls,
    st.sampled_from([(32, 32), (64, 48), (80, 80), (17, 31)]),
)  # fmt: skip
def test_a_warp_puts_each_pixel_where_the_matrix_says(
    x: float, y: float, side: float, roll: float, size: tuple[int, int]
) -> None:
    picture = ramp()
    crop = crop_similarity((x, y), side, roll, *size)
    warped = warp(picture, crop, size).astype(float)
    origin = where_pixels_come_from(crop, size)
    # Far enough inside that neither the border nor the averaging window touches the edge of the picture.
    margin = 1 + 2 / crop.scale
    inside = ((origin >= margin) & (origin <= np.array([239, 199]) - margin)).all(axis=-1)
    assert np.abs(warped[inside][:, :2] - origin[inside]).max(initial=0) <= 1.0 + 0.15 / crop.scale
    assert (warped[inside][:, 2] == 255).all()
    outside = ((origin < -margin) | (origin > np.array([239, 199]) + margin)).any(axis=-1)
    assert (warped[outside] == 0).all()


def test_a_warp_by_nothing_changes_nothing() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    assert (warp(picture, letterbox(64, 48, 64, 48), (64, 48)) == picture).all()


def test_a_strong_reduction_does_not_alias() -> None:
    # Stripes of one pixel: picking pixels would give black or white, averaging gives grey.
    stripes = np.zeros((512, 512, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    for out in (64, 100, 170):
        small = warp(stripes, letterbox(512, 512, out, out), (out, out))
        inner = small[2:-2, 2:-2].astype(float)
        assert abs(inner.mean() - 127.5) <= 2
        assert inner.std() <= 45


def test_a_reduction_that_is_a_whole_number_is_the_mean_of_the_cells() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    small = warp(picture, letterbox(160, 120, 40, 30), (40, 30)).astype(float)
    means = picture.reshape(30, 4, 40, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1


def test_a_warp_reuses_the_buffer_and_fills_the_border() -> None:
    buffer = np.full((256, 320, 3), 9, dtype=np.uint8)
    result = warp(
        np.full((480, 640, 3), 200, dtype=np.uint8), letterbox(640, 480, 320, 256), (320, 256), buffer, 77
    )
    assert result is buffer
    assert (buffer[:240] == 200).all()
    assert (buffer[241:] == 77).all()


def test_a_crop_beside_the_picture_is_all_border() -> None:
    for side in (20, 500):
        crop = crop_similarity((-4000, -4000), side, 10, 32, 32)
        assert (warp(ramp(), crop, (32, 32), border=5) == 5).all()


@given(rolls, st.floats(1, 200), st.floats(0.05, 1), positions, positions)
def test_roll_is_read_from_five_points(roll: float, size: float, narrow: float, x: float, y: float) -> None:
    # Narrow is a head seen from the side: the eyes come together, the roll stays.
    upright = size * np.array(
        [[-0.5 * narrow, -0.5], [0.5 * narrow, -0.5], [0, 0], [-0.4 * narrow, 0.5], [0.4 * narrow, 0.5]]
    )
    angle = math.radians(roll)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    found = roll_from_keypoints(upright @ turn.T + (x, y))
    assert abs((found - roll + 180) % 360 - 180) <= 1e-5


def test_roll_of_an_eye_that_hangs_is_positive() -> None:
    assert roll_from_keypoints([[0, 0], [10, 5], [3, 8], [-5, 10], [3, 14]]) > 0
    assert roll_from_keypoints(np.zeros((5, 2))) == 0


def test_iou_of_boxes_known_by_heart() -> None:
    a = [[0, 0, 2, 2], [10, 10, 4, 4]]
    b = [[1, 0, 2, 2], [0, 0, 2, 2], [11, 11, 2, 2], [50, 50, 1, 1], [2, 0, 2, 2], [0, 0, 0, 0]]
    assert iou_matrix(a, b) == pytest.approx(np.array([[1 / 3, 1, 0, 0, 0, 0], [0, 0, 0.25, 0, 0, 0]]))
    assert iou_matrix(np.zeros((0, 4)), b).shape == (0, 6)


boxes = st.lists(
    st.tuples(
        st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20), st.integers(0, 5)
    ),
    max_size=24,
)


@given(boxes, st.floats(0, 1))
def test_what_nms_keeps_is_apart_and_what_it_drops_has_a_better_neighbour(
    drawn: list[tuple[int, ...]], threshold: float
) -> None:
    table = np.array(drawn, dtype=float).reshape(-1, 5)
    kept = nms(table[:, :4], table[:, 4], threshold)
    overlap = iou_matrix(table[:, :4], table[:, :4])
    assert (np.diff(table[kept, 4]) <= 0).all()
    for i in range(len(table)):
        better = [j for j in kept if table[j, 4] > table[i, 4] or (table[j, 4] == table[i, 4] and j < i)]
        suppressed = any(overlap[i, j] > threshold for j in better)
        assert (i in kept) != suppressed


def test_nms_of_nothing_is_nothing() -> None:
    assert nms(np.zeros((0, 4)), np.zeros(0), 0.5).tolist() == []


ROI = (140.0, 90.0, 200.0, 280.0)


@given(points, st.tuples(st.floats(0, 600), st.floats(0, 400), st.floats(20, 400), st.floats(20, 400)))
def test_tanh_polar_points_come_back(
    frame: NDArray[np.float64], roi: tuple[float, float, float, float]
) -> None:
    # Eight radii away from a face the grid has less than a ten-millionth of a column left for all the rest.
    center = np.array(roi[:2]) + np.array(roi[2:]) / 2
    near = center + np.clip((frame - center) / (np.array(roi[2:]) / 2), -4, 4) * np.array(roi[2:]) / 2
    cells = tanh_polar_points(near, roi, (256, 128))
    assert (cells >= 0).all()
    assert (cells[:, 0] < 256).all()
    assert (cells[:, 1] <= 128).all()
    assert np.abs(tanh_polar_points_inverse(cells, roi, (256, 128)) - near).max() <= 1e-4


def test_tanh_polar_landmarks_of_the_grid() -> None:
    center, right, below = (240.0, 230.0), (340.0, 230.0), (240.0, 370.0)
    cells = tanh_polar_points([center, right, below], ROI, (256, 128))
    assert cells[0, 0] == pytest.approx(0)
    # The edge of the box lies at tanh(sqrt(pi) / 2) of the radius, whatever the shape of the box.
    edge = math.tanh(math.sqrt(math.pi) / 2) * 256
    assert cells[1] == pytest.approx([edge, 0])
    assert cells[2] == pytest.approx([edge, 32])


def synthetic_labels() -> NDArray[np.uint8]:
    """A 480 x 640 map of a face of eleven classes inside ROI."""
    y, x = np.mgrid[:480, :640]
    image = np.zeros((480, 640), dtype=np.uint8)
    ellipses = [(10, 240, 215, 118, 160), (1, 240, 235, 95, 135), (2, 200, 180, 26, 8), (3, 280, 180, 26, 8),
                (4, 200, 205, 20, 10), (5, 280, 205, 20, 10), (6, 240, 240, 18, 32), (7, 240, 295, 36, 9),
                (9, 240, 318, 32, 10), (8, 240, 306, 28, 5)]  # fmt: skip
    for label, cx, cy, rx, ry in ellipses:
        image[((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1] = label
    return image


@pytest.mark.parametrize("side", [256, 513])
def test_tanh_polar_points_of_a_frame_come_back_to_the_last_digit(side: int) -> None:
    y, x = np.mgrid[:480, :640]
    frame = np.stack([x, y], axis=-1).astype(np.float64)
    cells = tanh_polar_points(frame, ROI, (side, side))
    assert np.abs(tanh_polar_points_inverse(cells, ROI, (side, side)) - frame).max() < 1e-9
    # In float32 a cell far from the face stands for more than a thousandth of a pixel: within three boxes'
    # width and height it does not.
    center, reach = np.array(ROI[:2]) + np.array(ROI[2:]) / 2, 1.5 * np.array(ROI[2:])
    near = frame[(np.abs(frame - center) <= reach).all(axis=-1)]
    stored = tanh_polar_points(near, ROI, (side, side)).astype(np.float32)
    assert len(near) > 200_000
    assert np.abs(tanh_polar_points_inverse(stored, ROI, (side, side)) - near).max() < 1e-3


# Measured with the authors' own code on such a face: 0.980 and 0.999.
@pytest.mark.parametrize(("side", "floor"), [(256, 0.975), (513, 0.998)])
def test_a_label_map_survives_the_polar_way_and_back(side: int, floor: float) -> None:
    truth = synthetic_labels()
    there = tanh_polar_warp(truth, ROI, (side, side), nearest=True)
    back = tanh_polar_unwarp(there, ROI, (640, 480), nearest=True)
    scores = []
    for label in range(1, 11):
        union = ((truth == label) | (back == label)).sum()
        scores.append(((truth == label) & (back == label)).sum() / union)
    assert np.mean(scores) >= floor


def test_a_picture_survives_the_polar_way_and_back() -> None:
    y, x = np.mgrid[:480, :640]
    picture = np.stack([x / 3, y / 2, (x + y) / 5], axis=-1).astype(np.uint8)
    there = tanh_polar_warp(picture, ROI, (513, 513))
    back = tanh_polar_unwarp(there, ROI, (640, 480)).astype(int)
    face = np.s_[90:370, 140:340]
    assert there.shape == (513, 513, 3)
    assert np.abs(back[face] - picture[face]).max() <= 2
    assert (tanh_polar_unwarp(np.full((64, 64), 3, np.uint8), ROI, (640, 480))[90:370, 140:340] == 3).all()
