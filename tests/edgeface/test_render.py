"""Overlays: where things are drawn, what they may cover, that they are legible and inside the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgeface
from edgeface.labels import CELEBAMASK19, FER8, IBUG68, LAPA11
from edgeface.render import OverlayStyle, draw_overlay
from edgeface.render.canvas import Canvas, text_mask, text_metrics
from edgeface.render.layout import Obstacle, Rect, around, cheapest, corners, grid

_GREY = 120
_SCORES = dict.fromkeys(FER8.names, 0.02) | {"happiness": 0.86}
_BARE = {"boxes": False, "landmarks": False, "parsing": False, "expression": False, "legend": False}


def _picture(width=640, height=480, value=_GREY):
    return np.full((height, width, 3), value, np.uint8)


def _landmarks(box, visible=1.0):
    rng = np.random.default_rng(5)
    points = rng.uniform(0.1, 0.9, (68, 2)) * [box.width, box.height] + [box.x, box.y]
    return edgeface.Landmarks(points.astype(np.float32), np.full(68, visible, np.float32), 1.0)


def _map(box, label, scheme="celebamask19", cells=64):
    return edgeface.ParsingMap(np.full((cells, cells), label, np.uint8), box, scheme)


def _face(x=250.0, y=150.0, width=110.0, height=130.0, **parts):
    box = edgeface.BBox(x, y, width, height, 0.9)
    given = {
        "landmarks": _landmarks(box),
        "parsing": _map(edgeface.BBox(x - width / 2, y - height / 2, 2 * width, 2 * height), 13),
        "expression": edgeface.Expression(_SCORES),
    }
    return edgeface.Face(box, **{**given, **parts})


def _result(picture, *faces):
    return edgeface.FrameResult(faces, picture.shape[1], picture.shape[0])


def _changed(one, other):
    return (one != other).any(axis=2)


def test_without_faces_the_picture_stays_as_it_is():
    picture = _picture()
    assert np.array_equal(draw_overlay(picture, _result(picture)), picture)


def test_the_input_is_not_touched_and_the_same_input_gives_the_same_pixels():
    picture = _picture()
    before = picture.copy()
    frame = edgeface.Frame.from_array(picture)
    result = _result(picture, _face())
    first = draw_overlay(frame, result)
    assert np.array_equal(picture, before)
    assert first.shape == picture.shape
    assert first.dtype == np.uint8
    assert not np.array_equal(first, picture)
    assert np.array_equal(first, draw_overlay(picture, result))


def test_a_result_of_another_picture_is_refused():
    with pytest.raises(edgeface.ArgumentError, match="640 x 480"):
        draw_overlay(_picture(200, 100), _result(_picture(), _face()))


def test_what_cannot_be_drawn_is_named():
    result = _result(_picture(), _face())
    with pytest.raises(edgeface.ArgumentError, match="a FrameResult, not tuple"):
        draw_overlay(_picture(), result.faces)
    with pytest.raises(edgeface.ArgumentError, match="uint8 array, not float64 array"):
        draw_overlay(_picture() / 255, result)
    with pytest.raises(edgeface.ArgumentError, match="must be a Frame or its rgb, a uint8 array, not str"):
        draw_overlay("photo.jpg", result)


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 48), (512, 384)), ((320, 240), (640, 480)), ((900, 600), (900, 600))]
)
def test_small_pictures_are_enlarged_until_text_is_legible(size, expected):
    picture = _picture(*size)
    overlay = draw_overlay(picture, _result(picture, _face(10, 10, 20, 20)))
    assert overlay.shape[1::-1] == expected
    kept = draw_overlay(picture, _result(picture, _face(10, 10, 20, 20)), OverlayStyle(min_side=0))
    assert kept.shape == picture.shape


def test_an_enlarged_box_lies_over_the_same_part_of_the_picture():
    picture = _picture(160, 120, 0)
    box = edgeface.BBox(39.5, 29.5, 40, 30)  # the pixels 40..79 and 30..59
    style = OverlayStyle(**{**_BARE, "boxes": True})
    overlay = draw_overlay(picture, _result(picture, edgeface.Face(box)), style)
    rows, columns = np.nonzero(overlay.max(axis=2) > 60)
    # four times as large: pixels 160..319 and 120..239, the line straddles the edges
    assert abs(columns.min() - 159.5) <= 1.6
    assert abs(columns.max() - 319.5) <= 1.6
    assert abs(rows.min() - 119.5) <= 1.6
    assert abs(rows.max() - 239.5) <= 1.6


@given(st.floats(20, 60), st.floats(20, 60), st.floats(1.0, 6.0))
def test_a_dot_lies_where_it_belongs_to_a_fraction_of_a_pixel(x, y, radius):
    canvas = Canvas(np.zeros((80, 80, 3), np.uint8))
    canvas.dots(np.array([[x, y]], np.float32), radius, (255, 255, 255))
    weight = canvas.rgb[..., 0].astype(float)
    rows, columns = np.indices(weight.shape)
    assert (columns * weight).sum() / weight.sum() == pytest.approx(x, abs=0.15)
    assert (rows * weight).sum() / weight.sum() == pytest.approx(y, abs=0.15)


@pytest.mark.parametrize("thickness", [0.75, 1.0, 1.5, 2.5])
def test_a_line_is_as_thick_as_asked(thickness):
    canvas = Canvas(np.zeros((60, 200, 3), np.uint8))
    canvas.strokes([(np.array([[20, 30], [180, 30]], np.float32), False)], thickness, (255, 255, 255))
    profile = canvas.rgb[:, 100, 0].astype(float) / 255
    assert profile.sum() == pytest.approx(thickness, abs=0.35)
    assert (np.arange(60) * profile).sum() / profile.sum() == pytest.approx(30, abs=0.15)


@pytest.mark.parametrize(
    "points", [[[-500, -500], [900, 900]], [[1e9, 5], [5, 5]], [[np.nan, 4], [5, 5]], [[-90, 0], [-80, 0]]]
)
def test_nothing_outside_the_picture_or_unplaceable_raises(points):
    canvas = Canvas(np.zeros((40, 40, 3), np.uint8))
    points = np.array(points, np.float32)
    canvas.strokes([(points, True)], 2.0, (255, 255, 255))
    canvas.dots(points, 3.0, (255, 255, 255))
    assert canvas.rgb.shape == (40, 40, 3)


@pytest.mark.parametrize("cap", [7, 9, 14, 30])
def test_capitals_are_as_high_as_asked(cap):
    mask = text_mask("H", cap)
    inked = np.flatnonzero(mask.max(axis=1) > 127)
    assert abs(len(inked) - cap) <= 1
    # on the baseline; half the thickness of a stroke may hang below it
    assert abs(len(mask) - inked[-1] - 1 - text_metrics("H", cap).descent) <= 1
    assert text_metrics("H", cap).width < text_metrics("HH", cap).width


@pytest.mark.parametrize("cap", [8, 20, 45])
@pytest.mark.parametrize("bold", [False, True])
def test_no_stroke_of_a_text_is_cut_off(cap, bold):
    for text in ("happiness 100%", "#10 jungle", "WAVE", "f", "Qq", "by"):
        mask = text_mask(text, cap, bold)
        assert mask[0].max() < 90
        assert mask[-1].max() < 90
        ink = np.count_nonzero(mask.max(axis=0) > 40)
        assert ink > 0.5 * mask.shape[1]


@settings(max_examples=25)
@given(
    x=st.floats(0, 440),
    y=st.floats(0, 300),
    width=st.floats(40, 200),
    height=st.floats(40, 180),
)
def test_no_writing_covers_a_face_where_there_is_room(x, y, width, height):
    picture = _picture()
    face = _face(x, y, width, height)
    written = draw_overlay(picture, _result(picture, face))
    bare = draw_overlay(picture, _result(picture, face), OverlayStyle(expression=False, legend=False))
    changed = _changed(written, bare)
    assert changed.sum() > 5000  # both panels are there
    left, top = int(np.ceil(x)), int(np.ceil(y))
    assert not changed[top : int(y + height), left : int(x + width)].any()
    # and none of it touches the edge of the picture
    assert not changed[:3].any()
    assert not changed[-3:].any()
    assert not changed[:, :3].any()
    assert not changed[:, -3:].any()


def test_a_face_that_fills_the_picture_gets_one_line_instead_of_bars():
    picture = _picture(500, 600)
    face = _face(10, 20, 480, 560, parsing=None)
    written = draw_overlay(picture, _result(picture, face))
    changed = _changed(written, draw_overlay(picture, _result(picture, face), OverlayStyle(expression=False)))
    rows = np.flatnonzero(changed.any(axis=1))
    assert 0 < len(rows) < 40


def test_several_faces_are_numbered_beside_their_boxes():
    picture = _picture(1920, 1080)
    faces = [_face(150 + 350 * i, 300 + 60 * (i % 2), 120, 150, parsing=None) for i in range(5)]
    written = draw_overlay(picture, _result(picture, *faces))
    bare = draw_overlay(picture, _result(picture, *faces), OverlayStyle(expression=False))
    for face in faces:
        around_it = Rect.of(face.bbox, 0.5)
        part = np.s_[around_it.top : around_it.bottom, around_it.left : around_it.right]
        assert _changed(written[part], bare[part]).any()
        box = Rect.of(face.bbox)
        inner = np.s_[box.top + 3 : box.bottom - 3, box.left + 3 : box.right - 3]
        assert np.array_equal(written[inner], bare[inner])


def test_a_crowd_of_tiny_faces_is_drawn_without_texts_on_each_other():
    picture = _picture(640, 480)
    faces = [_face(8 + 30 * i, 8 + 34 * j, 22, 24) for i in range(20) for j in range(13)]
    assert draw_overlay(picture, _result(picture, *faces)).shape == picture.shape


@pytest.mark.parametrize(("width", "height"), [(4000, 3), (2, 900), (1, 1), (30, 700)])
def test_pictures_of_odd_shapes_are_drawn_without_writing_that_does_not_fit(width, height):
    picture = _picture(width, height)
    overlay = draw_overlay(picture, _result(picture, _face(-20, -20, 60, 60)))
    assert overlay.ndim == 3


def test_each_class_gets_its_colour_where_the_map_says():
    picture = _picture()
    cells = np.zeros((64, 64), np.uint8)
    cells[:, 32:] = CELEBAMASK19.index("hair")
    parsing = edgeface.ParsingMap(cells, edgeface.BBox(99.5, 99.5, 256, 256))
    style = OverlayStyle(**{**_BARE, "parsing": True, "opacity": 0.5})
    face = edgeface.Face(edgeface.BBox(160, 160, 100, 100), parsing=parsing)
    overlay = draw_overlay(picture, _result(picture, face), style).astype(int)
    hair = np.array(CELEBAMASK19.colours[CELEBAMASK19.index("hair")])
    assert np.abs(overlay[220, 260] - (hair + _GREY) / 2).max() <= 2
    assert np.abs(overlay[220, 180] - _GREY).max() <= 1  # background stays clear
    # the border lies between the pixels 227 and 228, and is sharp
    row = np.abs(overlay[220, 215:241] - _GREY).sum(axis=1) / np.abs((hair + _GREY) / 2 - _GREY).sum()
    assert np.interp(0.5, row, np.arange(215, 241)) == pytest.approx(227.5, abs=0.5)
    assert np.count_nonzero((row > 0.1) & (row < 0.9)) <= 4


def test_a_large_map_lies_as_exactly_as_a_small_one():
    picture = _picture(2600, 2600)
    cells = np.zeros((128, 128), np.uint8)
    cells[64:] = CELEBAMASK19.index("cloth")
    parsing = edgeface.ParsingMap(cells, edgeface.BBox(99.5, 99.5, 2400, 2400))
    face = edgeface.Face(edgeface.BBox(700, 700, 1000, 1000), parsing=parsing)
    style = OverlayStyle(**{**_BARE, "parsing": True})
    column = np.abs(draw_overlay(picture, _result(picture, face), style)[:, 1300].astype(int) - _GREY).sum(
        axis=1
    )
    border = np.interp(column.max() / 2, column[1200:1400], np.arange(1200, 1400))
    assert border == pytest.approx(1299.5, abs=2.5)


def test_skin_is_washed_more_lightly_than_the_rest():
    picture = _picture(value=0)
    style = OverlayStyle(**{**_BARE, "parsing": True})

    def strength(name):
        label = CELEBAMASK19.index(name)
        face = _face(parsing=_map(edgeface.BBox(200, 100, 200, 200), label))
        return draw_overlay(picture, _result(picture, face), style)[200, 300].sum() / sum(
            CELEBAMASK19.colours[label]
        )

    assert strength("skin") < 0.6 * strength("nose")


@given(
    st.floats(-900, 900),
    st.floats(-900, 900),
    st.floats(0.5, 2500),
    st.floats(0.5, 2500),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_a_map_may_lie_anywhere(x, y, width, height, rows, columns):
    picture = _picture(320, 240)
    labels = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns) % len(LAPA11)
    parsing = edgeface.ParsingMap(labels, edgeface.BBox(x, y, width, height), "lapa")
    face = edgeface.Face(edgeface.BBox(100, 100, 50, 50), parsing=parsing)
    style = OverlayStyle(**{**_BARE, "parsing": True, "min_side": 0})
    outside = np.ones((240, 320), bool)
    outside[
        max(0, int(np.ceil(y))) : max(0, int(y + height) + 1),
        max(0, int(np.ceil(x))) : max(0, int(x + width) + 1),
    ] = False
    overlay = draw_overlay(picture, _result(picture, face), style)
    assert (overlay[outside] == _GREY).all()


def test_covered_points_look_different_from_seen_ones():
    picture = _picture()
    style = OverlayStyle(**{**_BARE, "landmarks": True})
    box = edgeface.BBox(150, 80, 300, 330)
    seen, covered = (
        draw_overlay(picture, _result(picture, edgeface.Face(box, landmarks=_landmarks(box, share))), style)
        for share in (1.0, 0.0)
    )
    x, y = np.rint(_landmarks(box).points[IBUG68.parts["jaw"]][0]).astype(int)
    assert seen[y, x].min() > 200
    assert covered[y, x].min() < 200


def test_without_landmarks_the_five_points_of_the_detector_are_shown():
    picture = _picture()
    keypoints = np.array([[280, 200], [330, 200], [305, 225], [285, 250], [325, 250]], np.float32)
    face = edgeface.Face(edgeface.BBox(250, 150, 110, 130), keypoints=keypoints)
    overlay = draw_overlay(picture, _result(picture, face), OverlayStyle(boxes=False))
    for x, y in keypoints.astype(int):
        assert overlay[y, x].min() > 240


def test_overlays_of_a_grown_picture_use_grown_letters():
    small, large = (
        draw_overlay(
            _picture(w, h), _result(_picture(w, h), _face(w * 0.4, h * 0.4, w * 0.1, h * 0.15, parsing=None))
        )
        for w, h in ((640, 480), (2560, 1920))
    )
    share = [_changed(p, np.full_like(p, _GREY)).mean() for p in (small, large)]
    assert share[1] == pytest.approx(share[0], rel=0.35)


_rects = st.builds(Rect, st.integers(0, 90), st.integers(0, 90), st.integers(1, 40), st.integers(1, 40))


@given(st.lists(_rects, max_size=5), st.tuples(st.integers(1, 120), st.integers(1, 120)), _rects)
def test_a_chosen_place_is_inside_and_the_cheapest(obstacles, size, anchor):
    area = Rect(0, 0, 100, 100)
    things = [Obstacle(rect, 1.0) for rect in obstacles]
    spots = corners(size, area) + grid(size, area) + around(size, anchor, 2)
    place = cheapest(spots, area, things)
    if size[0] > 100 or size[1] > 100:
        assert place is None
        return
    assert place is not None
    assert place.rect.inside(area)

    def covered(rect):
        return sum(rect.overlap(o) / min(rect.area, o.area) for o in obstacles)

    assert place.cost == pytest.approx(min(covered(spot) for spot in spots if spot.inside(area)))


@given(_rects, _rects)
def test_overlap_counts_shared_pixels(one, other):
    ink = np.zeros((140, 140), np.uint8)
    ink[one.top : one.bottom, one.left : one.right] += 1
    ink[other.top : other.bottom, other.left : other.right] += 1
    assert one.overlap(other) == other.overlap(one) == np.count_nonzero(ink == 2)


def test_the_photo_of_the_readme_is_drawn(astronaut_path):
    frame = edgeface.read_image(astronaut_path)
    overlay = draw_overlay(frame, _result(frame.rgb, _face(174, 66, 102, 126)))
    assert overlay.shape == (512, 512, 3)
    assert cv2.imencode(".jpg", overlay)[0]
