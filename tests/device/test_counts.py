"""The gate, the table and the disk of the counting board, without a board."""

from __future__ import annotations

import copy
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import frames
from benchmarks.arm_instructions import counts, inside
from benchmarks.arm_instructions.__main__ import BASELINE, main
from benchmarks.arm_instructions.board import mesh_from
from benchmarks.errors import BenchmarkError
from edgeface import Bundle, read_image
from tests.bundles import opened, seal

_TASKS = ("detection", "landmarks", "parsing", "expression")
_STAGES = {"crop": 200_000, "pre-processing": 20_000, "invoke": 24_000_000, "decode": 150_000}


@pytest.fixture
def result() -> dict[str, Any]:
    told = {
        "students": {"landmarks": dict(_STAGES)},
        "frames": {"detection + landmarks": 69_000_000},
        "others": {"MediaPipe face mesh": {"invoke": 72_000_000}},
        "bundle": "0" * 64,
        "python": "3.11.2",
        "libraries": {"numpy": "2.4.6"},
    }
    return counts.report({core: copy.deepcopy(told) for core in ("cortex-a53", "cortex-a76")}, {"faces": 1})


def test_the_same_counts_pass(result: dict[str, Any]) -> None:
    assert counts.compare(result, result) == []


@pytest.mark.parametrize(("share", "shut"), [(1.004, False), (1.006, True), (0.5, False)])
def test_the_gate_is_at_half_a_percent(result: dict[str, Any], share: float, shut: bool) -> None:
    now = copy.deepcopy(result)
    stages = now["instructions"]["cortex-a76"]["students"]["landmarks"]
    stages["invoke"] = round(stages["invoke"] * share)
    told = counts.compare(now, result)
    assert bool(told) == shut
    assert all(line.startswith("cortex-a76, landmarks, invoke: 24000000 ->") for line in told)


def test_a_small_stage_is_gated_with_its_neighbours(result: dict[str, Any]) -> None:
    now = copy.deepcopy(result)
    stages = now["instructions"]["cortex-a53"]["students"]["landmarks"]
    stages["pre-processing"] += 1_000  # 5 % of its own, 0.3 % of the three
    assert counts.compare(now, result) == []
    stages["decode"] += 2_000
    (told,) = counts.compare(now, result)
    assert "cortex-a53, landmarks, crop + pre-processing + decode" in told


def test_what_is_not_counted_any_more_is_told(result: dict[str, Any]) -> None:
    now = copy.deepcopy(result)
    del now["instructions"]["cortex-a53"]["students"]["landmarks"]["invoke"]
    (told,) = counts.compare(now, result)
    assert "landmarks, invoke: was 24000000, is not counted" in told


def test_fewer_cores_and_no_stranger_are_allowed(result: dict[str, Any]) -> None:
    now = copy.deepcopy(result)
    del now["instructions"]["cortex-a76"]
    now["instructions"]["cortex-a53"]["others"] = {}
    assert counts.compare(now, result) == []


def test_the_table_speaks_of_instructions_alone(result: dict[str, Any]) -> None:
    told = counts.table(result)
    assert told.splitlines()[0] == "| millions of instructions | cortex-a53 | cortex-a76 |"
    assert "| landmarks, invoke | 24.000 | 24.000 |" in told
    assert "| detection + landmarks, whole | 69.000 | 69.000 |" in told
    assert not any(word in told for word in (" ms", "millisecond", "second"))


def test_the_committed_counts_are_whole() -> None:
    committed = json.loads(BASELINE.read_text())
    assert committed["schema"] == counts.SCHEMA
    assert committed["unit"] == "executed instructions"
    assert list(committed["instructions"]) == ["cortex-a53", "cortex-a72", "cortex-a76", "max"]
    for parts in committed["instructions"].values():
        assert list(parts["students"]) == [*_TASKS, *(f"nano {task}" for task in _TASKS)]
        assert all(set(stages) == set(_STAGES) for stages in parts["students"].values())
        for size in ("", "nano "):
            together = sum(sum(parts["students"][f"{size}{task}"].values()) for task in _TASKS)
            # The analyzer's own work comes on top; what is counted alone is counted warm.
            assert together < parts["frames"][f"{size}all four students"] < 1.1 * together
    assert all(count > 0 for count in counts.cells(committed).values())


@pytest.mark.parametrize("task", _TASKS)
def test_a_nano_student_costs_at_most_two_fifths_of_the_base_one_on_a_pi_4(task: str) -> None:
    students = json.loads(BASELINE.read_text())["instructions"]["cortex-a72"]["students"]
    assert students[f"nano {task}"]["invoke"] <= 0.4 * students[task]["invoke"]


def test_the_page_shows_the_committed_counts() -> None:
    page = Path(counts.__file__).with_name("README.md").read_text()
    shown = page.split("<!-- table: arm-instructions -->\n")[1].split("<!-- /table -->")[0]
    assert shown.strip() == counts.table(json.loads(BASELINE.read_text())), "print it with counts.table"


def test_the_mesh_comes_out_of_a_task_file_or_a_wheel(tmp_path: Path) -> None:
    for name, member in (
        ("a.task", "face_landmarks_detector.tflite"),
        ("b.whl", "mediapipe/modules/face_landmark/face_landmark.tflite"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, b"mesh")
        assert mesh_from(tmp_path / name) == b"mesh"
    (tmp_path / "c.tflite").write_bytes(b"plain")
    assert mesh_from(tmp_path / "c.tflite") == b"plain"
    with zipfile.ZipFile(tmp_path / "d.task", "w") as archive:
        archive.writestr("other.tflite", b"")
    with pytest.raises(BenchmarkError, match=r"d\.task: holds none of"):
        mesh_from(tmp_path / "d.task")
    with pytest.raises(BenchmarkError, match=r"c\.task: cannot be read"):
        mesh_from(tmp_path / "c.task")


def test_too_few_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--runs", "3"])
    assert "7 or more" in capsys.readouterr().err


def test_what_runs_on_the_board_counts_the_students_whatever_else_the_bundle_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], astronaut_path: Path
) -> None:
    """The job itself, here, where its clock counts nanoseconds."""
    header, body = opened(Path(Bundle.builtin().source).read_bytes())
    wide = header["models"]["detection"]
    header["models"]["detection_tall"] = {
        **wide,
        "task": "detection_tall",
        "input": {**wide["input"], "shape": [wide["input"]["shape"][axis] for axis in (0, 2, 1, 3)]},
        "outputs": [{**o, "shape": [o["shape"][axis] for axis in (0, 2, 1, 3)]} for o in wide["outputs"]],
    }
    bundle = Bundle.from_bytes(seal(header, body))
    assert "detection_tall" in bundle.models
    monkeypatch.setattr(Bundle, "builtin", staticmethod(lambda size="base": bundle))
    monkeypatch.setattr(inside.ImageInput, "_stored", inside.ImageInput._stored)  # put back afterwards
    frame = tmp_path / "frame.npy"
    np.save(frame, frames.webcam_frame(read_image(astronaut_path).rgb))
    monkeypatch.setattr(sys, "argv", ["inside.py", str(frame), "1"])
    inside.main()
    told = json.loads(capsys.readouterr().out)
    assert list(told["students"]) == [*_TASKS, *(f"nano {task}" for task in _TASKS)]
    assert all(set(stages) == set(_STAGES) for stages in told["students"].values())
    assert all(count > 0 for count in told["frames"].values())
