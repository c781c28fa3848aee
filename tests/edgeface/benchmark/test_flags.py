"""What is said of a run that must not be believed as it stands."""

from __future__ import annotations

from typing import Any

import pytest

from edgeface.benchmark.record import flags_of
from edgeface.benchmark.samples import Series
from edgeface.results import Ran

QUIET = {"before": {}, "after": {}, "steal_share": 0.0, "others_share": 0.0}
GOOD = {"landmarks": Ran("litert", "XNNPACK")}


def steady(*milliseconds: float) -> list[Series]:
    series = Series("1 face")
    for number, value in enumerate(milliseconds or [10.0, 10.1, 10.2, 10.0, 10.1]):
        series.add(number, {"total": round(value * 1e6)})
    return [series]


def told(
    cases: list[Series] | None = None,
    ran: dict[str, Ran] = GOOD,
    conditions: dict[str, Any] = QUIET,
    clocks: list[float | None] | None = None,
    throttled: list[str] | None = None,
    seconds: float = 600.0,
) -> list[str]:
    timeline = [{"clock_mhz": clock, "throttled": throttled} for clock in clocks or [1500.0] * 90]
    return flags_of(cases or steady(), ran, conditions, timeline, seconds)


def test_a_long_quiet_run_has_no_flags() -> None:
    assert told() == []
    assert told(clocks=[None] * 90) == []


@pytest.mark.parametrize(
    "changed", [{"steal_share": 0.03}, {"others_share": 0.2}, {"steal_share": None, "others_share": 0.2}]
)
def test_who_else_works_makes_noise(changed: dict[str, Any]) -> None:
    assert told(conditions={**QUIET, **changed}) == ["noisy"]


def test_times_that_vary_are_noise_in_calls_but_not_in_streams() -> None:
    uneven = steady(10, 10, 30, 31, 32, 10, 30)
    assert told(uneven) == ["noisy"]
    uneven[0].kind = "stream"  # some of its frames are detected, others followed
    assert told(uneven) == []


def test_one_outlier_is_no_noise() -> None:
    assert told(steady(*[10.0] * 99, 900.0)) == []


@pytest.mark.parametrize(
    "ran",
    [Ran("litert", None), Ran("isolated:edgetpu", "Edge TPU", 3), Ran("onnx:cuda", "CUDA", degraded=True)],
)
def test_a_part_on_the_cpu_is_told(ran: Ran) -> None:
    assert told(ran={**GOOD, "parsing": ran}) == ["cpu_fallback"]


def test_an_accelerator_that_takes_all_is_no_fallback() -> None:
    assert told(ran={"parsing": Ran("edgetpu", "Edge TPU", 0)}) == []


def test_clocks_that_fell_are_throttling_and_one_slow_reading_is_not() -> None:
    assert told(clocks=[1500.0] * 60 + [1000.0] * 30) == ["throttled"]
    assert told(clocks=[1500.0] * 89 + [600.0]) == []


def test_firmware_and_counters_are_believed() -> None:
    assert told(throttled=["throttled"]) == ["throttled"]
    now = {"throttled": {"now": ["under-voltage"], "since_boot": []}}
    assert told(conditions={**QUIET, "after": now}) == ["throttled"]
    long_ago = {"throttled": {"now": [], "since_boot": ["under-voltage"]}}
    assert told(conditions={**QUIET, "before": long_ago, "after": long_ago}) == []
    meanwhile = {"throttled": {"now": [], "since_boot": ["under-voltage", "throttled"]}}
    assert told(conditions={**QUIET, "before": long_ago, "after": meanwhile}) == ["throttled"]
    counted = {"before": {"throttle_count": 4}, "after": {"throttle_count": 5}}
    assert told(conditions={**QUIET, **counted}) == ["throttled"]


def test_less_than_five_minutes_are_cold() -> None:
    assert told(seconds=299.0) == ["cold"]
