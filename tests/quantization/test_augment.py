from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantization.augment import DAMAGES, damage, degrade, occlude, polygon_mask, write
from quantization.recipe import schema
from tests.quantization.miniature import draw

pytestmark = pytest.mark.workshop

seeds = st.integers(0, 2**32 - 1)


@given(seed=seeds, strength=st.floats(0, 1.5))
def test_a_degraded_picture_keeps_its_form_and_its_original(seed, strength):
    image = draw(3).rgb
    before = image.copy()
    worse = degrade(image, np.random.default_rng(seed), strength)
    assert worse.shape == image.shape
    assert worse.dtype == np.uint8
    assert (image == before).all()
    assert (worse == degrade(image, np.random.default_rng(seed), strength)).all()


def test_what_a_camera_does_leaves_the_picture_where_it_is():
    """The labels are not moved, so nothing may move the picture: the face's red eye stays put on average."""
    face = draw(11, side=70.0)
    shifts = []
    for seed in range(60):
        worse = degrade(face.rgb, np.random.default_rng(seed)).astype(np.float32)
        found, _ = cv2.phaseCorrelate(worse.mean(2), face.rgb.astype(np.float32).mean(2))
        shifts.append(found)
    assert np.abs(np.median(shifts, axis=0)).max() < 0.2
    assert (np.linalg.norm(shifts, axis=1) < 1.0).mean() > 0.9


def test_every_kind_of_damage_happens_now_and_then():
    image = draw(4).rgb
    seen = [degrade(image, np.random.default_rng(s)) for s in range(80)]
    assert any((x[..., 0] == x[..., 2]).all() for x in seen)  # grey
    assert any(x.mean() < 0.5 * image.mean() for x in seen)  # dark
    sharpness = np.array([cv2.Laplacian(x, cv2.CV_32F).var() / image.var() for x in seen])
    assert sharpness.min() < 0.5 * np.median(sharpness)  # blurred
    assert sharpness.max() > 1.5 * np.median(sharpness)  # noisy


def detail(image):
    return float(cv2.Laplacian(image, cv2.CV_32F).var())


def along(image, axis):
    return float(np.abs(np.diff(image.astype(np.float32), axis=axis)).mean())


def blocks(image):
    """How much more changes from one JPEG block to the next than within them."""
    steps = np.abs(np.diff(image.astype(np.float32).mean(2), axis=1)).mean(0)
    at = np.arange(len(steps)) % 8 == 7
    return float(steps[at].mean() / steps[~at].mean())


# What each kind does to a picture of fine grain, before and after, of the same draws.
SIGNS = {
    "dark": lambda a, b: b.mean() < 0.45 * a.mean() and b.mean() > 1,
    "grey": lambda a, b: (b[..., 0] == b[..., 2]).all() and abs(float(b.mean()) - float(a.mean())) < 12,
    "blur": lambda a, b: detail(b) < 0.9 * detail(a),
    "motion": lambda a, b: (lost := [along(b, i) / along(a, i) for i in (0, 1)]) and min(lost) < 0.75,
    "small": lambda a, b: detail(b) < 0.8 * detail(a),
    "noise": lambda a, b: (
        np.abs(b.astype(int) - a).mean() > 0.5 and abs(float(b.mean()) - float(a.mean())) < 3
    ),
    "jpeg": lambda a, b: blocks(b) > blocks(a) and (a != b).any(),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_each_kind_of_damage_does_what_it_is_called(kind):
    grain = np.random.default_rng(0).integers(-40, 40, (96, 120, 3))
    image = np.clip(draw(6).rgb.astype(int) + grain, 0, 255).astype(np.uint8)
    before = image.copy()
    for seed in range(12):
        worse = damage(image, np.random.default_rng(seed), {kind: 1.0})
        assert worse.shape == image.shape
        assert worse.dtype == np.uint8
        assert SIGNS[kind](image, worse), seed
        others = [other for other in DAMAGES if other != kind]
        assert not all(SIGNS[other](image, worse) for other in others)
    assert (image == before).all()


def test_damage_comes_to_the_share_that_was_asked_for_and_draws_nothing_unasked():
    image, rng = draw(6).rgb, np.random.default_rng(0)
    before = rng.bit_generator.state
    assert damage(image, rng, {}) is image
    assert damage(image, rng, {"dark": 0.0}) is image
    assert rng.bit_generator.state == before
    dark = [damage(image, rng, {"dark": 0.3}).mean() < 0.5 * image.mean() for _ in range(400)]
    assert 0.22 < np.mean(dark) < 0.38
    both = damage(image, rng, {"grey": 1.0, "dark": 1.0})
    assert both.mean() < 0.5 * image.mean()


def test_a_recipe_has_a_name_for_every_kind():
    for task in ("detection", "landmarks", "parsing", "expression", "expression teacher"):
        assert set(schema(task)["student"].of["damage"].of) == set(DAMAGES)


@given(seed=seeds)
def test_an_occluder_hides_what_its_mask_says_and_nothing_else(seed):
    image, filler = draw(1).rgb, draw(2).rgb
    covered, mask = occlude(image, np.random.default_rng(seed), filler, (0.05, 0.3))
    assert covered.shape == image.shape
    assert mask.shape == image.shape[:2]
    assert set(np.unique(mask)) <= {0, 255}
    reached = cv2.dilate(mask, np.ones((3, 3), np.uint8)) > 0
    assert (covered[~reached] == image[~reached]).all()


@given(seed=seeds, x=st.floats(20, 80), y=st.floats(20, 60))
def test_a_mask_lies_around_its_centre(seed, x, y):
    mask = polygon_mask((80, 100), np.random.default_rng(seed), np.array([x, y]), 10.0)
    rows, columns = np.nonzero(mask)
    assert rows.size > 0
    reach = np.hypot(columns - x, rows - y)
    assert reach.max() < 10.0 * np.hypot(3, 1) + 2
    assert reach.min() < 10.0


def test_text_is_written_somewhere_and_not_everywhere():
    shares = []
    for seed in range(40):
        image = np.full((256, 320, 3), 99, np.uint8)
        write(image, np.random.default_rng(seed))
        shares.append((image != 99).any(2).mean())
    assert np.mean(np.array(shares) > 0) > 0.8
    assert 0.002 < np.median(shares) < 0.3
