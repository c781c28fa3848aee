"""The filter against its own formula, and what it must hold for any frame rate."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeface.errors import ArgumentError
from edgeface.labels import FER8
from edgeface.results import Expression
from edgeface.smoothing import ExpressionSmoother, OneEuro, PointSmoother

SECOND = 1_000_000_000


def one_euro(samples: list[float], moments: list[float], settings: OneEuro) -> list[float]:
    """The paper's algorithm, for one number."""

    def alpha(cutoff: float, step: float) -> float:
        return 1 / (1 + 1 / (2 * math.pi * cutoff) / step)

    shown, slope = samples[0], 0.0
    answers = [shown]
    for k in range(1, len(samples)):
        step = moments[k] - moments[k - 1]
        share = alpha(settings.speed_cutoff, step)
        slope = share * (samples[k] - shown) / step + (1 - share) * slope
        share = alpha(settings.min_cutoff + settings.beta * abs(slope), step)
        shown = share * samples[k] + (1 - share) * shown
        answers.append(shown)
    return answers


@given(
    st.lists(st.tuples(st.integers(1, 400), st.floats(-50, 50)), min_size=2, max_size=30),
    st.floats(0.1, 5), st.floats(0, 30),
)  # fmt: skip
def test_each_point_follows_the_papers_formula(
    drawn: list[tuple[int, float]], min_cutoff: float, beta: float
) -> None:
    settings = OneEuro(min_cutoff, beta)
    milliseconds = np.cumsum([step for step, _ in drawn]).tolist()
    samples = [value for _, value in drawn]
    wanted = one_euro(samples, [ms / 1000 for ms in milliseconds], settings)
    smoother = PointSmoother(settings)
    for ms, value, want in zip(milliseconds, samples, wanted, strict=True):
        points = np.array([[value, 7.0], [3.0, value]], np.float32)
        shown = smoother.smooth(points, 1.0, ms * 1_000_000)
        # The other coordinate rests, so the speed of each point is that of one number.
        assert shown[0, 0] == pytest.approx(want, abs=1e-3)
        assert shown[1, 1] == pytest.approx(want, abs=1e-3)
        assert shown[0, 1] == pytest.approx(7.0)


@given(st.floats(10, 500), st.floats(0.1, 10))
def test_near_and_far_faces_are_smoothed_alike(size: float, factor: float) -> None:
    rng = np.random.default_rng(3)
    path = rng.normal(0, 0.02, (20, 68, 2)).cumsum(0) * size
    near, far = PointSmoother(OneEuro()), PointSmoother(OneEuro())
    for k, points in enumerate(path.astype(np.float32)):
        one = near.smooth(points, size, k * SECOND // 30)
        other = far.smooth((points * factor).astype(np.float32), size * factor, k * SECOND // 30)
        np.testing.assert_allclose(one * factor, other, atol=1e-3 * size * factor)


@pytest.mark.parametrize("rate", [5, 15, 30, 60])
def test_the_lag_of_a_moving_point_is_bounded_at_every_frame_rate(rate: int) -> None:
    smoother, speed = PointSmoother(OneEuro()), 100.0  # pixels per second: a face size
    for k in range(4 * rate):
        points = np.array([[speed * k / rate, 0.0]], np.float32)
        shown = smoother.smooth(points, 100.0, k * SECOND // rate)
    assert 0 <= points[0, 0] - shown[0, 0] <= speed * 0.016


def test_no_time_moves_nothing_and_a_reset_forgets() -> None:
    smoother = PointSmoother(OneEuro())
    first = np.zeros((68, 2), np.float32)
    smoother.smooth(first, 100.0, SECOND)
    assert (smoother.smooth(first + 50, 100.0, SECOND) == first).all()
    assert (smoother.smooth(first + 50, 100.0, SECOND - 1) == first).all()
    smoother.reset()
    assert (smoother.smooth(first + 50, 100.0, SECOND) == 50).all()


def test_an_answer_is_not_changed_by_the_next() -> None:
    smoother = PointSmoother(OneEuro())
    shown = smoother.smooth(np.zeros((68, 2), np.float32), 100.0, 0)
    smoother.smooth(np.full((68, 2), 9.0, np.float32), 100.0, SECOND)
    assert (shown == 0).all()


@pytest.mark.parametrize("wrong", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, 0.0), (math.nan, 1.0, 1.0)])
def test_a_filter_that_makes_no_sense_is_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(ArgumentError, match="cutoffs"):
        OneEuro(*wrong)


def expression(**scores: float) -> Expression:
    rest = (1 - sum(scores.values())) / (len(FER8.names) - len(scores))
    return Expression({name: scores.get(name, rest) for name in FER8.names})


def test_a_label_flips_only_when_another_is_clearly_ahead() -> None:
    """Two expressions that are equally likely, with noise: hundreds of flips a minute become a few."""
    rng = np.random.default_rng(0)
    smoother = ExpressionSmoother(0.3, 0.1)
    raw, held = [], []
    for k in range(1800):
        share = float(np.clip(rng.normal(0.45, 0.1), 0.2, 0.7))
        seen = expression(neutral=share, happiness=0.9 - share)
        smoother.smooth(seen, k * SECOND // 30)
        raw.append(seen.label)
        held.append(smoother.label)
    flips = [sum(a != b for a, b in zip(labels[1:], labels, strict=False)) for labels in (raw, held)]
    assert flips[0] > 500
    assert flips[1] <= 10


@pytest.mark.parametrize("rate", [5, 30])
def test_a_true_change_is_told_soon_at_every_frame_rate(rate: int) -> None:
    smoother = ExpressionSmoother(0.3, 0.1)
    told = None
    for k in range(4 * rate):
        smiling = k >= 2 * rate
        mean = smoother.smooth(expression(**{"happiness" if smiling else "neutral": 0.8}), k * SECOND // rate)
        assert sum(mean.scores.values()) == pytest.approx(1)
        if told is None and smoother.label == "happiness":
            told = k / rate - 2
    assert told is not None
    assert told <= 0.41


def test_expressions_pass_as_they_are_without_smoothing() -> None:
    smoother = ExpressionSmoother(0.0, 0.0)
    for k, name in enumerate(("neutral", "happiness", "anger")):
        seen = expression(**{name: 0.8})
        assert smoother.smooth(seen, k).scores[name] == pytest.approx(0.8)
        assert smoother.label == name
    for wrong in ((-1.0, 0.1), (0.3, 2.0), (math.nan, 0.1)):
        with pytest.raises(ArgumentError):
            ExpressionSmoother(*wrong)
