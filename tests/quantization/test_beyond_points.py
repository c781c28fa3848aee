"""Visibility, presence and pose are graded as they are said to be, by models whose answers are known here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeface import BBox, Face, FrameResult, Landmarks
from edgeface.pose import head_pose
from quantization.beyond_points import (
    COVERS,
    Photo,
    cover,
    grade,
    presence,
    rendered_heads,
    turned_heads,
    visibility,
)
from quantization.synthetic.head import Pose
from tests.quantization.miniature import draw, make_head

pytestmark = pytest.mark.workshop

SEEN = np.ones(68, np.float32)


class Model:
    """Finds what the test says: ``answer(rgb, boxes)`` gives faces."""

    def __init__(self, answer):
        self.analyze = lambda rgb, boxes=None: FrameResult(answer(rgb, boxes), rgb.shape[1], rgb.shape[0])


@pytest.fixture(scope="module")
def photos():
    drawn = [draw(seed, 160, 128, 90.0) for seed in (1, 2, 3)]
    return [Photo(face.rgb, face.points) for face in drawn]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return make_head(tmp_path_factory.mktemp("head") / "face3d.npz", 40, 48)


@pytest.fixture(scope="module")
def heads(head):
    return rendered_heads(head, 24)


def said(photo_box, points, seen=SEEN, present=1.0):
    return (Face(photo_box, landmarks=Landmarks(points, seen, present)),)


def test_the_drawn_faces_look_ahead(photos):
    assert all(
        abs(head_pose(Landmarks(photo.points, SEEN, 1.0)).yaw) < 20 for photo in photos
    )  # else visibility would leave them out


@pytest.mark.parametrize("kind", COVERS)
def test_a_cover_changes_what_it_hides_and_nothing_else(photos, kind):
    for photo in photos:
        rgb, mask = cover(photo, np.random.default_rng(5), kind, photos[0].rgb[::-1])
        hidden = mask > 127
        assert 0.01 < hidden.mean() < 0.5
        changed = np.abs(rgb.astype(int) - photo.rgb).max(2) > 0
        near = np.zeros_like(hidden)
        rows, columns = np.nonzero(mask > 0)
        near[max(0, rows.min() - 4) : rows.max() + 5, max(0, columns.min() - 4) : columns.max() + 5] = True
        assert changed[hidden].mean() > 0.9
        assert not changed[~near].any()
        at = np.rint(photo.points).astype(int)
        under = hidden[at[:, 1], at[:, 0]]
        assert under.any()
        assert not under.all()


def test_glasses_hide_eyes_and_a_mask_hides_the_mouth(photos):
    for kind, part in (("glasses", slice(36, 48)), ("mask", slice(48, 68))):
        _, mask = cover(photos[0], np.random.default_rng(0), kind, photos[1].rgb)
        at = np.rint(photos[0].points[part]).astype(int)
        assert (mask[at[:, 1], at[:, 0]] > 127).mean() > 0.9


def test_who_sees_what_changed_tells_every_covered_point(photos):
    clean = {photo.box: photo for photo in photos}

    def changed(rgb, boxes):
        photo = clean[boxes[0]]
        at = np.rint(photo.points).astype(int)
        apart = np.abs(rgb.astype(int) - photo.rgb).max(2)[at[:, 1], at[:, 0]]
        return said(boxes[0], photo.points, 1 - np.minimum(apart / 40, 1))

    def blind(rgb, boxes):
        return said(boxes[0], clean[boxes[0]].points)

    def by_chance(rgb, boxes):
        rng = np.random.default_rng(int(rgb.sum()))
        return said(boxes[0], clean[boxes[0]].points, rng.uniform(0, 1, 68))

    found = visibility(Model(changed), photos)
    assert found["visibility_auc_covered"] > 0.93
    assert found["points_covered"] > 50
    assert np.isnan(visibility(Model(blind), photos)["visibility_auc_covered"])
    assert visibility(Model(by_chance), photos)["visibility_auc_covered"] == pytest.approx(0.5, abs=0.1)


def test_a_face_that_looks_aside_is_not_asked_about(photos):
    aside = photos[0].points.copy()
    aside[27:36, 0] += 22  # the nose toward one side
    assert abs(head_pose(Landmarks(aside, SEEN, 1.0)).yaw) > 20
    sees_all = Model(lambda rgb, boxes: said(boxes[0], aside))
    assert visibility(sees_all, [replace(photos[0], points=aside)])["points_covered"] == 0
    assert visibility(sees_all, photos[:1])["points_covered"] > 0


def test_presence_is_held_against_backgrounds_and_against_mistakes(photos):
    windows = [np.full((480, 640, 3), value, np.uint8) for value in (10, 200)]
    doubts = (BBox(5, 5, 40, 40, 0.5), BBox(50, 5, 40, 40, 0.05))  # the second is below what counts
    detector = Model(lambda rgb, boxes: tuple(Face(box) for box in doubts))
    faces = {photo.rgb.tobytes() for photo in photos}

    def model(rgb, boxes):
        if rgb.tobytes() in faces:
            return said(boxes[0], photos[0].points, present=0.6)
        mistaken = boxes[0].width == 40 and boxes[0].x == 5
        return said(boxes[0], photos[0].points, present=0.9 if mistaken and rgb[0, 0, 0] == 200 else 0.1)

    found = presence(Model(model), detector, photos, windows)
    assert found == {
        "presence_auc": 1.0,
        "presence_auc_mistaken": 0.5,  # above one of two
        "backgrounds": 8.0,
        "backgrounds_mistaken": 2.0,
    }
    without = presence(Model(model), detector, photos, [])
    assert np.isnan(without["presence_auc"])
    assert without["backgrounds"] == 0


def test_rendered_heads_are_the_same_again_and_turn_every_way(head, heads):
    rendered_heads.cache_clear()
    again = rendered_heads(head, 3)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(again, heads, strict=False))
    yaw = [face.pose.yaw for face in heads]
    assert min(yaw) < -30
    assert max(yaw) > 30
    assert any((~face.visible).any() for face in heads)


def knowing(heads, answer):
    """A model that finds every head and says of it what ``answer`` does."""
    by_picture = {face.image.tobytes(): face for face in heads}

    def find(rgb, boxes):
        face = by_picture[rgb.tobytes()]
        return said(BBox(*face.box.tolist()), *answer(face))

    return Model(find)


def test_who_knows_what_a_head_hides_has_it_all_right(heads):
    found = turned_heads(knowing(heads, lambda f: (f.annotated, f.visible.astype(np.float32))), heads)
    assert found["visibility_auc_turned"] == 1
    assert found["heads"] == found["heads_found"] == 24
    within = [f for f in heads if max(map(abs, (f.pose.yaw, f.pose.pitch, f.pose.roll))) <= 45]
    assert found["heads_posed"] == len(within) < 24
    wrong = turned_heads(knowing(heads, lambda f: (f.annotated, 1 - f.visible)), heads)
    assert wrong["visibility_auc_turned"] == 0


def test_a_pose_off_by_so_many_degrees_is_told(heads):
    """The points turned in the picture by 10 degrees change the roll by as much."""
    ahead = [f for f in heads if abs(f.pose.yaw) < 30 and abs(f.pose.pitch) < 30 and abs(f.pose.roll) < 20]

    def leaning(face):
        angle = np.radians(10)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return ((face.annotated - face.annotated.mean(0)) @ turn.T + face.annotated.mean(0), SEEN)

    plain = turned_heads(knowing(ahead, lambda f: (f.annotated, SEEN)), ahead)
    assert plain["pose_error"] == pytest.approx(plain["pose_error_of_true_points"])
    # The truth leans by ten degrees less than what is found, whatever the fit itself errs by.
    straight = [replace(f, pose=Pose(f.pose.yaw, f.pose.pitch, f.pose.roll - 10)) for f in ahead]
    moved = turned_heads(knowing(straight, lambda f: (f.annotated, SEEN)), straight)
    assert abs(moved["pose_error_roll"] - 10) <= plain["pose_error_roll"] + 1e-6
    told = turned_heads(knowing(ahead, leaning), ahead)
    assert told["pose_error_roll"] > 10 - 2 * plain["pose_error_roll"] - 1
    assert told["pose_error_of_true_points"] == pytest.approx(plain["pose_error"])


def test_a_head_that_is_not_found_has_no_part_in_the_errors(heads):
    nobody = turned_heads(Model(lambda rgb, boxes: ()), heads)
    assert nobody["heads_found"] == nobody["heads_posed"] == 0
    assert "pose_error" not in nobody
    assert nobody["pose_error_of_true_points"] >= 0
    far = Model(lambda rgb, boxes: said(BBox(0, 0, 9, 9), np.zeros((68, 2), np.float32)))
    assert turned_heads(far, heads)["heads_found"] == 0


def test_without_the_3d_face_the_photos_alone_are_graded(photos, tmp_path):
    model = Model(lambda rgb, boxes: said(boxes[0], photos[0].points, present=float(rgb.mean() / 255)))
    found = grade(model, model, photos, [], tmp_path / "nothing.npz")
    assert "points_covered" in found
    assert "heads" not in found
