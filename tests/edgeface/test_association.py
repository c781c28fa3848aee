"""Who is who from frame to frame: the best pairs of all, and where a face is expected."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from edgeface.association import Motion, affinity, assign
from edgeface.results import BBox

SECOND = 1_000_000_000


@given(st.tuples(st.integers(0, 5), st.integers(0, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.7]))
))  # fmt: skip
def test_no_other_pairs_fit_better(fit: NDArray[np.float64]) -> None:
    pairs = assign(fit)
    assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
    assert all(fit[pair] > 0 for pair in pairs)
    wide = fit if fit.shape[0] <= fit.shape[1] else fit.T
    best = max(
        (sum(wide[row, column] for row, column in enumerate(columns))
         for columns in itertools.permutations(range(wide.shape[1]), wide.shape[0])),
        default=0.0,
    )  # fmt: skip
    assert sum(fit[pair] for pair in pairs) == pytest.approx(best)


def test_the_best_pair_taken_first_would_be_wrong() -> None:
    assert assign(np.array([[0.9, 0.8], [0.8, 0.0]])) == [(0, 1), (1, 0)]


def test_fit_is_overlap_and_nearness_and_ends_with_distance_and_size() -> None:
    here = BBox(100, 100, 80, 100)
    others = [here, BBox(110, 100, 80, 100), BBox(175, 100, 80, 100), BBox(300, 100, 80, 100),
              BBox(60, 50, 160, 200)]  # fmt: skip
    fit = affinity([here], others)[0]
    assert fit[0] == pytest.approx(2)
    assert fit[0] > fit[1] > fit[2] > fit[3] == fit[4] == 0
    assert affinity([], others).shape == (0, 5)
    assert affinity([here], []).shape == (1, 0)


def test_a_face_is_expected_where_its_speed_takes_it_and_not_for_ever() -> None:
    motion = Motion(BBox(0, 0, 80, 100), 0)
    for k in range(1, 31):
        motion.seen(BBox(4 * k, -2 * k, 80, 100), k * SECOND // 30)
    soon = motion.expected(31 * SECOND // 30)
    assert (soon.x, soon.y) == pytest.approx((124, -62), abs=0.3)
    late = motion.expected(100 * SECOND)
    # 120 pixels a second, fading in half a second.
    assert late.x == pytest.approx(120 + 60, abs=1)
    assert motion.expected(0) == motion.box


def test_the_same_moment_moves_the_box_and_no_speed() -> None:
    motion = Motion(BBox(0, 0, 80, 100), SECOND)
    motion.seen(BBox(50, 0, 80, 100), SECOND)
    assert motion.expected(2 * SECOND) == BBox(50, 0, 80, 100)
