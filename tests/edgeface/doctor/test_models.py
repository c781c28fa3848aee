"""What is said about the models: what really ran, and whether the CPU quietly stood in."""

from __future__ import annotations

from typing import Any

import pytest

from edgeface.doctor.asking import Outcome
from edgeface.doctor.models import model_check

LITERT = {
    "backend": "litert",
    "delegate": "XNNPACK",
    "cpu_operators": None,
    "precision": "int8",
    "threads": 1,
    "degraded": False,
    "right": True,
}
CORAL = {**LITERT, "backend": "isolated:edgetpu", "delegate": "libedgetpu", "cpu_operators": 0, "right": None}


def told(ran: dict[str, Any], **more: Any) -> Outcome:
    return Outcome("answered", {"ran": ran, "chosen": "litert", "refused": {}, "formats": ["tflite"], **more})


def test_what_ran_is_told_alike_together() -> None:
    found = model_check(told({"detection": LITERT, "landmarks": CORAL, "parsing": LITERT}), {})
    assert found.verdict == "ok"
    assert found.evidence == (
        "detection, parsing ran on litert, XNNPACK, int8; landmarks ran on isolated:edgetpu, libedgetpu, int8"
    )


@pytest.mark.parametrize(
    ("end", "wanted"),
    [("failed", "cannot be run"), ("crashed", "end the process"), ("hung", "do not answer")],
)
def test_models_that_do_not_run_are_a_fault(end: Any, wanted: str) -> None:
    found = model_check(Outcome(end, said="BundleError: damaged"), {})
    assert (found.verdict, found.evidence) == ("fault", f"the models {wanted} (BundleError: damaged)")


def test_without_xnnpack_is_a_fault_and_so_is_a_wrong_answer() -> None:
    slow = model_check(told({"parsing": {**LITERT, "delegate": None, "right": False}}), {})
    assert (slow.verdict, "parsing without XNNPACK" in slow.evidence) == ("fault", True)
    assert "/sys/devices/system/cpu" in slow.mend
    wrong = model_check(told({"parsing": LITERT, "detection": {**LITERT, "right": False}}), {})
    assert (wrong.verdict, wrong.evidence.startswith("detection answer other")) == ("fault", True)


@pytest.mark.parametrize(
    ("ran", "more", "accelerators", "wanted"),
    [
        (LITERT, {"refused": {"edgetpu": "it crashed"}}, {}, "because edgetpu was refused: it crashed"),
        ({**CORAL, "degraded": True}, {}, {}, "the accelerator was lost and the CPU stood in"),
        ({**CORAL, "cpu_operators": 7}, {}, {}, "operators were left on the CPU: 7 of parsing"),
        (LITERT, {}, {"Coral": "edgetpu"}, "the Coral of this machine stays unused"),
        (LITERT, {}, {"GPU": "onnx"}, "the GPU of this machine stays unused"),
    ],
)
def test_a_silent_fallback_is_a_warning(
    ran: dict[str, Any], more: dict[str, Any], accelerators: dict[str, str], wanted: str
) -> None:
    found = model_check(told({"parsing": ran}, **more), accelerators)
    assert (found.verdict, wanted in found.evidence) == ("warning", True)
    assert found.mend


def test_an_accelerator_whose_format_is_there_is_no_warning() -> None:
    found = model_check(told({"parsing": CORAL}, formats=["edgetpu", "tflite"]), {"Coral": "edgetpu"})
    assert found.verdict == "ok"
