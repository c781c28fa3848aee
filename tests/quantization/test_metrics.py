from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeface.labels import confusion_matrix
from quantization import metrics

pytestmark = pytest.mark.workshop

errors = arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 0.3))
unsure = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.booleans()), min_size=1)


@pytest.fixture
def eyes():
    """A face's 68 points: outer eye corners 10 apart, middles of the eyes 6 apart."""
    points = np.zeros((68, 2))
    points[36:42] = [(-5, 0), (-4, 1), (-2, 1), (-1, 0), (-2, -1), (-4, -1)]
    points[42:48] = [(1, 0), (2, 1), (4, 1), (5, 0), (4, -1), (2, -1)]
    return points


def test_what_an_error_is_measured_in(eyes):
    assert metrics.inter_ocular(eyes) == 10
    assert metrics.inter_pupil(eyes) == 6
    assert metrics.nme(eyes + np.array([3, 4]), eyes, metrics.inter_ocular(eyes)) == pytest.approx(0.5)


def test_the_error_of_several_faces_is_that_of_each(eyes):
    rng = np.random.default_rng(0)
    truth = np.stack([eyes * 2, eyes + 7])
    found = truth + rng.normal(0, 1, truth.shape)
    together = metrics.nme(found, truth, metrics.inter_pupil(truth))
    assert together == pytest.approx([
        np.mean([np.hypot(*(f - t)) for f, t in zip(a, b, strict=True)]) / unit
        for a, b, unit in zip(found, truth, (12, 6), strict=True)
    ])  # fmt: skip


def test_the_roc_area_is_the_share_of_pairs_in_order():
    assert metrics.area_under_roc([0.9, 0.5], [0.5, 0.1]) == pytest.approx(3.5 / 4)
    assert metrics.area_under_roc([2, 3], [0, 1]) == 1
    assert metrics.area_under_roc([0], [1]) == 0
    assert np.isnan(metrics.area_under_roc([], [1]))
    assert np.isnan(metrics.area_under_roc([1], []))


levels = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(levels, levels)
def test_the_roc_area_counts_equal_scores_half(higher, lower):
    pairs = [(a > b) + 0.5 * (a == b) for a in higher for b in lower]
    assert metrics.area_under_roc(higher, lower) == pytest.approx(np.mean(pairs))


@given(errors)
def test_the_area_is_the_mean_of_what_is_left_to_the_end(values):
    """In closed form: a face of error e holds the curve up over 1 - e / end of its width."""
    exact = np.clip(1 - values / metrics.FAILURE, 0, None).mean()
    assert metrics.area_under_ced(values) == pytest.approx(exact, abs=1.1e-3)
    assert 0 <= metrics.area_under_ced(values) <= 1


def test_the_area_of_perfect_and_of_missed_faces():
    assert metrics.area_under_ced(np.zeros(3)) == 1
    assert metrics.area_under_ced(np.array([np.inf, 0.2])) == 0
    assert metrics.area_under_ced(np.array([np.inf, 0.0])) == pytest.approx(0.5)


def test_a_failure_is_an_error_above_a_tenth():
    assert metrics.failure_rate(np.array([0.1, 0.10001, np.inf, 0.02])) == 0.5


@given(errors)
def test_the_cumulative_curve_rises_to_the_share_that_did_not_fail(values):
    grid, share = metrics.cumulative_errors(values, steps=50)
    assert (np.diff(share) >= 0).all()
    assert (grid[0], grid[-1], len(grid)) == (0, metrics.FAILURE, 51)
    assert share[-1] == pytest.approx(1 - metrics.failure_rate(values))


def test_f1_leaves_out_the_background_and_miou_does_not():
    matrix = np.array([[6, 2, 0, 0], [0, 4, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]])
    # F1: part 1: 2 * 4 / (4 + 6), part 2: 2 * 1 / (2 + 1), part 3 does not occur
    assert metrics.mean_f1(matrix) == pytest.approx((0.8 + 2 / 3) / 2)
    # IoU: background 6 / (8 + 7 - 6), part 1: 4 / 6, part 2: 1 / 2
    assert metrics.mean_iou(matrix) == pytest.approx((6 / 9 + 4 / 6 + 1 / 2) / 3)


def test_a_class_that_is_only_said_counts_nothing_right():
    matrix = np.array([[5, 0, 1], [0, 4, 0], [0, 0, 0]])
    assert metrics.mean_f1(matrix) == 0.5
    assert metrics.mean_iou(matrix) == pytest.approx((5 / 6 + 1 + 0) / 3)


def test_ignored_pixels_are_in_neither_figure():
    truth = np.array([[0, 1, 1, 255, 255]], np.uint8)
    said = np.array([[0, 1, 0, 1, 2]], np.uint8)
    matrix = confusion_matrix(said, truth, 3)
    assert metrics.mean_f1(matrix) == pytest.approx(2 / 3)
    assert metrics.mean_iou(matrix) == pytest.approx(0.5)


def test_balanced_accuracy_is_the_mean_of_the_recalls_of_what_occurs():
    matrix = np.array([[9, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert metrics.recall_per_class(matrix)[:2].tolist() == [0.9, 0.5]
    assert np.isnan(metrics.recall_per_class(matrix)[2])
    assert metrics.balanced_accuracy(matrix) == pytest.approx(0.7)


def test_calibration_error_by_hand():
    sure = np.array([0.61, 0.63, 0.65, 0.95, 1.0])
    right = np.array([True, False, True, True, False])
    bins = metrics.reliability(sure, right, bins=10)
    assert bins.count.tolist() == [0] * 6 + [3, 0, 0, 2]
    assert bins.confidence[[6, 9]] == pytest.approx([0.63, 0.975])
    assert bins.accuracy[[6, 9]] == pytest.approx([2 / 3, 0.5])
    assert np.isnan(bins.accuracy[0])
    assert bins.ece == pytest.approx(0.6 * (2 / 3 - 0.63) + 0.4 * 0.475)


def test_the_calibration_error_tells_an_honest_generator_from_a_boaster():
    rng = np.random.default_rng(5)
    sure = rng.uniform(0.2, 1, 40_000)
    right = rng.uniform(size=len(sure)) < sure
    assert metrics.reliability(sure, right).ece < 0.01
    assert metrics.reliability(np.sqrt(sure), right).ece > 0.1


@given(unsure)
def test_calibration_bins_hold_everything_once(rows):
    sure, right = (np.array(column) for column in zip(*rows, strict=True))
    bins = metrics.reliability(sure, right)
    assert bins.count.sum() == len(rows)
    assert np.nansum(bins.accuracy * bins.count) == pytest.approx(right.sum())
    assert 0 <= bins.ece <= 1


def test_risk_over_coverage_by_hand():
    coverage, risk, area = metrics.risk_coverage(np.array([0.9, 0.8, 0.3, 0.2]), np.array([1, 0, 1, 0]) > 0)
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert area == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_doubt_where_it_is_wrong_is_worth_something():
    right = np.repeat([True, False], [70, 30])
    knows, flat, fooled = np.linspace(1, 0, 100), np.full(100, 0.5), np.linspace(0, 1, 100)
    areas = [metrics.risk_coverage(sure, right)[2] for sure in (knows, flat, fooled)]
    assert areas == sorted(areas)
    assert areas[1] == pytest.approx(0.3)  # no order: as wrong at every coverage
    assert areas[0] < 0.1 < 0.6 < areas[2]


@given(unsure, st.randoms(use_true_random=False))
def test_the_order_of_the_equally_sure_does_not_count(rows, chance):
    mixed = chance.sample(rows, len(rows))
    curves = [metrics.risk_coverage(*map(np.array, zip(*r, strict=True))) for r in (rows, mixed)]
    assert curves[0][1] == pytest.approx(curves[1][1])
    assert curves[0][1][-1] == pytest.approx(np.mean([not right for _, right in rows]))


def overlap(a, b):
    """Intersection over union of two boxes x, y, width, height."""
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(across, 0) * max(down, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def slow_ap(truth, found, least):
    """AP at one IoU as the task's page tells it: greedy by score, 101 recalls, the best precision beyond."""
    rows = sorted(((s, i, b) for i, (bs, ss) in enumerate(found) for b, s in zip(bs, ss, strict=True)),
                  key=lambda row: -row[0])  # fmt: skip
    free = {(i, k) for i, boxes in enumerate(truth) for k in range(len(boxes))}
    count, hits, points = len(free), 0, []
    for n, (_, i, box) in enumerate(rows, 1):
        ious = {k: overlap(truth[i][k], box) for k in range(len(truth[i])) if (i, k) in free}
        best = max(ious, key=ious.__getitem__, default=None)
        if best is not None and ious[best] >= least:
            free.remove((i, best))
            hits += 1
        points.append((hits / count, hits / n))
    return np.mean([max((p for r, p in points if r >= x - 1e-9), default=0) for x in np.linspace(0, 1, 101)])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_agrees_with_its_definition(seed):
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(6):
        corners = rng.uniform(0, 400, (rng.integers(1, 4), 2))
        boxes = np.c_[corners, rng.uniform(30, 80, (len(corners), 2))]
        near = boxes + rng.normal(0, 3, boxes.shape)
        noise = np.c_[rng.uniform(0, 400, (2, 2)), rng.uniform(30, 80, (2, 2))]
        said = np.concatenate([near[rng.uniform(size=len(near)) < 0.8], noise])
        truth.append(boxes)
        found.append((said, rng.permutation(100)[: len(said)] / 100 + rng.uniform(0, 1e-3, len(said))))
    got = metrics.average_precision(truth, found)
    levels = np.linspace(0.5, 0.95, 10)
    assert got.ap_50 == pytest.approx(slow_ap(truth, found, 0.5), abs=1e-6)
    assert got.ap == pytest.approx(np.mean([slow_ap(truth, found, v) for v in levels]), abs=1e-6)
    assert 0.1 < got.ap < got.ap_50 < 1  # the case tells something


def test_average_precision_at_its_ends(capsys):
    box, far = np.array([[10.0, 10, 40, 40]]), np.array([[300.0, 10, 40, 40]])
    nothing = (np.zeros((0, 4)), np.zeros(0))
    assert metrics.average_precision([box], [(box, np.ones(1))]).ap == pytest.approx(1)
    assert metrics.average_precision([box], [nothing]).ap == 0
    assert metrics.average_precision([box], [(far, np.ones(1))]).ap_50 == 0
    assert np.isnan(metrics.average_precision([np.zeros((0, 4))], [nothing]).ap)
    assert capsys.readouterr() == ("", "")


def test_an_ignored_face_is_neither_asked_for_nor_wrong_to_find():
    box, other = np.array([[10.0, 10, 40, 40]]), np.array([[300.0, 10, 40, 40]])
    found = [(np.concatenate([other, box]), np.array([0.9, 0.8]))]
    assert metrics.average_precision([box], found).ap_50 == pytest.approx(0.5)
    assert metrics.average_precision([box], found, [other]).ap_50 == pytest.approx(1)
    assert metrics.average_precision([box], [(box, np.ones(1))], [other]).ap_50 == pytest.approx(1)
