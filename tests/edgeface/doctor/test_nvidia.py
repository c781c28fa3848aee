"""The checks of an NVIDIA GPU: what really computed, and what fits a Jetson."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeface.doctor.asking import Outcome, Question
from edgeface.doctor.check import Check
from edgeface.doctor.nvidia import CUDA, TENSORRT, engines_question, has_gpu, nvidia_checks, nvidia_questions
from edgeface.doctor.system import System
from tests.edgeface.doctor.machines import answered, pi

ENGINES = engines_question("")
CUDA_RAN = answered(ran="CUDAExecutionProvider", right=True)
RT_RAN = answered(ran="TensorrtExecutionProvider", right=True)


def checks(system: System, outcomes: dict[Question, Outcome] | None = None) -> dict[str, Check]:
    return {check.name: check for check in nvidia_checks(system, "", outcomes or {})}


@pytest.fixture
def orin(tmp_path: Path) -> System:
    root = tmp_path / "orin"
    system = pi(root, python=(3, 10), packages={"onnxruntime-gpu": "1.23.0"})
    (root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081\n")
    (root / "dev/nvhost-gpu").touch()
    return system


def test_without_a_gpu_nothing_is_said_or_asked(tmp_path: Path) -> None:
    system = pi(tmp_path, packages={"onnxruntime-gpu": "1.23.0"})
    assert not has_gpu(system)
    assert nvidia_questions(system, "") == ()
    assert {check.verdict for check in checks(system).values()} == {"not here"}


def test_a_jetson_without_onnxruntime_is_told_its_index(tmp_path: Path) -> None:
    root = tmp_path / "orin"
    system = pi(root, python=(3, 10))
    (root / "etc/nv_tegra_release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081\n")
    assert nvidia_questions(system, "") == ()
    found = checks(system)
    assert found["jetson-wheel"].verdict == "warning"
    assert "(Jetson Linux 36.4.3, Python 3.10)" in found["jetson-wheel"].evidence
    assert "jp6/cu126" in found["jetson-wheel"].mend
    assert {found[name].verdict for name in ("cuda", "tensorrt", "tensorrt-engines")} == {"not here"}


def test_a_jetson_that_computes_is_in_order(orin: System) -> None:
    assert nvidia_questions(orin, "") == (CUDA, TENSORRT, ENGINES)
    kept = answered(missing=[], kept=["detection"])
    found = checks(orin, {CUDA: CUDA_RAN, TENSORRT: RT_RAN, ENGINES: kept})
    assert {check.verdict for check in found.values()} == {"ok"}


@pytest.mark.parametrize(
    ("outcome", "verdict", "wanted"),
    [
        (
            answered(ran="CPUExecutionProvider", right=True),
            "warning",
            "went on with CPUExecutionProvider in silence",
        ),
        (answered(ran="CUDAExecutionProvider", right=False), "fault", "computes wrongly"),
        (Outcome("failed", said="RuntimeError: cudnn"), "fault", "cannot compute (RuntimeError: cudnn)"),
        (Outcome("crashed", said="SIGSEGV"), "fault", "crashes (SIGSEGV)"),
        (Outcome("hung", said="no answer within 60 s"), "fault", "hangs (no answer within 60 s)"),
    ],
)
def test_what_was_asked_for_and_what_ran(orin: System, outcome: Outcome, verdict: str, wanted: str) -> None:
    found = checks(orin, {CUDA: outcome, TENSORRT: RT_RAN})["cuda"]
    assert (found.verdict, wanted in found.evidence) == (verdict, True)
    assert found.mend


@pytest.mark.parametrize(
    ("outcome", "verdict", "wanted"),
    [
        (answered(missing=["parsing"], kept=["detection"]), "warning", "no engine is kept for parsing"),
        (answered(missing=[], kept=[]), "not here", "no ONNX models"),
        (Outcome("failed", said="BundleError: damaged"), "warning", "cannot be looked at"),
    ],
)
def test_engines_that_are_not_built_yet(orin: System, outcome: Outcome, verdict: str, wanted: str) -> None:
    found = checks(orin, {CUDA: CUDA_RAN, TENSORRT: RT_RAN, ENGINES: outcome})["tensorrt-engines"]
    assert (found.verdict, wanted in found.evidence) == (verdict, True)


def test_a_pc_with_a_driver_is_no_jetson(tmp_path: Path) -> None:
    system = pi(tmp_path, packages={"onnxruntime": "1.31.1"})
    (tmp_path / "dev/nvidia0").touch()
    found = checks(
        system, {CUDA: answered(ran="CPUExecutionProvider", right=True), TENSORRT: Outcome("hung")}
    )
    assert found["jetson-wheel"].verdict == "not here"
    assert "onnxruntime-gpu[cuda,cudnn]" in found["cuda"].mend
    assert found["tensorrt-engines"].verdict == "not here"
