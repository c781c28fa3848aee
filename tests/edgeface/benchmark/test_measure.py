"""Every scenario on the real models, for moments; interruption; runtimes that answer wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edgeface.benchmark import cold, measure, scenarios
from edgeface.benchmark.machine import Machine
from edgeface.benchmark.run import Asked
from edgeface.benchmark.samples import Series
from edgeface.benchmark.scenarios import SCENARIOS
from edgeface.errors import ArgumentError, BundleError, DeviceError, FrameError
from tests.edgeface.benchmark import boards, troubled


@pytest.fixture(scope="session")
def validator(repository: Path) -> Draft202012Validator:
    schema = json.loads((repository / "edgeface" / "benchmark" / "schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def measured(validator: Draft202012Validator, scenario: str, **options: Any) -> dict[str, Any]:
    record = measure.measure(Asked(scenario, **options), "1.2.3")
    # As it is read again, not as it is held.
    read: dict[str, Any] = json.loads(json.dumps(record, allow_nan=False))
    validator.validate(read)
    assert (read["scenario"], read["interrupted"], read["software"]["edgeface"]) == (scenario, False, "1.2.3")
    for case in read["cases"]:
        lengths = {len(values) for values in case["raw_ns"].values()}
        assert lengths == {case["count"]}
        assert case["raw_ns"]["at"] == sorted(case["raw_ns"]["at"])
        for stage, told in case["stages_ms"].items():
            assert told["count"] == sum(value is not None for value in case["raw_ns"][stage])
    return read


def test_frames_of_no_one_and_four_faces(validator: Draft202012Validator) -> None:
    record = measured(validator, "frame", seconds=0.4)
    assert [case["name"] for case in record["cases"]] == ["0 faces", "1 face", "4 faces"]
    empty, one, four = record["cases"]
    assert set(empty["stages_ms"]) == {"detection", "detection.run", "total"}
    tasks = {"detection", "landmarks", "parsing", "expression"}
    wanted = {"total", *tasks, *(f"{task}.run" for task in tasks)}
    assert set(one["stages_ms"]) == set(four["stages_ms"]) == wanted
    for case in (one, four):
        assert case["warm_up"] > 10
        raw = case["raw_ns"]
        for call in range(case["count"]):
            assert sum(raw[task][call] for task in tasks) <= raw["total"][call]
            assert all(raw[f"{task}.run"][call] <= raw[task][call] for task in tasks)
    models = record["models"]["models"]
    assert {"landmarks", "parsing", "expression"} <= set(models)
    assert models["landmarks"]["ran"]["delegate"] == "XNNPACK"
    assert set(record["answers"]) == set(models)
    assert all(answer["result"] in ("equal", "agrees") for answer in record["answers"].values())
    assert record["picture"]["what"].startswith("drawn")
    assert "cold" in record["flags"]
    assert "cpu_fallback" not in record["flags"]
    assert record["memory"]["peak_bytes"] >= record["memory"]["settled_bytes"] > 0


def test_each_student_on_its_own(validator: Draft202012Validator) -> None:
    record = measured(validator, "crop", seconds=0.4, tasks=("expression",))
    assert [case["name"] for case in record["cases"]] == ["detection", "expression"]
    assert set(record["cases"][1]["stages_ms"]) == {"expression", "expression.run", "total"}
    assert "landmarks" not in record["models"]["models"]


def test_fruits_keeps_to_its_protocol(validator: Draft202012Validator) -> None:
    before = cv2.getNumThreads()
    record = measured(validator, "fruits", tasks=("landmarks",))
    (case,) = record["cases"]
    assert (case["count"], record["settings"]["opencv_threads"]) == (50, 1)
    assert cv2.getNumThreads() == before
    told = record["results"]["fruits"]
    assert told["sorted_5_ms"] == pytest.approx(sorted(case["raw_ns"]["total"])[5] / 1e6)
    assert told["sorted_5_ms"] <= told["median_ms"] <= told["p95_ms"]
    assert told["class"] in ("FRUITS-100", "FRUITS-500", "FRUITS-1000", None)
    with pytest.raises(ArgumentError, match="one thread"):
        measured(validator, "fruits", threads=2)


def test_mlperf_is_valid_by_its_own_rules_only(validator: Draft202012Validator) -> None:
    record = measured(validator, "mlperf", seconds=0.3, tasks=())
    told = record["results"]["mlperf"]
    assert told["queries"] == record["cases"][0]["count"]
    assert (told["valid"], told["planned_queries"]) == (False, 23_886)
    assert "the rules ask for 600 s" in told["why_not"][0]


@pytest.mark.parametrize(("minutes", "valid"), [(10, True), (9, False)])
def test_ten_minutes_are_valid(minutes: int, valid: bool) -> None:
    series = Series("single stream")
    for call in range(1, 600 * minutes + 1):
        series.add(call * 100_000_000, {"total": 98_000_000})  # the rest is spent on checking the answers
    told = scenarios._mlperf_result(series)
    assert (told["valid"], told["why_not"] == []) == (valid, valid)
    assert told["estimates_ms"]["p90"]["value"] == 98.0


def test_streams_tell_age_and_drops(validator: Draft202012Validator) -> None:
    record = measured(validator, "stream", seconds=1.6, rates=(15.0, 30.0), tasks=("landmarks",))
    assert [case["name"] for case in record["cases"]] == ["15 fps", "30 fps"]
    for case in record["cases"]:
        assert case["kind"] == "stream"
        assert case["frames"]["came"] == case["count"] + case["frames"]["dropped"]
        # From the frame's own time on, so never less than what the analysis took.
        ages = zip(case["raw_ns"]["age"], case["raw_ns"]["total"], strict=True)
        assert all(age >= took for age, took in ages)
    # A tracked face is followed: most frames have no detection.
    followed = [case["raw_ns"].get("detection", [None]).count(None) for case in record["cases"]]
    assert sum(followed) > 0


def test_several_streams_at_once(validator: Draft202012Validator) -> None:
    record = measured(validator, "multi", seconds=1.5, rates=(10.0,), streams=2, tasks=("landmarks",))
    assert [case["name"] for case in record["cases"]] == ["stream 1", "stream 2"]


def test_cold_starts_are_whole_processes(
    validator: Draft202012Validator, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = scenarios.Scenario(None, lambda run: cold.cold(run, processes=1))
    monkeypatch.setitem(SCENARIOS, "cold", few)
    record = measured(validator, "cold", tasks=("landmarks",))
    (case,) = record["cases"]
    assert (case["kind"], case["count"], case["warm_up"]) == ("process", 1, 1)
    raw = case["raw_ns"]
    parts = [raw[name][0] for name in ("interpreter", "import", "load", "first")]
    assert raw["total"] == [sum(parts)]
    assert min(parts) > 0
    assert all(peak > 10_000_000 for peak in case["extra"]["peak_bytes"])
    # What ran in the processes, which this one has never opened.
    assert record["models"]["models"]["landmarks"]["ran"]["delegate"] == "XNNPACK"


def test_a_cold_start_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold, "_CHILD", "raise SystemExit('no such luck')")
    with pytest.raises(DeviceError, match="no such luck"):
        measure.measure(Asked("cold", tasks=()), "0")


def test_a_photo_can_be_shown(validator: Draft202012Validator, astronaut_path: Path) -> None:
    record = measured(validator, "mlperf", seconds=0.2, image=astronaut_path, tasks=("landmarks",))
    assert "photo" in record["picture"]["what"]
    assert record["settings"]["image"] is True
    # Nothing tells whose file it was.
    assert "astronaut" not in json.dumps(record)


def test_a_photo_without_a_face_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    cv2.imwrite(str(path), np.full((200, 200, 3), 128, np.uint8))
    with pytest.raises(FrameError, match="no face was found"):
        measure.measure(Asked("frame", seconds=0.2, image=path), "0")


class Interrupt:
    """Ctrl-C at the n-th sign of progress of a case."""

    def __init__(self, what: str, after: int) -> None:
        self._what, self._left = what, after

    def __call__(self, what: str, _done: int, _total: int | None) -> None:
        if what == self._what:
            self._left -= 1
            if self._left < 0:
                raise KeyboardInterrupt


def test_an_interruption_keeps_what_was_measured(validator: Draft202012Validator) -> None:
    record = measure.measure(Asked("frame", seconds=60, tasks=()), "0", Interrupt("4 faces", 1))
    validator.validate(json.loads(json.dumps(record)))
    assert record["interrupted"] is True
    assert all(case["count"] > 0 for case in record["cases"])
    assert record["seconds"] < 60


def test_an_interrupted_mlperf_run_has_its_estimate_and_is_not_valid(validator: Draft202012Validator) -> None:
    record = measure.measure(Asked("mlperf", seconds=600, tasks=()), "0", Interrupt("single stream", 2))
    validator.validate(json.loads(json.dumps(record)))
    told = record["results"]["mlperf"]
    assert told["queries"] == record["cases"][0]["count"]
    assert not told["valid"]


def test_an_interrupted_stream_leaves_no_thread_behind() -> None:
    import threading

    before = set(threading.enumerate())
    record = measure.measure(
        Asked("multi", seconds=10, tasks=(), rates=(30.0,)), "0", Interrupt("stream 1", 12)
    )
    assert record["interrupted"] is True
    assert [
        thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("edgeface")
    ] == []


def test_an_interruption_before_anything_is_no_record() -> None:
    with pytest.raises(KeyboardInterrupt):
        measure.measure(Asked("frame", seconds=60, tasks=()), "0", Interrupt("0 faces", 0))


@pytest.fixture
def _troubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    troubled.installed(tmp_path, monkeypatch)


@pytest.mark.usefixtures("_troubled")
def test_a_backend_that_answers_wrongly_is_refused_before_anything_is_timed() -> None:
    seen = []
    with pytest.raises(DeviceError, match=r"answers wrongly for '\w+', so there is no result"):
        measure.measure(Asked("frame", backend="troubled:wrong"), "0", lambda what, *_: seen.append(what))
    assert seen == ["checking the answers"]


@pytest.mark.usefixtures("_troubled")
def test_a_backend_that_goes_wrong_meanwhile_is_refused_afterwards() -> None:
    with pytest.raises(DeviceError, match=r"answers wrongly|faces were found where"):
        measure.measure(Asked("crop", seconds=0.1, tasks=(), backend="troubled:drifts"), "0")


@pytest.mark.usefixtures("_troubled")
@pytest.mark.parametrize(("scenario", "seconds"), [("frame", 0.5), ("stream", 0.5), ("fruits", None)])
def test_a_backend_that_knows_the_question_and_sees_nothing_is_refused(
    scenario: str, seconds: float | None
) -> None:
    with pytest.raises(DeviceError, match="so there is no result"):
        measure.measure(Asked(scenario, seconds=seconds, tasks=("landmarks",), backend="troubled:blind"), "0")


@pytest.mark.usefixtures("_troubled")
def test_operators_on_the_cpu_are_flagged(validator: Draft202012Validator) -> None:
    record = measured(validator, "mlperf", seconds=0.2, tasks=(), backend="troubled:leaves")
    assert "cpu_fallback" in record["flags"]
    assert record["models"]["models"]["detection"]["ran"]["cpu_operators"] == 4


def test_heat_that_the_firmware_tells_of_is_flagged(validator: Draft202012Validator, tmp_path: Path) -> None:
    root = boards.pi5(tmp_path)
    boards.write(root, {"sys/devices/platform/axi/axi:firmware/get_throttled": "4\n"})
    machine = Machine(root, lambda *_words, **_: None)
    record = measure.measure(Asked("mlperf", seconds=0.2, tasks=()), "0", machine=machine)
    validator.validate(json.loads(json.dumps(record)))
    assert "throttled" in record["flags"]
    assert record["device"]["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert record["timeline"][-1]["temperature_c"] == 61.2
    assert record["conditions"]["before"]["throttled"]["now"] == ["throttled"]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ArgumentError, match="unknown; choose from quick"):
        measure.measure(Asked("fast"), "0")
    with pytest.raises(ArgumentError, match="above 0"):
        measure.measure(Asked("frame", seconds=0.0), "0")
    with pytest.raises(BundleError, match="gaze"):
        measure.measure(Asked("frame", tasks=("gaze",)), "0")
