"""The check of the models: what really ran them, and whether they answered rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeface.doctor import topics
from edgeface.doctor.asking import Question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeface.doctor.asking import Outcome
    from edgeface.doctor.check import Check

__all__ = ["model_check", "models_question"]

_SECONDS = 90.0  # four models, on every backend that opens them, each in a process of its own


def models_question(bundle: str) -> Question:
    """What a child is asked about a bundle; an empty path is the built-in one."""
    return Question("models", (bundle,), _SECONDS)


def model_check(outcome: Outcome, accelerators: Mapping[str, str]) -> Check:
    """What came out.

    Args:
        outcome: of `models_question`.
        accelerators: what this machine has beside the CPU, as name -> the artifact format that it opens.
    """
    topic = topics.MODELS
    if outcome.end != "answered":
        again = "run edgeface devices; if the file is damaged, install EdgeFace or the bundle again"
        verbs = {"failed": "cannot be run", "crashed": "end the process", "hung": "do not answer"}
        return topic.fault(f"the models {verbs[outcome.end]} ({outcome.said})", again)
    ran: Mapping[str, Mapping[str, Any]] = outcome.answer["ran"]
    shown = _shown(ran)
    plain = [task for task, told in ran.items() if told["backend"] == "litert" and told["delegate"] is None]
    if plain:
        return topic.fault(
            f"{shown}: LiteRT runs {', '.join(plain)} without XNNPACK, many times slower",
            "let the process see /sys/devices/system/cpu and /proc/cpuinfo, which a container may hide",
        )
    wrong = [task for task, told in ran.items() if told["right"] is False]
    if wrong:
        return topic.fault(
            f"{', '.join(wrong)} answer other than their makers' machine did",
            "install ai-edge-litert again; if that does not help, memory or card of this board are bad",
        )
    return _fallback(outcome.answer, ran, shown, accelerators)


def _fallback(
    answer: Mapping[str, Any],
    ran: Mapping[str, Mapping[str, Any]],
    shown: str,
    accelerators: Mapping[str, str],
) -> Check:
    topic = topics.MODELS
    if answer["refused"]:
        name, verdict = next(iter(answer["refused"].items()))
        return topic.warning(
            f"{shown}, because {name} was refused: {verdict}", "mend that, or name a backend"
        )
    if any(told["degraded"] for told in ran.values()):
        return topic.warning(
            f"{shown}: the accelerator was lost and the CPU stood in", "check its power and cable"
        )
    left = {task: told["cpu_operators"] for task, told in ran.items() if told["cpu_operators"]}
    if left:
        counts = ", ".join(f"{count} of {task}" for task, count in left.items())
        return topic.warning(
            f"{shown}, but operators were left on the CPU: {counts}",
            "compile or export the models again for this accelerator",
        )
    idle = [name for name, opened in accelerators.items() if opened not in answer["formats"]]
    if idle:
        mends = {
            "edgetpu": "edgeface models compile --target edgetpu --out coral.bundle, on an x86-64 PC",
            "onnx": "python -m quantization pack --with onnx, in a checkout",
        }
        return topic.warning(
            f"{shown}; the {' and the '.join(idle)} of this machine stays unused, because the bundle holds "
            f"{', '.join(answer['formats'])} alone",
            f"make a bundle for it: {mends[accelerators[idle[0]]]}, and name it with --bundle",
        )
    return topic.ok(shown)


def _shown(ran: Mapping[str, Mapping[str, Any]]) -> str:
    """Which models ran on what, those alike together."""
    groups: dict[str, list[str]] = {}
    for task, told in ran.items():
        parts = [told["backend"], told["delegate"] or "no delegate", told["precision"]]
        groups.setdefault(", ".join(parts), []).append(task)
    return "; ".join(f"{', '.join(tasks)} ran on {how}" for how, tasks in groups.items())
