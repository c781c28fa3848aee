"""Checks of the Python packages that run models: each was imported in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeface.doctor import topics
from edgeface.doctor.asking import Question

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeface.doctor.asking import Outcome
    from edgeface.doctor.check import Check, Topic
    from edgeface.doctor.system import System

__all__ = ["ONNXRUNTIME", "runtime_checks", "runtime_questions"]

NUMPY, OPENCV, LITERT = Question("numpy"), Question("opencv"), Question("litert")
TFLITE_RUNTIME, ONNXRUNTIME = Question("tflite-runtime"), Question("onnxruntime")

_ONNX_PACKAGES = ("onnxruntime", "onnxruntime-gpu")
_OPENCV_PACKAGES = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless")
_NEWER_NUMPY = "built for NumPy 1"
_WRONG_NUMPY = ("_ARRAY_API", "compiled using NumPy 1", "multiarray failed to import")
_TELLING = (1, 29)  # onnxruntime from this version on reports its use to its makers


def runtime_questions(system: System) -> tuple[Question, ...]:
    """What must be asked of a child."""
    asked = [NUMPY, OPENCV, LITERT]
    if "tflite-runtime" in system.packages:
        asked.append(TFLITE_RUNTIME)
    if any(name in system.packages for name in _ONNX_PACKAGES):
        asked.append(ONNXRUNTIME)
    return tuple(asked)


def runtime_checks(system: System, outcomes: Mapping[Question, Outcome]) -> Iterator[Check]:
    """All of them."""
    yield _imported(topics.NUMPY, system, outcomes[NUMPY], "numpy", "pip install --force-reinstall numpy")
    opencv = next((name for name in _OPENCV_PACKAGES if name in system.packages), _OPENCV_PACKAGES[0])
    mend = f"pip install --force-reinstall {opencv}"
    yield _imported(topics.OPENCV, system, outcomes[OPENCV], opencv, mend)
    yield _litert(system, outcomes[LITERT], outcomes.get(TFLITE_RUNTIME))
    yield _tflite_runtime(system, outcomes.get(TFLITE_RUNTIME))
    yield _onnxruntime(system, outcomes.get(ONNXRUNTIME))
    yield _telemetry(system)


def _imported(topic: Topic, system: System, outcome: Outcome, package: str, mend: str) -> Check:
    shown = f"{package} {system.packages.get(package, '')}".strip()
    if outcome.end == "answered":
        return topic.ok(f"{shown} works")
    if outcome.end == "crashed" and outcome.said == "SIGILL":
        return topic.fault(
            f"{shown} dies of an illegal instruction: it was built for a newer processor than this",
            f"install another version: {mend}",
        )
    if outcome.end == "crashed":
        return topic.fault(f"{shown} crashes when it is imported ({outcome.said})", f"reinstall it: {mend}")
    if outcome.end == "hung":
        return topic.fault(f"{shown} hangs when it is imported ({outcome.said})", f"reinstall it: {mend}")
    return topic.fault(f"{shown} cannot be imported ({outcome.said})", f"reinstall it: {mend}")


def _litert(system: System, outcome: Outcome, older: Outcome | None) -> Check:
    if "ai-edge-litert" not in system.packages and older is not None and older.end == "answered":
        return topics.LITERT.ok("tflite-runtime stands in for ai-edge-litert")
    return _imported(topics.LITERT, system, outcome, "ai-edge-litert", "pip install -U ai-edge-litert")


def _tflite_runtime(system: System, outcome: Outcome | None) -> Check:
    topic = topics.TFLITE_RUNTIME
    if outcome is None:
        return topic.absent("not installed, and not needed beside ai-edge-litert")
    numpy = system.version("numpy") or (0,)
    mismatch = any(word in outcome.said for word in _WRONG_NUMPY)
    if outcome.end != "answered" and (mismatch or numpy >= (2,)):
        return topic.fault(
            f"tflite-runtime {system.packages['tflite-runtime']} is {_NEWER_NUMPY} and NumPy "
            f"{system.packages.get('numpy', 'of another kind')} is installed ({outcome.said})",
            "run: pip uninstall tflite-runtime, then pip install ai-edge-litert, which takes NumPy 2",
        )
    return _imported(topic, system, outcome, "tflite-runtime", "pip install ai-edge-litert")


def _onnxruntime(system: System, outcome: Outcome | None) -> Check:
    topic = topics.ONNXRUNTIME
    if outcome is None:
        return topic.absent("not installed, and only bundles of ONNX models need it")
    present = [name for name in _ONNX_PACKAGES if name in system.packages]
    if len(present) > 1:
        return topic.warning(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files",
            "run: pip uninstall onnxruntime onnxruntime-gpu, then install the one that you want",
        )
    check = _imported(topic, system, outcome, present[0], f"pip install -U '{present[0]}>=1.22'")
    if check.verdict == "ok":
        providers = outcome.answer.get("providers", ())
        names = ", ".join(str(name).removesuffix("ExecutionProvider") for name in providers)
        return topic.ok(f"{check.evidence}, built with {names}")
    return check


def _telemetry(system: System) -> Check:
    topic = topics.TELEMETRY
    version = max((system.version(name) or (0,) for name in _ONNX_PACKAGES), default=(0,))
    if version == (0,):
        return topic.absent("no onnxruntime is installed, and nothing else here sends anything")
    if version < _TELLING:
        return topic.ok("this onnxruntime sends nothing to its makers")
    if system.environment.get("ORT_DISABLE_TELEMETRY") == "1":
        return topic.ok("ORT_DISABLE_TELEMETRY=1 is set")
    return topic.warning(
        "onnxruntime from 1.29 on reports its use to its makers; EdgeFace turns that off for itself, but not "
        "for a program that imports onnxruntime before EdgeFace",
        "set ORT_DISABLE_TELEMETRY=1 in the environment of that program, its unit or its container",
    )
