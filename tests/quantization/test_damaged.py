"""What damage does to a picture, and that its labels stay true."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from quantization.damaged import KINDS
from quantization.datasets import Sample
from tests.quantization.miniature import colours_at, draw

pytestmark = pytest.mark.workshop


@pytest.fixture
def face():
    drawn = draw(3, side=60.0)
    mask = np.zeros(drawn.rgb.shape[:2], np.uint8)
    for point, part in zip(drawn.keypoints[[0, 1, 3]], (5, 4, 11), strict=True):
        cv2.circle(mask, tuple(point.round().astype(int).tolist()), 2, part, -1)
    return Sample("face", drawn.rgb, boxes=drawn.box[None], points=drawn.points, mask=mask), drawn


def apply(name, sample, level, seed=0):
    return KINDS[name].apply(sample, sample.picture, level, np.random.default_rng(seed))


@pytest.mark.parametrize("name", KINDS)
def test_levels_go_from_mild_to_hard_and_change_nothing_that_is_given(face, name):
    sample, _ = face
    before = sample.picture.copy(), sample.boxes.copy(), sample.points.copy(), sample.mask.copy()
    apart = []
    for level in KINDS[name].levels:
        _, image = apply(name, sample, level)
        assert image.dtype == np.uint8
        if name != "rotation":
            apart.append(float(np.abs(image.astype(int) - sample.picture).mean()))
    assert 3 <= len(KINDS[name].levels) <= 4
    assert apart == sorted(apart)
    assert all(more > 0.5 for more in apart)
    after = sample.picture, sample.boxes, sample.points, sample.mask
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("angle", [15, 45, 90])
@pytest.mark.parametrize("seed", [0, 1])
def test_labels_turn_with_the_picture(face, angle, seed):
    sample, drawn = face
    eyes_and_mouth = np.concatenate([drawn.keypoints[:2], drawn.keypoints[3:]])
    marked = replace(sample, points=eyes_and_mouth)
    turned, image = apply("rotation", marked, angle, seed)
    assert colours_at(image, turned.points) == "rgbb"
    at = turned.points.round().astype(int)
    assert turned.mask[at[:3, 1], at[:3, 0]].tolist() == [5, 4, 11]
    x, y, width, height = turned.boxes[0]
    middle = turned.points.mean(0)
    assert x < middle[0] < x + width
    assert y < middle[1] < y + height
    if angle == 90:
        assert (width, height) == pytest.approx(drawn.box[:1:-1], abs=0.01)
        assert image.shape[:2] == sample.picture.shape[1::-1]
    else:
        assert (turned.mask == 255).any()  # beside the photo nothing is known


def test_a_picture_turns_to_either_side(face):
    sample, _ = face
    sides = {apply("rotation", sample, 30, seed)[0].boxes.tobytes() for seed in range(8)}
    assert len(sides) == 2


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_so_much_of_the_face_is_covered_and_unknown_to_the_mask(face, share):
    sample, drawn = face
    covered, image = apply("occlusion", sample, share)
    hidden = covered.mask == 255
    assert hidden.sum() == pytest.approx(share * drawn.box[2] * drawn.box[3], rel=0.1)
    assert len(np.unique(image[hidden], axis=0)) == 1
    assert np.array_equal(image[~hidden], sample.picture[~hidden])
    rows, columns = np.nonzero(hidden)
    x, y, width, height = drawn.box
    assert columns.min() >= x - 1
    assert rows.min() >= y - 1
    assert columns.max() <= x + width + 1
    assert rows.max() <= y + height + 1


def test_blur_and_pixels_are_those_of_the_face(face):
    """A face of twice the size, blurred by the same share, is the same picture at twice the size."""
    sample, _ = face
    large = cv2.resize(sample.picture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    twice = replace(sample, picture=large, boxes=sample.boxes * 2)
    for name in ("blur", "resolution"):
        level = KINDS[name].levels[0]
        small = cv2.resize(
            apply(name, twice, level)[1], sample.picture.shape[1::-1], interpolation=cv2.INTER_AREA
        )
        plain = apply(name, sample, level)[1]
        assert np.abs(small.astype(int) - plain).mean() < 3


def test_a_face_that_has_no_more_pixels_is_left_as_it_is(face):
    sample, drawn = face
    _, image = apply("resolution", sample, drawn.box[2:].max() + 1)
    assert np.array_equal(image, sample.picture)


def test_jpeg_keeps_the_colours_in_their_places_and_grey_has_none(face):
    sample, drawn = face
    eyes = drawn.keypoints[[0, 1, 3]]
    assert colours_at(apply("jpeg", sample, 30)[1], eyes) == "rgb"
    grey = apply("grey", sample, 0.0)[1]
    assert np.ptp(grey, axis=2).max() == 0
    assert colours_at(grey, eyes) == "---"


def test_a_level_is_written_as_people_write_it():
    assert KINDS["blur"].show(0.04) == "4 %"
    assert KINDS["resolution"].show(16) == "16 px"
    assert KINDS["rotation"].show(45) == "45"
