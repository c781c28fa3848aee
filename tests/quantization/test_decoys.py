from __future__ import annotations

import numpy as np
import pytest

from quantization import decoys
from quantization.decoys import scatter

pytestmark = pytest.mark.workshop

WIDTH, HEIGHT = 320, 256


def noise(seed, width=WIDTH, height=HEIGHT):
    return np.random.default_rng([7, seed]).integers(0, 256, (height, width, 3), dtype=np.uint8)


def scattered(seed, boxes=(), image=None, filler=None):
    image = noise(0) if image is None else image.copy()
    filler = noise(1) if filler is None else filler
    scatter(image, np.random.default_rng(seed), filler, list(boxes))
    return image


def test_no_pixel_of_a_face_changes_and_others_do():
    side = 96
    before, filler = noise(0, side, side), noise(1, side, side)
    rows, columns = np.indices((side, side))
    changed = 0
    for seed in range(200):
        boxes = np.random.default_rng([9, seed]).uniform((-10, -10, 4, 4), (90, 90, 40, 40), (4, 4))
        after = (scattered(seed, boxes.astype(np.float32), before, filler) != before).any(-1)
        for x, y, width, height in boxes:
            face = (columns > x) & (columns < x + width) & (rows > y) & (rows < y + height)
            assert not after[face].any(), f"seed {seed}"
        changed += after.any()
    assert changed > 100
    assert (scattered(3, [np.array([0, 0, WIDTH, HEIGHT], np.float32)]) == noise(0)).all()


def test_where_nobody_is_decoys_come_and_the_filler_stays():
    filler = noise(1)
    changed = [(scattered(seed, filler=filler) != noise(0)).any(-1).mean() for seed in range(30)]
    assert np.mean(np.array(changed) > 0) > 0.9
    assert max(changed) < 1
    assert (filler == noise(1)).all()


def test_decoys_depend_on_the_generator_alone():
    for seed in range(5):
        assert (scattered(seed) == scattered(seed)).all()
        assert (scattered(seed) != scattered(seed + 1)).any()


@pytest.mark.parametrize(("width", "height"), [(320, 256), (96, 96)])
def test_pictures_of_any_size_take_decoys(width, height):
    image, filler = noise(0, width, height), noise(1, width, height)
    for seed in range(300):
        x, y, w, h = np.random.default_rng([8, seed]).uniform((-20, -20, 5, 5), (width, height, 90, 90))
        after = scattered(seed, [np.array([x, y, w, h], np.float32)], image, filler)
        assert after.shape == image.shape
        assert after.dtype == np.uint8


@pytest.mark.parametrize("kind", ["_sign", "_disc", "_piece", "_glow"])
def test_a_decoy_covers_a_part_of_its_square(kind):
    for seed in range(300):
        colour, alpha = getattr(decoys, kind)(np.random.default_rng(seed), noise(1))
        assert colour.shape == (*alpha.shape, 3) == (96, 96, 3)
        assert colour.dtype == alpha.dtype == np.uint8
        assert alpha.max() > 40, f"seed {seed}: nothing is drawn"
        assert (alpha == 0).any(), f"seed {seed}: the whole square is covered"


def test_colours_stay_colours():
    found = np.array([decoys._any_colour(np.random.default_rng(seed)) for seed in range(500)])
    assert found.min() >= 0
    assert found.max() <= 255
    grey = (found == found[:, :1]).all(1)
    assert 0.15 < grey.mean() < 0.35
    assert (found[~grey, 0] > found[~grey, 2]).mean() > 0.6  # more of skin and brass than of blue


def test_no_sign_is_a_face():
    signs = {ord(sign) for sign in decoys._SIGNS}
    assert not signs & {0x2639, 0x263A, 0x263B}
    assert {0x2600, 0x2638, 0x263C, 0x265F, 0x2701, 0x27BD} <= signs
