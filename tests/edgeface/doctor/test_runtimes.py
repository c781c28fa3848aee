"""What is said about a package, by how the child that imported it ended."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from edgeface.doctor.asking import Outcome, Question
from edgeface.doctor.check import Check
from edgeface.doctor.runtimes import (
    LITERT,
    NUMPY,
    ONNXRUNTIME,
    OPENCV,
    TFLITE_RUNTIME,
    runtime_checks,
    runtime_questions,
)
from edgeface.doctor.system import System
from tests.edgeface.doctor.machines import answered, only, pi

GOOD = {NUMPY: answered(), OPENCV: answered(), LITERT: answered()}
ORT = answered(version="1.31.1", providers=["CUDAExecutionProvider", "CPUExecutionProvider"])


def with_packages(system: System, **packages: str) -> System:
    named = {name.replace("_", "-"): version for name, version in packages.items()}
    return dataclasses.replace(system, packages={**system.packages, **named})


def check(name: str, system: System, outcomes: dict[Question, Outcome] | None = None) -> Check:
    return only(runtime_checks(system, GOOD | (outcomes or {})), name)


def test_only_what_is_installed_is_asked_for(tmp_path: Path) -> None:
    system = pi(tmp_path)
    assert runtime_questions(system) == (NUMPY, OPENCV, LITERT)
    more = with_packages(system, tflite_runtime="2.14.0", onnxruntime_gpu="1.23.0")
    assert runtime_questions(more) == (NUMPY, OPENCV, LITERT, TFLITE_RUNTIME, ONNXRUNTIME)
    verdicts = {one.name: one.verdict for one in runtime_checks(system, GOOD)}
    assert (
        verdicts.pop("onnxruntime")
        == verdicts.pop("tflite-runtime")
        == verdicts.pop("telemetry")
        == "not here"
    )
    assert set(verdicts.values()) == {"ok"}


@pytest.mark.parametrize(
    ("outcome", "wanted"),
    [
        (Outcome("crashed", said="SIGILL"), "ai-edge-litert 2.3.0 dies of an illegal instruction"),
        (Outcome("crashed", said="SIGSEGV"), "crashes when it is imported (SIGSEGV)"),
        (Outcome("hung", said="no answer within 30 s"), "hangs when it is imported (no answer within 30 s)"),
        (Outcome("failed", said="ImportError: libc.so.6"), "cannot be imported (ImportError: libc.so.6)"),
    ],
)
def test_each_end_of_an_import_is_told(tmp_path: Path, outcome: Outcome, wanted: str) -> None:
    found = check("litert", pi(tmp_path), {LITERT: outcome})
    assert found.verdict == "fault"
    assert wanted in found.evidence
    assert "pip install -U ai-edge-litert" in found.mend


def test_an_elder_may_stand_in_for_litert(tmp_path: Path) -> None:
    system = pi(tmp_path, packages={"numpy": "1.26.4", "tflite-runtime": "2.14.0"})
    missing = {LITERT: Outcome("failed", said="ModuleNotFoundError: ai_edge_litert")}
    assert check("litert", system, {**missing, TFLITE_RUNTIME: answered()}).verdict == "ok"
    assert check("litert", system, {**missing, TFLITE_RUNTIME: Outcome("crashed")}).verdict == "fault"
    assert check("litert", system, missing).verdict == "fault"


@pytest.mark.parametrize(
    ("numpy", "outcome", "told"),
    [
        ("2.1.3", Outcome("failed", said="AttributeError: _ARRAY_API not found"), "is built for NumPy 1"),
        ("2.1.3", Outcome("crashed", said="SIGSEGV"), "is built for NumPy 1 and NumPy 2.1.3 is installed"),
        ("1.26.4", Outcome("crashed", said="SIGILL"), "dies of an illegal instruction"),
    ],
)
def test_numpy_2_under_tflite_runtime(tmp_path: Path, numpy: str, outcome: Outcome, told: str) -> None:
    system = with_packages(pi(tmp_path), numpy=numpy, tflite_runtime="2.14.0")
    found = check("tflite-runtime", system, {TFLITE_RUNTIME: outcome})
    assert (found.verdict, told in found.evidence) == ("fault", True)
    assert "pip install ai-edge-litert" in found.mend
    assert check("tflite-runtime", system, {TFLITE_RUNTIME: answered()}).verdict == "ok"


def test_onnxruntime(tmp_path: Path) -> None:
    one = with_packages(pi(tmp_path), onnxruntime="1.21.0")
    found = check("onnxruntime", one, {ONNXRUNTIME: Outcome("crashed", said="SIGILL")})
    assert "onnxruntime 1.21.0 dies of an illegal instruction" in found.evidence
    assert "onnxruntime>=1.22" in found.mend
    found = check("onnxruntime", one, {ONNXRUNTIME: ORT})
    assert (found.verdict, found.evidence) == ("ok", "onnxruntime 1.21.0 works, built with CUDA, CPU")
    both = with_packages(one, onnxruntime_gpu="1.23.0")
    found = check("onnxruntime", both, {ONNXRUNTIME: ORT})
    assert (found.verdict, "overwrite each other" in found.evidence) == ("warning", True)


@pytest.mark.parametrize(
    ("version", "environment", "verdict"),
    [
        ("1.28.2", {}, "ok"),
        ("1.29.0", {}, "warning"),
        ("1.31.1", {"ORT_DISABLE_TELEMETRY": "1"}, "ok"),
        ("1.31.1", {"ORT_DISABLE_TELEMETRY": "0"}, "warning"),
    ],
)
def test_telemetry(tmp_path: Path, version: str, environment: dict[str, Any], verdict: str) -> None:
    system = dataclasses.replace(
        with_packages(pi(tmp_path), onnxruntime_gpu=version), environment=environment
    )
    found = check("telemetry", system, {ONNXRUNTIME: ORT})
    assert found.verdict == verdict
    assert ("ORT_DISABLE_TELEMETRY=1" in found.mend) == (verdict == "warning")
