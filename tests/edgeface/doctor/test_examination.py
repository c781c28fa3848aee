"""Whole examinations: of this machine, of trees of boards, and of one on which NumPy is broken."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import jsonschema

from edgeface.doctor import Report, System, examine, this_system
from edgeface.doctor.topics import TOPICS
from tests.edgeface.backends.coral_trees import usb
from tests.edgeface.doctor.machines import pi, write
from tests.edgeface.doctor.test_check import SCHEMA


def on_this_python(root: Path) -> System:
    """A Pi from a tree of files, with this machine's Python and packages for the children."""
    here = this_system()
    return pi(root, environment=dict(os.environ), search=here.search, packages=here.packages)


def verdicts(report: Report) -> dict[str, str]:
    return {check.name: check.verdict for check in report.checks}


def test_this_machine_is_examined_whole_and_in_order() -> None:
    report = examine(this_system(), "0.1")
    assert [check.name for check in report.checks] == [topic.name for topic in TOPICS]
    jsonschema.validate(report.to_dict(), SCHEMA)
    found = verdicts(report)
    for name in ("numpy", "opencv", "litert", "models"):
        assert found[name] in {"ok", "warning"}
    for check in report.checks:
        assert check.evidence
        assert bool(check.mend) == (check.verdict in {"warning", "fault"})


def test_a_board_from_a_tree_with_a_coral_in_need(tmp_path: Path) -> None:
    system = on_this_python(tmp_path)
    usb(tmp_path, "1a6e:089a")
    report = examine(dataclasses.replace(system, may_open=lambda node: False), "0.1")
    assert (report.board.kind, report.verdict) == ("raspberry-pi-4", "fault")
    found = verdicts(report)
    assert found["coral-device"] == "ok"
    assert (found["coral-rules"], found["coral-permission"]) == ("fault", "fault")
    assert found["models"] == "warning"  # they ran on the CPU beside a Coral
    assert found["coral-library"] == "not here"


def test_a_gpu_is_asked_to_compute_and_the_models_say_that_it_is_idle(tmp_path: Path) -> None:
    system = on_this_python(tmp_path)
    write(tmp_path, {"dev/nvidia0": ""})
    found = {check.name: check for check in examine(system, "0.1").checks}
    assert found["models"].evidence.endswith(
        "the GPU of this machine stays unused, because the bundle holds tflite alone"
    )
    assert found["cuda"].verdict in {"warning", "not here"}  # without onnxruntime it is not asked
    assert found["tensorrt-engines"].verdict == "not here"


def test_where_numpy_dies_the_rest_is_still_told(tmp_path: Path) -> None:
    system = on_this_python(tmp_path / "root")
    write(tmp_path, {"site/numpy.py": "import os, signal; os.kill(os.getpid(), signal.SIGILL)"})
    report = examine(dataclasses.replace(system, search=(str(tmp_path / "site"), *system.search)), "0.1")
    found = verdicts(report)
    assert (found["numpy"], found["opencv"]) == ("fault", "fault")
    assert "models" not in found
    assert found["memory"] == "ok"
    jsonschema.validate(report.to_dict(), SCHEMA)


def test_a_bundle_that_cannot_be_read_is_a_fault_of_the_models(tmp_path: Path) -> None:
    report = examine(on_this_python(tmp_path), "0.1", tmp_path / "nowhere.bundle")
    (models,) = [check for check in report.checks if check.name == "models"]
    assert models.verdict == "fault"
    assert "nowhere.bundle" in models.evidence
