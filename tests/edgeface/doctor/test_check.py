"""The report and its schema; and that every pain of devices that is known is looked for."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from edgeface import doctor
from edgeface.doctor.board import read_board
from edgeface.doctor.check import Check, Report, Verdict
from edgeface.doctor.topics import TOPICS
from tests.edgeface.doctor.machines import pi

SCHEMA = json.loads((Path(doctor.__file__).parent / "schema.json").read_text())

# The pains that people had, by the thread that tells them.
PAINS = {
    "google-coral/pycoral/issues/137": "pycoral",
    "google-coral/edgetpu/issues/812": "coral-library",
    "google-coral/pycoral/issues/108": "coral-device",
    "blakeblackshear/frigate/issues/6126": "coral-rules",
    "google/gasket-driver/issues/43": "coral-driver",
    "geerlingguy/raspberry-pi-pcie-devices/issues/44": "coral-pages",
    "microsoft/onnxruntime/issues/23957": "onnxruntime",
    "microsoft/onnxruntime/issues/20503": "jetson-wheel",
    "microsoft/onnxruntime/issues/7484": "models",
    "roboflow/inference/issues/2703": "tensorrt-engines",
    "raspberrypi/linux/issues/2367": "under-voltage",
    "google-coral/edgetpu/issues/754": "coral-link",
    "Nachtzuster/BirdNET-Pi/issues/314": "tflite-runtime",
    "microsoft/onnxruntime/issues/10038": "cpu-information",
    "OHF-Voice/wyoming-piper/issues/64": "telemetry",
}


def report(tmp_path: Path, *verdicts: Verdict) -> Report:
    checks = [
        Check(f"check-{n}", "machine", verdict, "seen", source="page") for n, verdict in enumerate(verdicts)
    ]
    return Report("0.1", read_board(pi(tmp_path)), tuple(checks), 1.23456)


@pytest.mark.parametrize(("pain", "name"), PAINS.items())
def test_every_pain_is_a_check(pain: str, name: str) -> None:
    (topic,) = [topic for topic in TOPICS if topic.name == name]
    assert topic.source == f"https://github.com/{pain}"


def test_topics_are_named_once_and_pages_exist(repository: Path) -> None:
    names = [topic.name for topic in TOPICS]
    assert len(set(names)) == len(names)
    assert "pycoral-namesake" in names  # the sixteenth pain has no thread
    for topic in TOPICS:
        assert topic.source.startswith("https://github.com/") or (repository / topic.source).is_file()


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        (["ok", "not here"], "ok"),
        (["not here"], "ok"),
        (["ok", "warning", "not here"], "warning"),
        (["fault", "warning", "ok"], "fault"),
    ],
)
def test_the_worst_verdict_counts(tmp_path: Path, verdicts: list[Verdict], worst: Verdict) -> None:
    found = report(tmp_path, *verdicts)
    assert found.verdict == worst
    assert found.count("not here") == verdicts.count("not here")
    told = found.to_dict()
    jsonschema.validate(told, SCHEMA)
    assert (told["schema"], told["seconds"]) == (doctor.SCHEMA, 1.235)


def test_the_schema_refuses_what_is_not_a_report(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    told = report(tmp_path, "ok").to_dict()
    for broken in (
        {**told, "schema": "edgeface.doctor/2"},
        {**told, "checks": []},
        {**told, "verdict": "not here"},
        {**told, "checks": [{**told["checks"][0], "verdict": "bad"}]},
        {**told, "repairs": [{"name": "reboot", "done": True, "told": ""}]},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(broken, SCHEMA)
