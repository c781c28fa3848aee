"""Necklaces drawn over photos: on neck and cloth, behind what hides them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeface.labels import CELEBAMASK19
from quantization.synthetic.necklaces import hang

pytestmark = pytest.mark.workshop

PART = {name: i for i, name in enumerate(CELEBAMASK19.names)}
seeds = st.integers(0, 2**32 - 1)


def bust(height: int = 240, width: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A head of flat parts on a flat ground, and its map."""
    mask = np.zeros((height, width), np.uint8)
    x, y, unit = width // 2, height // 3, min(height, width) // 10
    cv2.rectangle(mask, (x - 4 * unit, y + 5 * unit), (x + 4 * unit, height), PART["cloth"], -1)
    cv2.rectangle(mask, (x - 2 * unit, y), (x + 2 * unit, y + 6 * unit), PART["neck"], -1)
    cv2.ellipse(mask, (x, y), (5 * unit // 2, 3 * unit), 0, 0, 360, PART["skin"], -1)
    cv2.rectangle(mask, (x - 4 * unit, 0), (x + 4 * unit, y - 2 * unit), PART["hair"], -1)
    return np.full((height, width, 3), 120, np.uint8), mask


@given(seed=seeds)
@settings(deadline=None)
def test_what_is_drawn_lies_on_neck_and_cloth_and_is_named_so(seed):
    image, mask = bust()
    before = image.copy(), mask.copy()
    worn, named = hang(image, mask, np.random.default_rng(seed))
    assert (image == before[0]).all()
    assert (mask == before[1]).all()
    changed = named != mask
    assert (named[changed] == PART["necklace"]).all()
    assert np.isin(mask[changed], [PART["neck"], PART["cloth"]]).all()
    # Its shadow reaches a little further.
    near = cv2.dilate(changed.astype(np.uint8), np.ones((25, 25))) > 0
    assert (worn == image)[~near].all()


def test_most_busts_wear_one_and_it_is_seen():
    image, mask = bust()
    worn = [hang(image, mask, np.random.default_rng(seed)) for seed in range(60)]
    shares = [(drawn != image).any(2)[named == PART["necklace"]] for drawn, named in worn]
    assert sum(len(share) >= 8 for share in shares) > 50
    assert (
        np.mean([share.mean() for share in shares if len(share)]) > 0.5
    )  # gaps of a chain are named with it


def test_nothing_hangs_where_there_is_no_neck():
    image, mask = bust()
    mask[mask == PART["neck"]] = PART["cloth"]
    worn, named = hang(image, mask, np.random.default_rng(0))
    assert (worn == image).all()
    assert (named == mask).all()


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([0, 1, 8, 9, 13, 17, 18, 255]),
    st.sampled_from([8, 17, 255]),
    seeds,
)
@settings(deadline=None)
def test_any_map_is_taken_and_the_unknown_stays_unknown(height, width, ground, spot, seed):
    rng = np.random.default_rng(seed)
    mask = np.full((height, width), ground, np.uint8)
    mask[height // 3 :, width // 4 :] = spot
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    worn, named = hang(image, mask, rng)
    assert worn.shape == image.shape
    assert ((named == 255) == (mask == 255)).all()
