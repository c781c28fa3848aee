"""`--fail-if`: what it takes, where it is broken, and that it never guards nothing."""

from __future__ import annotations

from typing import Any

import pytest

from edgeface.benchmark.limits import Limit
from edgeface.errors import ArgumentError


def case(
    name: str, kind: str = "call", fps: float = 50.0, frames: Any = None, **p95: float
) -> dict[str, Any]:
    stages = {stage.replace("_", "."): {"p95": value, "p99": None} for stage, value in p95.items()}
    return {"name": name, "kind": kind, "fps": fps, "frames": frames, "stages_ms": stages}


RECORD = {
    "memory": {"peak_bytes": 90_000_000, "growth_bytes": 1_500_000, "settled_bytes": None},
    "cases": [
        case("1 face", total=20.0, landmarks_run=0.9),
        case("4 faces", total=45.0, landmarks_run=3.1),
        case("30 fps", "stream", fps=28.0, frames={"came": 200, "dropped": 5}, total=20.0, age=60.0),
        case("cold start", "process", total=400.0),
    ],
}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("p95>33ms", ["4 faces"]),
        ("p95 > 33 ms", ["4 faces"]),
        ("p95>0.044s", ["4 faces"]),
        ("p95>45ms", []),
        ("p95>=45ms", ["4 faces"]),
        ("p95<21ms", ["1 face", "30 fps"]),
        ("1 face/p95>33ms", []),
        ("4 faces/p95>33ms", ["4 faces"]),
        ("cold start/p95>300ms", ["cold start"]),
        ("landmarks.run.p95>1000us", ["4 faces"]),
        ("age.p95>50ms", ["30 fps"]),
        ("fps<30", ["30 fps"]),
        ("dropped>2%", ["30 fps"]),
        ("dropped>2.5%", []),
        ("memory_peak>89MB", ["process"]),
        ("memory_peak>89MiB", []),
        ("memory_growth>=1.5MB", ["process"]),
    ],
)
def test_a_limit_is_broken_where_it_holds(text: str, where: list[str]) -> None:
    broken = Limit.parse(text).broken(RECORD)
    assert len(broken) == len(where)
    for name, line in zip(where, broken, strict=True):
        assert name in line
        assert text in line


def test_the_benchmarks_own_samples_are_no_growth() -> None:
    memory = {**RECORD["memory"], "samples_bytes": 1_200_000}
    assert Limit.parse("memory_growth>0.4MB").broken({**RECORD, "memory": memory}) == []
    (line,) = Limit.parse("memory_growth>0.2MB").broken({**RECORD, "memory": memory})
    assert "has 300000" in line
    assert len(Limit.parse("memory_peak>89MB").broken({**RECORD, "memory": memory})) == 1


def test_cold_starts_count_where_there_is_nothing_else() -> None:
    alone = {**RECORD, "cases": RECORD["cases"][3:]}
    assert len(Limit.parse("p95>300ms").broken(alone)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "p95",
        "p95>",
        "p95>33",
        "p95>33parsecs",
        "p75>3ms",
        "fps<15ms",
        "dropped>1",
        "memory_peak>3",
        "p95=3ms",
    ],
)
def test_what_is_no_limit_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ArgumentError, match="p95>33ms"):
        Limit.parse(text)


def test_too_few_calls_are_no_pass() -> None:
    broken = Limit.parse("4 faces/p99>1000s").broken(RECORD)
    assert len(broken) == 1
    assert "too few calls to tell" in broken[0]


@pytest.mark.parametrize("text", ["2 faces/p95>1ms", "gaze.p95>1ms", "1 face/dropped>1%"])
def test_a_limit_of_what_was_not_measured_is_an_error_and_not_kept(text: str) -> None:
    with pytest.raises(ArgumentError, match="was not measured"):
        Limit.parse(text).broken(RECORD)
