"""Percentiles, MLPerf's early stopping and bootstrap intervals, against values that others published."""

from __future__ import annotations

import numpy as np
import pytest

from edgeface.benchmark.statistics import (
    early_stopping,
    least_queries,
    planned_queries,
    ratio,
    spread,
    summary,
)


# "Would discard N highest latency queries", of "Processed at least 64 queries (M)", in LoadGen's own
# summaries of submissions to MLPerf Inference, single stream.
@pytest.mark.parametrize(
    ("queries", "discarded"),
    [(64, 0), (100, 2), (201, 9), (2048, 172), (2116, 178), (2145, 181), (7469, 685)],
)
def test_early_stopping_discards_as_many_as_loadgen(queries: int, discarded: int) -> None:
    values = np.random.default_rng(queries).permutation(queries) + 1.0
    found = early_stopping(values)
    assert found is not None
    assert (found.queries, found.discarded) == (queries, discarded)
    # The values are 1 to n: the longest that is left over.
    assert found.estimate == queries - discarded


def test_early_stopping_needs_as_many_as_loadgen() -> None:
    assert (least_queries(0.9), least_queries(0.99)) == (64, 662)
    assert early_stopping(range(63)) is None
    assert early_stopping([]) is None
    assert early_stopping(range(661), 0.99) is None


def test_an_estimate_is_never_below_the_percentile_itself() -> None:
    values = np.random.default_rng(1).gamma(2, 3, 5000)
    found = early_stopping(values)
    assert found is not None
    assert np.quantile(values, 0.9) < found.estimate < np.quantile(values, 0.93)


# Reddi et al. 2020, "MLPerf Inference Benchmark", table IV.
@pytest.mark.parametrize(("share", "queries"), [(0.90, 23_886), (0.95, 50_425), (0.99, 262_742)])
def test_planned_queries_are_those_of_mlperfs_table(share: float, queries: int) -> None:
    assert planned_queries(share) == queries


def test_a_summary_interpolates_and_keeps_the_outlier() -> None:
    told = summary([*range(1, 100), 5000])
    assert told == {
        "count": 100,
        "p50": 50.5,
        "p90": 90.1,
        "p95": 95.05,
        "p99": pytest.approx(148.01),
        "min": 1.0,
        "max": 5000.0,
        "mean": 99.5,
    }


def test_a_percentile_of_too_few_values_is_not_told() -> None:
    told = summary([3.0, 1.0, 2.0])
    assert (told["p50"], told["p90"], told["p99"], told["max"]) == (2.0, None, None, 3.0)
    assert summary(range(19))["p95"] is None
    assert summary(range(20))["p95"] is not None
    assert summary(range(10))["p90"] is not None
    assert summary([]) == {"count": 0, **dict.fromkeys(("p50", "p90", "p95", "p99", "min", "max", "mean"))}


def test_spread_is_the_quartiles_over_the_median() -> None:
    assert spread([1, 2, 3, 4, 5]) == pytest.approx(2 / 3)
    assert spread([1, 2, 3]) == 0.0
    assert spread([0, 0, 0, 0]) == 0.0


def test_the_interval_of_a_ratio_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(7)
    covered = 0
    for seed in range(40):
        first, second = rng.gamma(9, 1, 120), 1.3 * rng.gamma(9, 1, 120)
        found = ratio(first, second, 0.5, draws=100, seed=seed)
        assert found.low <= found.value <= found.high
        covered += found.low <= 1.3 <= found.high
    assert covered >= 36  # of 40; with 120 values and 100 draws it is a little narrower than it says


def test_neighbours_that_suffer_together_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    alone = 10 + rng.normal(0, 1, 900)
    # The same values, in bursts of thirty.
    together = np.repeat(10 + rng.normal(0, 1, 30), 30) + rng.normal(0, 0.05, 900)
    quiet, bursty = (ratio(side, side, 0.5, draws=100) for side in (alone, together))
    assert bursty.high - bursty.low > 2 * (quiet.high - quiet.low)


def test_a_side_against_itself_is_one() -> None:
    values = np.random.default_rng(0).gamma(5, 2, 200)
    found = ratio(values, values, 0.9, draws=200)
    assert found.value == 1.0
    assert found.low < 1.0 < found.high
