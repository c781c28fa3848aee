from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edgeface.labels import IBUG68
from quantization.synthetic import EXPRESSIONS, Camera, FaceMaker, Head, Light, Look, Pose, box_of
from quantization.synthetic.fitting import HeadFitter
from quantization.synthetic.turned import HeadTurner, TurningError, profile_box
from quantization.synthetic.unseen import Globe, look_up, spread

pytestmark = [pytest.mark.workshop, pytest.mark.data]

SIDE = 200  # the turner shrinks nothing
MODEL = "face3d/ict_face_model_light.npz"


@pytest.fixture(scope="module")
def maker(shared_data):
    return FaceMaker(shared_data / MODEL)


@pytest.fixture(scope="module")
def turner(shared_data):
    return HeadTurner(shared_data / MODEL)


def render(maker, pose, seed=3):
    """Somebody's face from far away, as the turner supposes portraits are taken."""
    rng = np.random.default_rng(seed)
    head = Head(
        np.clip(rng.normal(0, 0.7, maker.model.identities), -1.5, 1.5).astype(np.float32),
        np.array([0.4 * name.startswith("mouthSmile") for name in EXPRESSIONS], np.float32),
        pose,
        Camera((100.0, 100.0), 100 * 400 / 18, 400.0),
        replace(Look.draw(rng), volume=0.0),
        Light.draw(rng),
    )
    face = maker.render(head, np.full((SIDE, SIDE, 3), 90, np.uint8))
    return face, ((face.mask > 0) * 255).astype(np.uint8)


def shares(found, truth, unit):
    """Per point the distance once both sets have the same middle, in ``unit`` pixels."""
    return np.linalg.norm(found - found.mean(0) - truth + truth.mean(0), axis=1) / unit


UNIT = 100 / 18 * 8.9  # pixels between the outer corners of the eyes of the head that looks ahead


@pytest.mark.parametrize(
    ("pose", "yaw"),
    [(Pose(20), 65.0), (Pose(-30, -8, 6), 80.0), (Pose(35, 10, -12), 90.0), (Pose(-5, 0, 20), 45.0)],
)
def test_a_turned_head_lies_where_the_same_head_is_at_that_yaw(maker, turner, pose, yaw):
    before, alpha = render(maker, pose)
    turned = turner.turn(before.image, alpha, before.annotated, yaw)
    after, _ = render(maker, Pose(np.copysign(yaw, pose.yaw), pose.pitch, pose.roll))
    assert turned.error < 0.02
    found = (turned.before.yaw, turned.before.pitch, turned.before.roll)
    assert found == pytest.approx((pose.yaw, pose.pitch, pose.roll), abs=4)
    assert turned.pose.yaw == np.copysign(yaw, pose.yaw)
    missed = shares(turned.points[17:], after.annotated[17:], UNIT)
    assert missed.mean() < 0.05
    assert missed.max() < 0.2
    assert shares(turned.five, after.five, UNIT).mean() < 0.05
    shift = turned.points.mean(0) - after.annotated.mean(0)
    expected = profile_box(after.annotated + shift, yaw if pose.yaw > 0 else -yaw)
    assert turned.box == pytest.approx(expected, abs=0.08 * float(expected[3]))


def test_a_head_that_stays_looks_as_it_did(maker, turner):
    before, alpha = render(maker, Pose(25, 5, 8))
    fit = turner.fit(before.annotated)
    kept = turner.turn(before.image, alpha, before.annotated, fit.pose.yaw)
    assert kept.points[17:] - kept.points[30] == pytest.approx(
        before.annotated[17:] - before.annotated[30], abs=0.01
    )
    shift = kept.points[30] - before.annotated[30]
    assert shift == pytest.approx(np.rint(shift), abs=0.01)
    height, width = kept.alpha.shape
    moved = cv2.warpAffine(before.image, np.c_[np.eye(2), np.rint(shift)], (width, height))
    there = cv2.warpAffine(alpha, np.c_[np.eye(2), np.rint(shift)], (width, height))
    inner = cv2.erode(there, np.ones((9, 9))) > 0
    assert (kept.alpha[inner] > 250).mean() > 0.97
    apart = np.abs(kept.image[inner].astype(int) - moved[inner])
    assert apart.mean() < 3
    assert np.median(apart) <= 1
    assert kept.guessed < 0.05


def test_the_face_that_was_seen_is_seen_in_profile(maker, turner):
    """The near cheek keeps its colours, and the eyes come together."""
    before, alpha = render(maker, Pose(30))
    turned = turner.turn(before.image, alpha, before.annotated, 80)

    def colour(image, points):
        x, y = np.rint(points).astype(int)
        return image[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(0)

    for places in ([36, 48], [31, 48], [36, 17]):
        one, two = before.points[places].mean(0), turned.points[places].mean(0)
        assert np.abs(colour(before.image, one) - colour(turned.image, two)).max() < 25
    assert before.points[45, 0] - before.points[36, 0] > 0.8 * UNIT
    assert 0 < turned.points[45, 0] - turned.points[36, 0] < 0.3 * UNIT
    assert turned.alpha.shape == turned.image.shape[:2]
    assert turned.guessed < 0.2


def test_the_mirrored_portrait_turns_to_the_mirrored_head(maker, turner):
    before, alpha = render(maker, Pose(22, -6, 5))
    one = turner.turn(before.image, alpha, before.annotated, 70, pitch=10)
    flipped = (before.annotated * (-1, 1) + (SIDE - 1, 0))[list(IBUG68.flip)].astype(np.float32)
    two = turner.turn(
        np.ascontiguousarray(before.image[:, ::-1]), np.ascontiguousarray(alpha[:, ::-1]), flipped, 70, 10
    )
    assert two.pose.yaw == -70
    assert one.pose.yaw == 70
    assert one.pose.pitch == pytest.approx(one.before.pitch + 10)
    mirrored = (two.five * (-1, 1))[[1, 0, 2, 4, 3]]
    assert shares(one.five, mirrored, UNIT).max() < 0.03
    assert one.alpha.sum() == pytest.approx(two.alpha.sum(), rel=0.03)


def test_hair_beside_the_skull_makes_a_larger_head(maker, turner):
    """What the mask has around the head is taken for hair: the profile grows with it."""
    before, alpha = render(maker, Pose(15))
    wide = cv2.dilate(alpha, np.ones((25, 25), np.uint8))
    drawn = [turner.turn(before.image, a, before.annotated, 85).alpha for a in (alpha, wide)]
    assert drawn[1].shape[0] > drawn[0].shape[0] + 5
    assert drawn[1].sum() > 1.1 * drawn[0].sum()


def test_the_box_of_a_profile_lies_farther_back_and_lower():
    points = np.tile(np.array([[10, 20], [60, 120]], np.float32), (34, 1))
    x, y, width, height = box_of(points)
    assert profile_box(points, -60) == pytest.approx([x, y, width, height])
    right, left = profile_box(points, 90), profile_box(points, -90)
    assert right[0] < x
    assert right[0] + right[2] < x + width
    assert right[1] > y
    assert right[1] + right[3] == pytest.approx(y + height)
    assert left[[1, 2, 3]] == pytest.approx(right[[1, 2, 3]])
    assert left[0] - x == pytest.approx(x + width - right[0] - right[2])


def test_the_fit_follows_the_points_wherever_they_go(maker, turner):
    face, _ = render(maker, Pose(30, -10, 8))
    fitter = HeadFitter(maker.model)
    one = fitter.fit(face.annotated)
    assert (one.pose.yaw, one.pose.pitch, one.pose.roll) == pytest.approx((30, -10, 8), abs=4)
    assert one.scale == pytest.approx(100 / 18, rel=0.05)
    assert one.centre == pytest.approx((100, 100), abs=4)
    assert one.error < 0.02
    smile = [name.startswith("mouthSmile") for name in EXPRESSIONS]
    assert one.expression[smile].max() > 0.1
    two = fitter.fit(2.5 * face.annotated + np.array([300, -40], np.float32))
    assert two.pose.yaw == pytest.approx(one.pose.yaw, abs=0.01)
    assert two.scale == pytest.approx(2.5 * one.scale, rel=1e-3)
    assert two.centre == pytest.approx(2.5 * one.centre + (300, -40), abs=0.1)
    assert two.identity == pytest.approx(one.identity, abs=0.01)
    rng = np.random.default_rng(1)
    rough = fitter.fit(face.annotated + rng.normal(0, 0.1 * UNIT, (68, 2)).astype(np.float32))
    assert rough.error > 3 * one.error
    assert np.array_equal(turner.fit(face.annotated).identity, one.identity)


def directions(maker):
    """Azimuth and elevation of the neutral head's vertices about the middle of the skull."""
    x, y, z = (maker.model.neutral - (0, 4.5, -8)).astype(np.float32).T
    return np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))


def test_what_is_seen_of_a_head_goes_on_around_it(maker):
    azimuth, elevation = directions(maker)
    globe, red, blue = Globe(azimuth, elevation), np.float32([200, 40, 20]), np.float32([20, 40, 200])
    front = (np.abs(azimuth) < 1.2).astype(np.float32)
    top = elevation > 0.5
    colour = np.where((azimuth > 0)[:, None], red, blue)
    around = globe.around(colour, front)
    assert around.shape == colour.shape
    for side, own in ((azimuth > 0.3, red), (azimuth < -0.3, blue)):
        behind = side & top & (front == 0) & (np.abs(azimuth) < 2.5)
        assert behind.sum() > 50
        assert np.abs(around[behind] - own).mean() < 25
    # Of a head seen from its left alone the right takes the same colours.
    lone = globe.around(np.tile(red, (len(azimuth), 1)), front * (azimuth > 0))
    assert lone == pytest.approx(np.tile(red, (len(azimuth), 1)), abs=2)
    assert globe.around(colour, np.zeros_like(front)).max() == 0


def test_a_mask_s_border_colours_what_lies_beyond():
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    mask = np.zeros((40, 50), np.uint8)
    mask[10:30, 10:40] = 255
    after = spread(photo, mask)
    assert (after[11:29, 11:39] == photo[11:29, 11:39]).all()
    assert (after[20, :11] == photo[20, 11]).all()
    assert (after[:11, 25] == photo[11, 25]).all()
    assert (spread(photo, np.zeros_like(mask)) == photo).all()


def test_more_places_are_looked_up_than_opencv_s_pictures_have_rows():
    picture = np.arange(300 * 200, dtype=np.float32).reshape(300, 200)
    at = np.random.default_rng(0).integers(0, (200, 300), (40000, 2))
    assert (look_up(picture, at.astype(np.float32), cv2.INTER_NEAREST) == picture[at[:, 1], at[:, 0]]).all()


def test_what_cannot_be_turned_is_named(maker, turner):
    face, alpha = render(maker, Pose(20))
    image, points = face.image, face.annotated
    with pytest.raises(TurningError, match=r"points have the shape \(5, 2\)"):
        turner.turn(image, alpha, face.five, 70)
    with pytest.raises(TurningError, match="68 finite"):
        turner.fit(np.full((68, 2), np.nan, np.float32))
    with pytest.raises(TurningError, match="in one place"):
        turner.fit(np.full((68, 2), 7, np.float32))
    with pytest.raises(TurningError, match="outside the picture"):
        turner.turn(image, alpha, points + 150, 70)
    with pytest.raises(TurningError, match=r"rgb is float32 \(200, 200, 3\)"):
        turner.turn(image.astype(np.float32), alpha, points, 70)
    with pytest.raises(TurningError, match=r"alpha is uint8 \(199, 200\)"):
        turner.turn(image, alpha[1:], points, 70)
    with pytest.raises(TurningError, match="alpha is empty"):
        turner.turn(image, np.zeros_like(alpha), points, 70)
    with pytest.raises(TurningError, match="yaw is 120"):
        turner.turn(image, alpha, points, 120)
