"""Two records: a verdict only where the samples allow one, and a backend that was slowed down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeface.benchmark.compare import compare, differences
from edgeface.benchmark.measure import measure
from edgeface.benchmark.record import load
from edgeface.benchmark.run import Asked
from edgeface.benchmark.tables import comparison
from edgeface.errors import ArgumentError
from tests.edgeface.benchmark import troubled


def record(values: Any, scenario: str = "frame", name: str = "1 face") -> dict[str, Any]:
    total = [round(float(value) * 1e6) for value in values]
    return {"scenario": scenario, "cases": [{"name": name, "raw_ns": {"at": [], "total": total}}]}


def verdicts(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    return [one.verdict for one in compare(first, second)]


def times(seed: int, scale: float = 1.0, count: int = 150) -> np.ndarray:
    return scale * (8 + np.random.default_rng(seed).gamma(2, 0.5, count))


def test_slower_faster_and_neither() -> None:
    assert verdicts(record(times(1)), record(times(2, 1.3))) == ["B is slower"] * 2
    assert verdicts(record(times(1, 1.3)), record(times(2))) == ["B is faster"] * 2
    assert verdicts(record(times(1)), record(times(2))) == ["no difference shown"] * 2


def test_a_sure_change_that_is_too_small_is_none() -> None:
    rng = np.random.default_rng(4)
    first, second = (record(scale * rng.normal(10, 0.01, 100)) for scale in (1, 1.01))
    (one, _) = compare(first, second)
    assert one.interval is not None
    assert one.interval.low > 1
    assert one.verdict == "no difference shown"


def test_noise_takes_the_verdict_away() -> None:
    rng = np.random.default_rng(5)
    noisy = [np.repeat(rng.uniform(5, 60, 12), 8) for _ in range(2)]
    assert set(verdicts(record(noisy[0]), record(noisy[1] * 1.1))) == {"no difference shown"}


def test_too_few_calls_have_no_interval() -> None:
    (one, _) = compare(record(times(1)), record([90.0] * 19))
    assert one.interval is None
    assert one.verdict.startswith("too few calls")


def test_records_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ArgumentError, match="A is of 'frame', B of 'crop'"):
        compare(record(times(1)), record(times(1), "crop"))
    with pytest.raises(ArgumentError, match="share no case"):
        compare(record(times(1)), record(times(1), name="4 faces"))


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    return measure(Asked("mlperf", seconds=3.0, tasks=()), "0")


def test_a_slowed_backend_is_noticed(
    sound: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    troubled.installed(tmp_path, monkeypatch)
    seconds = 60 * troubled.SLEEP  # 20 calls are needed, also on a busy machine
    slowed = measure(Asked("mlperf", seconds=seconds, tasks=(), backend="troubled:slow"), "0")
    found = compare(sound, slowed)
    assert [one.verdict for one in found] == ["B is slower"] * 2
    text = comparison(found, differences(sound, slowed))
    assert "B is slower" in text
    assert "differs: backend: A litert, B troubled" in text


def test_what_else_differs_is_told(sound: dict[str, Any]) -> None:
    assert differences(sound, sound) == []
    other = json.loads(json.dumps(sound))
    other["models"]["bundle"]["digest"] = "0" * 64
    other["device"]["kernel"] = "1.2.3"
    other["flags"] = ["throttled"]
    told = differences(sound, other)
    assert [line.partition(":")[0] for line in told] == ["kernel", "models", "flags"]
    del other["picture"]
    assert "pictures: not recorded on both sides" in differences(sound, other)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "follows None"),
        ('{"schema": "edgeface.bench/9"}', "follows 'edgeface.bench/9'"),
        ('{"schema": "edgeface.bench/1"}', "damaged"),
        (
            '{"schema": "edgeface.bench/1", "cases": [{"name": "x", "raw_ns": {"total": [1, "2"]}}]}',
            "damaged",
        ),
        ('{"schema": "edgeface.bench/1", "cases": [{"name": 3, "raw_ns": {"total": [1]}}]}', "damaged"),
        ('{"schema": "edgeface.bench/1", "cases": 3}', "damaged"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=reason):
        load(path)
    with pytest.raises(ArgumentError, match="cannot be read"):
        load(tmp_path / "nowhere.json")
