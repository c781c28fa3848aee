"""The raw numbers of a case, by hand."""

from __future__ import annotations

import pytest

from edgeface.benchmark.samples import Series

SECOND = 1_000_000_000


def test_a_stage_that_did_not_run_is_none_and_counts_nowhere() -> None:
    series = Series("x")
    series.add(1, {"total": 5})
    series.add(2, {"total": 7, "detection": 3})
    series.add(3, {"total": 6})
    told = series.to_dict()
    assert told["raw_ns"] == {"at": [1, 2, 3], "detection": [None, 3, None], "total": [5, 7, 6]}
    assert told["stages_ms"]["detection"]["count"] == 1
    assert series.milliseconds("detection") == [3e-6]
    assert series.milliseconds("nothing") == []


def test_eight_bytes_a_number() -> None:
    series = Series("x")
    for number in range(1000):
        series.add(number, {"total": 1, "detection": 2})
    assert series.size == 3 * 1000 * 8


def test_minutes_are_those_of_the_benchmark() -> None:
    series = Series("x", "stream")
    for second in range(90):
        series.add(second * SECOND, {"total": SECOND // (10 if second < 60 else 5)})
    first, second = series.to_dict()["minutes"]
    assert (first["minute"], first["count"], first["fps"], first["p90_ms"]) == (0, 60, 1.0, 100.0)
    assert (second["minute"], second["count"], second["fps"], second["p90_ms"]) == (1, 30, 1.0, 200.0)


def test_the_rate_of_calls_is_what_there_is_time_for() -> None:
    series = Series("x")
    # Another case has every second turn.
    for turn in range(10):
        series.add(turn * SECOND, {"total": SECOND // 4})
    assert series.to_dict()["fps"] == 4.0
    assert Series("y").to_dict()["fps"] is None


def test_an_interruption_in_the_middle_of_a_call_leaves_equal_lengths() -> None:
    series = Series("x")
    series.add(1, {"total": 5, "parsing": 2})
    series._stages["total"].append(9)
    told = series.to_dict()
    assert (told["count"], told["raw_ns"]) == (1, {"at": [1], "parsing": [2], "total": [5]})


@pytest.mark.parametrize("kind", ["call", "stream", "process"])
def test_one_call_has_a_summary(kind: str) -> None:
    series = Series("x", kind)  # type: ignore[arg-type]
    series.add(SECOND, {"total": 5})
    assert series.to_dict()["stages_ms"]["total"]["p50"] == 5e-6
