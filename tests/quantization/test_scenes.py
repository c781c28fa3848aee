from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantization import splits
from quantization.cutouts import Pyramid, _shrink, hardness, rendered, turned
from quantization.label import label_all, load_labels
from quantization.scenes import Mix, Scene, SceneMaker, _hide, _squeeze, _turn, _turn_box
from quantization.splits import parts
from tests.quantization.miniature import colours_at, draw

pytestmark = pytest.mark.workshop

WIDTH, HEIGHT = 320, 256
seeds = st.integers(0, 2**32 - 1)
angles = st.floats(-80, 80)


@pytest.fixture(scope="module")
def maker(miniature):
    with miniature.split():
        return SceneMaker(miniature.data, miniature.labels, WIDTH, HEIGHT)


def spot(x, y, radius, width=640, height=480):
    """A soft spot of light on black."""
    across, down = np.arange(width) - x, np.arange(height) - y
    light = 250 * np.exp(-(across[None] ** 2 + down[:, None] ** 2) / (2 * radius**2))
    return np.repeat(light[:, :, None], 3, axis=2).round().astype(np.uint8)


def middle_of_light(image):
    light = image[..., 0].astype(np.float64)
    rows, columns = np.indices(light.shape)
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


@given(x=st.floats(150, 450), y=st.floats(120, 350), scale=st.floats(0.06, 2.5), angle=angles)
def test_a_point_lands_where_the_picture_of_it_lands(x, y, scale, angle):
    matrix = _turn(scale, angle, np.array([300.0, 240.0]), np.array([320.0, 240.0]))
    image = Pyramid.of(spot(x, y, max(2.5, 2.5 / scale))).warp(matrix, (640, 480))
    there = matrix[:, :2] @ (x, y) + matrix[:, 2]
    if ((there > 20) & (there < (620, 460))).all():
        assert np.abs(middle_of_light(image) - there).max() < 0.12


@given(scale=st.floats(0.05, 4), angle=angles, x=st.floats(-50, 400), y=st.floats(-50, 400))
def test_the_middle_of_a_face_goes_where_it_is_sent(scale, angle, x, y):
    middle = np.array([37.0, 81.5])
    matrix = _turn(scale, angle, middle, np.array([x, y]))
    assert matrix[:, :2] @ middle + matrix[:, 2] == pytest.approx([x, y], abs=1e-6)
    assert np.linalg.det(matrix[:, :2]) == pytest.approx(scale**2)


@given(w=st.floats(5, 200), h=st.floats(5, 200), scale=st.floats(0.1, 3), angle=st.floats(-180, 180))
def test_the_box_of_a_turned_face_is_the_box_of_its_ellipse(w, h, scale, angle):
    box = np.array([12.0, -7.0, w, h], np.float32)
    matrix = _turn(scale, angle, box[:2] + box[2:] / 2, np.array([100.0, 90.0]))
    around = np.linspace(0, 2 * np.pi, 2001)
    ellipse = box[:2] + box[2:] / 2 * (1 + np.c_[np.cos(around), np.sin(around)])
    turned = ellipse @ matrix[:, :2].T + matrix[:, 2]
    low, high = turned.min(0), turned.max(0)
    assert _turn_box(box, matrix, scale, angle) == pytest.approx(
        [*low, *(high - low)], abs=2e-3 * max(w, h) * scale
    )


@given(seed=st.integers(0, 50), side=st.floats(60, 300))
def test_a_cutout_carries_its_points_along(seed, side):
    face = draw(seed, 520, 400, side)
    cutout = _shrink(face.rgb, np.full(face.rgb.shape[:2], 255, np.uint8), face.box, face.keypoints, 0.0)
    assert max(cutout.rgb.levels[0].shape) <= 176
    picked = [0, 1, 3, 4]  # the nose has no colour of its own
    assert colours_at(cutout.rgb.levels[0], cutout.points[picked]) == "rgbb"
    assert cutout.box[2] / cutout.box[3] == pytest.approx(face.box[2] / face.box[3], rel=1e-4)


def scene_with(*boxes, sure=True):
    scene = Scene(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    for box in boxes:
        scene.add(np.array(box, np.float32), np.zeros((5, 2), np.float32), sure)
    return scene


@pytest.mark.parametrize(
    ("box", "sure"),
    [
        ((10, 10, 50, 60), [True]),
        ((-10, 10, 50, 60), [True]),  # a fifth is outside
        ((-20, 10, 50, 60), [False]),  # more than a third is
        ((-48, 10, 50, 60), []),  # hardly anything is inside
        ((400, 10, 50, 60), []),
        ((300, 240, 40, 40), [False]),
    ],
)
def test_faces_cut_off_by_the_edge_are_doubtful_or_gone(box, sure):
    assert scene_with(box).sure == sure
    assert scene_with(box, sure=False).sure == [False] * len(sure)


def test_a_head_in_front_hides_what_is_behind_it():
    scene = scene_with((0, 0, 40, 40), (100, 0, 40, 40), (200, 0, 40, 40), (60, 100, 40, 40))
    _hide(scene, np.array([20, 0, 220, 20], np.float32))
    # Of the first a quarter is covered, of the second and third a half, of the fourth nothing.
    assert scene.sure == [True, False, False, True]
    _hide(scene, np.array([95, -5, 50, 50], np.float32))
    assert [float(b[0]) for b in scene.boxes] == [0.0, 200.0, 60.0]
    assert len(scene.points) == len(scene.sure) == 3


def check_colours(scene, sides):
    """Whether a red, a green and two blue spots are where the points are, of every sure face of some size."""
    found = []
    for box, points, sure in zip(scene.boxes, scene.points, scene.sure, strict=True):
        inside = ((points > 1) & (points < (scene.image.shape[1] - 2, scene.image.shape[0] - 2))).all()
        if sure and inside and box[3] > 36:
            seen = colours_at(scene.image, points[[0, 1, 3, 4]])
            found += [a == b for a, b in zip(seen, sides, strict=True)]
    return found


@pytest.mark.parametrize("kind", ["_photo", "_mosaic", "_pasted"])
def test_labels_follow_the_faces_into_a_scene(maker, kind):
    found, mirrored = [], []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        scene = maker._pasted(rng, 1) if kind == "_pasted" else getattr(maker, kind)(rng)
        assert scene.image.shape == (HEIGHT, WIDTH, 3)
        # Behind a pasted head there may be a photo whose face it half covers: single heads are enough.
        if kind != "_pasted" or len(scene.boxes) == 1:
            found += check_colours(scene, "rgbb")
        scene.mirror()
        if kind != "_pasted" or len(scene.boxes) == 1:
            mirrored += check_colours(scene, "grbb")
    assert len(found) == len(mirrored) > 40
    # In a mosaic a neighbour may cut off a corner of a face that still counts.
    assert min(np.mean(found), np.mean(mirrored)) > (0.95 if kind == "_mosaic" else 0.99)


def test_mirroring_twice_changes_nothing(maker):
    scene = maker._mosaic(np.random.default_rng(5))
    image, boxes, points = (
        scene.image.copy(),
        [b.copy() for b in scene.boxes],
        [p.copy() for p in scene.points],
    )
    scene.mirror()
    assert not (scene.image == image).all()
    scene.mirror()
    assert (scene.image == image).all()
    assert np.array(scene.boxes) == pytest.approx(np.array(boxes), abs=1e-3)
    assert np.array(scene.points) == pytest.approx(np.array(points), abs=1e-3)


@given(seed=seeds)
def test_every_scene_is_fit_to_learn_from(maker, seed):
    scene = maker.draw(np.random.default_rng(seed))
    assert scene.image.shape == (HEIGHT, WIDTH, 3)
    assert scene.image.dtype == np.uint8
    assert len(scene.boxes) == len(scene.points) == len(scene.sure)
    for box, points, sure in zip(scene.boxes, scene.points, scene.sure, strict=True):
        assert np.isfinite(box).all()
        assert np.isfinite(points).all()
        assert points.shape == (5, 2)
        assert (box[2:] > 0).all()
        assert (box[:2] < (WIDTH, HEIGHT)).all()
        assert (box[:2] + box[2:] > 0).all()
        if sure:
            middle = box[:2] + box[2:] / 2
            assert ((middle > -0.5) & (middle < (WIDTH - 0.5, HEIGHT - 0.5))).all()


def test_a_scene_depends_on_its_generator_alone(maker):
    one, two = (maker.draw(np.random.default_rng([3, 14])) for _ in range(2))
    assert (one.image == two.image).all()
    assert np.array_equal(one.boxes, two.boxes)
    assert not np.array_equal(one.image, maker.draw(np.random.default_rng([3, 15])).image)


def test_a_background_shows_no_face(maker):
    for seed in range(60):
        image = maker._background(np.random.default_rng(seed))
        assert image.shape == (HEIGHT, WIDTH, 3)
        pure = [(image[..., c] > 240) & (np.delete(image, c, axis=2).max(2) < 15) for c in range(3)]
        shown = [cv2.countNonZero(p.astype(np.uint8)) for p in pure]
        assert min(shown[0], shown[1]) == 0, "both eyes of a face are in a background"


def test_a_background_beside_a_portrait_shows_no_face_either(miniature):
    with miniature.split():
        maker = SceneMaker(miniature.data, miniature.labels, WIDTH, HEIGHT, Mix(beside=1.0))
    assert len(maker._beside) == 4 + 3  # training photos of the two sets with something around the face
    for seed in range(40):
        image = maker._background(np.random.default_rng(seed))
        pure = [(image[..., c] > 240) & (np.delete(image, c, axis=2).max(2) < 15) for c in range(2)]
        assert min(cv2.countNonZero(p.astype(np.uint8)) for p in pure) == 0


def test_only_training_photos_are_in_memory(maker):
    assert len(maker._photos) == 6
    assert len(maker._cutouts) == 4 + 3 + 1 + 2  # of the last two sets every third


@pytest.mark.parametrize(
    ("nose", "score", "least", "most"),
    [
        (0.5, 0.95, 0.0, 0.0),  # frontal, and the teacher is sure
        (0.5, 0.83, 0.45, 0.55),
        (0.5, 0.60, 1.0, 1.0),
        (1.3, 0.95, 1.0, 1.0),  # the nose beside both eyes: a profile
    ],
)
def test_a_face_is_hard_by_doubt_or_by_looking_aside(nose, score, least, most):
    five = np.array([[[0, 0], [10, 0], [10 * nose, 6], [2, 12], [8, 12]]], np.float32)
    assert least <= hardness(five, np.array([score], np.float32))[0] <= most


def test_hard_faces_are_drawn_more_often(miniature):
    with miniature.split():
        easy, hard = (
            SceneMaker(miniature.data, miniature.labels, WIDTH, HEIGHT, Mix(bystander=0.5, hard=amount))
            for amount in (0.0, 8.0)
        )
    assert len(hard._cutouts) > len(easy._cutouts)  # all portraits, and whoever stands beside
    for maker in (easy, hard):
        assert maker._cutout_weights.sum() == pytest.approx(1)
        assert maker._weights.sum() == pytest.approx(1)
    by_hardness = np.argsort([c.hard for c in hard._cutouts])
    assert hard._cutout_weights[by_hardness[-1]] >= hard._cutout_weights[by_hardness[0]]


def test_rendered_heads_look_aside(shared_data):
    heads = rendered(shared_data, 6)
    for head in heads:
        assert head.hard == 1.0
        assert head.box[2] / head.box[3] < 0.95  # a profile is narrow
        x, y, w, h = head.box.round().astype(int)
        inside = head.alpha.levels[0][y : y + h, x : x + w]
        assert 0.5 < (inside > 128).mean() < 1
    again = rendered(shared_data, 2)
    assert (again[1].rgb.levels[0] == heads[1].rgb.levels[0]).all()


@pytest.fixture(scope="module")
def portrait_labels(shared_data, teachers, tmp_path_factory):
    """The teachers' labels for three portraits of CelebAMask, their 68 points mapped by a few of LFPW's."""
    folder = tmp_path_factory.mktemp("portraits")
    names = [("lfpw", parts("lfpw", "train")[:16]), ("celebamask", parts("celebamask", "train")[:3])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "SPLITS", folder / "lists")
        for split, few in names:
            splits.write_split(split, [splits.Item(name, "unread", "train") for name in few])
        label_all(shared_data, teachers, folder / "labels", [split for split, _ in names])
    return folder / "labels"


@pytest.fixture(scope="module")
def profiles(shared_data, portrait_labels):
    return turned(shared_data, portrait_labels, 6)


@pytest.mark.data
def test_portraits_turn_to_heads_that_look_aside(profiles, portrait_labels):
    assert 3 <= len(profiles) <= 6
    found = load_labels(portrait_labels, "celebamask")
    eyes = np.linalg.norm(found.keypoints[:, 1] - found.keypoints[:, 0], axis=1) / found.boxes[:, 3]
    for head in profiles:
        alpha = head.alpha.levels[0]
        assert head.rgb.levels[0].shape == (*alpha.shape, 3)
        assert max(alpha.shape) <= 176
        assert head.hard == 1.0
        assert np.linalg.norm(head.points[1] - head.points[0]) / head.box[3] < 0.75 * eyes.min()
        reach = 0.12 * head.box[2:]  # a nose stands out of YuNet's boxes
        assert (head.points > head.box[:2] - reach).all()
        assert (head.points < head.box[:2] + head.box[2:] + reach).all()
        x, y = head.points[[0, 1, 3, 4]].round().astype(int).T
        assert (alpha[y, np.minimum(x, alpha.shape[1] - 1)] > 128).all()
        assert 0.2 < (alpha > 128).mean() < 0.9


@pytest.mark.data
def test_portraits_turn_to_the_same_heads_again(shared_data, profiles, portrait_labels):
    for count in (len(profiles), 2):
        again = turned(shared_data, portrait_labels, count)
        assert 0 < len(again) <= count
        for one, two in zip(profiles, again, strict=False):  # fewer are the first of more
            assert (one.rgb.levels[0] == two.rgb.levels[0]).all()
            assert (one.alpha.levels[0] == two.alpha.levels[0]).all()
            assert (one.points == two.points).all()
            assert (one.box == two.box).all()


@pytest.mark.data
def test_a_turned_head_keeps_its_nose(profiles):
    for head in profiles:
        alpha = head.alpha.levels[0]
        assert ((head.points >= 0) & (head.points <= np.array(alpha.shape[::-1]) - 1)).all()
        assert alpha[:, [0, -1]].max() < 128


@given(share=st.floats(0.5, 1), scale=st.floats(0.2, 3), angle=angles, x=st.floats(0, 90), y=st.floats(0, 90))
def test_squeezing_draws_towards_a_column_and_leaves_it(share, scale, angle, x, y):
    matrix = _turn(scale, angle, np.array([40.0, 30.0]), np.array([100.0, 90.0]))
    squeezed = _squeeze(matrix, share, 40.0)
    there = squeezed[:, :2] @ (x, y) + squeezed[:, 2]
    wanted = matrix[:, :2] @ (40 + share * (x - 40), y) + matrix[:, 2]
    assert there == pytest.approx(wanted, abs=1e-6)


def test_squeezed_couples_keep_their_points_on_their_faces(miniature):
    mix = Mix(squeezed=1.0, couples=1.0)
    with miniature.split():
        maker = SceneMaker(miniature.data, miniature.labels, WIDTH, HEIGHT, mix)
    found, distances = [], []
    for seed in range(60):
        scene = maker._pasted(np.random.default_rng(seed), 1)
        if len(scene.boxes) == 1:
            found += check_colours(scene, "rgbb")
        pair = maker._pasted(np.random.default_rng(seed), 2)
        if len(pair.boxes) == 2:
            one, two = pair.boxes
            distances.append(abs(one[0] + one[2] / 2 - two[0] - two[2] / 2) / one[2])
    assert len(found) > 10
    assert np.mean(found) > 0.95
    assert np.mean(np.array(distances) < 1.5) > 0.8  # a photo in the background may have a face of its own
